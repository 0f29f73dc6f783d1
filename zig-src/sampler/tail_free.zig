//! Tail-free sampling: cuts the sorted probabilities p₁ ≥ p₂ ≥ … where their curve stops bending. The
//! second differences |(pᵢ - pᵢ₊₁) - (pᵢ₊₁ - pᵢ₊₂)|, normalised to a sum of 1, are summed from the
//! best token on; the tokens before the sum exceeds z stay, each difference standing for the middle
//! one of its three (Phénix and Egan, "Tail Free Sampling", 2019). The last token of all is never
//! the middle one; with z = 1 everything stays.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const head = @import("core/head.zig");
const stage = @import("core/stage.zig");
const sweep = @import("core/sweep.zig");
const TailFree = @This();

z: f32,

pub const id: u32 = 10;
pub const name = "tail_free";
pub const about = "Keeps the tokens before the sorted probabilities stop bending.";
pub const parameters = [_]stage.Parameter{.{ .name = "z", .min = 0, .max = 1 }};

pub fn apply(self: *TailFree, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    const n = set.finiteCount();
    if (self.z == 1 or n < 3) return;
    const lowest = weightOf(set, set.lowestLogit());
    var len: usize = head.first_len;
    while (true) : (len *= head.growth) {
        const sorted = head.sorted(set, @min(len, n));
        const k = beforeTail(set, sorted, self.z, if (sorted.len == n) null else lowest) orelse continue;
        if (k < set.len()) head.keep(set, @intCast(k));
        return;
    }
}

/// How many stay, or null when the given beginning of the sorted logits does not decide it. With
/// more to follow, `lowest` is the weight of the last: the bends that are not seen add up to no
/// more than twice the fall that is left.
fn beforeTail(set: *const candidates.Candidates, sorted: []const f32, z: f64, lowest: ?f64) ?usize {
    const seen = summed(set, sorted, null);
    if (lowest == null and seen.sum == 0) return set.values.len;
    const unseen = if (lowest) |w| seen.fall + 2 * (seen.last - w) else 0;
    const least = summed(set, sorted, z * seen.sum);
    const most = if (unseen == 0) least else summed(set, sorted, z * (seen.sum + unseen));
    if (least.within != most.within) return null;
    if (lowest != null and most.within == sorted.len - 2) return null;
    return 1 + least.within;
}

const Sums = struct {
    sum: f64,
    /// How many of the sums from the first on do not exceed the limit.
    within: usize,
    /// The last difference, and the last weight.
    fall: f64,
    last: f64,
};

fn summed(set: *const candidates.Candidates, sorted: []const f32, limit: ?f64) Sums {
    var found: Sums = .{ .sum = 0, .within = 0, .fall = 0, .last = weightOf(set, sorted[0]) };
    var at: usize = 1;
    while (at < sorted.len) {
        const some: [sweep.lanes]f64 = sweep.weightsWide(sweep.loadPadded(sorted[at..]), set.max, set.beta);
        for (some[0..@min(sweep.lanes, sorted.len - at)]) |next| {
            const fall = found.last - next;
            if (at > 1) {
                found.sum += @abs(found.fall - fall);
                if (limit) |most| {
                    if (found.sum > most) return found;
                    found.within += 1;
                }
            }
            found.fall = fall;
            found.last = next;
            at += 1;
        }
    }
    return found;
}

/// In f64, because it is differences of differences that count.
fn weightOf(set: *const candidates.Candidates, logit: f32) f64 {
    return sweep.weightsWide(@splat(logit), set.max, set.beta)[0];
}

const reference = @import("core/reference.zig");

/// The definition, over all members.
fn expectTailFree(pair: *const reference.Pair, z: f64) !void {
    const items = pair.reference.members.items;
    const found = pair.set.len();
    if (items.len < 3) return std.testing.expectEqual(pair.values.len, found);
    var total: f64 = 0;
    for (2..items.len) |i| total += bend(items, i);
    if (total == 0) return std.testing.expectEqual(pair.values.len, found);
    try pair.reference.expectPrefix(&pair.set);
    var sum: f64 = 0;
    for (2..items.len) |i| {
        sum += bend(items, i);
        if ((sum / total <= z) == (i <= found)) continue;
        // So close that the rounding of a sum decides.
        try std.testing.expectApproxEqAbs(z, sum / total, 1e-6);
    }
}

fn bend(items: []const reference.Member, i: usize) f64 {
    return @abs((items[i - 2].p - items[i - 1].p) - (items[i - 1].p - items[i].p));
}

test "tail-free keeps what a full sort says" {
    try reference.forAll(39, 600, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            reference.heatSometimes(random, pair);
            const choices = [_]f32{ 0, 0.5, 0.95, 0.999, random.float(f32) };
            var self: TailFree = .{ .z = choices[random.uintLessThan(usize, choices.len)] };
            try self.apply(&pair.set, reference.step);
            try expectTailFree(pair, self.z);
        }
    }.body);
}

test "tail-free of 0.45, 0.36, 0.15, 0.04: the bends are 0.12 and 0.1" {
    const logits = [_]f32{ @log(0.45), @log(0.36), @log(0.15), @log(0.04) };
    for ([_]f32{ 0, 0.5, 0.6, 0.99, 1 }, [_]usize{ 1, 1, 2, 2, 4 }) |z, k| {
        var pair: reference.Pair = try .init(std.testing.allocator, &logits);
        defer pair.deinit();
        var self: TailFree = .{ .z = z };
        try self.apply(&pair.set, reference.step);
        try std.testing.expectEqual(k, pair.set.len());
    }
}

test "tail-free over a real vocabulary, peaked and flat" {
    const gpa = std.testing.allocator;
    const values = try gpa.alloc(f32, 128_256);
    defer gpa.free(values);
    var prng: std.Random.DefaultPrng = .init(40);
    for ([_]f32{ 0.001, 1, 4 }) |spread| {
        for (values) |*x| x.* = prng.random().floatNorm(f32) * spread;
        for ([_]f32{ 0.5, 0.95 }) |z| {
            var pair: reference.Pair = try .init(gpa, values);
            defer pair.deinit();
            var self: TailFree = .{ .z = z };
            try self.apply(&pair.set, reference.step);
            try expectTailFree(&pair, z);
        }
    }
}
