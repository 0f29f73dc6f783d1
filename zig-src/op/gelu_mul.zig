//! out = gelu(gate) * up with gelu(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): Hendrycks and
//! Gimpel, "Gaussian error linear units" (2016), in the form that Gemma uses.

const std = @import("std");
const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "gelu_mul";
/// 1 + tanh cancels for negative x, where tanh's absolute error of 2e-7 counts; the products are
/// below 2^5 in the tests.
pub const tolerance: Tolerance = .{ .absolute = 2e-5, .relative = 2e-6 };

pub fn check(gate: usize, up: usize, out: usize) error{Shape}!void {
    if (gate != up or gate != out) return error.Shape;
}

pub fn reference(gate: []const f32, up: []const f32, out: []f32) void {
    for (gate, up, out) |x, u, *to| {
        const inner = 0.7978845608028654 * (x + 0.044715 * x * x * x);
        to.* = 0.5 * x * (1 + std.math.tanh(inner)) * u;
    }
}
