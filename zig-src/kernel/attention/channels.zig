//! Integers of 2 and 4 bits after KIVI (Liu et al. 2024, "KIVI: A Tuning-Free Asymmetric 2bit Quantization
//! for KV Cache"): keys in groups of one channel of 32 positions, because channels of keys have scales of
//! their own, and values in groups of 32 values of one position. Each group has an f16 scale and an f16
//! minimum; a value is code * scale + minimum. So keys are stored 32 positions at a time, when all are there.
//!
//!     keys    codes            [position / 16][value][position % 16]
//!             scales, minimums [position / 32][value], all scales first
//!     values  codes            [position][value]
//!             scales, minimums [value / 32][position], all scales first
//!
//! Codes fill bytes from their lowest bits on. A query is multiplied with the scales of a group once, and its
//! products with the minimums are summed up once; then keys cost a conversion and a product each.

const std = @import("std");
const table = @import("../table.zig");
const tile = @import("tile.zig");
const vector = @import("../vector.zig");

const KvFormat = table.KvFormat;
const Side = table.KvSide;
const Vf = vector.Vf;
const lanes = vector.lanes;
const page_len = table.page_len;
const Row = [page_len]f32;

/// Values that share a scale and a minimum: positions of a channel of keys, or values of a position.
pub const group = table.channel_group;
/// Positions of keys side by side.
const beside = 16;

/// Of one KV head in one page.
pub fn bytes(format: KvFormat, dim: usize) usize {
    return page_len * (dim * format.bits() / 8 + dim / group * 4);
}

/// Where a code is: a byte, and its lowest bit.
pub fn codeAt(format: KvFormat, side: Side, dim: usize, position: usize, index: usize) struct { usize, u3 } {
    const place = switch (side) {
        .key => (position / beside * dim + index) * beside + position % beside,
        .value => position * dim + index,
    };
    return .{ place * format.bits() / 8, @intCast(place * format.bits() % 8) };
}

pub fn scaleAt(format: KvFormat, side: Side, dim: usize, position: usize, index: usize) usize {
    const place = switch (side) {
        .key => position / group * dim + index,
        .value => index / group * page_len + position,
    };
    return page_len * dim * format.bits() / 8 + 2 * place;
}

pub fn minimumAt(format: KvFormat, side: Side, dim: usize, position: usize, index: usize) usize {
    return scaleAt(format, side, dim, position, index) + page_len * dim / group * 2;
}

pub fn readCode(format: KvFormat, side: Side, page: [*]const u8, dim: usize, position: usize, index: usize) u8 {
    const at, const shift = codeAt(format, side, dim, position, index);
    return page[at] >> shift & @as(u8, @intCast((@as(u16, 1) << @intCast(format.bits())) - 1));
}

pub fn writeCode(format: KvFormat, side: Side, page: [*]u8, dim: usize, position: usize, index: usize, code: u8) void {
    const at, const shift = codeAt(format, side, dim, position, index);
    const mask: u8 = @intCast((@as(u16, 1) << @intCast(format.bits())) - 1);
    page[at] = page[at] & ~(mask << shift) | code << shift;
}

/// The values of positions [from, to) as they were stored: [to - from][dim].
pub fn readRange(format: KvFormat, side: Side, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]f32) void {
    for (from..to) |position| for (0..dim) |index| {
        const scale = half(page + scaleAt(format, side, dim, position, index));
        const minimum = half(page + minimumAt(format, side, dim, position, index));
        const code: f32 = @floatFromInt(readCode(format, side, page, dim, position, index));
        out[(position - from) * dim + index] = vector.fma(code, scale, minimum);
    };
}

fn half(at: [*]const u8) f32 {
    return vector.load(.f16, 1, at)[0];
}

/// Rounds the values of one position, or the keys of a whole group: [32][dim], from `position` on.
pub fn store(format: KvFormat, side: Side, x: []const f32, page: [*]u8, position: usize) void {
    switch (side) {
        .key => {
            const dim = x.len / group;
            std.debug.assert(position % group == 0);
            for (0..dim) |index| storeGroup(format, side, x[index..].ptr, dim, dim, page, position, index);
        },
        .value => {
            std.debug.assert(x.len % group == 0);
            var index: usize = 0;
            while (index < x.len) : (index += group) storeGroup(format, side, x[index..].ptr, 1, x.len, page, position, index);
        },
    }
}

/// Values that stand `stride` apart. NaN counts as 0, and values are limited to what an f16 can hold.
fn storeGroup(format: KvFormat, side: Side, x: [*]const f32, stride: usize, dim: usize, page: [*]u8, position: usize, index: usize) void {
    const limit = std.math.floatMax(f16);
    var values: [group]f32 = undefined;
    for (&values, 0..) |*value, i| {
        const given = x[i * stride];
        value.* = if (given != given) 0 else std.math.clamp(given, -limit, limit);
    }
    const low = std.mem.min(f32, &values);
    const high = std.mem.max(f32, &values);
    const most: f32 = @floatFromInt((@as(u16, 1) << @intCast(format.bits())) - 1);
    const scale: f16 = @floatCast((high - low) / most);
    const minimum: f16 = @floatCast(low);
    page[scaleAt(format, side, dim, position, index)..][0..2].* = @bitCast(scale);
    page[minimumAt(format, side, dim, position, index)..][0..2].* = @bitCast(minimum);
    for (values, 0..) |value, i| {
        // The terms as they are read again, so that codes are the nearest ones to them.
        const step: f32 = scale;
        const code = if (step == 0) 0 else std.math.clamp(@floor((value - minimum) / step + 0.5), 0, most);
        const p, const v = if (side == .key) .{ position + i, index } else .{ position, index + i };
        writeCode(format, side, page, dim, p, v, @intFromFloat(code));
    }
}

