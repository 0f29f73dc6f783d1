//! The KV cache: keys and values of all past tokens, in pages of a fixed number of positions.
//! One `Pool` holds the pages; a `Sequence` is a table of page references. Memory is allocated when
//! a sequence is made: appending a token takes a free page and allocates nothing. A fork copies the
//! table, and pages are copied when one of their holders is about to write (copy on write).
//!
//! A page holds `page_len` positions of every layer:
//!   page:  [layer]{ keys [kv head], values [kv head] }
//! so that attention reads the keys of one head as one stream; how they lie there is the matter of
//! `kernel/attention/page.zig`. Paging follows Kwon et al. 2023,
//! "Efficient Memory Management for Large Language Model Serving with PagedAttention". The format
//! of keys and of values is chosen separately; a format is one file in `cache/`.

const std = @import("std");
const kernel = @import("kernel.zig");
const system_memory = @import("memory.zig");
const Diagnostic = @import("diagnostic.zig").Diagnostic;

const io = std.Io.Threaded.global_single_threaded.io();

/// The registry of storage formats.
pub const formats = .{
    @import("cache/f32.zig"),
    @import("cache/f16.zig"),
    @import("cache/bf16.zig"),
    @import("cache/q8_0.zig"),
};

/// Derived from the registry: tag and wire id of each format.
pub const Format = blk: {
    var names: [formats.len][]const u8 = undefined;
    var ids: [formats.len]u32 = undefined;
    for (formats, 0..) |format, i| {
        names[i] = format.name;
        ids[i] = format.id;
        for (ids[0..i]) |id| if (id == format.id) @compileError("two cache formats have the id of " ++ format.name);
    }
    break :blk @Enum(u32, .exhaustive, &names, &ids);
};

/// Null when no format has that wire id.
pub fn formatFromId(id: u32) ?Format {
    inline for (formats) |format| if (format.id == id) return @field(Format, format.name);
    return null;
}

/// Null when no format has that name.
pub fn formatFromName(name: []const u8) ?Format {
    inline for (formats) |format| if (std.mem.eql(u8, format.name, name)) return @field(Format, format.name);
    return null;
}

/// Bytes that `count` values take, scales included.
pub fn formatBytes(format: Format, count: u64) u64 {
    return switch (format) {
        inline else => |tag| blk: {
            inline for (formats) |member| {
                if (comptime std.mem.eql(u8, member.name, @tagName(tag))) break :blk member.bytes(count);
            }
            unreachable;
        },
    };
}

/// Values of a head that share a scale: head sizes are multiples of it.
pub fn formatUnit(format: Format) u32 {
    return switch (format) {
        inline else => |tag| blk: {
            inline for (formats) |member| {
                if (comptime std.mem.eql(u8, member.name, @tagName(tag))) break :blk member.unit;
            }
            unreachable;
        },
    };
}

/// Positions in a page, and in a block of the attention kernel.
pub const page_len = kernel.page_len;

/// What the pages of one pool look like.
pub const Layout = struct {
    layers: u32,
    kv_heads: u32,
    head_dim_k: u32,
    head_dim_v: u32,
    key_format: Format,
    value_format: Format,

    pub fn keyHeadBytes(layout: Layout) u64 {
        return formatBytes(layout.key_format, @as(u64, page_len) * layout.head_dim_k);
    }

    pub fn valueHeadBytes(layout: Layout) u64 {
        return formatBytes(layout.value_format, @as(u64, page_len) * layout.head_dim_v);
    }

    pub fn layerBytes(layout: Layout) u64 {
        return layout.kv_heads * (layout.keyHeadBytes() + layout.valueHeadBytes());
    }

    pub fn pageBytes(layout: Layout) u64 {
        return layout.layers * layout.layerBytes();
    }

    /// Bytes of the pages that hold `positions` positions.
    pub fn bytes(layout: Layout, positions: u64) u64 {
        return (std.math.divCeil(u64, positions, page_len) catch unreachable) * layout.pageBytes();
    }
};

pub const Error = error{OutOfMemory};

/// One page of a pool.
pub const Page = struct {
    memory: [*]u8,
    /// Tables that name the page; 0: it is free.
    holders: u32 = 0,
    segment: *Segment,
    /// The next free page of its segment.
    next: ?*Page = null,
};

/// Pages that were made together, one after the other in memory.
const Segment = struct {
    memory: []align(std.heap.page_size_min) u8,
    pages: []Page,
    free: ?*Page,
    used: usize = 0,
};

