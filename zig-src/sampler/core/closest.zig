//! Partial selection by distance: which values are closest to a centre, up to a given mass. As
//! `select.zig`, with buckets of distance instead of height: nothing is sorted but the last few
//! dozen values around the cut. Among equal distances the more probable come first, then those
//! of the lowest ids.

const std = @import("std");
const sweep = @import("sweep.zig");
const assert = std.debug.assert;

const lanes = sweep.lanes;
const F = @Vector(lanes, f32);
const D = @Vector(lanes, f64);

/// A distribution over values: weights are exp((x - max) · beta).
pub const Input = struct {
    values: []const f32,
    centre: f64,
    max: f32,
    beta: f32,
};

/// Keeps every value nearer than `distance`, and the first so many of those exactly as far above
/// and below the centre.
pub const Cut = struct {
    distance: f64,
    above: usize,
    below: usize,
};

const buckets = 512;
const sort_max = 64;

/// The cut at which the mass of what stays first reaches `target`; null when all of them together
/// do not, by a rounding error. `scratch` has room for all values and is overwritten.
pub fn cut(input: Input, target: f64, scratch: []f32) ?Cut {
    assert(scratch.len >= input.values.len);
    var rest = input;
    var need = target;
    while (rest.values.len > sort_max) {
        const range: Range = .init(&rest);
        if (range.nearest == range.farthest) break;
        var sums: [buckets]f64 = @splat(0);
        addToBuckets(&rest, range, &sums);
        const bucket = for (sums, 0..) |sum, index| {
            if (sum == 0) continue;
            if (sum >= need) break index;
            need -= sum;
        } else return null;
        rest.values = gather(&rest, range, bucket, scratch);
    }
    return cutFew(&rest, need, scratch);
}

/// A linear map of distances to buckets.
const Range = struct {
    centre: f64,
    nearest: f64,
    farthest: f64,
    scale: f64,

    fn init(input: *const Input) Range {
        var nearest = std.math.inf(f64);
        var farthest: f64 = 0;
        for (input.values) |x| {
            if (x == -std.math.inf(f32)) continue;
            const distance = @abs(x - input.centre);
            nearest = @min(nearest, distance);
            farthest = @max(farthest, distance);
        }
        return .{
            .centre = input.centre,
            .nearest = nearest,
            .farthest = farthest,
            .scale = (buckets - 1) / (farthest - nearest),
        };
    }

    /// Masked values are in the last bucket.
    inline fn bucketOf(range: Range, x: F) [lanes]i32 {
        const wide: D = @floatCast(x);
        const distance = @abs(wide - @as(D, @splat(range.centre)));
        const at = (distance - @as(D, @splat(range.nearest))) * @as(D, @splat(range.scale));
        return @as(@Vector(lanes, i32), @intFromFloat(@min(at, @as(D, @splat(buckets - 1)))));
    }
};

fn addToBuckets(input: *const Input, range: Range, sums: *[buckets]f64) void {
    var i: usize = 0;
    while (i < input.values.len) : (i += lanes) {
        const x = sweep.loadPadded(input.values[i..]);
        const add: [lanes]f32 = sweep.weights(x, input.max, input.beta);
        const at = range.bucketOf(x);
        inline for (0..lanes) |lane| sums[@intCast(at[lane])] += add[lane];
    }
}

/// Copies the values of one bucket to `out`, which may be where they already are.
fn gather(input: *const Input, range: Range, bucket: usize, out: []f32) []f32 {
    var len: usize = 0;
    var i: usize = 0;
    while (i < input.values.len) : (i += lanes) {
        const each: [lanes]f32 = sweep.loadPadded(input.values[i..]);
        const at = range.bucketOf(each);
        inline for (0..lanes) |lane| {
            if (at[lane] == bucket and each[lane] != -std.math.inf(f32)) {
                out[len] = each[lane];
                len += 1;
            }
        }
    }
    return out[0..len];
}

/// A few values, or many of one distance.
fn cutFew(input: *const Input, target: f64, scratch: []f32) ?Cut {
    var len: usize = 0;
    for (input.values) |x| {
        if (x == -std.math.inf(f32)) continue;
        scratch[len] = x;
        len += 1;
    }
    const values = scratch[0..len];
    std.sort.pdq(f32, values, input.centre, isBefore);
    var made: Cut = .{ .distance = -1, .above = 0, .below = 0 };
    var sum: f64 = 0;
    for (values) |x| {
        const distance = @abs(x - input.centre);
        if (distance != made.distance) made = .{ .distance = distance, .above = 0, .below = 0 };
        if (x >= input.centre) made.above += 1 else made.below += 1;
        sum += sweep.weight(x, input.max, input.beta);
        if (sum >= target) return made;
    }
    return null;
}

fn isBefore(centre: f64, a: f32, b: f32) bool {
    const near = @abs(a - centre);
    const far = @abs(b - centre);
    return if (near != far) near < far else a > b;
}

test "closest agrees with a full sort by distance" {
    const reference = @import("reference.zig");
    var prng: std.Random.DefaultPrng = .init(41);
    const random = prng.random();
    var buffers: [3][3000]f32 = undefined;
    for (0..600) |round| {
        const values = buffers[0][0 .. 1 + random.uintLessThan(usize, 3000)];
        reference.fillRandom(random, round, values);
        var highest: f32 = -std.math.inf(f32);
        for (values) |x| highest = @max(highest, x);
        const input: Input = .{
            .values = values,
            .centre = @as(f64, values[random.uintLessThan(usize, values.len)]) - 0.5 * @as(f64, @floatFromInt(round % 3)),
            .max = highest,
            .beta = 1,
        };
        if (input.centre == -std.math.inf(f64)) continue;
        var total: f64 = 0;
        for (values) |x| total += sweep.weight(x, highest, 1);
        const target = total * random.float(f64);
        const expected = cutFew(&input, target, &buffers[1]) orelse continue;
        const found = cut(input, target, &buffers[2]) orelse return error.TestExpectedCut;
        // Sums in another order may differ by a rounding error at the very cut.
        var expected_mass: f64 = 0;
        var found_mass: f64 = 0;
        for (values) |x| {
            const distance = @abs(x - input.centre);
            if (distance <= expected.distance) expected_mass += sweep.weight(x, highest, 1);
            if (distance <= found.distance) found_mass += sweep.weight(x, highest, 1);
        }
        if (found.distance == expected.distance) continue;
        try std.testing.expectApproxEqRel(@max(target, expected_mass), @max(target, found_mass), 1e-5);
    }
}
