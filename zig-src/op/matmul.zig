//! out[t][row] = sum over k of weight[row][k] * x[t][k], the weight in any GGUF format.
//!
//! `reference` is the float product. `rounded` is what int8 precision means: the same sum over
//! activations that were rounded to 8 bits in blocks of 32, whose error against `reference` is that
//! of the rounding: at most half a step, max|x| / 254, a value.

const std = @import("std");
const quant = @import("../quant.zig");
const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "matmul";
/// Relative to the sum of the terms' magnitudes. Sums of some thousand f32 terms in any order stay
/// within a few parts in 10^6 of it.
pub const tolerance: Tolerance = .{ .absolute = 1e-30, .relative = 4e-6 };

pub const block = 32;

pub fn check(format: quant.Format, cols: usize, weight: usize, x: usize) error{ Shape, NotWholeBlocks, Overflow }!void {
    const bytes = try quant.rowBytes(format, cols);
    if (x != cols or bytes == 0 or weight != bytes) return error.Shape;
}

pub const Result = struct {
    value: f32,
    /// Sum of the magnitudes of the terms.
    scale: f32,
};

/// One row times one token; `row` is the decoded weight.
pub fn reference(row: []const f32, x: []const f32) Result {
    var sum: f64 = 0;
    var scale: f64 = 0;
    for (row, x) |w, value| {
        sum += @as(f64, w) * value;
        scale += @abs(@as(f64, w) * value);
    }
    return .{ .value = @floatCast(sum), .scale = @floatCast(scale) };
}

/// The activations that int8 precision multiplies with.
pub fn rounded(x: []const f32, out: []f32) void {
    var at: usize = 0;
    while (at < x.len) : (at += block) {
        const of_block = x[at..@min(at + block, x.len)];
        var largest: f32 = 0;
        for (of_block) |value| largest = @max(largest, @abs(value));
        const step = largest / 127;
        for (of_block, out[at..][0..of_block.len]) |value, *to| {
            to.* = if (step >= std.math.floatMin(f32)) step * roundEven(value * (127 / largest)) else 0;
        }
    }
}

/// To the nearest integer, ties to even.
fn roundEven(x: f32) f32 {
    const floor = @floor(x);
    const rest = x - floor;
    if (rest < 0.5) return floor;
    if (rest > 0.5) return floor + 1;
    return if (@mod(floor, 2) == 0) floor else floor + 1;
}

test "ties round to even" {
    for ([_]f32{ 0.5, 1.5, 2.5, -0.5, -1.5, 2.4, -2.6 }, [_]f32{ 0, 2, 2, 0, -2, 2, -3 }) |x, want| {
        try std.testing.expectEqual(want, roundEven(x));
    }
}

test "rounding moves no value by more than half a step" {
    var x: [70]f32 = undefined;
    for (&x, 0..) |*value, i| value.* = @sin(@as(f32, @floatFromInt(i * i)));
    var out: [70]f32 = undefined;
    rounded(&x, &out);
    for (x, out) |a, b| try std.testing.expect(@abs(a - b) <= 1.0 / 254.0 + 1e-6);
}