/// The pages of a family of sequences. It lives as long as somebody holds it, and promises each
/// sequence as many pages as its table names at most: so a page is there whenever a sequence needs
/// one. What is promised and never touched takes no memory. Any thread may call.
pub const Pool = struct {
    gpa: std.mem.Allocator,
    layout: Layout,
    mutex: std.Io.Mutex = .init,
    /// Sequences, and whoever made the pool.
    users: usize = 1,
    /// Pages that have been promised.
    promised: usize = 0,
    total: usize = 0,
    used: usize = 0,
    /// The oldest first: pages are taken there, so that the newest become free again.
    segments: std.ArrayList(*Segment) = .empty,

    /// An empty pool; pair with `release`.
    pub fn create(gpa: std.mem.Allocator, layout: Layout) Error!*Pool {
        const pool = try gpa.create(Pool);
        pool.* = .{ .gpa = gpa, .layout = layout };
        return pool;
    }

    /// The last one who leaves frees.
    pub fn release(pool: *Pool) void {
        pool.mutex.lockUncancelable(io);
        pool.users -= 1;
        const last = pool.users == 0;
        pool.mutex.unlock(io);
        if (!last) return;
        std.debug.assert(pool.used == 0);
        std.debug.assert(pool.promised == 0);
        for (pool.segments.items) |segment| pool.destroySegment(segment);
        pool.segments.deinit(pool.gpa);
        pool.gpa.destroy(pool);
    }

    /// Makes room for `pages` more than are promised, in one piece of memory.
    pub fn prepare(pool: *Pool, pages: usize, diag: *Diagnostic) Error!void {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        if (pool.promised + pages <= pool.total) return;
        const missing = pool.promised + pages - pool.total;
        const gpa = pool.gpa;
        errdefer diag.set("expected memory for a KV cache of {d} pages of {d} bytes, found that the system has not that much", .{
            missing, pool.layout.pageBytes(),
        });
        const size = std.math.mul(u64, pool.layout.pageBytes(), missing) catch return error.OutOfMemory;
        const len = std.math.cast(usize, size) orelse return error.OutOfMemory;
        try pool.segments.ensureUnusedCapacity(gpa, 1);
        const segment = try gpa.create(Segment);
        errdefer gpa.destroy(segment);
        const made = try gpa.alloc(Page, missing);
        errdefer gpa.free(made);
        // The system gives zeroed pages on first use, by the thread that uses them first.
        const memory = try system_memory.alloc(len, .huge);
        const page_bytes: usize = @intCast(pool.layout.pageBytes());
        for (made, 0..) |*page, i| page.* = .{
            .memory = memory.ptr + i * page_bytes,
            .segment = segment,
            .next = if (i + 1 < made.len) &made[i + 1] else null,
        };
        segment.* = .{ .memory = memory, .pages = made, .free = &made[0] };
        pool.segments.appendAssumeCapacity(segment);
        pool.total += missing;
    }

    /// Gives back what is neither used nor promised.
    pub fn trim(pool: *Pool) void {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        var i = pool.segments.items.len;
        while (i > 0) {
            i -= 1;
            const segment = pool.segments.items[i];
            if (segment.used != 0 or pool.total - segment.pages.len < pool.promised) continue;
            pool.total -= segment.pages.len;
            _ = pool.segments.orderedRemove(i);
            pool.destroySegment(segment);
        }
    }

    fn destroySegment(pool: *Pool, segment: *Segment) void {
        system_memory.free(segment.memory);
        pool.gpa.free(segment.pages);
        pool.gpa.destroy(segment);
    }

    /// One more sequence of up to `pages` pages.
    fn enter(pool: *Pool, pages: usize, diag: *Diagnostic) Error!void {
        while (true) {
            try pool.prepare(pages, diag);
            pool.mutex.lockUncancelable(io);
            defer pool.mutex.unlock(io);
            // Another thread may have taken the room meanwhile.
            if (pool.promised + pages > pool.total) continue;
            pool.promised += pages;
            pool.users += 1;
            return;
        }
    }

    fn leave(pool: *Pool, pages: usize) void {
        pool.mutex.lockUncancelable(io);
        pool.promised -= pages;
        pool.mutex.unlock(io);
        pool.trim();
        pool.release();
    }

    pub fn pageCount(pool: *Pool) usize {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        return pool.total;
    }

    /// Pages that at least one sequence holds.
    pub fn usedCount(pool: *Pool) usize {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        return pool.used;
    }

    /// The mutex is locked. Tables never name more pages than were promised, so there is one.
    fn take(pool: *Pool) *Page {
        for (pool.segments.items) |segment| {
            const page = segment.free orelse continue;
            segment.free = page.next;
            segment.used += 1;
            pool.used += 1;
            page.holders = 1;
            return page;
        }
        unreachable;
    }

    /// The mutex is locked.
    fn give(pool: *Pool, page: *Page) void {
        std.debug.assert(page.holders != 0);
        page.holders -= 1;
        if (page.holders != 0) return;
        const segment = page.segment;
        page.next = segment.free;
        segment.free = page;
        segment.used -= 1;
        pool.used -= 1;
    }

    /// The keys of one head in one page.
    pub fn keys(pool: *const Pool, page: *const Page, layer: usize, kv_head: usize) [*]u8 {
        const layout = pool.layout;
        const offset = layer * layout.layerBytes() + kv_head * layout.keyHeadBytes();
        return page.memory + @as(usize, @intCast(offset));
    }

    /// The values of one head in one page.
    pub fn values(pool: *const Pool, page: *const Page, layer: usize, kv_head: usize) [*]u8 {
        const layout = pool.layout;
        const offset = layer * layout.layerBytes() + layout.kv_heads * layout.keyHeadBytes() +
            kv_head * layout.valueHeadBytes();
        return page.memory + @as(usize, @intCast(offset));
    }
};

