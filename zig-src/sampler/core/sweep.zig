//! The passes that touch every logit: the maximum with the check for NaN (`maxima.zig`), the sum of exponentials,
//! and for stages that ask for them the mean of the exponents, the moments of the logits and counts.
//! Everything else in the sampler works on the few values that these leave standing, so they are
//! the cost of a step.
//!
//! All work in blocks of `block_len` values and leave one number per block. The block maxima let
//! a later selection skip whole blocks unread; the block masses let the draw find its block
//! without computing an exponential twice.
//!
//! Arithmetic: 16 lanes whatever the processor has, products and sums kept apart (no fused
//! multiply-add), and sums in an order that the length alone decides. So every CPU variant and
//! every build mode computes the same bits, and `Passes` may come from any of them: this file is
//! compiled with the sampler and with each CPU variant of the kernels.

const std = @import("std");
const counts = @import("counts.zig");
const gather_file = @import("gather.zig");
const half_file = @import("half.zig");
const maxima = @import("maxima.zig");
const assert = std.debug.assert;

pub const lanes = 16;
pub const block_len = 128;
const F = @Vector(lanes, f32);
const I = @Vector(lanes, i32);
const D = @Vector(lanes, f64);

pub fn blockCount(len: usize) usize {
    return (len + block_len - 1) / block_len;
}

pub const Scan = maxima.Scan;
pub const scan = maxima.scan;
pub const scanHalf = maxima.scanHalf;

