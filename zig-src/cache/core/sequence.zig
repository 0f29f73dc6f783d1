//! A sequence of tokens in the KV cache: a table of the pages that hold its positions.

const std = @import("std");
const cache = @import("../../cache.zig");
const exact_file = @import("exact.zig");
const kernel = @import("../../kernel.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const pool_file = @import("pool.zig");
const Error = pool_file.Error;
const Exact = exact_file.Exact;
const Page = pool_file.Page;
const Pool = pool_file.Pool;
const io = pool_file.io;
const page_len = cache.page_len;

/// Pages of one sequence, and how many of them others hold too.
pub const PageCounts = struct { held: usize, shared: usize };

/// The pages of one sequence of tokens, in the order of their positions. Forks hold the same pages;
/// one that several hold is never written to: `reserve` copies it first. One thread at a time.
pub const Sequence = struct {
    pool: *Pool,
    /// In its pool.
    number: u32,
    table: []*Page,
    pages: u32 = 0,
    /// Positions that hold keys and values.
    len: u32 = 0,
    /// Positions from the first one on that hold what follows from their tokens alone: nobody has changed
    /// activations, and no token before them was dropped.
    plain: u32 = 0,
    /// The content before the first position (`content.zig`).
    root: u32 = 0,
    /// Its tokens at full precision, where the layout has some.
    exact: ?Exact = null,
    /// Of global and of sliding layers, by page: cosine and sine of each position of keys that are stored before
    /// their rotary embedding, [page_len][pairs][2]. Null where the layout has none; its session has them.
    angles: ?[2][*]const [*]const f32 = null,

    /// A sequence of up to `pages` pages. The allocator is the pool's.
    pub fn init(pool: *Pool, pages: usize, diag: *Diagnostic) Error!Sequence {
        const table = try pool.gpa.alloc(*Page, pages);
        errdefer pool.gpa.free(table);
        var exact: ?Exact = if (pool.exact) |of| try .init(of, pages, diag) else null;
        errdefer if (exact) |*of| of.deinit();
        return .{ .pool = pool, .number = try pool.enter(pages, diag), .table = table, .exact = exact };
    }

    pub fn deinit(sequence: *Sequence) void {
        sequence.truncate(0);
        const pool = sequence.pool;
        const pages = sequence.table.len;
        pool.endEvents(sequence.number);
        if (sequence.exact) |*exact| exact.deinit();
        pool.gpa.free(sequence.table);
        pool.leave(pages);
        sequence.* = undefined;
    }

    /// A second sequence with the same positions, in the same pages.
    pub fn fork(sequence: *const Sequence, diag: *Diagnostic) Error!Sequence {
        return sequence.share(sequence.table.len, diag);
    }

    /// The same for a reader, with room for these positions only: nobody writes to them before it goes.
    pub fn hold(sequence: *const Sequence, diag: *Diagnostic) Error!Sequence {
        return sequence.share(pagesOf(sequence.len), diag);
    }

    fn share(sequence: *const Sequence, pages: usize, diag: *Diagnostic) Error!Sequence {
        const pool = sequence.pool;
        var result: Sequence = try .init(pool, pages, diag);
        if (sequence.exact) |*exact| exact.share(&result.exact.?, sequence.len);
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        result.len = sequence.len;
        result.plain = sequence.plain;
        result.root = sequence.root;
        result.angles = sequence.angles;
        result.pages = pagesOf(sequence.len);
        for (result.table[0..result.pages], sequence.table[0..result.pages], 0..) |*to, page, place| {
            pool.share(page, result.number, @intCast(place));
            to.* = page;
        }
        pool.tables += @intFromBool(result.pages != 0);
        return result;
    }

    /// Fills empty sequences of one pool with new pages: `tables` has for each its pages as indices, of
    /// which there are `count`; one that several name becomes one that they share. The lengths follow.
    pub fn fillShared(sequences: []Sequence, tables: []const []const u32, pages: []*Page) void {
        if (sequences.len == 0) return;
        const pool = sequences[0].pool;
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        for (pages) |*page| {
            page.* = pool.take(.taken, sequences[0].number, 0).?;
            page.*.holders = 0;
        }
        for (sequences, tables) |*sequence, table| {
            std.debug.assert(sequence.pool == pool and sequence.pages == 0 and table.len <= sequence.table.len);
            for (table, 0..) |index, i| {
                sequence.table[i] = pages[index];
                pages[index].holders += 1;
            }
            sequence.pages = @intCast(table.len);
            pool.tables += @intFromBool(table.len != 0);
        }
        for (pages) |page| std.debug.assert(page.holders != 0);
    }

    /// Makes sure that positions from the sequence's length on can be written, and returns up to which
    /// one: `len` (exclusive) unless the pool is full.
    pub fn reserve(sequence: *Sequence, len: u32) u32 {
        std.debug.assert(len > sequence.len);
        const wanted = pagesOf(len);
        std.debug.assert(wanted <= sequence.table.len);
        if (sequence.len % page_len != 0 and !sequence.own(sequence.len / page_len)) return sequence.len;
        if (sequence.exact) |*exact| exact.reserve(sequence.len, len);
        if (wanted <= sequence.pages) return len;
        const pool = sequence.pool;
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        const held = sequence.pages;
        while (sequence.pages < wanted) : (sequence.pages += 1) {
            sequence.table[sequence.pages] = pool.take(.taken, sequence.number, sequence.pages) orelse break;
        }
        pool.tables += @intFromBool(held == 0 and sequence.pages != 0);
        return @min(len, sequence.pages * page_len);
    }

    /// Whether the pool must have a page before positions up to `len` (exclusive) can be written.
    pub fn needsPage(sequence: *const Sequence, len: u32) bool {
        if (pagesOf(len) > sequence.pages) return true;
        if (sequence.len % page_len == 0) return false;
        const pool = sequence.pool;
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        return sequence.table[sequence.len / page_len].holders != 1;
    }

    /// Makes a page one that can be written to; false: the pool is full.
    pub fn ownPage(sequence: *Sequence, place: u32) bool {
        return sequence.own(place);
    }

    /// Copies keys and values of one position over those of another, whose page is the sequence's own.
    pub fn move(sequence: *Sequence, to: u32, from: u32) void {
        const layout = sequence.pool.layout;
        for (0..layout.layers) |layer| for (0..layout.kv_heads) |kv_head| for ([_]kernel.KvSide{ .key, .value }) |side| {
            const format: kernel.KvFormat = @fromBackingInt(@backingInt(layout.format(side, layer, kv_head)));
            const source = sequence.pageMemory(side, from, layer, kv_head);
            const target = sequence.pageMemory(side, to, layer, kv_head);
            // Keys that are rounded in groups have no place of their own; caches that move tokens have none.
            cache.rows.moveOne(format, side, layout.headDim(side), layout.options(side, layer, kv_head), target, to % page_len, source, from % page_len);
        };
    }

    /// Copies the page that holds the last position, unless nobody else holds it; false: the pool is full.
    fn own(sequence: *Sequence, place: u32) bool {
        const pool = sequence.pool;
        const shared = sequence.table[place];
        const copy = blk: {
            pool.mutex.lockUncancelable(io);
            defer pool.mutex.unlock(io);
            if (shared.holders == 1) {
                // What is about to be written is another content.
                if (pool.content) |*content| content.remove(shared);
                return true;
            }
            // Of the pages that tables name, one is named twice: without a limit the promises leave another.
            break :blk pool.take(.copied, sequence.number, place) orelse return false;
        };
        // Nobody writes to a page that two hold, so the copy needs no lock.
        @memcpy(copy.memory[0..pool.page_bytes], shared.memory[0..pool.page_bytes]);
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        sequence.table[place] = copy;
        pool.give(shared, sequence.number, place);
        return true;
    }

    /// Forgets the positions from `len` on and gives back the pages that no position uses.
    pub fn truncate(sequence: *Sequence, len: u32) void {
        std.debug.assert(len <= sequence.len);
        const wanted = pagesOf(len);
        if (sequence.exact) |*exact| exact.truncate(len);
        sequence.len = len;
        sequence.plain = @min(sequence.plain, len);
        if (sequence.pages <= wanted) return;
        const pool = sequence.pool;
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        while (sequence.pages > wanted) {
            sequence.pages -= 1;
            pool.give(sequence.table[sequence.pages], sequence.number, sequence.pages);
        }
        pool.tables -= @intFromBool(wanted == 0);
    }

    /// Gives up the last page that holds positions, because the pool needs pages.
    pub fn evictLast(sequence: *Sequence) void {
        const pool = sequence.pool;
        const place = sequence.pages - 1;
        {
            pool.mutex.lockUncancelable(io);
            defer pool.mutex.unlock(io);
            pool.note(.evicted, sequence.table[place], sequence.number, place);
        }
        const len = @min(sequence.len, place * page_len);
        // Without what its next token looks at, what is left is of no use.
        sequence.truncate(if (sequence.canTruncate(len)) len else 0);
    }

    /// Takes the page that holds `tokens`, the next ones of this sequence, from whoever has computed it;
    /// false: nobody has, or it can't be known.
    pub fn adopt(sequence: *Sequence, tokens: []const u32) bool {
        const pool = sequence.pool;
        // Of tokens at full precision a page says nothing.
        if (pool.content == null or sequence.exact != null or sequence.plain != sequence.len or sequence.len % page_len != 0) return false;
        const place = sequence.len / page_len;
        if (place == sequence.table.len) return false;
        const held = sequence.pages;
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        const content = &pool.content.?;
        const before = sequence.contentBefore(place) orelse return false;
        const page = content.find(before, tokens) orelse return false;
        content.found += 1;
        // Pages that were reserved for a pass that was given up.
        while (sequence.pages > place) {
            sequence.pages -= 1;
            pool.give(sequence.table[sequence.pages], sequence.number, sequence.pages);
        }
        pool.share(page, sequence.number, place);
        sequence.table[place] = page;
        pool.tables += @intFromBool(held == 0);
        sequence.pages = place + 1;
        sequence.len += page_len;
        sequence.plain = sequence.len;
        return true;
    }

    /// Tells the pool what the pages from `from` on hold that are full, now that they are computed: the
    /// sequence's `tokens` [len]. Where the pool has such a page already it takes the place of this one.
    pub fn announce(sequence: *Sequence, from: u32, tokens: []const u32) void {
        const pool = sequence.pool;
        if (pool.content == null or sequence.exact != null) return;
        std.debug.assert(tokens.len == sequence.len);
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        const content = &pool.content.?;
        for (from / page_len..sequence.plain / page_len) |index| {
            const place: u32 = @intCast(index);
            const page = sequence.table[place];
            if (page.serial != 0) continue;
            const before = sequence.contentBefore(place) orelse return;
            const own_tokens = tokens[place * page_len ..][0..page_len];
            const same = content.find(before, own_tokens) orelse {
                content.add(page, before, own_tokens);
                continue;
            };
            pool.share(same, sequence.number, place);
            sequence.table[place] = same;
            pool.give(page, sequence.number, place);
        }
    }

    /// The mutex is locked.
    fn contentBefore(sequence: *const Sequence, place: u32) ?u64 {
        if (place == 0) return sequence.root;
        const serial = sequence.table[place - 1].serial;
        return if (serial == 0) null else serial;
    }

    /// Whether all tokens that a sequence of this length has at full precision are still there. They are for
    /// the last `Exact.spare` tokens, and within the sinks.
    pub fn canTruncate(sequence: *const Sequence, len: u32) bool {
        return if (sequence.exact) |*exact| exact.holds(len) else true;
    }

    /// Makes it what a fork of `other` is, a sequence of the same pool and at most as many pages.
    pub fn follow(sequence: *Sequence, other: *const Sequence) void {
        const pool = sequence.pool;
        std.debug.assert(pool == other.pool);
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        const wanted = pagesOf(other.len);
        std.debug.assert(wanted <= sequence.table.len);
        const held = sequence.pages;
        var same: u32 = 0;
        while (same < @min(held, wanted) and sequence.table[same] == other.table[same]) same += 1;
        while (sequence.pages > same) {
            sequence.pages -= 1;
            pool.give(sequence.table[sequence.pages], sequence.number, sequence.pages);
        }
        while (sequence.pages < wanted) : (sequence.pages += 1) {
            const page = other.table[sequence.pages];
            pool.share(page, sequence.number, sequence.pages);
            sequence.table[sequence.pages] = page;
        }
        if (held == 0 and wanted != 0) pool.tables += 1;
        if (held != 0 and wanted == 0) pool.tables -= 1;
        sequence.len = other.len;
        sequence.plain = other.plain;
        sequence.root = other.root;
    }

    /// Two sequences of one pool exchange what they hold. Others may ask for their counts meanwhile.
    pub fn exchange(sequence: *Sequence, other: *Sequence) void {
        const pool = sequence.pool;
        std.debug.assert(pool == other.pool);
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        inline for (.{ "table", "pages", "len", "plain", "root" }) |field| {
            std.mem.swap(@FieldType(Sequence, field), &@field(sequence, field), &@field(other, field));
        }
    }

    /// Positions from the first one on that both have in the same pages. Both are idle or reserved.
    pub fn sharedWith(sequence: *const Sequence, other: *const Sequence) u32 {
        if (sequence.pool != other.pool) return 0;
        const pages = @min(sequence.pages, other.pages);
        const same = for (sequence.table[0..pages], other.table[0..pages], 0..) |a, b, i| {
            if (a != b) break i;
        } else pages;
        return @intCast(same * page_len);
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
        const format = sequence.pool.layout.format(side, layer, kv_head);
        const memory = sequence.pageMemory(side, position, layer, kv_head);
        const options = sequence.pool.layout.options(side, layer, kv_head);
        kernel.page.read(@fromBackingInt(@backingInt(format)), side, memory, position % page_len, out, options);
    }

    /// The memory of one side of a head in the page that holds `position`.
    pub fn pageMemory(sequence: *const Sequence, side: kernel.KvSide, position: u32, layer: usize, kv_head: usize) [*]u8 {
        const page = sequence.table[position / page_len];
        return switch (side) {
            .key => sequence.pool.keys(page, layer, kv_head),
            .value => sequence.pool.values(page, layer, kv_head),
        };
    }

    fn pagesOf(len: u32) u32 {
        return std.math.divCeil(u32, len, page_len) catch unreachable;
    }
};

const test_layout: cache.Layout = .{
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

    _ = one.reserve(page_len + 1);
    one.len = page_len + 1;
    _ = two.reserve(page_len);
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
    _ = parent.reserve(2 * page_len + 3);
    parent.len = 2 * page_len + 3;
    var forks: [64]Sequence = undefined;
    try pool.prepare(forks.len * 8, &diag);
    try std.testing.expectEqual(2, pool.segments.items.len);
    for (&forks) |*fork| fork.* = try parent.fork(&diag);
    try std.testing.expectEqual(3, pool.usedCount());
    try std.testing.expectEqual(PageCounts{ .held = 3, .shared = 3 }, forks[63].count());
    for (&forks) |*fork| _ = fork.reserve(fork.len + 1);
    // The parent is left alone with the page that all have copied.
    try std.testing.expectEqual(3 + 64, pool.usedCount());
    try std.testing.expectEqual(PageCounts{ .held = 3, .shared = 2 }, parent.count());
    const last = parent.table[2];
    _ = parent.reserve(parent.len + 1);
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
        const action = if (twins.items.len == 0) 0 else random.uintLessThan(u32, 10);
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
        } else if (action == 8) {
            const other = twins.items[random.uintLessThan(usize, twins.items.len)];
            if (other == twins.items[chosen]) continue;
            twins.items[chosen].sequence.follow(&other.sequence);
            twins.items[chosen].marks = other.marks;
        } else if (action == 9) {
            const other = twins.items[random.uintLessThan(usize, twins.items.len)];
            if (other == twins.items[chosen]) continue;
            twins.items[chosen].sequence.exchange(&other.sequence);
            std.mem.swap(@TypeOf(other.marks), &twins.items[chosen].marks, &other.marks);
        } else if (action == 3) {
            const sequence = &twins.items[chosen].sequence;
            sequence.truncate(random.uintAtMost(u32, sequence.len));
        } else {
            const twin = twins.items[chosen];
            const from = twin.sequence.len;
            const to = @min(capacity * page_len, from + random.uintAtMost(u32, 40));
            if (from == to) continue;
            _ = twin.sequence.reserve(to);
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
