//! Vectors and the few functions on them that all kernels share: fused multiply-add where the
//! processor has it, conversions from and to 16-bit floats, and exp and tanh.
//!
//! `exp` has a relative error below 2.5e-7 (two units in the last place) between -87.3 and 88.3,
//! is 0 below and infinite above. `tanh` has an absolute error below 2e-7 and a
//! relative error below 1e-6. Both hand on NaN. The tests below measure them against f64.

const std = @import("std");
const builtin = @import("builtin");
const denormals = @import("denormals.zig");
const f8 = @import("f8.zig");
const KvFormat = @import("table.zig").KvFormat;

/// f32 values in a vector register, 16 at most: a panel has 16 rows.
pub const lanes = @min(16, std.simd.suggestVectorLength(f32) orelse 4);

pub const Vf = @Vector(lanes, f32);

const is_x86 = builtin.cpu.arch.isX86();
pub const has_fma = !is_x86 or builtin.cpu.has(.x86, .fma);
const has_f16 = !is_x86 or builtin.cpu.has(.x86, .f16c);

pub fn V(comptime n: usize, comptime T: type) type {
    return @Vector(n, T);
}

fn Len(comptime T: type) comptime_int {
    return @typeInfo(T).vector.len;
}

/// a * b + c, rounded once where the processor can. Without such an instruction `@mulAdd` would
/// be a library call for each element.
pub fn fma(a: anytype, b: @TypeOf(a), c: @TypeOf(a)) @TypeOf(a) {
    return if (has_fma) @mulAdd(@TypeOf(a), a, b, c) else a * b + c;
}

pub fn splat(comptime T: type, x: @typeInfo(T).vector.child) T {
    return @splat(x);
}

/// Exact.
pub fn fromF16(comptime n: usize, half: @Vector(n, u16)) @Vector(n, f32) {
    if (has_f16) return @floatCast(@as(@Vector(n, f16), @bitCast(half)));
    const U = @Vector(n, u32);
    const wide: U = half;
    const magnitude = wide & splat(U, 0x7fff);
    const shifted = magnitude << @splat(13);
    // Exponents of an f32 count from 112 further down.
    const normal = shifted + splat(U, 112 << 23);
    // A subnormal is the fraction of 2^-14, to which it is added and which goes again: its bits alone would
    // be those of a subnormal f32, which is zero for the engine's threads.
    const F = @Vector(n, f32);
    const subnormal: U = @bitCast(@as(F, @bitCast(shifted + splat(U, 113 << 23))) - splat(F, 0x1p-14));
    const finite = @select(u32, magnitude < splat(U, 0x400), subnormal, normal);
    const bits = @select(u32, magnitude >= splat(U, 0x7c00), shifted | splat(U, 0x7f800000), finite);
    return @bitCast(bits | (wide & splat(U, 0x8000)) << @splat(16));
}

/// Exact.
pub fn fromBf16(comptime n: usize, half: @Vector(n, u16)) @Vector(n, f32) {
    return @bitCast(@as(@Vector(n, u32), half) << @splat(16));
}

/// Rounds to nearest even; too large becomes infinite.
pub fn toF16(comptime n: usize, x: @Vector(n, f32)) @Vector(n, u16) {
    return @bitCast(@as(@Vector(n, f16), @floatCast(x)));
}

/// Rounds to nearest even; NaN stays NaN.
pub fn toBf16(comptime n: usize, x: @Vector(n, f32)) @Vector(n, u16) {
    const U = @Vector(n, u32);
    const bits: U = @bitCast(x);
    const odd = bits >> @splat(16) & splat(U, 1);
    const rounded = (bits +% splat(U, 0x7fff) +% odd) >> @splat(16);
    const quiet = bits >> @splat(16) | splat(U, 0x40);
    return @truncate(@select(u32, x == x, rounded, quiet));
}