/// The passes as functions of one compilation of this file.
pub const Passes = extern struct {
    scan_row: *const fn (values: [*]const f32, len: usize, block_max: [*]f32, found: *Scan) callconv(.c) void,
    mass_row: *const fn (values: [*]const f32, len: usize, max: f32, beta: f32, block_mass: [*]f32) callconv(.c) f64,
    mass_half_row: *const fn (bits: [*]align(1) const u16, len: usize, max: f32, beta: f32, block_mass: [*]f32) callconv(.c) f64,
    exponents_row: *const fn (values: [*]const f32, len: usize, max: f32, beta: f32) callconv(.c) f64,
    spread_row: *const fn (values: [*]const f32, len: usize, origin: f32, found: *Spread) callconv(.c) void,
    count_row: *const fn (values: [*]const f32, len: usize, bound: f32) callconv(.c) usize,
    lowest_row: *const fn (values: [*]const f32, len: usize) callconv(.c) f32,
    half_row: *const fn (bits: [*]align(1) const u16, len: usize, values: [*]f32, block_max: [*]f32, found: *Scan) callconv(.c) void,
    moments_row: *const fn (values: [*]const f32, len: usize, max: f32, beta: f32, block_mass: [*]f32, found: *Moments) callconv(.c) void,
    bound_row: *const fn (values: [*]const f32, len: usize, range: *const counts.Range) callconv(.c) f32,
    gather_row: *const fn (move: *const gather_file.Move) callconv(.c) usize,
    weights_row: *const fn (values: [*]const f32, len: usize, max: f32, beta: f32, out: [*]f32) callconv(.c) void,
    rank_row: *const fn (few: *const gather_file.Few) callconv(.c) void,

    /// Those of the compilation that this name is used in.
    pub const compiled: Passes = .{
        .scan_row = maxima.scanRow,
        .mass_row = massRow,
        .mass_half_row = massHalfRow,
        .exponents_row = exponentsRow,
        .spread_row = spreadRow,
        .half_row = maxima.halfRow,
        .moments_row = momentsRow,
        .count_row = counts.countRow,
        .lowest_row = counts.lowestRow,
        .bound_row = counts.boundRow,
        .gather_row = gather_file.gatherRow,
        .weights_row = weightsRow,
        .rank_row = gather_file.rankRow,
    };

    /// As the function `scan`.
    pub fn scan(passes: Passes, values: []const f32, block_max: []f32) Scan {
        assert(block_max.len >= blockCount(values.len));
        var found: Scan = undefined;
        passes.scan_row(values.ptr, values.len, block_max.ptr, &found);
        return found;
    }

    /// As the function `scanHalf`.
    pub fn scanHalf(passes: Passes, bits: []align(1) const u16, values: []f32, block_max: []f32) Scan {
        assert(values.len == bits.len);
        assert(block_max.len >= blockCount(values.len));
        var found: Scan = undefined;
        passes.half_row(bits.ptr, bits.len, values.ptr, block_max.ptr, &found);
        return found;
    }

    /// As the function `mass`.
    pub fn mass(passes: Passes, values: []const f32, max: f32, beta: f32, block_mass: []f32) f64 {
        assert(block_mass.len >= blockCount(values.len));
        assert(std.math.isFinite(max));
        assert(beta > 0);
        return passes.mass_row(values.ptr, values.len, max, beta, block_mass.ptr);
    }

    /// As the function `massHalf`.
    pub fn massHalf(passes: Passes, bits: []align(1) const u16, max: f32, beta: f32, block_mass: []f32) f64 {
        assert(block_mass.len >= blockCount(bits.len));
        assert(std.math.isFinite(max));
        assert(beta > 0);
        return passes.mass_half_row(bits.ptr, bits.len, max, beta, block_mass.ptr);
    }

    /// As the function `exponents`.
    pub fn exponents(passes: Passes, values: []const f32, max: f32, beta: f32) f64 {
        assert(std.math.isFinite(max));
        assert(beta > 0);
        return passes.exponents_row(values.ptr, values.len, max, beta);
    }

    /// As the functions `mass` and `exponents`, in one pass.
    pub fn moments(passes: Passes, values: []const f32, max: f32, beta: f32, block_mass: []f32) Moments {
        assert(block_mass.len >= blockCount(values.len));
        assert(std.math.isFinite(max));
        assert(beta > 0);
        var found: Moments = undefined;
        passes.moments_row(values.ptr, values.len, max, beta, block_mass.ptr, &found);
        return found;
    }

    /// As the function `spread`.
    pub fn spread(passes: Passes, values: []const f32, origin: f32) Spread {
        assert(std.math.isFinite(origin));
        var found: Spread = undefined;
        passes.spread_row(values.ptr, values.len, origin, &found);
        return found;
    }

    /// As the function `countFrom` of `counts.zig`.
    pub fn countFrom(passes: Passes, values: []const f32, bound_: f32) usize {
        return passes.count_row(values.ptr, values.len, bound_);
    }

    /// As the function `lowestFinite` of `counts.zig`.
    pub fn lowestFinite(passes: Passes, values: []const f32) f32 {
        return passes.lowest_row(values.ptr, values.len);
    }

    /// As the function `boundOf` of `counts.zig`.
    pub fn boundOf(passes: Passes, values: []const f32, range: counts.Range) f32 {
        return passes.bound_row(values.ptr, values.len, &range);
    }

    /// As the function `gatherRow` of `gather.zig`.
    pub fn gather(passes: Passes, move: gather_file.Move) usize {
        assert(!std.math.isNan(move.bound));
        assert(move.bound > -std.math.inf(f32));
        return passes.gather_row(&move);
    }

    /// The weight of each value, as `weights` gives it.
    pub fn weightsOf(passes: Passes, values: []const f32, max: f32, beta: f32, out: []f32) void {
        assert(out.len >= values.len);
        passes.weights_row(values.ptr, values.len, max, beta, out.ptr);
    }

    /// As the function `rankRow` of `gather.zig`.
    pub fn rank(passes: Passes, few: gather_file.Few) void {
        assert(few.len <= gather_file.rank_max);
        passes.rank_row(&few);
    }
};

/// What `mass` and `exponents` give.
pub const Moments = extern struct { mass: f64, exponents: f64 };

/// The finite values: how many, and the sums of their distances from an origin and of the squares.
pub const Spread = extern struct {
    count: f64,
    sum: f64,
    squares: f64,
};

