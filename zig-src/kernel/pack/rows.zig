//! Packing row by row, through a format's `decodeGroups` and `decodeBlock`: works for every format
//! and any number of rows, and is what `sixteen.zig` beside it must equal.

const std = @import("std");
const layout = @import("../layout.zig");
const quant = @import("../../quant.zig");
const table = @import("../table.zig");

const panel_rows = layout.panel_rows;
const unit = layout.unit;
const Class = layout.Class;

/// Packs up to 16 rows; the rows that are missing become zeros.
pub fn panel(comptime format: quant.Format, precision: table.Precision, cols: usize, source: [*]const u8, n_rows: usize, into: [*]u8) void {
    const M = quant.Member(format);
    std.debug.assert(n_rows <= panel_rows);
    std.debug.assert(cols % M.block_len == 0);
    @memset(into[0..layout.panelBytes(format, precision, cols)], 0);
    const blocks: [*]align(1) const M.Block = @ptrCast(source);
    const per_row = cols / M.block_len;
    for (0..n_rows) |row| {
        const of_row = blocks[row * per_row ..][0..per_row];
        if (comptime layout.classOf(format)) |class| {
            if (precision == .int8) {
                integers(M, class, of_row, row, into);
                continue;
            }
        }
        floats(format, of_row, row, into);
    }
}

fn floats(comptime format: quant.Format, blocks: []align(1) const quant.Member(format).Block, row: usize, into: [*]u8) void {
    @setEvalBranchQuota(200_000);
    const M = quant.Member(format);
    const stored = comptime layout.floatOf(format);
    if (stored != .f32) {
        const to: [*]align(1) u16 = @ptrCast(into);
        const from: [*]align(1) const u16 = @ptrCast(blocks.ptr);
        for (0..blocks.len) |i| to[i * panel_rows + row] = from[i];
        return;
    }
    const to: [*]align(1) f32 = @ptrCast(into);
    var values: [M.block_len]f32 = undefined;
    for (blocks, 0..) |*block, i| {
        M.decodeBlock(block, &values);
        for (values, i * M.block_len..) |value, col| to[col * panel_rows + row] = value;
    }
}

fn integers(comptime M: type, comptime class: Class, blocks: []align(1) const M.Block, row: usize, into: [*]u8) void {
    const units_per_block = M.block_len / unit;
    const units = blocks.len * units_per_block;
    var q: [M.block_len]i8 = undefined;
    var scale: [M.block_len / M.groups.len]f32 = undefined;
    var offset: [M.block_len / M.groups.len]f32 = undefined;
    for (blocks, 0..) |*block, b| {
        M.decodeGroups(block, &q, &scale, &offset);
        for (0..units_per_block) |i| {
            const index = b * units_per_block + i;
            const signed: @Vector(unit, i8) = q[i * unit ..][0..unit].*;
            const stored = @as(@Vector(unit, u8), @bitCast(signed)) +% @as(@Vector(unit, u8), @splat(class.zero));
            writeUnit(class, @bitCast(stored), row, into + class.dataAt(units, index));
            if (class.scale == .two_level) continue;
            const Stored = if (class.scale == .half) f16 else f32;
            const to: [*]align(1) Stored = @ptrCast(into + class.recordAt(index));
            inline for (0..comptime class.groups()) |g| {
                to[g * panel_rows + row] = @floatCast(scale[i * class.groups() + g]);
                if (class.offset) to[(class.groups() + g) * panel_rows + row] = @floatCast(offset[i * class.groups() + g]);
            }
        }
        if (class.scale == .two_level) writeSpan(M, class, block, &scale, &offset, row, into + class.recordAt(b * units_per_block));
    }
}

/// The integers of one row of one unit; a word is a quad.
fn writeUnit(comptime class: Class, words: [layout.quads]u32, row: usize, into: [*]u8) void {
    const to: [*]align(1) u32 = @ptrCast(into);
    const own = class.bits;
    var vectors: [own]u32 = words[0..own].*;
    inline for (comptime layout.pieces(own), words[own..]) |pieces, word| inline for (pieces) |piece| {
        vectors[piece.vector] |= (word & 0x01010101 * @as(u32, piece.mask())) << piece.at - piece.to;
    };
    for (vectors, 0..) |vector, j| to[j * panel_rows + row] = vector;
}

/// The two levels of the scales of 256 inputs of one row.
fn writeSpan(comptime M: type, comptime class: Class, block: *align(1) const M.Block, scale: []const f32, offset: []const f32, row: usize, into: [*]u8) void {
    const head: [*]align(1) f16 = @ptrCast(into);
    head[row] = block.d;
    if (class.offset) head[panel_rows + row] = block.dmin;
    const small: [*]i8 = @ptrCast(into + class.headBytes());
    for (0..class.span()) |i| {
        inline for (0..comptime class.groups()) |g| {
            const index = i * class.groups() + g;
            const at = i * class.terms() + g;
            small[at * panel_rows + row] = ratio(scale[index] / class.step, block.d);
            if (class.offset) small[(at + class.groups()) * panel_rows + row] = ratio(offset[index], block.dmin);
        }
    }
}

/// The integer n of value = n * d. Where d is 0 or not a number any n gives the same value.
fn ratio(value: f32, d: f16) i8 {
    const n = @round(value / @as(f32, d));
    if (!(n >= -128 and n <= 127)) return 0;
    return @intFromFloat(n);
}
