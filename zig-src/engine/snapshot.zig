//! Saved sessions: what the file is. `snapshot_save.zig` writes it, `snapshot_restore.zig` reads it, and
//! docs/snapshot.md describes it for programs without this engine, of which src/snapshot.ts is one.
//!
//!     Preamble | header, JSON, filled up with spaces | sections, each filled up with zeros
//!
//! Header and sections end at multiples of 64 bytes. The header says of which model, precision and cache
//! the sessions are, which pages they hold, and where each section is; a section is the tokens of a
//! sequence, its logits, or the keys or the values of one KV head in one layer, of all pages, row by row
//! (`cache/core/rows.zig`); those of tokens at full precision stand in sections of their own. Pages that
//! several sequences hold are there once. Random numbers need no state: they are keyed by seed, sequence
//! and position.
//!
//! **What the checksums are.** XXH32 with seed 0, of the preamble and the header together and of each
//! section, so every byte of the file is under one. They are against accidents: a change within one word
//! is always found. Whoever can write the file can write checksums too; the restorer checks everything
//! that it uses as a size, an index or a token.

const std = @import("std");
const builtin = @import("builtin");
const cache = @import("../cache.zig");
const kernel = @import("../kernel.zig");
const Model = @import("model.zig").Model;
const Settings = @import("session.zig").Settings;
const Allocator = std.mem.Allocator;
const Xxh32 = std.hash.XxHash32;

pub const magic = "VITRSESS".*;
pub const version = 1;
/// Header and sections end at multiples of it.
pub const alignment = 64;
/// Longer headers are refused before they are read.
pub const header_bytes_max = 64 << 20;
/// XXH32 counts with 32 bits.
pub const section_bytes_max = (1 << 32) - alignment;
/// Read, written and summed up at once, and at least one page of a head.
const buffer_bytes_min = 1 << 20;

comptime {
    // Tokens, logits and rows are written as they lie in memory.
    std.debug.assert(builtin.cpu.arch.endian() == .little);
}

/// The first bytes of the file, little endian.
pub const Preamble = extern struct {
    magic: [8]u8 = magic,
    version: u32 = version,
    /// Of the JSON and its spaces.
    header_bytes: u32,
    file_bytes: u64,
    /// Of the preamble, with 0 in place of itself, and the header.
    checksum: u32 = 0,
    reserved: u32 = 0,

    /// Where the first section begins.
    pub fn start(preamble: Preamble) u64 {
        return @sizeOf(Preamble) + @as(u64, preamble.header_bytes);
    }

    pub fn sum(preamble: Preamble, header: []const u8) u32 {
        var blank = preamble;
        blank.checksum = 0;
        var state: Xxh32 = .init(0);
        state.update(std.mem.asBytes(&blank));
        state.update(header);
        return state.final();
    }
};

/// The JSON. Names of fields are those in the file, fields that are null are left out.
pub const Header = struct {
    model: struct {
        architecture: []const u8,
        /// `general.name` of the metadata.
        name: []const u8,
        /// `identity.zig`, 16 hexadecimal digits.
        identity: []const u8,
        /// Values of a row of logits.
        logits: u32,
    },
    /// What the cache was computed by.
    engine: struct { precision: []const u8, cpu_variant: []const u8 },
    cache: Cache,
    /// Positions of each page that are in the file, from its first one on.
    pages: []const u32,
    /// The same of pages that hold tokens at full precision; null where the policy has none.
    exact_pages: ?[]const u32 = null,
    sequences: []const Sequence,
    sections: []Section,
};

pub const Cache = struct {
    layers: u32,
    heads: u32,
    /// Values of a head.
    key_length: u32,
    value_length: u32,
    /// Positions of a page.
    page_length: u32,
    policy: Policy,
    /// How keys are rotated; null where all are stored behind their rotary embedding.
    rope: ?[]const Rotation = null,
};

/// The rotary embedding of some layers.
pub const Rotation = struct {
    layers: []const u32,
    /// `adjacent`: pairs are (0, 1), (2, 3), …; `halves`: (0, n), (1, n + 1), … of 2 n values.
    style: kernel.RopeStyle,
    /// Multiplies cosine and sine.
    magnitude: f64,
    /// Angle per position of each pair.
    frequencies: []const f64,
    /// Those of sessions with a longer context than `original`; null where there are none.
    long: ?[]const f64 = null,
    original: ?u32 = null,

    /// Those of a model, of layers that slide and of others.
    fn all(arena: Allocator, model: *const Model) Allocator.Error![]const Rotation {
        const h = &model.hyper;
        var rotations: std.ArrayList(Rotation) = .empty;
        for (&model.frequencies, 0..) |*frequencies, kind| {
            var layers: std.ArrayList(u32) = .empty;
            for (0..h.layers) |layer| {
                const local = h.slides(layer) and h.rope_local != null;
                if (@intFromBool(local) == kind) try layers.append(arena, @intCast(layer));
            }
            if (layers.items.len == 0) continue;
            const differs = frequencies.short.ptr != frequencies.long.ptr;
            try rotations.append(arena, .{
                .layers = layers.items,
                .style = @fromBackingInt(@backingInt(frequencies.rope.style)),
                .magnitude = frequencies.magnitude,
                .frequencies = frequencies.short,
                .long = if (differs) frequencies.long else null,
                .original = if (differs) frequencies.rope.context_original else null,
            });
        }
        return rotations.items;
    }
};