fn momentsRow(values: [*]const f32, len: usize, max: f32, beta: f32, block_mass: [*]f32, found: *Moments) callconv(.c) void {
    found.* = moments(values[0..len], max, beta, block_mass[0..blockCount(len)]);
}

fn massRow(values: [*]const f32, len: usize, max: f32, beta: f32, block_mass: [*]f32) callconv(.c) f64 {
    return mass(values[0..len], max, beta, block_mass[0..blockCount(len)]);
}

fn weightsRow(values: [*]const f32, len: usize, max: f32, beta: f32, out: [*]f32) callconv(.c) void {
    var i: usize = 0;
    while (i < len) : (i += lanes) {
        const there = @min(lanes, len - i);
        const w: [lanes]f32 = weights(loadPadded(values[i..][0..there]), max, beta);
        if (there == lanes) out[i..][0..lanes].* = w else @memcpy(out[i..][0..there], w[0..there]);
    }
}

fn massHalfRow(bits: [*]align(1) const u16, len: usize, max: f32, beta: f32, block_mass: [*]f32) callconv(.c) f64 {
    return massHalf(bits[0..len], max, beta, block_mass[0..blockCount(len)]);
}

fn exponentsRow(values: [*]const f32, len: usize, max: f32, beta: f32) callconv(.c) f64 {
    return exponents(values[0..len], max, beta);
}

fn spreadRow(values: [*]const f32, len: usize, origin: f32, found: *Spread) callconv(.c) void {
    found.* = spread(values[0..len], origin);
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
    while (start + block_len <= values.len) : (start += block_len) {
        const sum = massOf(values[start..][0..block_len], max, beta);
        block_mass[index] = sum;
        total += sum;
        index += 1;
    }
    if (start < values.len) {
        // Lanes beyond the end are filled with -inf, whose weight is exactly 0.
        var tail: [block_len]f32 = @splat(-std.math.inf(f32));
        @memcpy(tail[0 .. values.len - start], values[start..]);
        block_mass[index] = massOf(&tail, max, beta);
        total += block_mass[index];
    }
    return total;
}

/// The same of a row in 16 bits, with the bits that its values have.
pub fn massHalf(bits: []align(1) const u16, max: f32, beta: f32, block_mass: []f32) f64 {
    assert(block_mass.len >= blockCount(bits.len));
    assert(std.math.isFinite(max));
    assert(beta > 0);
    @setRuntimeSafety(false); // Sound for the reason given in `scan`.
    var total: f64 = 0;
    var index: usize = 0;
    var start: usize = 0;
    while (start < bits.len) : (start += block_len) {
        var block: [block_len]f32 = undefined;
        if (start + block_len <= bits.len) {
            inline for (0..block_len / lanes) |i| block[i * lanes ..][0..lanes].* = half_file.widenLanes(bits[start + i * lanes ..][0..lanes].*);
        } else {
            block = @splat(-std.math.inf(f32));
            half_file.widen(bits[start..], block[0 .. bits.len - start]);
        }
        block_mass[index] = massOf(&block, max, beta);
        total += block_mass[index];
        index += 1;
    }
    return total;
}

inline fn massOf(block: *const [block_len]f32, max: f32, beta: f32) f32 {
    var sum: F = @splat(0);
    inline for (0..block_len / lanes) |i| {
        const x: F = block[i * lanes ..][0..lanes].*;
        sum += weights(x, max, beta);
    }
    return sumLanes(sum);
}

/// Σ w · ln w with w = exp((x - max) · beta) over `values`: the sum of the exponents, each with its
/// weight. Where a weight is 0, so is its product. Takes the same arguments as `mass`.
pub fn exponents(values: []const f32, max: f32, beta: f32) f64 {
    assert(std.math.isFinite(max));
    assert(beta > 0);
    @setRuntimeSafety(false); // Sound for the reason given in `scan`.
    var total: f64 = 0;
    var start: usize = 0;
    while (start + block_len <= values.len) : (start += block_len) {
        total += exponentsOf(values[start..][0..block_len], max, beta);
    }
    if (start < values.len) {
        var tail: [block_len]f32 = @splat(-std.math.inf(f32));
        @memcpy(tail[0 .. values.len - start], values[start..]);
        total += exponentsOf(&tail, max, beta);
    }
    return total;
}

