//! What every encoder does with its input: limits, rounding and inverses that are defined for any
//! float at all, so that no value of a tensor can stop a conversion.
//!
//! NaN counts as 0 and everything else is limited to ±65504, the largest f16, because all scales
//! are stored as f16. Within that limit nothing changes.

const std = @import("std");

const limit = std.math.floatMax(f16);

/// A copy of `in` that holds only finite values within the f16 range.
pub fn finite(comptime n: usize, in: *const [n]f32) [n]f32 {
    var out: [n]f32 = undefined;
    for (in, &out) |x, *y| y.* = if (std.math.isNan(x)) 0 else std.math.clamp(x, -limit, limit);
    return out;
}

/// `1 / x`, or 0 where that isn't a finite number.
pub fn inverse(x: f32) f32 {
    const inv = 1 / x;
    return if (std.math.isFinite(inv)) inv else 0;
}

/// The nearest integer (halves away from zero) within [low, high]. NaN gives `low`.
pub fn nearest(x: f32, comptime low: i32, comptime high: i32) i32 {
    if (!(x > low)) return low;
    if (x >= high) return high;
    return @trunc(@round(x));
}

/// `x * inv + bias` cut to an integer within [0, high]. The sum is formed in f64 and then rounded
/// once to f32: what a fused multiply-add gives, on every CPU.
pub fn biased(x: f32, inv: f32, bias: f32, comptime high: u8) u8 {
    const sum: f32 = @floatCast(@as(f64, x) * inv + bias);
    if (!(sum > 0)) return 0;
    if (sum >= high) return high;
    return @trunc(sum);
}

/// Whole steps of `1 / inv` in `x`, rounded half up, within [0, high].
pub fn steps(x: f32, inv: f32, comptime high: u8) u8 {
    const count = x * inv + 0.5;
    if (!(count > 0)) return 0;
    if (count >= high) return high;
    return @trunc(count);
}

/// The value with the largest magnitude, with its sign; the first one where several tie.
pub fn extreme(values: []const f32) f32 {
    var found: f32 = 0;
    for (values) |x| {
        if (@abs(x) > @abs(found)) found = x;
    }
    return found;
}

test "rounding is defined for every float" {
    const expect = std.testing.expectEqual;
    const inf = std.math.inf(f32);
    const nan = std.math.nan(f32);
    try expect([4]f32{ 0, 65504, -65504, 1.5 }, finite(4, &.{ nan, inf, -1e30, 1.5 }));
    try expect(0, inverse(0));
    try expect(0, inverse(1e-45));
    try expect(0.25, inverse(4));
    try expect(-128, nearest(-inf, -128, 127));
    try expect(127, nearest(inf, -128, 127));
    try expect(-128, nearest(nan, -128, 127));
    try expect(3, nearest(2.5, -128, 127));
    try expect(-3, nearest(-2.5, -128, 127));
    try expect(0, biased(nan, 1, 8.5, 15));
    try expect(15, biased(inf, 1, 8.5, 15));
    try expect(8, biased(0, 3, 8.5, 15));
    try expect(0, steps(nan, 1, 31));
    try expect(31, steps(inf, 1, 31));
    try expect(2, steps(1.5, 1, 31));
    try expect(-2, extreme(&.{ 1, -2, 2 }));
}