/// Pages of one sequence, and how many of them others hold too.
pub const PageCounts = struct { held: usize, shared: usize };

/// The pages of one sequence of tokens, in the order of their positions. Forks hold the same pages;
/// one that several hold is never written to: `reserve` copies it first. One thread at a time.
pub const Sequence = struct {
    pool: *Pool,
    table: []*Page,
    pages: u32 = 0,
    /// Positions that hold keys and values.
    len: u32 = 0,

    /// A sequence of up to `pages` pages. The allocator is the pool's.
    pub fn init(pool: *Pool, pages: usize, diag: *Diagnostic) Error!Sequence {
        const table = try pool.gpa.alloc(*Page, pages);
        errdefer pool.gpa.free(table);
        try pool.enter(pages, diag);
        return .{ .pool = pool, .table = table };
    }

    pub fn deinit(sequence: *Sequence) void {
        sequence.truncate(0);
        const pool = sequence.pool;
        const pages = sequence.table.len;
        pool.gpa.free(sequence.table);
        pool.leave(pages);
        sequence.* = undefined;
    }

    /// A second sequence with the same positions, in the same pages.
    pub fn fork(sequence: *const Sequence, diag: *Diagnostic) Error!Sequence {
        const pool = sequence.pool;
        var result: Sequence = try .init(pool, sequence.table.len, diag);
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        result.len = sequence.len;
        result.pages = pagesOf(sequence.len);
        for (result.table[0..result.pages], sequence.table[0..result.pages]) |*to, page| {
            page.holders += 1;
            to.* = page;
        }
        return result;
    }

    /// Makes sure that positions from the sequence's length up to `len` (exclusive) can be written.
    pub fn reserve(sequence: *Sequence, len: u32) void {
        std.debug.assert(len > sequence.len);
        const wanted = pagesOf(len);
        std.debug.assert(wanted <= sequence.table.len);
        if (sequence.len % page_len != 0) sequence.own(sequence.len / page_len);
        if (wanted <= sequence.pages) return;
        const pool = sequence.pool;
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        while (sequence.pages < wanted) : (sequence.pages += 1) sequence.table[sequence.pages] = pool.take();
    }

    /// Copies the page that holds the last position, unless nobody else holds it.
    fn own(sequence: *Sequence, index: u32) void {
        const pool = sequence.pool;
        const shared = sequence.table[index];
        const copy = blk: {
            pool.mutex.lockUncancelable(io);
            defer pool.mutex.unlock(io);
            if (shared.holders == 1) return;
            // Of the pages that tables name, one is named twice: the promises leave another.
            break :blk pool.take();
        };
        // Nobody writes to a page that two hold, so the copy needs no lock.
        const bytes: usize = @intCast(pool.layout.pageBytes());
        @memcpy(copy.memory[0..bytes], shared.memory[0..bytes]);
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        sequence.table[index] = copy;
        pool.give(shared);
    }

    /// Forgets the positions from `len` on and gives back the pages that no position uses.
    pub fn truncate(sequence: *Sequence, len: u32) void {
        std.debug.assert(len <= sequence.len);
        const wanted = pagesOf(len);
        sequence.len = len;
        if (sequence.pages <= wanted) return;
        const pool = sequence.pool;
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        while (sequence.pages > wanted) {
            sequence.pages -= 1;
            pool.give(sequence.table[sequence.pages]);
        }
    }

    /// Any thread may ask, while the sequence grows too.
    pub fn count(sequence: *const Sequence) PageCounts {
        const pool = sequence.pool;
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        var shared: usize = 0;
        for (sequence.table[0..sequence.pages]) |page| shared += @intFromBool(page.holders > 1);
        return .{ .held = sequence.pages, .shared = shared };
    }

    /// What is stored for one position of a head, as floats: as many as the head has values.
    pub fn read(sequence: *const Sequence, side: kernel.KvSide, position: u32, layer: usize, kv_head: usize, out: []f32) void {
        const pool = sequence.pool;
        const page = sequence.table[position / page_len];
        const format, const memory = switch (side) {
            .key => .{ pool.layout.key_format, pool.keys(page, layer, kv_head) },
            .value => .{ pool.layout.value_format, pool.values(page, layer, kv_head) },
        };
        kernel.page.read(@fromBackingInt(@backingInt(format)), side, memory, position % page_len, out);
    }

    fn pagesOf(len: u32) u32 {
        return std.math.divCeil(u32, len, page_len) catch unreachable;
    }
};

