//! The passes that touch every logit: the maximum with the check for NaN, and the sum of
//! exponentials. Everything else in the sampler works on the few values that these leave
//! standing, so they are the cost of a step.
//!
//! Both work in blocks of `block_len` values and leave one number per block. The block maxima let
//! a later selection skip whole blocks unread; the block masses let the draw find its block
//! without computing an exponential twice.
//!
//! Arithmetic: 16 lanes whatever the processor has, products and sums kept apart (no fused
//! multiply-add), and sums in an order that the length alone decides. So every CPU variant and
//! every build mode computes the same bits.

const std = @import("std");
const assert = std.debug.assert;

pub const lanes = 16;
pub const block_len = 128;
const F = @Vector(lanes, f32);
const I = @Vector(lanes, i32);
const B = @Vector(lanes, bool);
const F64 = @Vector(lanes, f64);

/// Arguments below this give exactly 0: exp(-87.33) is the smallest normal f32.
pub const exp_min: f32 = -87.33;

pub fn blockCount(len: usize) usize {
    return (len + block_len - 1) / block_len;
}

pub const Scan = struct {
    /// -inf when there is no value above it. Meaningless when `nan` is set.
    max: f32,
    nan: bool,
};

/// The maximum of `values`, and of each block into `block_max`. A NaN anywhere sets `nan`.
pub fn scan(values: []const f32, block_max: []f32) Scan {
    // The hot loop is bounds-checked per vector otherwise. Sound: `block` never leaves
    // `values`, because its end is clamped to the length, and there are enough blocks by the
    // assert, which is checked before safety is given up.
    assert(block_max.len >= blockCount(values.len));
    @setRuntimeSafety(false);
    var top: f32 = -std.math.inf(f32);
    var nan = false;
    var index: usize = 0;
    var start: usize = 0;
    while (start < values.len) : (start += block_len) {
        const block = values[start..@min(start + block_len, values.len)];
        const found = scanBlock(block);
        nan = nan or found.nan;
        top = @max(top, found.max);
        block_max[index] = found.max;
        index += 1;
    }
    return .{ .max = top, .nan = nan };
}

inline fn scanBlock(block: []const f32) Scan {
    @setRuntimeSafety(false); // As in `scan`, into which this is inlined.
    var top: F = @splat(-std.math.inf(f32));
    // Adding leaves NaN in a lane once it has seen one. An infinity of either sign may leave NaN
    // too, so a block under suspicion is looked at again, value by value.
    var sum: F = @splat(0);
    var i: usize = 0;
    while (i + lanes <= block.len) : (i += lanes) {
        const x: F = block[i..][0..lanes].*;
        top = @select(f32, x > top, x, top);
        sum += x - x;
    }
    var max: f32 = @reduce(.Max, top);
    var suspect = @reduce(.Or, sum != sum);
    while (i < block.len) : (i += 1) {
        max = if (block[i] > max) block[i] else max;
        suspect = suspect or block[i] != block[i];
    }
    return .{ .max = max, .nan = suspect and containsNan(block) };
}

fn containsNan(block: []const f32) bool {
    for (block) |x| if (x != x) return true;
    return false;
}

/// Σ exp((x - max) · beta) over `values`, and the same of each block into `block_mass`.
/// `max` must be the maximum of `values`, finite; `beta` must be positive and finite.
pub fn mass(values: []const f32, max: f32, beta: f32, block_mass: []f32) f64 {
    assert(block_mass.len >= blockCount(values.len));
    assert(std.math.isFinite(max));
    assert(beta > 0);
    @setRuntimeSafety(false); // Sound for the reason given in `scan`.
    var total: f64 = 0;
    var index: usize = 0;
    var start: usize = 0;
    while (start < values.len) : (start += block_len) {
        const block = values[start..@min(start + block_len, values.len)];
        const sum = massBlock(block, max, beta);
        block_mass[index] = sum;
        total += sum;
        index += 1;
    }
    return total;
}

inline fn massBlock(block: []const f32, max: f32, beta: f32) f32 {
    @setRuntimeSafety(false); // As in `scan`.
    var sum: F = @splat(0);
    var i: usize = 0;
    while (i + lanes <= block.len) : (i += lanes) {
        const x: F = block[i..][0..lanes].*;
        sum += weights(x, max, beta);
    }
    if (i < block.len) {
        // Lanes beyond the end are filled with -inf, whose weight is exactly 0.
        var tail: [lanes]f32 = @splat(-std.math.inf(f32));
        @memcpy(tail[0 .. block.len - i], block[i..]);
        sum += weights(tail, max, beta);
    }
    return sumLanes(sum);
}

/// A tree, because a strict `@reduce(.Add)` is a chain of 16 dependent additions.
inline fn sumLanes(v: F) f32 {
    const a: [2]@Vector(8, f32) = @bitCast(v);
    const b: [2]@Vector(4, f32) = @bitCast(a[0] + a[1]);
    const c = b[0] + b[1];
    return (c[0] + c[2]) + (c[1] + c[3]);
}

/// The unnormalised probability of each lane: exp((x - max) · beta), at most 1. A value equal to
/// `max` gives exactly 1 and -inf exactly 0.
pub inline fn weights(x: F, max: f32, beta: f32) F {
    return exp((x - @as(F, @splat(max))) * @as(F, @splat(beta)));
}

