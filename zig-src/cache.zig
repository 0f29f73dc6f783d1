//! The KV cache: keys and values of all past tokens, in pages of a fixed number of positions.
//! One `Pool` holds the pages; a `Sequence` is a table of page references. All memory is allocated
//! when the pool is created: appending a token takes a page from the free list and allocates
//! nothing.
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

pub const Error = error{ OutOfMemory, OutOfPages };

pub const Pool = struct {
    layout: Layout,
    /// All pages, one after the other.
    memory: []align(std.heap.page_size_min) u8,
    /// A stack of the numbers of free pages.
    free: []u32,
    free_len: usize,

    pub fn init(gpa: std.mem.Allocator, layout: Layout, pages: u32, diag: *Diagnostic) Error!Pool {
        const size = std.math.mul(u64, layout.pageBytes(), pages) catch return tooLarge(layout, pages, diag);
        const len = std.math.cast(usize, size) orelse return tooLarge(layout, pages, diag);
        const free = try gpa.alloc(u32, pages);
        errdefer gpa.free(free);
        // The system gives zeroed pages on first use, by the thread that uses them first.
        const memory = system_memory.alloc(len, .huge) catch return tooLarge(layout, pages, diag);
        for (free, 0..) |*page, i| page.* = @intCast(pages - 1 - i);
        return .{ .layout = layout, .memory = memory, .free = free, .free_len = pages };
    }

    fn tooLarge(layout: Layout, pages: u32, diag: *Diagnostic) Error {
        diag.set("expected memory for a KV cache of {d} pages of {d} bytes, found that the system has not that much", .{
            pages, layout.pageBytes(),
        });
        return error.OutOfMemory;
    }

    pub fn deinit(pool: *Pool, gpa: std.mem.Allocator) void {
        system_memory.free(pool.memory);
        gpa.free(pool.free);
        pool.* = undefined;
    }

    pub fn pageCount(pool: *const Pool) usize {
        return pool.free.len;
    }

    fn take(pool: *Pool) Error!u32 {
        if (pool.free_len == 0) return error.OutOfPages;
        pool.free_len -= 1;
        return pool.free[pool.free_len];
    }

    fn give(pool: *Pool, page: u32) void {
        std.debug.assert(pool.free_len < pool.free.len);
        pool.free[pool.free_len] = page;
        pool.free_len += 1;
    }

    /// The keys of one head in one page.
    pub fn keys(pool: *const Pool, page: u32, layer: usize, kv_head: usize) [*]u8 {
        const layout = pool.layout;
        const offset = page * layout.pageBytes() + layer * layout.layerBytes() + kv_head * layout.keyHeadBytes();
        return pool.memory.ptr + @as(usize, @intCast(offset));
    }

    /// The values of one head in one page.
    pub fn values(pool: *const Pool, page: u32, layer: usize, kv_head: usize) [*]u8 {
        const layout = pool.layout;
        const offset = page * layout.pageBytes() + layer * layout.layerBytes() +
            layout.kv_heads * layout.keyHeadBytes() + kv_head * layout.valueHeadBytes();
        return pool.memory.ptr + @as(usize, @intCast(offset));
    }
};

/// The pages of one sequence of tokens, in the order of their positions.
pub const Sequence = struct {
    pool: *Pool,
    table: []u32,
    pages: u32 = 0,
    /// Positions that hold keys and values.
    len: u32 = 0,

    /// `pool` must outlive the sequence.
    pub fn init(gpa: std.mem.Allocator, pool: *Pool) Error!Sequence {
        return .{ .pool = pool, .table = try gpa.alloc(u32, pool.pageCount()) };
    }

    pub fn deinit(sequence: *Sequence, gpa: std.mem.Allocator) void {
        sequence.truncate(0);
        gpa.free(sequence.table);
        sequence.* = undefined;
    }

    /// Makes sure that positions up to `len` (exclusive) have a page. Takes all pages or none.
    pub fn reserve(sequence: *Sequence, len: u32) Error!void {
        const wanted = std.math.divCeil(u32, len, page_len) catch unreachable;
        if (wanted <= sequence.pages) return;
        if (wanted > sequence.table.len) return error.OutOfPages;
        if (wanted - sequence.pages > sequence.pool.free_len) return error.OutOfPages;
        while (sequence.pages < wanted) : (sequence.pages += 1) {
            sequence.table[sequence.pages] = sequence.pool.take() catch unreachable;
        }
    }

    /// Forgets the positions from `len` on and gives back the pages that no position uses.
    pub fn truncate(sequence: *Sequence, len: u32) void {
        std.debug.assert(len <= sequence.len);
        const wanted = std.math.divCeil(u32, len, page_len) catch unreachable;
        while (sequence.pages > wanted) {
            sequence.pages -= 1;
            sequence.pool.give(sequence.table[sequence.pages]);
        }
        sequence.len = len;
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

test "pages come from the pool and go back" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    const layout: Layout = .{
        .layers = 2,
        .kv_heads = 3,
        .head_dim_k = 8,
        .head_dim_v = 16,
        .key_format = .f16,
        .value_format = .f32,
    };
    var pool = try Pool.init(gpa, layout, 4, &diag);
    defer pool.deinit(gpa);
    var one = try Sequence.init(gpa, &pool);
    defer one.deinit(gpa);
    var two = try Sequence.init(gpa, &pool);
    defer two.deinit(gpa);

    try one.reserve(page_len + 1);
    one.len = page_len + 1;
    try two.reserve(page_len);
    two.len = page_len;
    try std.testing.expectEqual(1, pool.free_len);
    try std.testing.expectError(error.OutOfPages, two.reserve(3 * page_len));
    try std.testing.expectEqual(1, pool.free_len);

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
    try std.testing.expectEqual(2, pool.free_len);
    one.truncate(0);
    try std.testing.expectEqual(3, pool.free_len);
}

test "every format file is registered" {
    const io = std.testing.io;
    var folder = std.Io.Dir.cwd().openDir(io, "zig-src/cache", .{ .iterate = true }) catch |err| switch (err) {
        error.FileNotFound => try std.Io.Dir.cwd().openDir(io, "cache", .{ .iterate = true }),
        else => return err,
    };
    defer folder.close(io);
    var files = folder.iterate();
    var count: usize = 0;
    while (try files.next(io)) |entry| {
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