test "LLaMA-2-7B at 2,048 tokens takes 2 GiB in f32, 1 GiB in f16, 544 MiB in q8_0" {
    var layout: Layout = .{
        .layers = 32,
        .kv_heads = 32,
        .head_dim_k = 128,
        .head_dim_v = 128,
        .key_format = .f32,
        .value_format = .f32,
    };
    try std.testing.expectEqual(2 << 30, layout.bytes(2048));
    layout.key_format = .f16;
    layout.value_format = .bf16;
    try std.testing.expectEqual(1 << 30, layout.bytes(2048));
    layout.key_format = .q8_0;
    layout.value_format = .q8_0;
    try std.testing.expectEqual((1 << 30) / 64 * 34, layout.bytes(2048));
}

const test_layout: Layout = .{
    .layers = 2,
    .kv_heads = 3,
    .head_dim_k = 8,
    .head_dim_v = 16,
    .key_format = .f16,
    .value_format = .f32,
};

test "pages come from the pool and go back" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    const layout = test_layout;
    const pool = try Pool.create(gpa, layout);
    defer pool.release();
    var one = try Sequence.init(pool, 2, &diag);
    defer one.deinit();
    var two = try Sequence.init(pool, 2, &diag);
    defer two.deinit();

    one.reserve(page_len + 1);
    one.len = page_len + 1;
    two.reserve(page_len);
    two.len = page_len;
    try std.testing.expectEqual(3, pool.usedCount());
    try std.testing.expectEqual(4, pool.pageCount());

    // Every page of every layer and head has bytes of its own.
    var seen: std.AutoHashMapUnmanaged(usize, void) = .empty;
    defer seen.deinit(gpa);
    for ([_]*Sequence{ &one, &two }) |sequence| {
        for (sequence.table[0..sequence.pages]) |page| for (0..2) |layer| for (0..3) |head| {
            for (0..8 * page_len * 2) |byte| try seen.putNoClobber(gpa, @intFromPtr(pool.keys(page, layer, head)) + byte, {});
            for (0..16 * page_len * 4) |byte| try seen.putNoClobber(gpa, @intFromPtr(pool.values(page, layer, head)) + byte, {});
        };
    }
    try std.testing.expectEqual(3 * layout.pageBytes(), seen.count());
    one.truncate(page_len);
    try std.testing.expectEqual(2, pool.usedCount());
    one.truncate(0);
    try std.testing.expectEqual(1, pool.usedCount());
}

test "forks hold the same pages until one of them writes" {
    var diag: Diagnostic = .{};
    const pool = try Pool.create(std.testing.allocator, test_layout);
    defer pool.release();
    var parent = try Sequence.init(pool, 8, &diag);
    parent.reserve(2 * page_len + 3);
    parent.len = 2 * page_len + 3;
    var forks: [64]Sequence = undefined;
    try pool.prepare(forks.len * 8, &diag);
    try std.testing.expectEqual(2, pool.segments.items.len);
    for (&forks) |*fork| fork.* = try parent.fork(&diag);
    try std.testing.expectEqual(3, pool.usedCount());
    try std.testing.expectEqual(PageCounts{ .held = 3, .shared = 3 }, forks[63].count());
    for (&forks) |*fork| fork.reserve(fork.len + 1);
    // The parent is left alone with the page that all have copied.
    try std.testing.expectEqual(3 + 64, pool.usedCount());
    try std.testing.expectEqual(PageCounts{ .held = 3, .shared = 2 }, parent.count());
    const last = parent.table[2];
    parent.reserve(parent.len + 1);
    try std.testing.expectEqual(last, parent.table[2]);
    parent.deinit();
    for (&forks) |*fork| fork.deinit();
    try std.testing.expectEqual(0, pool.pageCount());
}

