//! out = (x - mean) / sqrt(variance + eps) * weight + bias: Ba, Kiros and Hinton, "Layer
//! normalization" (2016). Without a weight it is 1, without a bias 0.

const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "layer_norm";
/// As for `rms_norm`; the difference from the mean and the bias can cancel, which the absolute
/// part allows for values of the size of 1.
pub const tolerance: Tolerance = .{ .absolute = 4e-6, .relative = 4e-6 };

pub fn check(x: usize, weight: ?usize, bias: ?usize, out: usize) error{Shape}!void {
    if (x == 0 or out != x) return error.Shape;
    if (weight) |n| if (n != x) return error.Shape;
    if (bias) |n| if (n != x) return error.Shape;
}

pub fn reference(x: []const f32, weight: ?[]const f32, bias: ?[]const f32, eps: f32, out: []f32) void {
    const n: f32 = @floatFromInt(x.len);
    var sum: f32 = 0;
    for (x) |value| sum += value;
    const mean = sum / n;
    var squares: f32 = 0;
    for (x) |value| squares += (value - mean) * (value - mean);
    const factor = 1 / @sqrt(squares / n + eps);
    for (x, out, 0..) |value, *to, i| {
        to.* = (value - mean) * factor * (if (weight) |w| w[i] else 1) + (if (bias) |b| b[i] else 0);
    }
}
