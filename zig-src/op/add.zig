//! a += b, value by value.

const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "add";
/// One rounded addition: nothing may differ.
pub const tolerance: Tolerance = .{ .relative = 0 };

pub fn check(a: usize, b: usize) error{Shape}!void {
    if (a != b) return error.Shape;
}

pub fn reference(a: []f32, b: []const f32) void {
    for (a, b) |*to, value| to.* += value;
}
