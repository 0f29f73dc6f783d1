//! E2M1, the four-bit float of MXFP4 and NVFP4: a sign, two bits of exponent and one of fraction. Open
//! Compute Project, "OCP Microscaling Formats (MX) Specification", version 1.0, section 5.3.3.

const std = @import("std");

/// Twice the number of each code; the top bit of the code is the sign.
pub const doubled = [16]i8{ 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

/// 8-bit floats that are scales of such floats: of exponent only, or of four bits of it and three of
/// fraction. Neither has a sign.
pub const ScaleKind = enum { e8m0, e4m3 };

/// The largest number.
pub const largest = 6;

/// The nearest code; of two the even one, and beyond the largest number that. What becomes 0 has no
/// sign. There must be no NaN.
pub fn nearest(comptime n: usize, x: @Vector(n, f32)) [n]u8 {
    const F = @Vector(n, f32);
    const U = @Vector(n, u8);
    const size = @abs(x);
    var code: U = @splat(0);
    // The middle between code and code + 1 goes to the even one.
    inline for (.{ 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5 }, 0..) |middle, below| {
        const limit: F = @splat(middle);
        const above = if (below % 2 == 0) size > limit else size >= limit;
        code += @intFromBool(above);
    }
    const negative = @select(u8, x < @as(F, @splat(0)), @as(U, @splat(8)), @as(U, @splat(0)));
    return @select(u8, code == @as(U, @splat(0)), code, code | negative);
}

test "every number is its own nearest, and middles go to even codes" {
    var numbers: [16]f32 = undefined;
    for (doubled, &numbers) |two, *number| number.* = @as(f32, @floatFromInt(two)) / 2;
    for (nearest(16, numbers), 0..) |code, i| try std.testing.expectEqual(if (i == 8) 0 else i, code);
    try std.testing.expectEqual([8]u8{ 0, 2, 2, 4, 4, 6, 6, 7 }, nearest(8, .{ 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 100 }));
    try std.testing.expectEqual([4]u8{ 1, 9, 15, 0 }, nearest(4, .{ 0.26, -0.74, -7, -0.25 }));
}
