//! out = silu(gate) * up, silu(x) = x / (1 + e^-x): the gated MLP of Shazeer, "GLU variants improve
//! transformer" (2020).

const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "silu_mul";
/// exp of the kernels is within 2.5e-7; sum, quotient and product round once each.
pub const tolerance: Tolerance = .{ .absolute = 1e-35, .relative = 1e-6 };

pub fn check(gate: usize, up: usize, out: usize) error{Shape}!void {
    if (gate != up or gate != out) return error.Shape;
}

pub fn reference(gate: []const f32, up: []const f32, out: []f32) void {
    for (gate, up, out) |x, u, *to| to.* = x / (1 + @exp(-x)) * u;
}
