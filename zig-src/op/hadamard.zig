//! y = H x / sqrt(n) for each head of n values, a power of two, in place: H is the Hadamard matrix in the
//! order of Sylvester (1867). The product is its own inverse and keeps lengths and angles; it spreads
//! outliers over all values of a head, so that narrow formats round less (Ashkboos et al. 2024, "QuaRot").

const std = @import("std");
const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "hadamard";
/// Sums and differences of the same pairs in the same order, and one product: the same bits.
pub const tolerance: Tolerance = .{};

pub fn check(head_dim: usize) error{Shape}!void {
    if (!std.math.isPowerOfTwo(head_dim)) return error.Shape;
}

pub fn reference(x: []f32, head_dim: usize) void {
    const factor = 1 / @sqrt(@as(f32, @floatFromInt(head_dim)));
    var head: usize = 0;
    while (head < x.len) : (head += head_dim) {
        const row = x[head..][0..head_dim];
        var half: usize = 1;
        while (half < head_dim) : (half *= 2) for (0..head_dim) |i| {
            if (i & half != 0) continue;
            const a, const b = .{ row[i], row[i + half] };
            row[i] = a + b;
            row[i + half] = a - b;
        };
        for (row) |*value| value.* *= factor;
    }
}