inline fn exponentsOf(block: *const [block_len]f32, max: f32, beta: f32) f32 {
    const zero: F = @splat(0);
    var sum: F = zero;
    inline for (0..block_len / lanes) |i| {
        const x: F = block[i * lanes ..][0..lanes].*;
        const w = weights(x, max, beta);
        const exponent = (x - @as(F, @splat(max))) * @as(F, @splat(beta));
        // A distance of infinity times a weight of 0 is no number.
        sum += @select(f32, w > zero, w * @select(f32, w > zero, exponent, zero), zero);
    }
    return sumLanes(sum);
}

/// What `mass` and `exponents` give, with the same bits, from one pass.
pub fn moments(values: []const f32, max: f32, beta: f32, block_mass: []f32) Moments {
    assert(block_mass.len >= blockCount(values.len));
    assert(std.math.isFinite(max));
    assert(beta > 0);
    @setRuntimeSafety(false); // Sound for the reason given in `scan`.
    var total: Moments = .{ .mass = 0, .exponents = 0 };
    var index: usize = 0;
    var start: usize = 0;
    while (start < values.len) : (start += block_len) {
        var tail: [block_len]f32 = undefined;
        const block = if (start + block_len <= values.len) values[start..][0..block_len] else rest: {
            tail = @splat(-std.math.inf(f32));
            @memcpy(tail[0 .. values.len - start], values[start..]);
            break :rest &tail;
        };
        // The exponentials of the two are computed once.
        const sum = massOf(block, max, beta);
        total.exponents += exponentsOf(block, max, beta);
        total.mass += sum;
        block_mass[index] = sum;
        index += 1;
    }
    return total;
}

/// Counts the finite values and sums their distances from `origin` and the squares of these, in
/// f64, in which no square of a difference of floats overflows.
pub fn spread(values: []const f32, origin: f32) Spread {
    @setRuntimeSafety(false); // Sound: no vector reaches beyond the values.
    var sums: WideSpread = .{};
    var i: usize = 0;
    while (i + lanes <= values.len) : (i += lanes) sums.add(values[i..][0..lanes].*, origin);
    if (i < values.len) {
        var tail: [lanes]f32 = @splat(-std.math.inf(f32));
        @memcpy(tail[0 .. values.len - i], values[i..]);
        sums.add(tail, origin);
    }
    return .{ .count = sumWide(sums.count), .sum = sumWide(sums.sum), .squares = sumWide(sums.squares) };
}

const WideSpread = struct {
    count: D = @splat(0),
    sum: D = @splat(0),
    squares: D = @splat(0),

    inline fn add(sums: *WideSpread, x: F, origin: f32) void {
        const is_finite = x > @as(F, @splat(-std.math.inf(f32)));
        const zero: D = @splat(0);
        const distance = @select(f64, is_finite, @as(D, @floatCast(x)) - @as(D, @splat(origin)), zero);
        sums.count += @select(f64, is_finite, @as(D, @splat(1)), zero);
        sums.sum += distance;
        sums.squares += distance * distance;
    }
};

/// The first values, behind the last of which there are lanes of -inf.
pub inline fn loadPadded(values: []const f32) F {
    if (values.len >= lanes) return values[0..lanes].*;
    var padded: [lanes]f32 = @splat(-std.math.inf(f32));
    @memcpy(padded[0..values.len], values);
    return padded;
}

fn sumWide(v: D) f64 {
    const each: [lanes]f64 = v;
    var total: f64 = 0;
    for (each) |x| total += x;
    return total;
}