/// Reads n values of a cache or weight format at any address; of q8_0 and int8 the integers.
pub fn load(comptime format: KvFormat, comptime n: usize, at: [*]const u8) @Vector(n, f32) {
    const values = loadSteps(format, n, at);
    return if (comptime step(format) == 1) values else values * splat(@Vector(n, f32), step(format));
}

/// What the values of `loadSteps` count: a power of two.
pub fn step(comptime format: KvFormat) f32 {
    return if (format == .f8_e4m3) f8.step(.e4m3) else 1;
}

/// `load` without the factor `step`.
pub inline fn loadSteps(comptime format: KvFormat, comptime n: usize, at: [*]const u8) @Vector(n, f32) {
    if (comptime format.scaled()) return @floatFromInt(read(i8, n, at));
    return switch (format) {
        .f32 => read(f32, n, at),
        .f16 => fromF16(n, read(u16, n, at)),
        .bf16 => fromBf16(n, read(u16, n, at)),
        .f8_e4m3 => f8.steps(.e4m3, n, read(u8, n, at)),
        .f8_e5m2 => f8.steps(.e5m2, n, read(u8, n, at)),
        else => comptime unreachable,
    };
}

/// How many values are best read together: bytes are converted as 16-bit numbers first, which fill a
/// register when there are two vectors of them.
pub fn together(comptime format: KvFormat) usize {
    return if (format == .f8_e4m3 or format == .f8_e5m2) 2 else 1;
}

/// n numbers at any address, in one load: an array of bytes would be taken apart.
pub fn read(comptime T: type, comptime n: usize, at: [*]const u8) @Vector(n, T) {
    return @as(*align(1) const @Vector(n, T), @ptrCast(at)).*;
}

const exp_min = -87.3;
const exp_max = 88.3;

/// The integer n and the remainder r of x = n * ln 2 + r, and exp(r) - 1 by its series: |r| is at
/// most 0.35, so that the first term left out is below 6e-9.
fn reduce(x: anytype) struct { n: @Vector(Len(@TypeOf(x)), i32), p: @TypeOf(x) } {
    const F = @TypeOf(x);
    const I = @Vector(Len(F), i32);
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const magic = splat(F, 12582912);
    const rounded = fma(x, splat(F, std.math.log2e), magic);
    const n = @as(I, @bitCast(rounded)) -% splat(I, @bitCast(@as(f32, 12582912)));
    const whole = rounded - magic;
    // ln 2 in two parts, the first with trailing zeros, so that whole * high is exact.
    const high = fma(whole, splat(F, -0.693359375), x);
    const r = fma(whole, splat(F, 2.12194440e-4), high);
    var q = splat(F, 1.0 / 5040.0);
    inline for (.{ 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5 }) |c| q = fma(q, r, splat(F, c));
    return .{ .n = n, .p = fma(q * r, r, r) };
}

fn power(comptime F: type, n: @Vector(Len(F), i32)) F {
    const I = @Vector(Len(F), i32);
    return @bitCast((n +% splat(I, 127)) << @splat(23));
}

/// e^x; see the head of the file for its error.
pub fn exp(x: anytype) @TypeOf(x) {
    const F = @TypeOf(x);
    const top = splat(F, exp_max);
    const bottom = splat(F, exp_min);
    // Comparisons that NaN fails leave it in place.
    const limited = @select(f32, x > top, top, @select(f32, x < bottom, bottom, x));
    const part = reduce(limited);
    const two_n = power(F, part.n);
    const inside = fma(part.p, two_n, two_n);
    const above = @select(f32, x > top, splat(F, std.math.inf(f32)), inside);
    return @select(f32, x < bottom, splat(F, 0), above);
}

/// The same for what is at most 0, or NaN.
pub fn expNegative(x: anytype) @TypeOf(x) {
    const F = @TypeOf(x);
    const bottom = splat(F, exp_min);
    const part = reduce(@select(f32, x < bottom, bottom, x));
    const two_n = power(F, part.n);
    return @select(f32, x < bottom, splat(F, 0), fma(part.p, two_n, two_n));
}