/// `n` codes that follow each other, as numbers; they begin with a byte.
inline fn codes(comptime format: KvFormat, comptime n: usize, at: [*]const u8) @Vector(n, f32) {
    const bits = comptime format.bits();
    const in_word = @min(n, 32 / bits);
    const words = n / in_word;
    const Word = @Int(.unsigned, in_word * bits);
    var raw: [words]u32 = undefined;
    inline for (&raw, 0..) |*word, i| word.* = std.mem.readInt(Word, at[i * in_word * bits / 8 ..][0 .. in_word * bits / 8], .little);
    const place: @Vector(n, i32) = comptime blk: {
        var of: [n]i32 = undefined;
        for (&of, 0..) |*to, i| to.* = i / in_word;
        break :blk of;
    };
    const shift: @Vector(n, u5) = comptime blk: {
        var of: [n]u5 = undefined;
        for (&of, 0..) |*to, i| to.* = i % in_word * bits;
        break :blk of;
    };
    const spread = @shuffle(u32, @as(@Vector(words, u32), raw), undefined, place);
    const masked = spread >> shift & @as(@Vector(n, u32), @splat((1 << bits) - 1));
    return @floatFromInt(@as(@Vector(n, i32), @bitCast(masked)));
}

/// Scores of the sixteens of positions from `from` to `to`. `q` is [dim][rows].
pub fn scores(
    comptime key: KvFormat,
    comptime rows: usize,
    q: [*]const f32,
    page: [*]const u8,
    dim: usize,
    from: usize,
    to: usize,
    out: *[rows]Row,
    ahead: *tile.Ahead,
) void {
    const Q = @Vector(rows, f32);
    const vectors = beside / lanes;
    const bits = comptime key.bits();
    var scaled: [tile.floats_max]f32 align(64) = undefined;
    var sixteen = from;
    while (sixteen < to) {
        const first = sixteen * beside / group * group;
        var base: Q = @splat(0);
        for (0..dim) |d| {
            const of: Q = q[d * rows ..][0..rows].*;
            scaled[d * rows ..][0..rows].* = of * @as(Q, @splat(half(page + scaleAt(key, .key, dim, first, d))));
            base = vector.fma(of, @as(Q, @splat(half(page + minimumAt(key, .key, dim, first, d)))), base);
        }
        const end = @min(to, (first + group) / beside);
        while (sixteen < end) : (sixteen += 1) {
            const keys = page + sixteen * dim * beside * bits / 8;
            var sums: [rows][vectors]Vf = @splat(@splat(@splat(0)));
            for (0..dim) |d| {
                if (d * beside * bits / 8 % 64 == 0) ahead.lines(1);
                var k: [vectors]Vf = undefined;
                inline for (&k, 0..) |*v, i| v.* = codes(key, lanes, keys + (d * beside + i * lanes) * bits / 8);
                inline for (&sums, 0..) |*row, r| {
                    const one: Vf = @splat(scaled[d * rows + r]);
                    inline for (row, k) |*sum, v| sum.* = vector.fma(v, one, sum.*);
                }
            }
            inline for (&sums, 0..) |*row, r| inline for (row, 0..) |sum, i| {
                out[r][sixteen * beside + i * lanes ..][0..lanes].* = sum + @as(Vf, @splat(base[r]));
            };
        }
    }
}

/// out += weight * value for a tile of rows and positions [from, to), position by position.
pub fn accumulate(
    comptime value: KvFormat,
    comptime rows: usize,
    page: [*]const u8,
    dim: usize,
    weights: *const [rows]Row,
    from: usize,
    to: usize,
    out: *const [rows][*]f32,
    ahead: *tile.Ahead,
) void {
    const vectors = group / lanes;
    const bits = comptime value.bits();
    var index: usize = 0;
    while (index < dim) : (index += group) {
        var terms: [2]Row = undefined;
        for (from / lanes..(to + lanes - 1) / lanes) |v| {
            terms[0][v * lanes ..][0..lanes].* = vector.load(.f16, lanes, page + scaleAt(value, .value, dim, v * lanes, index));
            terms[1][v * lanes ..][0..lanes].* = vector.load(.f16, lanes, page + minimumAt(value, .value, dim, v * lanes, index));
        }
        var sums: [rows][vectors]Vf = undefined;
        inline for (&sums, 0..) |*row, r| inline for (row, 0..) |*sum, i| {
            sum.* = out[r][index + i * lanes ..][0..lanes].*;
        };
        for (from..to) |position| {
            const at = page + (position * dim + index) * bits / 8;
            if (position % 4 == 0) ahead.lines(1);
            const scale: Vf = @splat(terms[0][position]);
            const minimum: Vf = @splat(terms[1][position]);
            var v: [vectors]Vf = undefined;
            inline for (&v, 0..) |*part, i| part.* = vector.fma(codes(value, lanes, at + i * lanes * bits / 8), scale, minimum);
            inline for (&sums, 0..) |*row, r| inline for (row, 0..) |*sum, i| {
                sum.* = vector.fma(v[i], @as(Vf, @splat(weights[r][position])), sum.*);
            };
        }
        inline for (sums, 0..) |row, r| inline for (row, 0..) |sum, i| {
            out[r][index + i * lanes ..][0..lanes].* = sum;
        };
    }
}