/// A tree, because a strict `@reduce(.Add)` is a chain of 16 dependent additions.
inline fn sumLanes(v: F) f32 {
    const a = halfOf(0, v) + halfOf(1, v);
    const b = halfOf(0, a) + halfOf(1, a);
    const c = halfOf(0, b) + halfOf(1, b);
    return c[0] + c[1];
}

pub inline fn halfOf(comptime which: usize, v: anytype) @Vector(@typeInfo(@TypeOf(v)).vector.len / 2, f32) {
    const half = @typeInfo(@TypeOf(v)).vector.len / 2;
    return @shuffle(f32, v, undefined, std.simd.iota(i32, half) + @as(@Vector(half, i32), @splat(which * half)));
}

/// The unnormalised probability of each lane: exp((x - max) · beta), at most 1. A value equal to
/// `max` gives exactly 1, and one whose weight is below the smallest normal f32 exactly 0.
///
/// With t = (x - max) · (beta · log2 e), the result is 2^n · 2^f, where n is t rounded and f the
/// exact rest. 2^f = 1 + f·q(f); q interpolates (2^f - 1)/f at the Chebyshev nodes of its
/// interval, with an error of 9e-9. The rounding of t makes the error of a weight 1.2e-7 times
/// 1 + |t|, so it is smallest where the weights are largest.
pub inline fn weights(x: F, max: f32, beta: f32) F {
    const splat = struct {
        inline fn of(value: f32) F {
            return @splat(value);
        }
    }.of;
    const t = (x - splat(max)) * splat(beta * @as(f32, std.math.log2e));
    const is_normal = t > splat(exponent_min);
    // Adding 1.5 · 2^23 leaves the nearest integer in the low bits of the mantissa. What comes
    // out for values far below is not used.
    const shifted = t + splat(0x1.8p23);
    const f = t - (shifted - splat(0x1.8p23));
    var p = splat(0.00015453163359779865);
    p = p * f + splat(0.0013390863314270973);
    p = p * f + splat(0.009618083015084267);
    p = p * f + splat(0.055503569543361664);
    p = p * f + splat(0.24022650718688965);
    p = p * f + splat(0.6931471824645996);
    p = p * f + splat(1.0);
    // Adding n to the exponent of p multiplies it by 2^n, exactly: p is at least 0.7 and n at
    // least -126. The shift drops the bits of 1.5 · 2^23 that stand above n.
    const n: I = @bitCast(shifted);
    const product: F = @bitCast(@as(I, @bitCast(p)) +% (n << @splat(23)));
    return @select(f32, is_normal, product, splat(0));
}

/// As `weights`, in f64: for stages that look at small differences of probabilities. Of values so far below
/// that the weight is under 2^-1000 it is 0.
///
/// 2^f = e^(f ln 2) by its Taylor polynomial of degree 13, which for |f| ≤ 1/2 is off by less than 5e-18.
pub inline fn weightsWide(x: F, max: f32, beta: f32) D {
    const splat = struct {
        inline fn of(value: f64) D {
            return @splat(value);
        }
    }.of;
    const t = (@as(D, @floatCast(x)) - splat(max)) * splat(@as(f64, beta) * std.math.log2e);
    const is_normal = t > splat(-1000);
    // As in `weights`, with the 52 bits of f64.
    const shifted = t + splat(0x1.8p52);
    const y = (t - (shifted - splat(0x1.8p52))) * splat(std.math.ln2);
    var p = splat(1.0 / 6227020800.0);
    inline for (.{ 479001600.0, 39916800.0, 3628800.0, 362880.0, 40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0 }) |factorial| {
        p = p * y + splat(1.0 / factorial);
    }
    const n: @Vector(lanes, i64) = @bitCast(shifted);
    const product: D = @bitCast(@as(@Vector(lanes, i64), @bitCast(p)) +% (n << @splat(52)));
    return @select(f64, is_normal, product, splat(0));
}

/// The lowest exponent of a normal f32.
const exponent_min: f32 = -126;

/// `weights` for one value, with the same bits.
pub fn weight(x: f32, max: f32, beta: f32) f32 {
    return weights(@splat(x), max, beta)[0];
}