test "sequences, forks, truncations in any order hold what a simple model holds" {
    const gpa = std.testing.allocator;
    const capacity = 5;
    const Twin = struct { sequence: Sequence, marks: [capacity * page_len]u8 = undefined };
    var diag: Diagnostic = .{};
    var prng: std.Random.DefaultPrng = .init(11);
    const random = prng.random();
    const pool = try Pool.create(gpa, test_layout);
    defer pool.release();
    var twins: std.ArrayList(*Twin) = .empty;
    defer twins.deinit(gpa);
    for (0..4000) |round| {
        const action = if (twins.items.len == 0) 0 else random.uintLessThan(u32, 8);
        const chosen: usize = if (twins.items.len == 0) 0 else random.uintLessThan(usize, twins.items.len);
        if (action < 2 and twins.items.len < 12) {
            const twin = try gpa.create(Twin);
            if (action == 0) {
                twin.* = .{ .sequence = try .init(pool, capacity, &diag) };
            } else twin.* = .{ .sequence = try twins.items[chosen].sequence.fork(&diag), .marks = twins.items[chosen].marks };
            try twins.append(gpa, twin);
        } else if (action == 2) {
            const twin = twins.swapRemove(chosen);
            twin.sequence.deinit();
            gpa.destroy(twin);
        } else if (action == 3) {
            const sequence = &twins.items[chosen].sequence;
            sequence.truncate(random.uintAtMost(u32, sequence.len));
        } else {
            const twin = twins.items[chosen];
            const from = twin.sequence.len;
            const to = @min(capacity * page_len, from + random.uintAtMost(u32, 40));
            if (from == to) continue;
            twin.sequence.reserve(to);
            // A pass that is given up leaves its pages behind.
            if (action == 4) continue;
            for (from..to) |i| {
                twin.marks[i] = @truncate(round);
                twin.sequence.table[i / page_len].memory[i % page_len] = @truncate(round);
            }
            twin.sequence.len = to;
        }
        try expectModel(pool, twins.items);
    }
    for (twins.items) |twin| {
        twin.sequence.deinit();
        gpa.destroy(twin);
    }
    try std.testing.expectEqual(0, pool.usedCount());
    try std.testing.expectEqual(0, pool.pageCount());
}

fn expectModel(pool: *Pool, twins: anytype) !void {
    var holders: std.AutoHashMapUnmanaged(*Page, u32) = .empty;
    defer holders.deinit(std.testing.allocator);
    for (twins) |twin| {
        const sequence = &twin.sequence;
        for (0..sequence.len) |i| {
            try std.testing.expectEqual(twin.marks[i], sequence.table[i / page_len].memory[i % page_len]);
        }
        for (sequence.table[0..sequence.pages]) |page| {
            const entry = try holders.getOrPutValue(std.testing.allocator, page, 0);
            entry.value_ptr.* += 1;
        }
    }
    try std.testing.expectEqual(holders.count(), pool.usedCount());
    var all = holders.iterator();
    while (all.next()) |entry| try std.testing.expectEqual(entry.value_ptr.*, entry.key_ptr.*.holders);
}

test "every format file is registered" {
    const test_io = std.testing.io;
    var folder = std.Io.Dir.cwd().openDir(test_io, "zig-src/cache", .{ .iterate = true }) catch |err| switch (err) {
        error.FileNotFound => try std.Io.Dir.cwd().openDir(test_io, "cache", .{ .iterate = true }),
        else => return err,
    };
    defer folder.close(test_io);
    var files = folder.iterate();
    var count: usize = 0;
    while (try files.next(test_io)) |entry| {
        if (!std.mem.endsWith(u8, entry.name, ".zig")) continue;
        try std.testing.expect(formatFromName(entry.name[0 .. entry.name.len - 4]) != null);
        count += 1;
    }
    try std.testing.expectEqual(formats.len, count);
    inline for (formats) |format| {
        try std.testing.expectEqual(@field(Format, format.name), formatFromId(format.id).?);
        // The kernels know the same formats, and as many bytes.
        const known: kernel.KvFormat = @field(kernel.KvFormat, format.name);
        try std.testing.expectEqual(format.id, @backingInt(known));
        try std.testing.expectEqual(page_len * format.bytes(96), kernel.page.bytes(known, 96));
    }
    try std.testing.expectEqual(null, formatFromId(999));
    try std.testing.expectEqual(null, formatFromName("q8"));
}
