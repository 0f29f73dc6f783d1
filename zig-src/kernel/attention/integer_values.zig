//! What `values.zig` does, for values of 8 bits on x86: weights times scales are rounded to 16 bits, and two
//! positions are multiplied and added up by one instruction, exactly. A weight is off by at most 1/65534 of the
//! largest that its row has in the block, scales included; the values themselves are off by up to 1/254 of the
//! largest of theirs.
//!
//! A row has weights of zero where other rows of its tile attend and it does not, so that its bits don't
//! depend on them.

const std = @import("std");
const builtin = @import("builtin");
const dot = @import("../dot.zig");
const page_layout = @import("page.zig");
const softmax = @import("softmax.zig");
const table = @import("../table.zig");
const tile = @import("tile.zig");
const vector = @import("../vector.zig");
const values = @import("values.zig");

const KvFormat = table.KvFormat;
const Vf = vector.Vf;
const lanes = vector.lanes;
const page_len = table.page_len;
const unit = page_layout.unit;
const Row = [page_len]f32;
const Bits = @Vector(lanes, u32);
const Words = dot.Words;

/// A position is multiplied beside the one that is a vector of weights behind it.
const stretch = 2 * lanes;
/// The largest rounded weight.
const steps = std.math.maxInt(i16);

comptime {
    std.debug.assert(page_len % stretch == 0 and unit % stretch == 0);
    // Sums of a block fit.
    std.debug.assert(page_len * 128 * steps <= std.math.maxInt(i32));
}

/// Whether values of a format are summed here. Other processors have no such instruction.
pub fn takes(format: KvFormat) bool {
    return builtin.cpu.arch.isX86() and format.scaled() and !format.narrow();
}

/// Columns of a block that a row attends to.
pub const Range = struct { from: usize, to: usize };

/// The weights of a row for 32 values of each position.
const Rounded = struct {
    /// Those of two positions each, the first one below.
    pairs: [page_len / 2]i32 align(64),
    /// What 1 of them counts. Not a number if one of the weights is not.
    step: f32,
};

/// out += weight * value over the block. `all` holds all ranges, of which some may be empty.
pub fn accumulate(
    comptime value: KvFormat,
    comptime rows: usize,
    page: [*]const u8,
    dim: usize,
    weights: *const [rows]Row,
    ranges: *const [rows]Range,
    all: Range,
    out: *const [rows][*]f32,
    ahead: *tile.Ahead,
) void {
    const most = comptime values.width(rows);
    var rounded: [@max(1, most * lanes / unit)][rows]Rounded = undefined;
    var i: usize = 0;
    comptime var n = most;
    inline while (n > 1) : (n /= 2) {
        while (i + n * lanes <= dim) : (i += n * lanes) {
            if (i % unit == 0) inline for (0..@max(1, n * lanes / unit)) |u| {
                round(value, rows, page, dim, i + u * unit, weights, ranges, all, &rounded[u], ahead);
            };
            add(rows, n, page + page_layout.valueAt(value, .value, dim, 0, i), dim, &rounded, all, i, out, ahead);
        }
    }
}

/// Weights times the scales of 32 values from `index` on.
fn round(
    comptime value: KvFormat,
    comptime rows: usize,
    page: [*]const u8,
    dim: usize,
    index: usize,
    weights: *const [rows]Row,
    ranges: *const [rows]Range,
    all: Range,
    out: *[rows]Rounded,
    ahead: *tile.Ahead,
) void {
    const first = all.from / stretch;
    const end = (all.to + stretch - 1) / stretch;
    var products: [rows][page_len / lanes]Vf = undefined;
    // As integers the bits of magnitudes have the order of the magnitudes, and what is not a number is above all.
    var largest: [rows]Bits = @splat(@splat(0));
    for (2 * first..2 * end) |v| {
        ahead.lines(comptime @max(1, lanes * value.termBytes() / 64));
        const scale = vector.load(.f16, lanes, page + page_layout.scaleAt(value, .value, dim, v * lanes, index));
        inline for (0..rows) |r| {
            var product = @as(Vf, weights[r][v * lanes ..][0..lanes].*) * scale;
            if (v * lanes < ranges[r].from or (v + 1) * lanes > ranges[r].to) product = softmax.limited(product, 0, v * lanes, ranges[r].from, ranges[r].to);
            products[r][v] = product;
            largest[r] = @max(largest[r], @as(Bits, @bitCast(product)) & @as(Bits, @splat(0x7fffffff)));
        }
    }
    inline for (out, &products, largest) |*of, *row, bits| {
        const top: f32 = @bitCast(@reduce(.Max, bits));
        of.step = top / steps;
        // A subnormal step has no finite inverse: such weights are zero next to anything that matters.
        const inverse: Vf = @splat(if (of.step >= std.math.floatMin(f32)) steps / top else 0);
        for (first..end) |s| {
            const low = rounding(row[2 * s], inverse);
            const high = rounding(row[2 * s + 1], inverse);
            of.pairs[s * lanes ..][0..lanes].* = @bitCast((low & @as(Bits, @splat(0xffff))) | high << @splat(16));
        }
    }
}