test "weights are within their bound, and exact at their ends" {
    var i: usize = 0;
    while (i <= 200_000) : (i += 1) {
        const x: f32 = -87.3 * @as(f32, @floatFromInt(i)) / 200_000.0;
        const expected = @exp(@as(f64, x));
        const found: f64 = weight(x, 0, 1);
        const bound = 0x1p-23 * (1 + @abs(@as(f64, x)) * std.math.log2e);
        try std.testing.expect(@abs(found - expected) <= bound * expected);
    }
    try std.testing.expectEqual(1, weight(3.25, 3.25, 0.7));
    try std.testing.expectEqual(0, weight(-std.math.inf(f32), 3, 2));
    try std.testing.expectEqual(0, weight(-88, 0, 1));
    try std.testing.expectEqual(0, weight(-3.0e38, 3.0e38, 1e30));
    try std.testing.expectEqual(1, weight(5, 5, 1e30));
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

test "exponents and spread agree with f64 over the finite values" {
    var prng: std.Random.DefaultPrng = .init(4);
    const random = prng.random();
    var values: [1000]f32 = undefined;
    for ([_]usize{ 1, 15, 16, 127, 129, 1000 }) |len| {
        for (values[0..len]) |*x| x.* = random.floatNorm(f32) * 6 - 20;
        if (len > 20) values[11] = -std.math.inf(f32);
        const max = std.mem.max(f32, values[0..len]);
        for ([_]f32{ 0.25, 1, 3 }) |beta| {
            var expected: f64 = 0;
            for (values[0..len]) |x| {
                const t = (@as(f64, x) - max) * beta;
                if (t > -80) expected += @exp(t) * t;
            }
            try std.testing.expectApproxEqRel(expected, exponents(values[0..len], max, beta), 2e-6);
            var block_mass: [2][8]f32 = undefined;
            const both = moments(values[0..len], max, beta, &block_mass[0]);
            try std.testing.expectEqual(exponents(values[0..len], max, beta), both.exponents);
            try std.testing.expectEqual(mass(values[0..len], max, beta, &block_mass[1]), both.mass);
            const blocks = blockCount(len);
            try std.testing.expectEqualSlices(f32, block_mass[1][0..blocks], block_mass[0][0..blocks]);
        }
        var want: Spread = .{ .count = 0, .sum = 0, .squares = 0 };
        for (values[0..len]) |x| {
            if (x == -std.math.inf(f32)) continue;
            const distance = @as(f64, x) - max;
            want.count += 1;
            want.sum += distance;
            want.squares += distance * distance;
        }
        const found = spread(values[0..len], max);
        try std.testing.expectEqual(want.count, found.count);
        try std.testing.expectApproxEqRel(want.sum, found.sum, 1e-12);
        try std.testing.expectApproxEqRel(want.squares, found.squares, 1e-12);
    }
    // Far below the best a weight is 0, and its product with any distance too.
    try std.testing.expectEqual(0, exponents(&.{ 0, -3e38, -std.math.inf(f32) }, 0, 3));
    try std.testing.expectApproxEqRel(1e76, spread(&.{ 0, -1e38 }, 0).squares, 1e-6);
}

test "weights in f64 are those of exp" {
    var prng: std.Random.DefaultPrng = .init(6);
    for (0..2000) |_| {
        var x: [lanes]f32 = undefined;
        for (&x) |*each| each.* = 7 - 40 * prng.random().float(f32);
        x[0] = 7;
        x[1] = -std.math.inf(f32);
        x[2] = -3e38;
        const found: [lanes]f64 = weightsWide(x, 7, 1.25);
        for (found, x) |w, each| try std.testing.expectApproxEqRel(@exp((@as(f64, each) - 7) * 1.25), w, 3e-14);
        try std.testing.expectEqual(1, found[0]);
        try std.testing.expectEqual(0, found[1]);
        try std.testing.expectEqual(0, found[2]);
    }
}
