//! How weights and activations lie in memory for the kernels: the same in all CPU variants.
//!
//! **Panels.** Sixteen rows of a weight are interleaved, so that one 32-bit lane of a vector
//! belongs to one row and nothing is ever added across lanes. A *unit* is 32 inputs of the 16 rows;
//! a *quad* is four consecutive inputs, and a vector of one quad holds 16 lanes of four bytes.
//!
//! An integer panel is a row of *stretches* of 8 or 16 units, each of which has the scales of its units
//! first and their integers after them. So a panel is read from its begin to its end: processors fetch
//! memory ahead of such a stream, but not of two that run through the same pages by turns. Integers are
//! stored unsigned as u = q + zero in 4, 5, 6 or 8 bits:
//!
//!     4 bits   4 vectors: the low bits are quads 0 to 3, what is above them quads 4 to 7 (see `pieces`)
//!     5 bits   5 vectors, quads 0 to 4 and above them quads 5 to 7
//!     6 bits   6 vectors, quads 0 to 5 and above them quads 6 and 7
//!     8 bits   8 vectors
//!
//! The class of a format is derived from the decomposition that its file in `quant/` declares; see
//! `Class`. Scales keep the exact value of the format in all three ways of storing them.
//!
//! A float panel is [cols][16] of f32, or of f16 or bf16 for weights that are stored so.
//!
//! **Activations.** In float precision a row is its f32 values. In int8 precision it is one `Act`
//! a unit, then the f32 values too, which weights without integers are multiplied with. The rows of
//! `act_width` tokens are interleaved, unit by unit and value by value, so that a kernel that takes
//! them together reads one stream. For tiles of AMX, integers are [2 units][token][2][32], and behind them
//! come their `Factors`, [8 units][token][8], and as many `Halves`.

const std = @import("std");
const builtin = @import("builtin");
const amx = @import("amx.zig");
const quant = @import("../quant.zig");
const table = @import("table.zig");
const lanes = @import("vector.zig").lanes;

pub const panel_rows = table.panel_rows;
pub const unit = 32;
pub const quads = unit / 4;
/// Bytes of a vector of one quad.
pub const quad_bytes = 4 * panel_rows;

pub const Scale = enum {
    /// f16 a group.
    half,
    /// f16 for 256 inputs, times a small integer a group.
    two_level,
    /// f32 a group.
    single,
};

/// Some bits of a quad that lie in the vector of another, above its own.
pub const Piece = struct {
    vector: usize,
    /// Their lowest bit there, and in the quad.
    at: u3,
    to: u3,
    bits: u3,

    /// They, where they are in the quad.
    pub fn mask(piece: Piece) u8 {
        return ((@as(u8, 1) << piece.bits) - 1) << piece.to;
    }
};

/// Where the last quads of a unit lie that has fewer vectors than quads: most quads of 5 or 6 bits take one
/// instruction to unpack, and no byte is read for their sake alone.
pub fn pieces(comptime bits: u8) [quads - @as(usize, bits)][]const Piece {
    return switch (bits) {
        4 => .{
            &.{.{ .vector = 0, .at = 4, .to = 0, .bits = 4 }},
            &.{.{ .vector = 1, .at = 4, .to = 0, .bits = 4 }},
            &.{.{ .vector = 2, .at = 4, .to = 0, .bits = 4 }},
            &.{.{ .vector = 3, .at = 4, .to = 0, .bits = 4 }},
        },
        5 => .{
            &.{ .{ .vector = 0, .at = 5, .to = 2, .bits = 3 }, .{ .vector = 3, .at = 6, .to = 0, .bits = 2 } },
            &.{ .{ .vector = 1, .at = 5, .to = 2, .bits = 3 }, .{ .vector = 4, .at = 6, .to = 0, .bits = 2 } },
            &.{
                .{ .vector = 2, .at = 5, .to = 2, .bits = 3 },
                .{ .vector = 3, .at = 5, .to = 0, .bits = 1 },
                .{ .vector = 4, .at = 5, .to = 1, .bits = 1 },
            },
        },
        6 => .{
            &.{ .{ .vector = 0, .at = 6, .to = 4, .bits = 2 }, .{ .vector = 1, .at = 6, .to = 2, .bits = 2 }, .{ .vector = 2, .at = 6, .to = 0, .bits = 2 } },
            &.{ .{ .vector = 3, .at = 6, .to = 4, .bits = 2 }, .{ .vector = 4, .at = 6, .to = 2, .bits = 2 }, .{ .vector = 5, .at = 6, .to = 0, .bits = 2 } },
        },
        8 => .{},
        else => comptime unreachable,
    };
}