/// The integer nearest to x * inverse, of which 16 bits are right.
fn rounding(x: Vf, inverse: Vf) Bits {
    return @bitCast(vector.fma(x, inverse, @as(Vf, @splat(0x1.8p23))));
}

/// `n` vectors of values from `index` on; `at` are those of the first position.
inline fn add(
    comptime rows: usize,
    comptime n: usize,
    at: [*]const u8,
    dim: usize,
    rounded: []const [rows]Rounded,
    all: Range,
    index: usize,
    out: *const [rows][*]f32,
    ahead: *tile.Ahead,
) void {
    var sums: [rows][n]dot.Ints = @splat(@splat(@splat(0)));
    var pair = all.from / stretch * lanes;
    var first = at + 2 * pair * dim;
    while (2 * pair < all.to) : (first += stretch * dim) {
        var of_pair = first;
        // Not unrolled: the compiler would add up several products before they meet the sum, for which it
        // hasn't the registers.
        for (0..lanes) |_| {
            ahead.lines(comptime @max(1, 2 * n * lanes / 64));
            const both = read(n, of_pair, of_pair + lanes * dim);
            inline for (&sums, 0..) |*row, r| inline for (row, both, 0..) |*sum, of, i| {
                const weights: dot.Ints = @splat(rounded[i * lanes / unit][r].pairs[pair]);
                sum.* = dot.wordPairs(sum.*, of, @bitCast(weights));
            };
            of_pair += dim;
            pair += 1;
        }
    }
    inline for (&sums, out, 0..) |*row, of, r| inline for (0..n / 2) |i| {
        const step: Vf = @splat(rounded[2 * i * lanes / unit][r].step);
        inline for (ordered(row[2 * i], row[2 * i + 1]), 0..) |sum, j| {
            const to = of[index + (2 * i + j) * lanes ..][0..lanes];
            to.* = vector.fma(@as(Vf, @floatFromInt(sum)), step, to.*);
        }
    };
}

/// Values of two positions side by side, in the order in which `unpack` leaves them.
inline fn read(comptime n: usize, a: [*]const u8, b: [*]const u8) [n]Words {
    var out: [n]Words = undefined;
    inline for (0..n / 2) |i| {
        const x: Words = vector.read(i8, stretch, a + i * stretch);
        const y: Words = vector.read(i8, stretch, b + i * stretch);
        out[2 * i] = @shuffle(i16, x, y, unpack(0));
        out[2 * i + 1] = @shuffle(i16, x, y, unpack(4));
    }
    return out;
}

/// Words of two vectors by turns, four of each from `from` on in each 128 bits: what one instruction does.
fn unpack(comptime from: i32) [stretch]i32 {
    var mask: [stretch]i32 = undefined;
    for (&mask, 0..) |*of, i| {
        const word = i / 8 * 8 + from + i % 8 / 2;
        of.* = if (i % 2 == 0) word else ~@as(i32, word);
    }
    return mask;
}

/// Sums of both unpacked halves in the order of their values.
fn ordered(low: dot.Ints, high: dot.Ints) [2]dot.Ints {
    const masks = comptime blk: {
        var masks: [2][lanes]i32 = undefined;
        for (0..stretch) |i| {
            const lane: i32 = i / 8 * 4 + i % 4;
            masks[i / lanes][i % lanes] = if (i % 8 < 4) lane else ~lane;
        }
        break :blk masks;
    };
    return .{ @shuffle(i32, low, high, masks[0]), @shuffle(i32, low, high, masks[1]) };
}