/// tanh(x) = m / (m + 2) with m = e^2x - 1, where m doesn't cancel for small x.
pub fn tanh(x: anytype) @TypeOf(x) {
    const F = @TypeOf(x);
    const top = splat(F, 10);
    // From 10 on the result is 1 in f32.
    const limited = @select(f32, x > top, top, @select(f32, x < -top, -top, x));
    const part = reduce(limited + limited);
    const two_n = power(F, part.n);
    const m = fma(part.p, two_n, two_n - splat(F, 1));
    return m / (m + splat(F, 2));
}

test "exp and tanh against f64" {
    var worst_exp: f64 = 0;
    var worst_tanh: f64 = 0;
    var worst_relative: f64 = 0;
    var x: f32 = -87.2;
    while (x < 88.2) : (x += 0.00713) {
        const got: f64 = exp(splat(Vf, x))[0];
        const want = @exp(@as(f64, x));
        worst_exp = @max(worst_exp, @abs(got - want) / want);
        if (x <= 0) try std.testing.expectEqual(exp(splat(Vf, x)), expNegative(splat(Vf, x)));
        const t: f64 = tanh(splat(Vf, x / 8))[0];
        const t_want = std.math.tanh(@as(f64, x / 8));
        worst_tanh = @max(worst_tanh, @abs(t - t_want));
        worst_relative = @max(worst_relative, @abs((t - t_want) / t_want));
    }
    errdefer std.debug.print("exp {e} tanh {e} {e}\n", .{ worst_exp, worst_tanh, worst_relative });
    try std.testing.expect(worst_exp < 2.5e-7);
    try std.testing.expect(worst_tanh < 2e-7);
    try std.testing.expect(worst_relative < 1e-6);
    try std.testing.expectEqual(0, exp(splat(Vf, -std.math.inf(f32)))[0]);
    try std.testing.expectEqual(0, expNegative(splat(Vf, -std.math.inf(f32)))[0]);
    try std.testing.expect(std.math.isNan(expNegative(splat(Vf, std.math.nan(f32)))[0]));
    try std.testing.expectEqual(1, exp(splat(Vf, 0))[0]);
    try std.testing.expectEqual(std.math.inf(f32), exp(splat(Vf, 1000))[0]);
    try std.testing.expect(std.math.isNan(exp(splat(Vf, std.math.nan(f32)))[0]));
    try std.testing.expectEqual(1, tanh(splat(Vf, std.math.inf(f32)))[0]);
    try std.testing.expect(std.math.isNan(tanh(splat(Vf, std.math.nan(f32)))[0]));
    try std.testing.expectEqual(1e-12, tanh(splat(Vf, 1e-12))[0]);
}

test "16-bit floats, every pattern" {
    const mode = denormals.flush();
    defer denormals.restore(mode);
    for (0..65536) |i| {
        const bits: u16 = @intCast(i);
        const want: f32 = @as(f16, @bitCast(bits));
        const got = fromF16(4, @splat(bits))[0];
        if (std.math.isNan(want)) {
            try std.testing.expect(std.math.isNan(got));
        } else {
            try std.testing.expectEqual(@as(u32, @bitCast(want)), @as(u32, @bitCast(got)));
            try std.testing.expectEqual(bits, toF16(4, @splat(got))[0]);
        }
        const brain = fromBf16(4, @splat(bits));
        if (!std.math.isNan(brain[0])) try std.testing.expectEqual(bits, toBf16(4, brain)[0]);
    }
    try std.testing.expect(std.math.isNan(fromBf16(4, toBf16(4, @splat(std.math.nan(f32))))[0]));
    try std.testing.expectEqual(1.0, fromBf16(4, toBf16(4, @splat(1.00390625)))[0]);
}

test {
    _ = f8;
}
