//! Partial selection: where to cut a set of values so that what stays on top has a given number
//! of members or a given mass. Nothing is sorted but the last few dozen values around the cut.
//!
//! Values are thrown into buckets of equal width between the highest and the lowest of interest,
//! the buckets are summed from the top until the target is met, and the bucket that meets it is
//! looked at again on its own. Each round narrows the range by a factor of 500, so real logits
//! take one or two rounds and the worst set of finite floats about thirty. A few hundred values, of
//! which a number is to stay, are counted again and again instead: 32 times whatever they are.
//!
//! The answer is a threshold and a number of ties, never an order: a set that is cut keeps the
//! order it had, which is ascending token id, so equal values are kept from the lowest id on.

const std = @import("std");
const gather = @import("gather.zig");
const sweep = @import("sweep.zig");
const assert = std.debug.assert;

/// Keeps every value above `threshold` and the first `ties` of those equal to it.
pub const Cut = struct {
    threshold: f32,
    ties: usize,

    /// A logit of -inf is never a candidate, so this keeps all that are.
    pub const everything: Cut = .{ .threshold = -std.math.inf(f32), .ties = 0 };
};

/// What each value contributes to the target.
pub const Measure = union(enum) {
    /// One.
    count,
    /// Its unnormalised probability, exp((x - max) · beta).
    mass: struct { max: f32, beta: f32 },
};

pub const Input = struct {
    values: []const f32,
    /// Of each block of `sweep.block_len` values. Blocks below `lowest` are not read.
    block_max: []const f32,
    highest: f32,
    /// The caller's promise that the cut is not below this; -inf when it knows nothing. A wrong
    /// promise by rounding is harmless: everything at or above is kept.
    lowest: f32,
    /// Who makes the passes.
    passes: sweep.Passes = .compiled,
};

const buckets = 512;
/// A set this small is sorted at once; a round of buckets would cost more.
const sort_max = gather.rank_max;
const lanes = sweep.lanes;
const F = @Vector(lanes, f32);

/// The cut at which the measure of what stays first reaches `target`; at least one value stays.
/// `scratch` has room for `input.values.len` values and is overwritten.
pub fn cut(input: Input, measure: Measure, target: f64, scratch: []f32) Cut {
    assert(scratch.len >= input.values.len);
    assert(input.block_max.len >= sweep.blockCount(input.values.len));
    if (input.values.len <= sort_max) return cutRanked(copyFinite(input.values, scratch), input.passes, measure, target);
    if (measure == .count and input.values.len <= count_max) {
        const finite = input.passes.countFrom(input.values, -std.math.floatMax(f32));
        return if (@as(f64, @floatFromInt(finite)) < target) .everything else cutCounted(input.values, input, target);
    }

    if (gatherAbove(input, scratch)) |few| {
        // Fewer than were asked for: then they are all that there are.
        if (measure == .count and @as(f64, @floatFromInt(few.len)) < target) return .everything;
        if (measure == .count and few.len <= count_max) return cutCounted(few, input, target);
        return cutScratch(few, input.passes, measure, target);
    }
    const bottom = if (input.lowest > -std.math.inf(f32)) input.lowest else input.passes.lowestFinite(input.values);
    if (!(bottom < input.highest)) {
        return cutScratch(copyFinite(input.values, scratch), input.passes, measure, target);
    }
    const range: Range = .init(input.highest, bottom);
    var sums: [buckets]f64 = @splat(0);
    addToBuckets(input.values, range, measure, &sums);
    var need = target;
    // Short of the target with all of them: there are fewer than were asked for, or a rounding
    // error is missing and the caller has promised that nothing lower is needed.
    const met = meet(&sums, &need) orelse
        return .{ .threshold = bottom, .ties = input.values.len };
    return cutScratch(gatherFrom(input.values, range, met, scratch), input.passes, measure, need);
}

/// As many are counted again and again, in vectors; a round of buckets would cost more.
const count_max = 1024;

/// The cut that leaves `target` of the values, which are at least as many, finite, and at or above `lowest`.
fn cutCounted(values: []const f32, input: Input, target: f64) Cut {
    const count: usize = @intFromFloat(target);
    const threshold = input.passes.boundOf(values, .{ .count = count, .spare = 0, .low = input.lowest, .high = input.highest });
    // The bound may lie between two values, with all that is above it to stay.
    var above: usize = 0;
    for (values) |x| above += @intFromBool(x > threshold);
    return .{ .threshold = threshold, .ties = count - above };
}

