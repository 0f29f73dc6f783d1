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

/// Leaves exactly the `k` highest, of equal ones those of the lowest ids. For `k` below the number
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
    var ties = made.ties;
    for (set.maxima(), 0..) |block_max, block| {
        if (block_max < made.threshold) continue;
        const start = block * sweep.block_len;
        for (set.values[start..@min(start + sweep.block_len, set.len())]) |x| {
            if (x < made.threshold) continue;
            if (x == made.threshold) {
                if (ties == 0) continue;
                ties -= 1;
            }
            out[len] = x;
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
    const lanes = sweep.lanes;
    var ties = made.ties;
    for (set.maxima(), 0..) |block_max, block| {
        if (block_max < made.threshold) continue;
        const end = @min((block + 1) * sweep.block_len, set.len());
        var i = block * sweep.block_len;
        while (i < end) : (i += lanes) {
            const x = sweep.loadPadded(set.values[i..end]);
            var mask = candidates.above(x, made.threshold, &ties);
            const at = buckets.of(@select(f32, x > @as(F, @splat(made.threshold)), x, @as(F, @splat(made.threshold))));
            const each: [lanes]f32 = x;
            if (mask == std.math.maxInt(u16)) {
                inline for (0..lanes) |lane| visit(buckets, at[lane], each[lane]);
            } else while (mask != 0) : (mask &= mask - 1) visit(buckets, at[@ctz(mask)], each[@ctz(mask)]);
        }
    }
}

/// The `out.len` members of the highest finite logits as indices and logits, by ascending index, fewer
/// when there are no more; of equal logits the lowest indices.
pub fn members(set: *candidates.Candidates, out: []top.TokenLogprob) []top.TokenLogprob {
    const made: select.Cut = if (out.len >= set.len()) .everything else cut(set, @intCast(out.len));
    var len: usize = 0;
    var ties = made.ties;
    for (set.maxima(), 0..) |block_max, block| {
        if (block_max < made.threshold) continue;
        const start = block * sweep.block_len;
        for (set.values[start..@min(start + sweep.block_len, set.len())], start..) |x, index| {
            if (x < made.threshold or x == -std.math.inf(f32)) continue;
            if (x == made.threshold) {
                if (ties == 0) continue;
                ties -= 1;
            }
            out[len] = .{ .token = @intCast(index), .logprob = x };
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
    if (k <= maxima.len) return highest(k, maxima, set.probs);
    return lowestBySample(k, set);
}

/// With more members asked for than there are blocks, the cut is guessed from a sample of regular
/// distance, a little low; the guess holds if it is found to leave enough.
fn lowestBySample(k: u32, set: *candidates.Candidates) f32 {
    const distance = set.len() / sample_len;
    if (distance < 4) return -std.math.inf(f32);
    const sample = set.probs[0..sample_len];
    for (sample, 0..) |*x, index| x.* = set.values[index * distance];
    const share = @as(f64, @floatFromInt(k)) / @as(f64, @floatFromInt(set.len()));
    const expected = share * sample_len;
    // Four standard deviations of the number of sampled values that are above the cut.
    const rank = @ceil(expected + 4 * @sqrt(expected) + 4);
    if (rank > sample_len / 8) return -std.math.inf(f32);
    const guess = highest(@intFromFloat(rank), sample, set.probs[sample_len..]);
    return if (sweep.countFrom(set.values, guess) >= k) guess else -std.math.inf(f32);
}

/// The k-th highest of a list that is short beside the vocabulary; -inf when it is too long.
fn highest(k: u32, values: []const f32, scratch: []f32) f32 {
    var block_max: [blocks_max]f32 = undefined;
    if (sweep.blockCount(values.len) > block_max.len) return -std.math.inf(f32);
    const found = sweep.scan(values, &block_max);
    return select.cut(.{
        .values = values,
        .block_max = &block_max,
        .highest = found.max,
        .lowest = -std.math.inf(f32),
    }, .count, @floatFromInt(k), scratch).threshold;
}

const sample_len = 4096;
/// Enough for a sample, and for the maxima of a million tokens.
const blocks_max = 64;

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
            top.sortDescending(found);
            const items = pair.reference.members.items;
            try std.testing.expectEqual(@min(count, items.len), found.len);
            for (found, items[0..found.len]) |entry, member| {
                try std.testing.expectEqual(member.id, entry.token);
                try std.testing.expectEqual(member.logit, entry.logprob);
            }
        }
    }.body);
}
