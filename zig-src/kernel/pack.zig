//! Packing: rows of a file into panels (see `layout.zig`), and f32 rows into activations.

const std = @import("std");
const quant = @import("../quant.zig");
const layout = @import("layout.zig");
const table = @import("table.zig");
const vector = @import("vector.zig");

const panel_rows = layout.panel_rows;
const unit = layout.unit;
const Class = layout.Class;

/// Packs up to 16 rows; the rows that are missing become zeros.
pub fn panel(format: quant.Format, precision: table.Precision, cols: usize, source: [*]const u8, n_rows: usize, into: [*]u8) void {
    std.debug.assert(n_rows <= panel_rows);
    @memset(into[0..layout.panelBytes(format, precision, cols)], 0);
    @setEvalBranchQuota(200_000);
    switch (format) {
        inline else => |tag| {
            const M = quant.Member(tag);
            std.debug.assert(cols % M.block_len == 0);
            const blocks: [*]align(1) const M.Block = @ptrCast(source);
            const per_row = cols / M.block_len;
            for (0..n_rows) |row| {
                const of_row = blocks[row * per_row ..][0..per_row];
                if (comptime layout.classOf(tag)) |class| {
                    if (precision == .int8) {
                        integers(M, class, of_row, row, into);
                        continue;
                    }
                }
                floats(tag, of_row, row, into);
            }
        },
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
    const scales = into + blocks.len * units_per_block * class.dataBytes();
    var q: [M.block_len]i8 = undefined;
    var scale: [M.block_len / M.groups.len]f32 = undefined;
    var offset: [M.block_len / M.groups.len]f32 = undefined;
    for (blocks, 0..) |*block, b| {
        M.decodeGroups(block, &q, &scale, &offset);
        for (0..units_per_block) |i| {
            const index = b * units_per_block + i;
            const signed: @Vector(unit, i8) = q[i * unit ..][0..unit].*;
            const stored = @as(@Vector(unit, u8), @bitCast(signed)) +% @as(@Vector(unit, u8), @splat(class.zero));
            writeUnit(class, @bitCast(stored), row, into + index * class.dataBytes());
            if (class.scale == .two_level) continue;
            const Stored = if (class.scale == .half) f16 else f32;
            const to: [*]align(1) Stored = @ptrCast(scales + index * class.scaleBytes());
            inline for (0..comptime class.groups()) |g| {
                to[g * panel_rows + row] = @floatCast(scale[i * class.groups() + g]);
                if (class.offset) to[(class.groups() + g) * panel_rows + row] = @floatCast(offset[i * class.groups() + g]);
            }
        }
        if (class.scale == .two_level) writeSpan(M, class, block, &scale, &offset, row, scales + b * class.scaleBytes());
    }
}

/// The integers of one row of one unit; a word is a quad.
fn writeUnit(comptime class: Class, words: [layout.quads]u32, row: usize, into: [*]u8) void {
    const to: [*]align(1) u32 = @ptrCast(into);
    if (class.bits == 8) {
        for (words, 0..) |word, j| to[j * panel_rows + row] = word;
        return;
    }
    const low = 0x0f0f0f0f;
    for (0..4) |j| to[j * panel_rows + row] = words[j] & low | (words[j + 4] & low) << 4;
    if (class.bits == 5) {
        var fifth: u32 = 0;
        for (words, 0..) |word, j| fifth |= (word >> 4 & 0x01010101) << @intCast(j);
        to[4 * panel_rows + row] = fifth;
    }
    if (class.bits == 6) for (0..2) |half| {
        var more: u32 = 0;
        for (words[4 * half ..][0..4], 0..) |word, j| more |= (word >> 4 & 0x03030303) << @intCast(2 * j);
        to[(4 + half) * panel_rows + row] = more;
    };
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

/// One token's activations; see `layout.Act`.
pub fn activations(precision: table.Precision, x: [*]const f32, cols: usize, into: [*]u8) void {
    if (precision == .int8) {
        const acts: [*]align(4) layout.Act = @ptrCast(@alignCast(into));
        const whole = cols / unit;
        for (0..whole) |i| acts[i] = quantise(x[i * unit ..][0..unit].*);
        if (cols % unit != 0) {
            var last: [unit]f32 = @splat(0);
            @memcpy(last[0 .. cols % unit], x[whole * unit .. cols]);
            acts[whole] = quantise(last);
        }
    }
    const floats_at = layout.floatsAt(precision, cols);
    @memcpy(into[floats_at..][0 .. 4 * cols], @as([*]const u8, @ptrCast(x))[0 .. 4 * cols]);
}

fn quantise(x: @Vector(unit, f32)) layout.Act {
    const F = @Vector(unit, f32);
    const largest = @reduce(.Max, @abs(x));
    // A maximum passes over NaN, which must stay visible in the result.
    const d = if (@reduce(.Or, x != x)) std.math.nan(f32) else largest / 127;
    // A subnormal d has no finite inverse: such a block is zero next to anything that matters.
    const inverse: f32 = if (d >= std.math.floatMin(f32)) 127 / largest else 0;
    // Adding 1.5 * 2^23 rounds to the nearest even integer and leaves it in the low bits.
    const magic = 12582912;
    const shifted = x * @as(F, @splat(inverse)) + @as(F, @splat(magic));
    const whole = @as(@Vector(unit, i32), @bitCast(shifted)) -% @as(@Vector(unit, i32), @splat(@bitCast(@as(f32, magic))));
    const q: @Vector(unit, i8) = @truncate(whole);
    const words: [unit]i32 = whole;
    const low = @reduce(.Add, @as(@Vector(unit / 2, i32), words[0 .. unit / 2].*));
    const high = @reduce(.Add, @as(@Vector(unit / 2, i32), words[unit / 2 ..].*));
    return .{
        .q = @bitCast(q),
        .d = d,
        .sums = .{ d * @as(f32, @floatFromInt(low)), d * @as(f32, @floatFromInt(high)) },
        .sum = d * @as(f32, @floatFromInt(low + high)),
        .start_half = .{ -8 * low, -8 * high },
        .start8 = -8 * (low + high),
        .start128 = -128 * (low + high),
    };
}