/// As `cut`, on values that may be moved about and are all finite.
fn cutScratch(scratch: []f32, passes: sweep.Passes, measure: Measure, target: f64) Cut {
    var rest = scratch;
    var need = target;
    while (rest.len > sort_max) {
        const bounds = std.mem.minMax(f32, rest);
        if (bounds[0] == bounds[1]) return cutEqual(rest, measure, need);
        const range: Range = .init(bounds[1], bounds[0]);
        var sums: [buckets]f64 = @splat(0);
        addToBuckets(rest, range, measure, &sums);
        const before = rest.len;
        const met = meet(&sums, &need) orelse return lowestOf(rest);
        rest = gatherFrom(rest, range, met, rest);
        // The highest value falls into the first bucket and the lowest into one of the last.
        assert(rest.len < before);
    }
    return cutRanked(rest, passes, measure, need);
}

/// A linear map of values to buckets, in f64 so that no difference of two floats overflows.
const Range = struct {
    top: f64,
    scale: f64,

    fn init(top: f32, bottom: f32) Range {
        const width = @as(f64, top) - bottom;
        return .{ .top = top, .scale = (buckets - 1) / width };
    }

    /// Falls as the value grows; everything below the range is in the last bucket.
    inline fn bucketOf(range: Range, x: F) @Vector(lanes, i32) {
        const wide: @Vector(lanes, f64) = @floatCast(x);
        const distance = (@as(@Vector(lanes, f64), @splat(range.top)) - wide) *
            @as(@Vector(lanes, f64), @splat(range.scale));
        return @intFromFloat(@min(distance, @as(@Vector(lanes, f64), @splat(buckets - 1))));
    }
};

fn addToBuckets(values: []const f32, range: Range, measure: Measure, sums: *[buckets]f64) void {
    switch (measure) {
        .count => addEach(values, range, .count, {}, sums),
        .mass => |mass| addEach(values, range, .mass, mass, sums),
    }
}

inline fn addEach(
    values: []const f32,
    range: Range,
    comptime kind: std.meta.Tag(Measure),
    parameters: @FieldType(Measure, @tagName(kind)),
    sums: *[buckets]f64,
) void {
    var i: usize = 0;
    while (i < values.len) : (i += lanes) {
        const x = sweep.loadPadded(values[i..]);
        const finite = x > @as(F, @splat(-std.math.inf(f32)));
        const each: F = switch (kind) {
            .count => @splat(1),
            .mass => sweep.weights(x, parameters.max, parameters.beta),
        };
        const add = @select(f32, finite, each, @as(F, @splat(0)));
        const at: [lanes]i32 = range.bucketOf(x);
        inline for (0..lanes) |lane| sums[@intCast(at[lane])] += add[lane];
    }
}

/// The first bucket from the top at which the sum reaches `need`, which is left as what that
/// bucket still has to give. Null when all together fall short.
fn meet(sums: *const [buckets]f64, need: *f64) ?u32 {
    for (sums, 0..) |sum, index| {
        if (sum == 0) continue;
        if (sum >= need.*) return @intCast(index);
        need.* -= sum;
    }
    return null;
}

/// Copies the values that are not below `input.lowest`, or gives up when they are more than an
/// eighth of all: then a round of buckets over all of them is the cheaper way to fewer.
pub fn gatherAbove(input: Input, out: []f32) ?[]f32 {
    if (input.lowest == -std.math.inf(f32)) return null;
    const len = input.passes.gather(.{
        .values = input.values.ptr,
        .ids = null,
        .len = input.values.len,
        .block_max = input.block_max.ptr,
        .bound = input.lowest,
        .to_values = out.ptr,
        .to_ids = null,
        .limit = input.values.len / 8,
    });
    return if (len == gather.too_many) null else out[0..len];
}

/// Copies the finite values of one bucket to `out`, which may be where they already are.
fn gatherFrom(values: []const f32, range: Range, bucket: u32, out: []f32) []f32 {
    var len: usize = 0;
    var i: usize = 0;
    while (i < values.len) : (i += lanes) {
        const x = sweep.loadPadded(values[i..]);
        const finite = x > @as(F, @splat(-std.math.inf(f32)));
        const inside = range.bucketOf(x) == @as(@Vector(lanes, i32), @splat(@intCast(bucket)));
        const each: [lanes]f32 = x;
        var mask: u16 = @bitCast(finite & inside);
        while (mask != 0) : (mask &= mask - 1) {
            out[len] = each[@ctz(mask)];
            len += 1;
        }
    }
    return out[0..len];
}

