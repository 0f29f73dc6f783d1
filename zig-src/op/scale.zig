//! x *= factor, value by value.

const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "scale";
/// One rounded product: nothing may differ.
pub const tolerance: Tolerance = .{ .relative = 0 };

/// Every length fits.
pub fn check(n: usize) error{Shape}!void {
    _ = n;
}

pub fn reference(x: []f32, factor: f32) void {
    for (x) |*value| value.* *= factor;
}