/// `weights` for one value, with the same bits.
pub fn weight(x: f32, max: f32, beta: f32) f32 {
    return weights(@splat(x), max, beta)[0];
}

/// exp(x) for x <= 0, within 2 units in the last place; 0 below `exp_min`.
///
/// x = n·ln 2 + r with |r| <= ln(2)/2, exp(x) = 2^n · exp(r). exp(r) is the Chebyshev series of
/// exp on that interval cut after degree 6, whose coefficients are modified Bessel functions
/// (2·I_n(ln(2)/2)), collected by powers of r; the error of the rounded polynomial is 2e-8.
inline fn exp(x: F) F {
    const splat = struct {
        inline fn of(comptime c: f32) F {
            return @splat(c);
        }
    }.of;
    const clamped = @select(f32, x > splat(exp_min), x, splat(exp_min));
    // Adding 1.5 · 2^23 leaves the nearest integer in the low bits of the mantissa.
    const magic = splat(0x1.8p23);
    const shifted = clamped * splat(std.math.log2e) + magic;
    const n = shifted - magic;
    // ln 2 in two parts; the first has 16 bits, so that n times it is exact.
    const r = (clamped - n * splat(0.693145751953125)) - n * splat(1.428606820309417e-6);
    var p = splat(0.001394858081809391);
    p = p * r + splat(0.008375128890467475);
    p = p * r + splat(0.04166621827440191);
    p = p * r + splat(0.16666415477235322);
    p = p * r + splat(0.5000000107749384);
    p = p * r + splat(1.0000000377274485);
    p = p * r + splat(1.0);
    // 2^n goes into the exponent field. n >= -126, so the field stays above 0.
    const bits: I = @bitCast(shifted);
    const n_int = bits -% @as(I, @splat(0x4b400000));
    const power: F = @bitCast((n_int +% @as(I, @splat(127))) << @splat(23));
    return @select(f32, x > splat(exp_min), p * power, splat(0));
}

test "exp is within 2 units in the last place, and exact at its ends" {
    var worst: f64 = 0;
    var i: usize = 0;
    while (i <= 200_000) : (i += 1) {
        const x: f32 = -87.32 * @as(f32, @floatFromInt(i)) / 200_000.0;
        const expected = @exp(@as(f64, x));
        const found: f64 = weight(x, 0, 1);
        worst = @max(worst, @abs(found - expected) / expected);
    }
    try std.testing.expect(worst < 2 * 0x1p-23);
    try std.testing.expectEqual(1, weight(3.25, 3.25, 0.7));
    try std.testing.expectEqual(0, weight(-std.math.inf(f32), 3, 2));
    try std.testing.expectEqual(0, weight(-88, 0, 1));
    try std.testing.expectEqual(0, weight(-3.0e38, 3.0e38, 1e30));
    try std.testing.expectEqual(1, weight(5, 5, 1e30));
}

test "scan finds every maximum and every NaN, tails included" {
    var prng: std.Random.DefaultPrng = .init(1);
    const random = prng.random();
    var values: [3 * block_len + 5]f32 = undefined;
    for (1..values.len + 1) |len| {
        for (values[0..len]) |*x| x.* = random.floatNorm(f32);
        const at = random.uintLessThan(usize, len);
        if (len % 3 == 0) values[at] = -std.math.inf(f32);
        var block_max: [4]f32 = undefined;
        const found = scan(values[0..len], &block_max);
        try std.testing.expect(!found.nan);
        try std.testing.expectEqual(std.mem.max(f32, values[0..len]), found.max);
        for (0..blockCount(len)) |b| {
            const block = values[b * block_len .. @min((b + 1) * block_len, len)];
            try std.testing.expectEqual(std.mem.max(f32, block), block_max[b]);
        }
        values[at] = std.math.nan(f32);
        try std.testing.expect(scan(values[0..len], &block_max).nan);
    }
    // Infinities are not NaN, even when both signs meet in one lane.
    @memset(&values, -std.math.inf(f32));
    values[7] = std.math.inf(f32);
    var block_max: [4]f32 = undefined;
    const found = scan(&values, &block_max);
    try std.testing.expect(!found.nan);
    try std.testing.expectEqual(std.math.inf(f32), found.max);
}

test "mass agrees with f64, and its blocks add up" {
    var prng: std.Random.DefaultPrng = .init(2);
    const random = prng.random();
    var values: [1000]f32 = undefined;
    for ([_]usize{ 1, 15, 16, 17, 127, 128, 129, 400, 1000 }) |len| {
        for (values[0..len]) |*x| x.* = random.floatNorm(f32) * 6;
        if (len > 20) values[11] = -std.math.inf(f32);
        const max = std.mem.max(f32, values[0..len]);
        for ([_]f32{ 0.25, 1, 3 }) |beta| {
            var block_mass: [8]f32 = undefined;
            const found = mass(values[0..len], max, beta, &block_mass);
            var expected: f64 = 0;
            for (values[0..len]) |x| expected += @exp((@as(f64, x) - max) * beta);
            try std.testing.expectApproxEqRel(expected, found, 1e-6);
            var sum: f64 = 0;
            for (block_mass[0..blockCount(len)]) |m| sum += m;
            try std.testing.expectEqual(found, sum);
        }
    }
}