fn copyFinite(values: []const f32, out: []f32) []f32 {
    var len: usize = 0;
    for (values) |x| {
        if (x == -std.math.inf(f32)) continue;
        out[len] = x;
        len += 1;
    }
    return out[0..len];
}

/// As `cutSorted`, of at most `sort_max` values.
fn cutRanked(values: []const f32, passes: sweep.Passes, measure: Measure, target: f64) Cut {
    if (values.len == 0) return .everything;
    var sorted: [sort_max]f32 = undefined;
    var weights: [sort_max]f32 = undefined;
    switch (measure) {
        .count => {
            passes.rank(.{ .values = values.ptr, .len = values.len, .max = 0, .beta = 1, .sorted = &sorted, .weights = null });
            @memset(weights[0..values.len], 1);
        },
        .mass => |mass| passes.rank(.{ .values = values.ptr, .len = values.len, .max = mass.max, .beta = mass.beta, .sorted = &sorted, .weights = &weights }),
    }
    var sum: f64 = 0;
    var ties: usize = 0;
    for (sorted[0..values.len], weights[0..values.len], 0..) |x, each, i| {
        ties = if (i > 0 and sorted[i - 1] == x) ties + 1 else 1;
        sum += each;
        if (sum >= target) return .{ .threshold = x, .ties = ties };
    }
    return lowestOf(values);
}

/// The definition, which tests compare with.
fn cutSorted(values: []f32, measure: Measure, target: f64) Cut {
    if (values.len == 0) return .everything;
    std.sort.pdq(f32, values, {}, std.sort.desc(f32));
    var sum: f64 = 0;
    var ties: usize = 0;
    for (values, 0..) |x, i| {
        ties = if (i > 0 and values[i - 1] == x) ties + 1 else 1;
        sum += one(x, measure);
        if (sum >= target) return .{ .threshold = x, .ties = ties };
    }
    return lowestOf(values);
}

/// All values are the same, so their number is a division.
fn cutEqual(values: []const f32, measure: Measure, target: f64) Cut {
    const enough = @ceil(target / one(values[0], measure));
    const all: f64 = @floatFromInt(values.len);
    // Written so that a weight of 0, and with it a quotient that is no number, keeps all.
    const ties: usize = if (enough < all) @intFromFloat(@max(enough, 1)) else values.len;
    return .{ .threshold = values[0], .ties = ties };
}

/// The target was out of reach by a rounding error: all of them stay, and nothing lower.
fn lowestOf(values: []const f32) Cut {
    const lowest = std.mem.min(f32, values);
    return .{ .threshold = lowest, .ties = std.mem.countScalar(f32, values, lowest) };
}

fn one(x: f32, measure: Measure) f64 {
    return switch (measure) {
        .count => 1,
        .mass => |mass| sweep.weight(x, mass.max, mass.beta),
    };
}

/// Sort all, take from the top until the target is met.
fn cutNaive(values: []const f32, measure: Measure, target: f64, sorted: []f32) Cut {
    return cutSorted(copyFinite(values, sorted), measure, target);
}

test "counts agree with a full sort, whatever the values" {
    const gpa = std.testing.allocator;
    const reference = @import("reference.zig");
    var prng: std.Random.DefaultPrng = .init(3);
    const random = prng.random();
    const len_max = 3000;
    const buffers = try gpa.alloc(f32, 3 * len_max);
    defer gpa.free(buffers);
    for (0..600) |round| {
        const len = 1 + random.uintLessThan(usize, len_max);
        const values = buffers[0..len];
        reference.fillRandom(random, round, values);
        var block_max: [sweep.blockCount(len_max)]f32 = undefined;
        const highest = sweep.scan(values, &block_max).max;
        const input: Input = .{
            .values = values,
            .block_max = &block_max,
            .highest = highest,
            .lowest = -std.math.inf(f32),
        };
        const k: f64 = @floatFromInt(1 + random.uintLessThan(usize, len));
        const found = cut(input, .count, k, buffers[len_max..][0..len_max]);
        const expected = cutNaive(values, .count, k, buffers[2 * len_max ..]);
        try std.testing.expectEqual(keptBy(values, expected), keptBy(values, found));
    }
}

/// How many values stay. Two cuts of one set that keep as many keep the same.
fn keptBy(values: []const f32, made: Cut) usize {
    var above: usize = 0;
    var equal: usize = 0;
    for (values) |x| {
        if (x > made.threshold) above += 1;
        if (x == made.threshold and x != -std.math.inf(f32)) equal += 1;
    }
    return above + @min(equal, made.ties);
}
