//! Locally typical sampling: tokens whose information, -ln p, is closest to the entropy stay, as few
//! as together reach probability p (Meister, Pimentel, Wiher, Cotterell, "Locally Typical
//! Sampling", TACL 2023; arXiv 2202.00666). The most probable token may be among those that go.
//!
//! -ln p - H is the mean of the logits under the distribution less the token's logit, times 1/T.
//! So the tokens of the closest logits to that mean are meant, and no logarithm is taken.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const closest = @import("core/closest.zig");
const select = @import("core/select.zig");
const stage = @import("core/stage.zig");
const Typical = @This();

p: f32,

pub const id: u32 = 6;
pub const name = "typical";
pub const about = "Keeps the tokens of most typical information that together reach probability p.";
pub const parameters = [_]stage.Parameter{.{ .name = "p", .min = 0, .max = 1 }};

pub fn apply(self: *Typical, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    if (self.p == 1) return;
    const centre = set.max + set.meanExponent() / set.beta;
    const made = cutAt(set, centre, self.p) orelse return;
    var near: Near = .{ .centre = centre, .distance = made.distance, .above = made.above, .below = made.below };
    try set.keepWhere(centre - made.distance, &near, Near.stays);
}

/// Most tokens are so improbable that they cannot matter: when the cut among the others is nearer
/// than they all are, they are not looked at.
fn cutAt(set: *candidates.Candidates, centre: f64, p: f32) ?closest.Cut {
    const target = p * set.mass();
    var input: closest.Input = .{ .values = set.values, .centre = centre, .max = set.max, .beta = set.beta };
    const lowest = set.lowestOfMass(p);
    if (select.gatherAbove(.{
        .values = set.values,
        .block_max = set.maxima(),
        .highest = set.max,
        .lowest = lowest,
        .passes = set.passes,
    }, set.probs)) |probable| {
        input.values = probable;
        if (closest.cut(input, target, set.probs)) |made| {
            if (made.distance < centre - lowest) return made;
        }
        input.values = set.values;
    }
    return closest.cut(input, target, set.probs);
}

const Near = struct {
    centre: f64,
    distance: f64,
    /// How many of those exactly as far may still stay.
    above: usize,
    below: usize,

    fn stays(near: *Near, logit: f32) bool {
        const distance = @abs(logit - near.centre);
        if (distance != near.distance) return distance < near.distance;
        const left = if (logit >= near.centre) &near.above else &near.below;
        if (left.* == 0) return false;
        left.* -= 1;
        return true;
    }
};

const reference = @import("core/reference.zig");

const Ranked = struct {
    distance: f64,
    member: reference.Member,

    fn isBefore(_: void, a: Ranked, b: Ranked) bool {
        if (a.distance != b.distance) return a.distance < b.distance;
        if (a.member.logit != b.member.logit) return a.member.logit > b.member.logit;
        return a.member.id < b.member.id;
    }
};

/// The definition: sort by |-ln p - H|, keep until the sum reaches p. Where rounding moves the
/// border, what was kept in the one and not in the other stands at it.
fn expectTypical(pair: *reference.Pair, p: f64) !void {
    const gpa = std.testing.allocator;
    const items = pair.reference.members.items;
    const ranked = try gpa.alloc(Ranked, items.len);
    defer gpa.free(ranked);
    // Distances in logits, where those of tokens without probability are finite too.
    const beta: f64 = pair.set.beta;
    var mean: f64 = 0;
    for (items) |member| mean += member.p * (member.logit - items[0].logit);
    for (ranked, items) |*to, member| {
        to.* = .{ .distance = @abs(member.logit - items[0].logit - mean), .member = member };
    }
    std.mem.sort(Ranked, ranked, {}, Ranked.isBefore);
    var sum: f64 = 0;
    const border = for (ranked) |entry| {
        sum += entry.member.p;
        if (sum >= p) break entry.distance;
    } else ranked[ranked.len - 1].distance;
    var kept: usize = 0;
    var kept_mass: f64 = 0;
    for (ranked) |entry| {
        const stays = reference.Reference.indexOf(&pair.set, entry.member.id) != null;
        if (stays) kept += 1;
        if (stays) kept_mass += entry.member.p;
        const slack = 1e-5 * (1 + @abs(mean)) * @max(1, 1 / beta);
        if (stays) try std.testing.expect(entry.distance <= border + slack);
        if (!stays) try std.testing.expect(entry.distance >= border - slack);
    }
    try std.testing.expectEqual(pair.set.len(), kept);
    try std.testing.expect(kept_mass >= p - 1e-5);
}

test "typical keeps what a full sort by information says" {
    try reference.forAll(42, 500, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            // Floats of every exponent have no mean that an f32 could hold the distance to.
            for (pair.values) |x| if (@abs(x) > 1e6 and x != -std.math.inf(f32)) return;
            reference.heatSometimes(random, pair);
            const choices = [_]f32{ 0, 0.2, 0.5, 0.9, 0.95, random.float(f32) };
            var self: Typical = .{ .p = choices[random.uintLessThan(usize, choices.len)] };
            try self.apply(&pair.set, reference.step);
            try expectTypical(pair, self.p);
        }
    }.body);
}

test "typical leaves the best out when it carries too little information" {
    // The entropy of this is 1.36 nats; the information of the tokens is 0.69, 2.01 and 2.01, 2.08, 2.08.
    const logits = [_]f32{ @log(0.5), @log(0.134), @log(0.134), @log(0.125), @log(0.107) };
    var pair: reference.Pair = try .init(std.testing.allocator, &logits);
    defer pair.deinit();
    var self: Typical = .{ .p = 0.2 };
    try self.apply(&pair.set, reference.step);
    try std.testing.expectEqualSlices(u32, &.{ 1, 2 }, pair.set.ids[0..pair.set.len()]);
    try std.testing.expectEqual(logits[1], pair.set.max);
}

test "typical over a real vocabulary, peaked and flat" {
    const gpa = std.testing.allocator;
    const values = try gpa.alloc(f32, 20_000);
    defer gpa.free(values);
    var prng: std.Random.DefaultPrng = .init(43);
    for ([_]f32{ 0.001, 1, 4 }) |spread| {
        for (values) |*x| x.* = prng.random().floatNorm(f32) * spread;
        for ([_]f32{ 0.2, 0.95 }) |p| {
            var pair: reference.Pair = try .init(gpa, values);
            defer pair.deinit();
            var self: Typical = .{ .p = p };
            try self.apply(&pair.set, reference.step);
            try expectTypical(&pair, p);
        }
    }
}

test "typical of a uniform distribution is the lowest ids, as few as reach p" {
    var pair: reference.Pair = try .init(std.testing.allocator, &@as([1000]f32, @splat(7)));
    defer pair.deinit();
    var self: Typical = .{ .p = 0.25 };
    try self.apply(&pair.set, reference.step);
    try std.testing.expectEqual(250, pair.set.len());
    try std.testing.expectEqual(249, pair.set.id(249));
}
