//! Counting passes: how many values are at or above a bound, the lowest that is one, and the bound above
//! which a given number is. What a selection needs to know before it reads or moves anything.
//!
//! Like the passes of `sweep.zig` they are compiled with each CPU variant of the kernels; numbers of
//! values are exact, so that they are the same in all.

const std = @import("std");
const sweep = @import("sweep.zig");

const lanes = sweep.lanes;
const F = @Vector(lanes, f32);
const U = @Vector(lanes, u32);

/// What `boundOf` looks for, and where.
pub const Range = extern struct {
    /// At least so many values stay.
    count: usize,
    /// Up to so many more may stay.
    spare: usize,
    /// At least `count` values are known to be at or above this; -inf when nothing is known.
    low: f32,
    /// No value is above this.
    high: f32,
};

pub fn countRow(values: [*]const f32, len: usize, bound: f32) callconv(.c) usize {
    return countFrom(values[0..len], bound);
}

pub fn lowestRow(values: [*]const f32, len: usize) callconv(.c) f32 {
    return lowestFinite(values[0..len]);
}

pub fn boundRow(values: [*]const f32, len: usize, range: *const Range) callconv(.c) f32 {
    return boundOf(values[0..len], range.*);
}

/// How many values are at or above `bound`.
pub fn countFrom(values: []const f32, bound: f32) usize {
    // Counted in the lanes, four chains of them: a mask that is counted bit by bit takes longer.
    const chains = 4;
    var counts: [chains]U = @splat(@splat(0));
    const zero: U = @splat(0);
    const one: U = @splat(1);
    var i: usize = 0;
    while (i + chains * lanes <= values.len) : (i += chains * lanes) {
        inline for (&counts, 0..) |*count, chain| {
            const x: F = values[i + chain * lanes ..][0..lanes].*;
            count.* +%= @select(u32, x >= @as(F, @splat(bound)), one, zero);
        }
    }
    while (i + lanes <= values.len) : (i += lanes) {
        const x: F = values[i..][0..lanes].*;
        counts[0] +%= @select(u32, x >= @as(F, @splat(bound)), one, zero);
    }
    if (i < values.len) {
        // NaN is at or above nothing.
        var padded: [lanes]f32 = @splat(std.math.nan(f32));
        @memcpy(padded[0 .. values.len - i], values[i..]);
        counts[1] +%= @select(u32, @as(F, padded) >= @as(F, @splat(bound)), one, zero);
    }
    return @reduce(.Add, (counts[0] +% counts[1]) +% (counts[2] +% counts[3]));
}

/// A bound at or above which `range.count` of the values are, and at most `range.spare` more; where equal
/// values are more than that, it is these. There are as many, and none of them is NaN.
///
/// Found by bisection in the order that the bits of floats have as whole numbers, so that 32 counts are
/// enough whatever the values: with `spare` 0, those that stay are the `count` highest and their equals.
pub fn boundOf(values: []const f32, range: Range) f32 {
    var low: i64 = orderOf(range.low);
    if (range.low == -std.math.inf(f32)) {
        // Real values are near to each other: their lowest saves half of the steps.
        const lowest = lowestFinite(values);
        if (countFrom(values, lowest) >= range.count) low = orderOf(lowest);
    }
    var high: i64 = @as(i64, orderOf(range.high)) + 1;
    while (high - low > 1) {
        const middle = low + @divFloor(high - low, 2);
        const count = countFrom(values, atOrder(@intCast(middle)));
        if (count < range.count) {
            high = middle;
            continue;
        }
        low = middle;
        if (count <= range.count + range.spare) break;
    }
    return atOrder(@intCast(low));
}

fn orderOf(x: f32) i32 {
    const bits: i32 = @bitCast(x);
    return if (bits < 0) bits ^ std.math.maxInt(i32) else bits;
}

fn atOrder(order: i32) f32 {
    return @bitCast(if (order < 0) order ^ std.math.maxInt(i32) else order);
}

/// The lowest of `values` that is not -inf; +inf when there is none.
pub fn lowestFinite(values: []const f32) f32 {
    const none: F = @splat(std.math.inf(f32));
    const chains = 2;
    var low: [chains]F = @splat(none);
    var i: usize = 0;
    while (i + chains * lanes <= values.len) : (i += chains * lanes) {
        inline for (&low, 0..) |*each, chain| {
            const x: F = values[i + chain * lanes ..][0..lanes].*;
            each.* = lower(@select(f32, x > @as(F, @splat(-std.math.inf(f32))), x, none), each.*);
        }
    }
    var found: f32 = @reduce(.Min, lower(low[0], low[1]));
    for (values[i..]) |x| {
        if (x > -std.math.inf(f32) and x < found) found = x;
    }
    return found;
}

/// `@min` has another meaning of NaN and takes longer.
inline fn lower(a: F, b: F) F {
    return @select(f32, a < b, a, b);
}

test "countFrom counts what is at or above the bound" {
    var values: [37]f32 = undefined;
    for (&values, 0..) |*x, i| x.* = @floatFromInt(i * 7 % 37);
    values[3] = -std.math.inf(f32);
    try std.testing.expectEqual(16, countFrom(&values, 20));
    try std.testing.expectEqual(37, countFrom(&values, -std.math.inf(f32)));
    try std.testing.expectEqual(0, countFrom(&values, 36.5));
    try std.testing.expectEqual(2, countFrom(values[34..], 23));
    var many: [1000]f32 = undefined;
    for (&many, 0..) |*x, i| x.* = @floatFromInt(i * 7 % 1000);
    for ([_]usize{ 63, 64, 65, 1000 }) |len| {
        var expected: usize = 0;
        for (many[0..len]) |x| expected += @intFromBool(x >= 123);
        try std.testing.expectEqual(expected, countFrom(many[0..len], 123));
    }
    try std.testing.expectEqual(0, lowestFinite(&values));
    try std.testing.expectEqual(std.math.inf(f32), lowestFinite(values[3..4]));
}

test "a bound leaves the highest, whatever the values" {
    const reference = @import("reference.zig");
    var prng: std.Random.DefaultPrng = .init(8);
    const random = prng.random();
    var buffer: [1500]f32 = undefined;
    for (0..400) |round| {
        const values = buffer[0 .. 1 + random.uintLessThan(usize, buffer.len)];
        reference.fillRandom(random, round, values);
        const count = 1 + random.uintLessThan(usize, values.len);
        const spare = random.uintLessThan(usize, 8);
        const found = boundOf(values, .{ .count = count, .spare = spare, .low = -std.math.inf(f32), .high = std.mem.max(f32, values) });
        const left = countFrom(values, found);
        try std.testing.expect(left >= count);
        if (left <= count + spare) continue;
        // Only equal ones are more.
        var above: usize = 0;
        for (values) |x| above += @intFromBool(x > found);
        try std.testing.expect(above < count);
    }
}
