//! The head of a set: its k highest members, by number. Where to cut for it, and the values in
//! descending order for stages that look at the shape of the sorted distribution. Those ask for as
//! many as their decision needs, first for a few dozen, so that the tail stays unsorted.

const std = @import("std");
const candidates = @import("candidates.zig");
const select = @import("select.zig");
const sweep = @import("sweep.zig");
const top = @import("top.zig");
const assert = std.debug.assert;

const F = @Vector(sweep.lanes, f32);

/// Removes all but the `k` highest, of equal ones those of the highest ids.
pub fn keep(set: *candidates.Candidates, k: u32) void {
    assert(k > 0);
    if (k >= set.len()) return;
    // What is far below goes in one pass; the cut is then among few.
    const lowest = lowestOfBest(k, set);
    if (lowest > -std.math.inf(f32)) set.keep(.{ .threshold = lowest, .ties = set.len() });
    if (k >= set.len()) return;
    set.widen();
    set.keep(set.cut(.count, @floatFromInt(k), lowest));
}

/// The cut that leaves exactly the `k` highest, of equal ones those of the lowest ids. For `k` below the number
/// of members.
pub fn cut(set: *candidates.Candidates, k: u32) select.Cut {
    assert(k > 0);
    assert(k < set.len());
    return set.cut(.count, @floatFromInt(k), lowestOfBest(k, set));
}

/// How many values `sorted` is asked for at first, and how many times as many each time after.
pub const first_len = 64;
pub const growth = 8;

/// The `count` highest finite logits in descending order, fewer when there are no more. They are
/// valid until the next selection.
pub fn sorted(set: *candidates.Candidates, count: usize) []const f32 {
    const all = count >= set.len();
    const made: select.Cut = if (all) .everything else cut(set, @intCast(count));
    const bottom = if (all) set.lowestLogit() else made.threshold;
    if (count > few) if (distributed(set, made, bottom)) |found| return found;
    const out = set.probs;
    var len: usize = 0;
    var left: Left = .init(set, made);
    while (left.next()) |some| {
        var mask = some.mask;
        while (mask != 0) : (mask &= mask - 1) {
            out[len] = some.values[@ctz(mask)];
            len += 1;
        }
    }
    std.sort.pdq(f32, out[0..len], {}, std.sort.desc(f32));
    return out[0..len];
}

/// So many are compared with each other; more are thrown into buckets of equal width first, in two passes
/// over the set, so that only neighbours are left to compare.
const few = 1024;
/// A bucket of more is a sign of values that are far apart.
const neighbours_max = 24;

fn distributed(set: *candidates.Candidates, made: select.Cut, bottom: f32) ?[]const f32 {
    // The ids of a whole vocabulary are nowhere, and their place is free.
    var own: [4097]u32 = undefined;
    const begins: []u32 = if (set.whole) set.ids[0..@min(set.ids.len, (1 << 15) + 1)] else &own;
    const scale = @as(f32, @floatFromInt(begins.len - 2)) / (set.max - bottom);
    if (!std.math.isFinite(scale) or scale == 0) return null;
    const buckets: Buckets = .{ .top = set.max, .scale = scale, .begins = begins, .out = set.probs };
    @memset(begins, 0);
    eachOf(set, made, &buckets, Buckets.count);
    for (begins[1..], begins[0 .. begins.len - 1]) |*begin, before| begin.* += before;
    eachOf(set, made, &buckets, Buckets.place);
    // Each has become the begin of the next.
    var start: usize = 0;
    for (begins[0 .. begins.len - 1]) |end| {
        const bucket = set.probs[start..end];
        start = end;
        if (bucket.len > neighbours_max) std.sort.pdq(f32, bucket, {}, std.sort.desc(f32)) else sortFew(bucket);
    }
    return set.probs[0..start];
}

fn sortFew(values: []f32) void {
    if (values.len < 2) return;
    for (values[1..], 1..) |x, place| {
        var i = place;
        while (i > 0 and values[i - 1] < x) : (i -= 1) values[i] = values[i - 1];
        values[i] = x;
    }
}

const Buckets = struct {
    top: f32,
    scale: f32,
    /// How many there are, each one place further on; then where each begins.
    begins: []u32,
    out: []f32,

    /// Falls as the value grows. The distance is at most that for which the scale was made, so that it is
    /// one of them, but for rounding.
    inline fn of(buckets: *const Buckets, x: F) [sweep.lanes]u32 {
        const at = (@as(F, @splat(buckets.top)) - x) * @as(F, @splat(buckets.scale));
        return @as(@Vector(sweep.lanes, u32), @intFromFloat(@min(at, @as(F, @splat(@floatFromInt(buckets.begins.len - 2))))));
    }

    inline fn count(buckets: *const Buckets, at: u32, _: f32) void {
        buckets.begins[at + 1] += 1;
    }

    inline fn place(buckets: *const Buckets, at: u32, x: f32) void {
        const begin = &buckets.begins[at];
        buckets.out[begin.*] = x;
        begin.* += 1;
    }
};

