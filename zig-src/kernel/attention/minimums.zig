//! What code 0 of a group of values stands for adds the same to all of them: weight * minimum, summed over the
//! positions of a block. That is done once for a block instead of once for each of its values, lane by lane of
//! the positions, so that the sum follows from a row's own positions alone.

const std = @import("std");
const softmax = @import("softmax.zig");
const table = @import("../table.zig");
const vector = @import("../vector.zig");

const Vf = vector.Vf;
const lanes = vector.lanes;
const Row = [table.page_len]f32;

/// Minimums of a group, one f16 a position of the page, which stand for `factor` of what they are.
pub const Group = struct {
    at: [*]const u8,
    factor: f32 = 1,

    /// Adds what positions [from, to) have to values of the group. Other positions are not looked at: they may
    /// hold anything.
    pub fn add(group: Group, weights: *const Row, from: usize, to: usize, values: []f32) void {
        var sum: Vf = @splat(0);
        for (from / lanes..(to + lanes - 1) / lanes) |v| {
            const minimum = vector.load(.f16, lanes, group.at + v * lanes * 2);
            const weight: Vf = weights[v * lanes ..][0..lanes].*;
            if (v * lanes >= from and (v + 1) * lanes <= to) {
                sum = vector.fma(weight, minimum, sum);
            } else {
                sum = vector.fma(limited(weight, v * lanes, from, to), limited(minimum, v * lanes, from, to), sum);
            }
        }
        const all: Vf = @splat(softmax.sumOf(sum) * group.factor);
        std.debug.assert(values.len % lanes == 0);
        var i: usize = 0;
        while (i < values.len) : (i += lanes) values[i..][0..lanes].* = @as(Vf, values[i..][0..lanes].*) + all;
    }
};

/// Zero outside of [from, to); `at` is the position of the first lane.
fn limited(x: Vf, at: usize, from: usize, to: usize) Vf {
    const U = @Vector(lanes, u32);
    const positions = std.simd.iota(u32, lanes) + @as(U, @splat(@intCast(at)));
    const none: Vf = @splat(0);
    const behind = @select(f32, positions >= @as(U, @splat(@intCast(from))), x, none);
    return @select(f32, positions < @as(U, @splat(@intCast(to))), behind, none);
}

test "a sum has its own positions only" {
    var weights: Row = @splat(std.math.nan(f32));
    var minimums: [table.page_len]f16 = @splat(std.math.nan(f16));
    var values: [32]f32 = @splat(10);
    var expected: f32 = 10;
    for (5..38) |i| {
        weights[i] = @floatFromInt(i);
        minimums[i] = -2;
        expected -= @floatFromInt(4 * i);
    }
    const group: Group = .{ .at = @ptrCast(&minimums), .factor = 2 };
    group.add(&weights, 5, 38, &values);
    for (values) |value| try std.testing.expectEqual(expected, value);
}