/// Everything the integer kernels know of a format. Formats of one class share their code.
pub const Class = struct {
    bits: u8,
    /// q = u - zero
    zero: u8,
    /// Inputs that share a scale: 16 or 32.
    group: u8,
    offset: bool,
    scale: Scale,
    /// What small integers of two-level scales count: 1, or a smaller power of two.
    step: f32 = 1,

    /// Groups in a unit.
    pub fn groups(class: Class) usize {
        return unit / class.group;
    }

    /// Units that share one record of scales.
    pub fn span(class: Class) usize {
        return if (class.scale == .two_level) 8 else 1;
    }

    /// Bytes of the integers of one unit.
    pub fn dataBytes(class: Class) usize {
        return @as(usize, class.bits) * unit * panel_rows / 8;
    }

    /// Values in a record that are scales of groups, or offsets.
    pub fn terms(class: Class) usize {
        return class.groups() * (@as(usize, 1) + @intFromBool(class.offset));
    }

    /// Bytes of the scales of one span.
    pub fn scaleBytes(class: Class) usize {
        return switch (class.scale) {
            .half => 2 * panel_rows * class.terms(),
            .single => 4 * panel_rows * class.terms(),
            .two_level => class.headBytes() + class.span() * panel_rows * class.terms(),
        };
    }

    /// Bytes of the f16 super-scales at the begin of a two-level record.
    pub fn headBytes(class: Class) usize {
        return 2 * panel_rows * (@as(usize, 1) + @intFromBool(class.offset));
    }

    /// Units of a stretch, but for a panel's last one: so many that scales take whole cache lines.
    pub fn stretch(class: Class) usize {
        return if (8 / class.span() * class.scaleBytes() % 64 == 0) 8 else 16;
    }

    /// Bytes of a unit with its part of the scales.
    pub fn unitBytes(class: Class) usize {
        return class.dataBytes() + class.scaleBytes() / class.span();
    }

    /// Where in a panel of `units` the integers of a unit are.
    pub fn dataAt(class: Class, units: usize, index: usize) usize {
        const first = index / class.stretch() * class.stretch();
        const len = @min(class.stretch(), units - first);
        return first * class.unitBytes() + len / class.span() * class.scaleBytes() + (index - first) * class.dataBytes();
    }

    /// Where the record of a unit's scales is.
    pub fn recordAt(class: Class, index: usize) usize {
        const first = index / class.stretch() * class.stretch();
        return first * class.unitBytes() + (index - first) / class.span() * class.scaleBytes();
    }

    pub fn panelBytes(class: Class, cols: usize) usize {
        return std.mem.alignForward(usize, cols / unit * class.unitBytes(), 64);
    }
};

/// The class of a format, or null for those without integers: f32, f16 and the like.
pub fn classOf(comptime format: quant.Format) ?Class {
    @setEvalBranchQuota(200_000);
    const M = quant.Member(format);
    if (M.block_len == 1) return null;
    const bits = if (M.q_min < 0 and !fitsSigned(M)) 8 else M.q_bits;
    return .{
        .bits = bits,
        .zero = if (M.q_min < 0) 1 << (bits - 1) else 0,
        .group = M.groups.len,
        .offset = M.groups.offset,
        .scale = scaleOf(M),
        .step = if (scaleOf(M) == .two_level) scaleStep(M) else 1,
    };
}

fn fitsSigned(comptime M: type) bool {
    const half = 1 << (M.q_bits - 1);
    return M.groups.q_min >= -half and M.groups.q_max < half;
}

fn scaleOf(comptime M: type) Scale {
    if (!hasHalf(M, "d")) return .single;
    if (M.block_len == 32) return if (!M.groups.offset or hasHalf(M, "m")) .half else .single;
    if (M.block_len == 256) return if (!M.groups.offset or hasHalf(M, "dmin")) .two_level else .single;
    return .single;
}

fn hasHalf(comptime M: type, comptime name: []const u8) bool {
    return @hasField(M.Block, name) and @FieldType(M.Block, name) == f16;
}

/// The step of a two-level format's scales in units of its super-scale: 1, or a smaller power of
/// two. It is read from the block whose bits are all zero, where scales are at their lowest.
fn scaleStep(comptime M: type) f32 {
    @setEvalBranchQuota(200_000);
    var block: M.Block = std.mem.zeroes(M.Block);
    block.d = 1;
    var q: [M.block_len]i8 = undefined;
    var scale: [M.block_len / M.groups.len]f32 = undefined;
    var offset: [M.block_len / M.groups.len]f32 = undefined;
    M.decodeGroups(&block, &q, &scale, &offset);
    return if (scale[0] == @round(scale[0])) 1 else scale[0];
}

/// How the values of a format lie in a float panel.
pub fn floatOf(format: quant.Format) table.KvFormat {
    return switch (format) {
        .f16 => .f16,
        .bf16 => .bf16,
        else => .f32,
    };
}

/// The precision that a product of this format really has: formats without integers are float.
pub fn precisionOf(comptime format: quant.Format, precision: table.Precision) table.Precision {
    return if (comptime classOf(format) == null) .float else precision;
}

pub fn panelBytes(format: quant.Format, precision: table.Precision, cols: usize) usize {
    @setEvalBranchQuota(200_000);
    switch (format) {
        inline else => |tag| {
            if (comptime classOf(tag)) |class| if (precision == .int8) return class.panelBytes(cols);
            return std.mem.alignForward(usize, cols * panel_rows * floatOf(tag).bytes(), 64);
        },
    }
}