/// A cache policy as TypeScript takes it: what is stored how.
pub const Policy = struct {
    key: Stored,
    value: Stored,
    sinks: ?u32 = null,
    recent: ?u32 = null,
    exact: ?[]const u8 = null,
    rules: []const Rule,
};

/// A format, or an object of a format and what belongs to it.
pub const Stored = struct {
    format: []const u8,
    rotate: bool = false,
    before_rope: bool = false,
    symmetric: bool = false,
    group: u32 = 32,
    /// A share of the values.
    outliers: f64 = 0,

    pub fn of(layout: cache.Layout, side: kernel.KvSide, layer: usize, head: usize) Stored {
        const options_of = layout.options(side, layer, head);
        return .{
            .format = @tagName(layout.format(side, layer, head)),
            .rotate = layout.rotates(side, layer, head),
            .before_rope = side == .key and layout.early(layer, head),
            .symmetric = options_of.symmetric,
            .group = @intCast(options_of.groupLen()),
            .outliers = @as(f64, @floatFromInt(options_of.outliers)) / 1000,
        };
    }

    /// Null where there are no such options.
    pub fn options(stored: Stored) ?kernel.KvOptions {
        const thousandths = @round(stored.outliers * 1000);
        if (!(thousandths >= 0 and thousandths <= 255)) return null;
        const group: u2 = switch (stored.group) {
            32 => 0,
            64 => 1,
            128 => 2,
            else => return null,
        };
        return .{ .symmetric = stored.symmetric, .group = group, .outliers = @intFromFloat(thousandths) };
    }

    fn eql(a: Stored, b: Stored) bool {
        return a.rotate == b.rotate and a.before_rope == b.before_rope and std.mem.eql(u8, a.format, b.format) and
            a.symmetric == b.symmetric and a.group == b.group and a.outliers == b.outliers;
    }

    const Whole = struct {
        format: []const u8,
        rotate: bool = false,
        beforeRope: bool = false,
        symmetric: bool = false,
        group: u32 = 32,
        outliers: f64 = 0,
    };

    /// What is as usual isn't written.
    pub fn jsonStringify(stored: Stored, writer: anytype) !void {
        if (stored.eql(.{ .format = stored.format })) return writer.write(stored.format);
        try writer.beginObject();
        try writer.objectField("format");
        try writer.write(stored.format);
        if (stored.rotate) {
            try writer.objectField("rotate");
            try writer.write(true);
        }
        if (stored.before_rope) {
            try writer.objectField("beforeRope");
            try writer.write(true);
        }
        if (stored.symmetric) {
            try writer.objectField("symmetric");
            try writer.write(true);
        }
        if (stored.group != 32) {
            try writer.objectField("group");
            try writer.write(stored.group);
        }
        if (stored.outliers != 0) {
            try writer.objectField("outliers");
            try writer.write(stored.outliers);
        }
        try writer.endObject();
    }

    pub fn jsonParse(arena: Allocator, source: anytype, parse: std.json.ParseOptions) !Stored {
        if (try source.peekNextTokenType() == .string) {
            return .{ .format = try std.json.innerParse([]const u8, arena, source, parse) };
        }
        const whole = try std.json.innerParse(Whole, arena, source, parse);
        return .{
            .format = whole.format,
            .rotate = whole.rotate,
            .before_rope = whole.beforeRope,
            .symmetric = whole.symmetric,
            .group = whole.group,
            .outliers = whole.outliers,
        };
    }
};

/// The last one that fits holds; without a head, for all of the layer. It is about a format or a window.
pub const Rule = struct {
    layers: u32,
    heads: ?u32 = null,
    which: ?kernel.KvSide = null,
    format: ?Stored = null,
    sinks: ?u32 = null,
    recent: ?u32 = null,
};

