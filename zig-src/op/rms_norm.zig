//! out = x / sqrt(mean(x^2) + eps) * weight: Zhang and Sennrich, "Root mean square layer
//! normalization" (2019). Without a weight it is 1.

const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "rms_norm";
/// The mean of up to some thousand squares, summed in another order: a few parts in 10^6.
pub const tolerance: Tolerance = .{ .relative = 4e-6 };

pub fn check(x: usize, weight: ?usize, out: usize) error{Shape}!void {
    if (x == 0 or out != x) return error.Shape;
    if (weight) |n| if (n != x) return error.Shape;
}

pub fn reference(x: []const f32, weight: ?[]const f32, eps: f32, out: []f32) void {
    var squares: f32 = 0;
    for (x) |value| squares += value * value;
    const factor = 1 / @sqrt(squares / @as(f32, @floatFromInt(x.len)) + eps);
    for (x, out, 0..) |value, *to, i| to.* = value * factor * (if (weight) |w| w[i] else 1);
}
