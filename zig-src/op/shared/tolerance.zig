//! How far a result may be from the reference: |got - want| <= absolute + relative * scale, where
//! the scale is what the reference says its terms add up to when none cancels (for a single term,
//! the result itself). Anything that isn't finite must be equal, NaN to NaN.

const std = @import("std");

pub const Tolerance = struct {
    absolute: f32 = 0,
    relative: f32,

    pub fn holds(tolerance: Tolerance, got: f32, want: f32, scale: f32) bool {
        if (std.math.isNan(want)) return std.math.isNan(got);
        if (std.math.isInf(want)) return got == want;
        return @abs(got - want) <= tolerance.absolute + tolerance.relative * @abs(scale);
    }

    /// All of a row, each result being its own scale.
    pub fn expectRow(tolerance: Tolerance, got: []const f32, want: []const f32) !void {
        for (got, want, 0..) |g, w, i| {
            if (tolerance.holds(g, w, w)) continue;
            std.testing.failPrint("index {d}: expected {e}, found {e}\n", .{ i, w, g });
            return error.OutOfTolerance;
        }
    }
};

test "a tolerance can fail" {
    const tight: Tolerance = .{ .relative = 1e-6 };
    try std.testing.expect(tight.holds(1, 1, 1));
    try std.testing.expect(!tight.holds(1.00001, 1, 1));
    try std.testing.expect(!tight.holds(std.math.nan(f32), 1, 1));
    try std.testing.expect(!tight.holds(1, std.math.nan(f32), 1));
    try std.testing.expect(tight.holds(std.math.inf(f32), std.math.inf(f32), 1));
    try std.testing.expect(!tight.holds(std.math.inf(f32), 1, 1));
}
