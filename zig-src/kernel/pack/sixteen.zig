//! Packing sixteen rows at a time: the integers of formats that declare `quads`, and values that are
//! stored as floats. The rows are read side by side and written in the order of the panel, each
//! byte once. Bytes are those of `rows.zig` beside it, which does all other cases.

const std = @import("std");
const layout = @import("../layout.zig");
const quant = @import("../../quant.zig");
const sixteen = @import("../../quant/shared/sixteen.zig");

const panel_rows = layout.panel_rows;
const unit = layout.unit;
const Class = layout.Class;
const Rows = sixteen.Rows;
const Words = sixteen.Words;

pub const Pack = fn (cols: usize, source: [*]const u8, into: [*]u8) void;

/// The way of packing 16 rows of this format, or null when there is none but row by row.
pub fn of(comptime format: quant.Format) ?*const Pack {
    const M = quant.Member(format);
    if (layout.classOf(format)) |class| {
        if (!@hasDecl(M, "quads")) return null;
        return struct {
            fn pack(cols: usize, source: [*]const u8, into: [*]u8) void {
                integers(M, class, cols, source, into);
            }
        }.pack;
    }
    // Other numbers are converted.
    if (!std.mem.eql(u8, M.name, @tagName(layout.floatOf(format)))) return null;
    return struct {
        fn pack(cols: usize, source: [*]const u8, into: [*]u8) void {
            floats(M.block_bytes, cols, source, into);
        }
    }.pack;
}

fn integers(comptime M: type, comptime class: Class, cols: usize, source: [*]const u8, into: [*]u8) void {
    @setEvalBranchQuota(20_000);
    const blocks = cols / M.block_len;
    const units = M.block_len / unit;
    // A block has one record of scales.
    comptime std.debug.assert(units == class.span());
    for (0..blocks) |b| {
        const rows: Rows = .{ .at = source + b * @sizeOf(M.Block), .stride = blocks * @sizeOf(M.Block) };
        const together = @typeInfo(@TypeOf(M.quads(rows, 0))).array.len;
        inline for (0..units / together) |part| {
            inline for (M.quads(rows, part), 0..) |quads, i| {
                writeUnit(class, quads, into + class.dataAt(blocks * units, b * units + part * together + i));
            }
        }
        const to = into + class.recordAt(b * units);
        if (class.scale == .two_level) writeSpan(M, class, rows, to) else writeHalves(M, class, rows, to);
    }
    const used = blocks * units * comptime class.unitBytes();
    @memset(into[used..class.panelBytes(cols)], 0);
}

/// The integers of one unit.
inline fn writeUnit(comptime class: Class, quads: sixteen.Quads, into: [*]u8) void {
    const own = class.bits;
    var vectors: [own]Words = quads[0..own].*;
    inline for (comptime layout.pieces(own), quads[own..]) |pieces, quad| inline for (pieces) |piece| {
        vectors[piece.vector] |= (quad & sixteen.splat(0x01010101 * @as(u32, piece.mask()))) << sixteen.splat(piece.at - piece.to);
    };
    inline for (vectors, 0..) |vector, j| write(into, j, vector);
}

inline fn write(into: [*]u8, index: usize, value: anytype) void {
    @as(*align(1) @TypeOf(value), @ptrCast(into + index * @sizeOf(@TypeOf(value)))).* = value;
}

/// The f16 scales, and offsets, of a block of one unit.
inline fn writeHalves(comptime M: type, comptime class: Class, rows: Rows, into: [*]u8) void {
    comptime std.debug.assert(class.scale == .half and class.groups() == 1);
    write(into, 0, rows.half(@offsetOf(M.Block, "d")));
    if (class.offset) write(into, 1, rows.half(@offsetOf(M.Block, "m")));
}

/// The two levels of the scales of 256 inputs.
inline fn writeSpan(comptime M: type, comptime class: Class, rows: Rows, into: [*]u8) void {
    comptime std.debug.assert(class.step == 1);
    write(into, 0, rows.half(@offsetOf(M.Block, "d")));
    if (class.offset) write(into, 1, rows.half(@offsetOf(M.Block, "dmin")));
    const codes = M.codes(rows);
    const small = into + class.headBytes();
    inline for (0..comptime class.span()) |i| inline for (0..comptime class.groups()) |g| {
        write(small, i * class.terms() + g, codes.scales[i * class.groups() + g]);
        if (class.offset) write(small, i * class.terms() + class.groups() + g, codes.offsets[i * class.groups() + g]);
    };
}

/// Values of two or four bytes.
fn floats(comptime value_bytes: usize, cols: usize, source: [*]const u8, into: [*]u8) void {
    const together = 16 / value_bytes;
    const T = @Int(.unsigned, 8 * value_bytes);
    const whole = cols / together;
    for (0..whole) |i| {
        const rows: Rows = .{ .at = source + 16 * i, .stride = cols * value_bytes };
        const words = rows.four(0);
        const to = into + i * 16 * panel_rows;
        inline for (words, 0..) |word, j| {
            if (T == u32) {
                write(to, j, word);
            } else {
                write(to, 2 * j, @as(@Vector(panel_rows, u16), @truncate(word)));
                write(to, 2 * j + 1, @as(@Vector(panel_rows, u16), @truncate(word >> sixteen.splat(16))));
            }
        }
    }
    const from: [*]align(1) const T = @ptrCast(source);
    const to: [*]align(1) T = @ptrCast(into);
    for (whole * together..cols) |col| {
        for (0..panel_rows) |row| to[col * panel_rows + row] = from[row * cols + col];
    }
    const used = cols * panel_rows * value_bytes;
    @memset(into[used..std.mem.alignForward(usize, used, 64)], 0);
}