pub const Sequence = struct {
    /// The session's options.
    context: u32,
    chunk: u32,
    shift_keep: ?u32 = null,
    /// All of its tokens.
    tokens: u32,
    /// Those that have keys and values; the one that was sampled last may have none yet.
    evaluated: u32,
    /// Where those stand: from inclusive, to exclusive.
    positions: []const [2]u32,
    /// Whether there is a section of logits behind the last evaluated token.
    logits: bool,
    /// Its pages, as indices, in the order of their positions.
    pages: []const u32,
    /// Tokens at full precision; null where the policy has none.
    exact: ?Full = null,

    /// The pages, as indices, of sinks and then of positions from `from` on, in their order.
    pub const Full = struct {
        from: u32,
        pages: []const u32,

        /// The places of these pages among those of `evaluated` positions, in their order.
        pub fn places(arena: Allocator, layout: cache.Layout, from: u32, evaluated: u32) Allocator.Error![]const u32 {
            const widest = layout.widest();
            const pages = pagesOf(evaluated);
            const sinks = @min(pages, pagesOf(widest.sinks));
            const first = if (widest.recent == 0) pages else @min(pages, @max(sinks, from / cache.page_len));
            const all = try arena.alloc(u32, sinks + pages - first);
            for (all[0..sinks], 0..) |*place, i| place.* = @intCast(i);
            for (all[sinks..], first..) |*place, i| place.* = @intCast(i);
            return all;
        }
    };

    pub fn of(
        arena: Allocator,
        settings: Settings,
        tokens: u32,
        evaluated: u32,
        logits: bool,
        pages: []const u32,
        exact: ?Full,
    ) Allocator.Error!Sequence {
        return .{
            .context = settings.context,
            .chunk = settings.chunk,
            .shift_keep = settings.shift_keep,
            .tokens = tokens,
            .evaluated = evaluated,
            .positions = if (evaluated == 0) &.{} else try arena.dupe([2]u32, &.{.{ 0, evaluated }}),
            .logits = logits,
            .pages = pages,
            .exact = exact,
        };
    }
};

pub fn pagesOf(positions: u32) u32 {
    return std.math.divCeil(u32, positions, cache.page_len) catch unreachable;
}

pub const Kind = enum {
    tokens,
    logits,
    key,
    value,
    exact_key,
    exact_value,

    /// What a section of rows is of.
    pub fn side(kind: Kind) kernel.KvSide {
        return switch (kind) {
            .key, .exact_key => .key,
            .value, .exact_value => .value,
            .tokens, .logits => unreachable,
        };
    }
};

pub const Section = struct {
    kind: Kind,
    /// Of tokens and logits.
    sequence: ?u32 = null,
    /// Of keys and values.
    layer: ?u32 = null,
    head: ?u32 = null,
    format: ?[]const u8 = null,
    /// From the first section on.
    offset: u64,
    /// Without the zeros behind.
    bytes: u64,
    /// Eight hexadecimal digits; of the bytes and the zeros behind.
    checksum: []const u8 = "00000000",

    pub fn end(section: Section) u64 {
        return std.mem.alignForward(u64, section.offset + section.bytes, alignment);
    }
};

/// Where the file and the model say different things, or a file is no saved session.
pub const Error = error{ Foreign, Damaged };

/// The policy of a layout.
pub fn policyOf(arena: Allocator, layout: cache.Layout) Allocator.Error!Policy {
    var rules: std.ArrayList(Rule) = .empty;
    for (0..layout.layers) |layer| for ([_]kernel.KvSide{ .key, .value }) |side| {
        const usual: Stored = .{ .format = @tagName(if (side == .key) layout.key_format else layout.value_format) };
        const first: Stored = .of(layout, side, layer, 0);
        const same = for (1..layout.kv_heads) |head| {
            if (!Stored.of(layout, side, layer, head).eql(first)) break false;
        } else true;
        if (same and first.eql(usual)) continue;
        for (0..if (same) 1 else layout.kv_heads) |head| {
            const format: Stored = .of(layout, side, layer, head);
            if (format.eql(usual)) continue;
            try rules.append(arena, .{
                .layers = @intCast(layer),
                .heads = if (same) null else @intCast(head),
                .which = side,
                .format = format,
            });
        }
    };
    var policy: Policy = .{
        .key = .{ .format = @tagName(layout.key_format) },
        .value = .{ .format = @tagName(layout.value_format) },
        .rules = &.{},
    };
    if (layout.exact() != null) {
        const first = layout.window(0);
        policy.sinks = first.sinks;
        policy.recent = first.recent;
        policy.exact = @tagName(layout.exact_format);
        for (layout.windows, 0..) |window, layer| if (!std.meta.eql(window, first)) {
            try rules.append(arena, .{ .layers = @intCast(layer), .sinks = window.sinks, .recent = window.recent });
        };
    }
    policy.rules = rules.items;
    return policy;
}