/// Calls `visit` with the bucket of each logit that a cut leaves.
inline fn eachOf(
    set: *candidates.Candidates,
    made: select.Cut,
    buckets: *const Buckets,
    comptime visit: fn (*const Buckets, u32, f32) callconv(.@"inline") void,
) void {
    var left: Left = .init(set, made);
    while (left.next()) |some| {
        const x: F = some.values;
        var mask = some.mask;
        const at = buckets.of(@select(f32, x > @as(F, @splat(made.threshold)), x, @as(F, @splat(made.threshold))));
        if (mask == std.math.maxInt(u16)) {
            inline for (0..sweep.lanes) |lane| visit(buckets, at[lane], some.values[lane]);
        } else while (mask != 0) : (mask &= mask - 1) visit(buckets, at[@ctz(mask)], some.values[@ctz(mask)]);
    }
}

/// The members that a cut leaves, some neighbours at a time; blocks that have none are not read.
const Left = struct {
    set: *candidates.Candidates,
    block_max: []const f32,
    made: select.Cut,
    at: usize = 0,

    const Some = struct { start: usize, values: [sweep.lanes]f32, mask: u16 };

    fn init(set: *candidates.Candidates, made: select.Cut) Left {
        return .{ .set = set, .block_max = set.maxima(), .made = made };
    }

    inline fn next(left: *Left) ?Some {
        const values = left.set.values;
        while (left.at < values.len) {
            const start = left.at;
            if (start % sweep.block_len == 0 and left.block_max[start / sweep.block_len] < left.made.threshold) {
                left.at += sweep.block_len;
                continue;
            }
            left.at += sweep.lanes;
            const x = sweep.loadPadded(values[start..]);
            const mask = candidates.above(x, left.made.threshold, &left.made.ties);
            if (mask != 0) return .{ .start = start, .values = x, .mask = mask };
        }
        return null;
    }
};

/// The `out.len` members of the highest finite logits as indices and logits, by ascending index, fewer
/// when there are no more; of equal logits the lowest indices.
pub fn members(set: *candidates.Candidates, out: []top.TokenLogprob) []top.TokenLogprob {
    const made: select.Cut = if (out.len >= set.len()) .everything else cut(set, @intCast(out.len));
    var len: usize = 0;
    var left: Left = .init(set, made);
    while (left.next()) |some| {
        var mask = some.mask;
        while (mask != 0) : (mask &= mask - 1) {
            out[len] = .{ .token = @intCast(some.start + @ctz(mask)), .logprob = some.values[@ctz(mask)] };
            len += 1;
        }
    }
    return out[0..len];
}

/// A value that the k-th highest is known not to fall below, or -inf.
fn lowestOfBest(k: u32, set: *candidates.Candidates) f32 {
    const maxima = set.maxima();
    // As many values are at or above the k-th highest of the block maxima as there are blocks
    // that are, so the k-th highest value is too. It saves reading all other blocks.
    if (k <= maxima.len) return bound(k, maxima, set);
    return lowestBySample(k, set);
}

/// With more members asked for than there are blocks, the cut is guessed from a sample of regular
/// distance, a little low; the guess holds if it is found to leave enough.
fn lowestBySample(k: u32, set: *candidates.Candidates) f32 {
    const distance = set.len() / sample_len;
    if (distance < 4) return -std.math.inf(f32);
    set.widen();
    const sample = set.probs[0..sample_len];
    for (sample, 0..) |*x, index| x.* = set.values[index * distance];
    const share = @as(f64, @floatFromInt(k)) / @as(f64, @floatFromInt(set.len()));
    const expected = share * sample_len;
    // Four standard deviations of the number of sampled values that are above the cut.
    const rank = @ceil(expected + 4 * @sqrt(expected) + 4);
    if (rank > sample_len / 8) return -std.math.inf(f32);
    const guess = bound(@intFromFloat(rank), sample, set);
    return if (set.passes.countFrom(set.values, guess) >= k) guess else -std.math.inf(f32);
}

/// A bound that leaves `k` of some of the set's values, or an eighth more.
fn bound(k: u32, values: []const f32, set: *const candidates.Candidates) f32 {
    return set.passes.boundOf(values, .{ .count = k, .spare = k / 8, .low = -std.math.inf(f32), .high = set.max });
}

const sample_len = 4096;

const reference = @import("reference.zig");

test "the head is the beginning of a full sort" {
    try reference.forAll(19, 400, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            const count = 1 + random.uintLessThan(usize, pair.values.len + 2);
            const found = sorted(&pair.set, count);
            const items = pair.reference.members.items;
            try std.testing.expectEqual(@min(count, items.len), found.len);
            for (found, items[0..found.len]) |x, member| try std.testing.expectEqual(member.logit, x);
        }
    }.body);
}

test "members of the head are those of a full sort" {
    try reference.forAll(23, 400, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            var out: [3010]top.TokenLogprob = undefined;
            const count = 1 + random.uintLessThan(usize, pair.values.len + 2);
            const found = members(&pair.set, out[0..count]);
            for (found[1..], found[0 .. found.len - 1]) |later, earlier| try std.testing.expect(later.token > earlier.token);
            var scratch: [3010]top.TokenLogprob = undefined;
            top.sortDescending(found, &scratch);
            const items = pair.reference.members.items;
            try std.testing.expectEqual(@min(count, items.len), found.len);
            for (found, items[0..found.len]) |entry, member| {
                try std.testing.expectEqual(member.id, entry.token);
                try std.testing.expectEqual(member.logit, entry.logprob);
            }
        }
    }.body);
}
