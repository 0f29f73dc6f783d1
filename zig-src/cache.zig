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
const pool_file = @import("cache/core/pool.zig");
/// Memory of pages that went.
pub const spare = @import("cache/core/spare.zig");
const exact_file = @import("cache/core/exact.zig");
const sequence_file = @import("cache/core/sequence.zig");

/// Keys and values as rows of GGUF's tensor types.
pub const rows = @import("cache/core/rows.zig");

pub const Error = pool_file.Error;
pub const Exact = exact_file.Exact;
pub const Page = pool_file.Page;
pub const Pool = pool_file.Pool;
pub const WhenFull = pool_file.WhenFull;
pub const Limit = pool_file.Limit;
pub const events = @import("cache/core/events.zig");
pub const PageCounts = sequence_file.PageCounts;
pub const Sequence = sequence_file.Sequence;

/// The registry of storage formats.
pub const formats = .{
    @import("cache/f32.zig"),
    @import("cache/f16.zig"),
    @import("cache/bf16.zig"),
    @import("cache/q8_0.zig"),
    @import("cache/int8.zig"),
    @import("cache/f8_e4m3.zig"),
    @import("cache/f8_e5m2.zig"),
    @import("cache/q5_1.zig"),
    @import("cache/q5_0.zig"),
    @import("cache/q4_1.zig"),
    @import("cache/q4_0.zig"),
    @import("cache/iq4_nl.zig"),
    @import("cache/nvfp4.zig"),
    @import("cache/mxfp4.zig"),
    @import("cache/int8_channel.zig"),
    @import("cache/int4.zig"),
    @import("cache/int2.zig"),
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

/// Bytes that one side of a head of `count` values takes at one position in the mean, scales included.
pub fn sideBytes(format: Format, side: kernel.KvSide, options: kernel.KvOptions, count: u64) u64 {
    if (!inGroups(format)) return formatBytes(format, count);
    return kernel.page.bytes(@fromBackingInt(@backingInt(format)), side, @intCast(count), options) / page_len;
}

/// The same where nothing is said beside the format.
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

/// Head sizes are multiples of it: values that share a scale, or are multiplied together.
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

/// Whether keys in the format are rounded in groups of so many tokens of a channel.
pub fn inGroups(format: Format) bool {
    return @as(kernel.KvFormat, @fromBackingInt(@backingInt(format))).grouped();
}

/// Most tokens whose keys are rounded together.
pub const channel_group_max = page_len;

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
    /// [layers][KV heads] where they differ from head to head; empty: as above everywhere. A pool has a
    /// copy of its own.
    formats: []const Pair = &.{},
    /// [layers]: which tokens are kept at full precision too; empty: none. A pool has a copy of its own.
    windows: []const Window = &.{},
    /// How those are kept.
    exact_format: Format = .f16,
    /// Most tokens of one sequence in one pass.
    chunk: u32 = default_chunk,
    /// Layers without a window have no place in these pages.
    only_windows: bool = false,
    /// Whether keys of some head are rounded in groups of tokens; a pool finds out.
    rounds_groups: bool = false,

    /// Formats of one head.
    pub const Pair = struct {
        key: Format,
        value: Format,
        /// Whether keys, queries with them, or values are multiplied with a Hadamard matrix first; what
        /// attention finds of values is multiplied back.
        rotate_key: bool = false,
        rotate_value: bool = false,
        /// Whether keys are stored before their rotary embedding, and rotated whenever they are read.
        early_key: bool = false,
        /// Of grouped formats.
        key_options: kernel.KvOptions = .{},
        value_options: kernel.KvOptions = .{},
    };

    /// Tokens of a layer that attention reads at full precision: the first `sinks` of a sequence, and of
    /// each query the last `recent` that it sees, its own included.
    pub const Window = struct {
        sinks: u32 = 0,
        recent: u32 = 0,

        pub fn any(of: Window) bool {
            return of.sinks != 0 or of.recent != 0;
        }
    };

    const default_chunk = 512;

    pub fn window(layout: Layout, layer: usize) Window {
        return if (layout.windows.len == 0) .{} else layout.windows[layer];
    }

    /// The longest of each over all layers.
    pub fn widest(layout: Layout) Window {
        var most: Window = .{};
        for (layout.windows) |of| most = .{ .sinks = @max(most.sinks, of.sinks), .recent = @max(most.recent, of.recent) };
        return most;
    }

    /// The layout of the pages that hold tokens at full precision, if there are such.
    pub fn exact(layout: Layout) ?Layout {
        if (layout.only_windows or !layout.widest().any()) return null;
        var of = layout;
        of.key_format = layout.exact_format;
        of.value_format = layout.exact_format;
        of.formats = &.{};
        of.only_windows = true;
        return of;
    }

    pub fn format(layout: Layout, side: kernel.KvSide, layer: usize, kv_head: usize) Format {
        const pair: Pair = if (layout.formats.len == 0)
            .{ .key = layout.key_format, .value = layout.value_format }
        else
            layout.formats[layer * layout.kv_heads + kv_head];
        return if (side == .key) pair.key else pair.value;
    }

    /// Whether a head is stored behind a Hadamard rotation.
    pub fn rotates(layout: Layout, side: kernel.KvSide, layer: usize, kv_head: usize) bool {
        if (layout.formats.len == 0) return false;
        const pair = layout.formats[layer * layout.kv_heads + kv_head];
        return if (side == .key) pair.rotate_key else pair.rotate_value;
    }

    /// Whether keys of a head are stored before their rotary embedding.
    pub fn early(layout: Layout, layer: usize, kv_head: usize) bool {
        return layout.formats.len != 0 and layout.formats[layer * layout.kv_heads + kv_head].early_key;
    }

    /// Whether keys of some head are.
    pub fn anyEarly(layout: Layout) bool {
        for (layout.formats) |pair| if (pair.early_key) return true;
        return false;
    }

    /// Whether keys of some head are stored behind their rotary embedding and a Hadamard rotation.
    pub fn rotatesTurned(layout: Layout) bool {
        for (layout.formats) |pair| if (pair.rotate_key and !pair.early_key) return true;
        return false;
    }

    /// Options of the format of one head.
    pub fn options(layout: Layout, side: kernel.KvSide, layer: usize, kv_head: usize) kernel.KvOptions {
        if (layout.formats.len == 0) return .{};
        const pair = layout.formats[layer * layout.kv_heads + kv_head];
        return if (side == .key) pair.key_options else pair.value_options;
    }

    /// Format and options as the functions of `kernel.Table` take them.
    pub fn code(layout: Layout, side: kernel.KvSide, layer: usize, kv_head: usize) u32 {
        return layout.options(side, layer, kv_head).code(@fromBackingInt(@backingInt(layout.format(side, layer, kv_head))));
    }

    /// How many tokens' keys of a head are rounded together, where that is when the last is there; else 1.
    pub fn keyGroup(layout: Layout, layer: usize, kv_head: usize) u32 {
        return if (layout.groups(layer, kv_head)) @intCast(layout.options(.key, layer, kv_head).groupLen()) else 1;
    }

    /// Whether keys of a head are rounded when a group of tokens is whole.
    pub fn groups(layout: Layout, layer: usize, kv_head: usize) bool {
        return inGroups(layout.format(.key, layer, kv_head));
    }

    /// Values of one head.
    pub fn headDim(layout: Layout, side: kernel.KvSide) u32 {
        return if (side == .key) layout.head_dim_k else layout.head_dim_v;
    }

    /// One side of one head in a page.
    pub fn headBytes(layout: Layout, side: kernel.KvSide, layer: usize, kv_head: usize) u64 {
        if (layout.only_windows and !layout.window(layer).any()) return 0;
        return page_len * sideBytes(layout.format(side, layer, kv_head), side, layout.options(side, layer, kv_head), layout.headDim(side));
    }

    /// Bytes at the begin of such a side that hold its first positions; all of it where these lie apart.
    pub fn firstBytes(layout: Layout, side: kernel.KvSide, layer: usize, kv_head: usize, positions: usize) usize {
        const known: kernel.KvFormat = @fromBackingInt(@backingInt(layout.format(side, layer, kv_head)));
        return kernel.page.bytesOf(known, side, layout.headDim(side), positions, layout.options(side, layer, kv_head));
    }

    pub fn pageBytes(layout: Layout) u64 {
        var sum: u64 = 0;
        for (0..layout.layers) |layer| for (0..layout.kv_heads) |kv_head| {
            sum += layout.headBytes(.key, layer, kv_head) + layout.headBytes(.value, layer, kv_head);
        };
        return sum;
    }

    /// Bytes of the pages that hold `positions` positions, and of those that tokens at full precision may
    /// come to take beside them.
    pub fn bytes(layout: Layout, positions: u64) u64 {
        const pages = std.math.divCeil(u64, positions, page_len) catch unreachable;
        const beside = if (layout.exact()) |of| Exact.pagesFor(layout, pages) * of.pageBytes() else 0;
        return pages * layout.pageBytes() + beside;
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
        for ([_]kernel.KvSide{ .key, .value }) |side| try std.testing.expectEqual(page_len * format.bytes(96), kernel.page.bytes(known, side, 96, .{}));
    }
    try std.testing.expectEqual(null, formatFromId(999));
    try std.testing.expectEqual(null, formatFromName("q8"));
}

test {
    _ = exact_file;
    _ = pool_file;
    _ = events;
    _ = @import("cache/core/limit_test.zig");
    _ = spare;
    _ = rows;
    _ = sequence_file;
}