/// The header, without checksums.
pub fn headerOf(
    arena: Allocator,
    model: *const Model,
    identity: u64,
    layout: cache.Layout,
    pages: []const u32,
    exact_pages: ?[]const u32,
    sequences: []const Sequence,
) Allocator.Error!Header {
    return .{
        .model = .{
            .architecture = model.file.getString("general.architecture") orelse "",
            .name = model.file.getString("general.name") orelse "",
            .identity = try std.fmt.allocPrint(arena, "{x:0>16}", .{identity}),
            .logits = model.vocab(),
        },
        .engine = .{ .precision = @tagName(model.precision), .cpu_variant = std.mem.span(model.kernels.variant) },
        .cache = .{
            .layers = layout.layers,
            .heads = layout.kv_heads,
            .key_length = layout.head_dim_k,
            .value_length = layout.head_dim_v,
            .page_length = cache.page_len,
            .policy = try policyOf(arena, layout),
            .rope = if (layout.anyEarly()) try Rotation.all(arena, model) else null,
        },
        .pages = pages,
        .exact_pages = exact_pages,
        .sequences = sequences,
        .sections = try sectionsOf(arena, model, layout, pages, exact_pages, sequences),
    };
}

/// All sections in the order of the file.
fn sectionsOf(
    arena: Allocator,
    model: *const Model,
    layout: cache.Layout,
    pages: []const u32,
    exact_pages: ?[]const u32,
    sequences: []const Sequence,
) Allocator.Error![]Section {
    var sections: std.ArrayList(Section) = .empty;
    var end: u64 = 0;
    for (sequences, 0..) |sequence, i| {
        const of_tokens: Section = .{ .kind = .tokens, .sequence = @intCast(i), .offset = end, .bytes = 4 * @as(u64, sequence.tokens) };
        try sections.append(arena, of_tokens);
        end = of_tokens.end();
        if (!sequence.logits) continue;
        const of_logits: Section = .{ .kind = .logits, .sequence = @intCast(i), .offset = end, .bytes = 4 * @as(u64, model.vocab()) };
        try sections.append(arena, of_logits);
        end = of_logits.end();
    }
    end = try appendRows(arena, &sections, end, layout, pages, .{ .key, .value });
    if (layout.exact()) |exact| _ = try appendRows(arena, &sections, end, exact, exact_pages.?, .{ .exact_key, .exact_value });
    return sections.items;
}

/// The sections of keys and values in pages of this layout; returns where they end.
fn appendRows(
    arena: Allocator,
    sections: *std.ArrayList(Section),
    begin: u64,
    layout: cache.Layout,
    pages: []const u32,
    kinds: [2]Kind,
) Allocator.Error!u64 {
    var end = begin;
    var positions: u64 = 0;
    for (pages) |count| positions += count;
    for (0..layout.layers) |layer| for (0..layout.kv_heads) |head| for (kinds) |kind| {
        const side = kind.side();
        if (layout.headBytes(side, layer, head) == 0) continue;
        const format = layout.format(side, layer, head);
        const rows: Section = .{
            .kind = kind,
            .layer = @intCast(layer),
            .head = @intCast(head),
            .format = @tagName(format),
            .offset = end,
            .bytes = positions * rowBytes(layout, side, layer, head),
        };
        try sections.append(arena, rows);
        end = rows.end();
    };
    return end;
}

/// Of one position of a head.
pub fn rowBytes(layout: cache.Layout, side: kernel.KvSide, layer: usize, head: usize) usize {
    return cache.rows.bytes(kernelFormat(layout.format(side, layer, head)), side, layout.headDim(side), layout.options(side, layer, head));
}

/// Bytes of the buffer between pages and file.
pub fn bufferBytes(layout: cache.Layout) usize {
    var most: usize = buffer_bytes_min;
    if (layout.exact()) |exact| most = bufferBytes(exact);
    for (0..layout.layers) |layer| for (0..layout.kv_heads) |head| for ([_]kernel.KvSide{ .key, .value }) |side| {
        most = @max(most, cache.page_len * rowBytes(layout, side, layer, head));
    };
    return most;
}

pub fn kernelFormat(format: cache.Format) kernel.KvFormat {
    return @fromBackingInt(@backingInt(format));
}

/// The header as it stands in the file.
pub fn render(arena: Allocator, header: Header) Allocator.Error![]u8 {
    const json = try std.json.Stringify.valueAlloc(arena, header, .{ .emit_null_optional_fields = false });
    const whole = std.mem.alignForward(usize, @sizeOf(Preamble) + json.len, alignment) - @sizeOf(Preamble);
    const filled = try arena.alloc(u8, whole);
    @memcpy(filled[0..json.len], json);
    @memset(filled[json.len..], ' ');
    return filled;
}

/// The size of the whole file.
pub fn fileBytes(header: Header, rendered: []const u8) u64 {
    const last = header.sections[header.sections.len - 1];
    return @sizeOf(Preamble) + rendered.len + last.end();
}
