//! Rotates pairs of the first `rot_dim` values of each head, in place: Su and others, "RoFormer"
//! (2021). Style 0 pairs neighbours, style 1 (GPT-NeoX) pairs i with i + rot_dim / 2. Angles come
//! as [rot_dim / 2][2] cosines and sines.

const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "rope";
/// Two products and a sum, rounded separately or fused; values of the size of 1 may cancel.
pub const tolerance: Tolerance = .{ .absolute = 1e-6, .relative = 1e-6 };

pub fn check(x: usize, head_dim: usize, rot_dim: usize, cos_sin: usize) error{Shape}!void {
    if (head_dim == 0 or x % head_dim != 0) return error.Shape;
    if (rot_dim % 2 != 0 or rot_dim > head_dim or cos_sin < rot_dim) return error.Shape;
}

pub fn reference(x: []f32, head_dim: usize, rot_dim: usize, style: u32, cos_sin: []const f32) void {
    const half = rot_dim / 2;
    for (0..x.len / head_dim) |head| {
        const row = x[head * head_dim ..][0..head_dim];
        for (0..half) |i| {
            const a = if (style == 0) 2 * i else i;
            const b = if (style == 0) 2 * i + 1 else i + half;
            const x_a = row[a];
            const x_b = row[b];
            row[a] = x_a * cos_sin[2 * i] - x_b * cos_sin[2 * i + 1];
            row[b] = x_a * cos_sin[2 * i + 1] + x_b * cos_sin[2 * i];
        }
    }
}