pub fn packedBytes(format: quant.Format, precision: table.Precision, rows: usize, cols: usize) usize {
    return (rows + panel_rows - 1) / panel_rows * panelBytes(format, precision, cols);
}

/// Tokens whose activations lie interleaved, which the blocked kernels take together: as many as
/// have registers for their sums beside the weights of a unit, or as a tile has rows.
pub const act_width = if (amx.has) 16 else if (lanes == 16) 12 else if (builtin.cpu.arch == .aarch64) 8 else 4;

/// 2^23 + 2^22, whose f32 has a unit of 1: an integer n below 2^22 added to its bits gives the bits of
/// the f32 that is n more. Integer products begin with it, and so end as f32 without a conversion.
pub const magic = 0x4b400000;
pub const magic_value: f32 = @bitCast(@as(u32, magic));

/// What the integers of 32 activations are to be multiplied with.
pub const Factors = extern struct {
    d: f32,
    /// d * sum of q: for offsets of weights, multiplied once here rather than once a panel.
    sum: f32,
};

/// The same sum of each half.
pub const Halves = [2]f32;

/// 32 activations as 8-bit integers: x is about d * q.
pub const Act = extern struct {
    q: [quads]i32 align(4), // four i8 each
    factors: Factors,
    sums: Halves,
    /// magic - 8 * sum of q and magic - 128 * sum of q, of all.
    start8: i32,
    start128: i32,
    /// magic - `dot.zero_of_half` * sum of q, of each half.
    start_half: [2]i32,

    comptime {
        std.debug.assert(@sizeOf(Act) == 64);
    }
};

/// Whether activations of so many tokens lie as tiles take them.
pub fn forTiles(n_tokens: usize) bool {
    return amx.has and n_tokens > act_width;
}

/// What a token has for itself of some units there, a cache line that no other token writes to: the integers
/// of two, or the factors of eight.
pub const tile_line = 64;
const integers_together = tile_line / unit;
const factors_together = tile_line / @sizeOf(Factors);
/// Places that are a multiple of so many units apart have the same form.
pub const tile_units = @max(integers_together, factors_together);

/// From a tile's integers of a unit, whose number is a multiple of `tile_units`, to those of the unit `index` later.
pub inline fn tileIntegers(width: usize, index: usize) usize {
    return index / integers_together * width * tile_line + index % integers_together * unit;
}

/// The same of factors, and of halves.
pub inline fn tileFactors(width: usize, index: usize) usize {
    return index / factors_together * width * tile_line + index % factors_together * @sizeOf(Factors);
}

pub fn actBytes(precision: table.Precision, cols: usize) usize {
    return floatsAt(precision, cols) + 4 * cols;
}

/// Bytes of a row that one kind of product reads.
pub fn valueBytes(precision: table.Precision, cols: usize) usize {
    return switch (precision) {
        .float => 4 * cols,
        .int8 => {
            const units = (cols + unit - 1) / unit;
            return if (amx.has) tileBytes(units) else units * @sizeOf(Act);
        },
    };
}

/// Bytes of a row for tiles, which has room for as many `Act` too.
fn tileBytes(units: usize) usize {
    const apart = std.mem.alignForward(usize, units, integers_together) * unit + 2 * std.mem.alignForward(usize, units, factors_together) * @sizeOf(Factors);
    return @max(apart, units * @sizeOf(Act));
}

/// Bytes of a row before its f32 values.
pub fn floatsAt(precision: table.Precision, cols: usize) usize {
    return switch (precision) {
        .float => 0,
        .int8 => valueBytes(.int8, cols),
    };
}

/// Where one token's activations are among those of a call.
pub const ActRow = struct {
    /// The first token of those that it lies interleaved with.
    base: usize,
    /// Its place among them.
    lane: usize,
    width: usize,

    pub fn of(token: usize, n_tokens: usize, stride: usize) ActRow {
        const first = token / act_width * act_width;
        // The last tokens lie as dense as the others.
        return .{ .base = first * stride, .lane = token - first, .width = @min(act_width, n_tokens - first) };
    }

    /// Where its activations of a unit are.
    pub fn unitAt(row: ActRow, index: usize) usize {
        return row.base + (index * row.width + row.lane) * @sizeOf(Act);
    }

    /// Where the integers of a unit are for tiles.
    pub fn tileAt(row: ActRow, index: usize) usize {
        return row.base + row.lane * tile_line + tileIntegers(row.width, index);
    }

    /// Where what belongs to them is, in a row of `units`.
    pub fn factorsAt(row: ActRow, units: usize, index: usize) usize {
        const integers = std.mem.alignForward(usize, units, integers_together) * row.width * unit;
        return row.base + integers + row.lane * tile_line + tileFactors(row.width, index);
    }

    /// The same of `Halves`.
    pub fn halvesAt(row: ActRow, units: usize, index: usize) usize {
        return row.factorsAt(units, index) + std.mem.alignForward(usize, units, factors_together) * row.width * @sizeOf(Factors);
    }

    /// Where its f32 value of an input is.
    pub fn floatAt(row: ActRow, floats_at: usize, col: usize) usize {
        return row.base + row.width * floats_at + (col * row.width + row.lane) * 4;
    }
};
