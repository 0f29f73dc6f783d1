//! XTC, exclude top choices: with the given probability, of the tokens at least as probable as the
//! threshold only the least probable stays, and all below it (Weidmann, "Exclude Top Choices",
//! text-generation-webui 6335, 2024). Where fewer than two reach the threshold nothing changes, so a
//! token that the model is sure of is never taken away. Of equally probable ones the highest id stays.
//!
//! Whether it happens is a number keyed by seed, sequence and position, as the final draw.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const Xtc = @This();

probability: f32,
threshold: f32,

pub const id: u32 = 15;
pub const name = "xtc";
pub const about = "Sometimes removes the tokens above a probability, all but the least probable of them.";
pub const parameters = [_]stage.Parameter{
    .{ .name = "probability", .min = 0, .max = 1 },
    .{ .name = "threshold", .min = 0, .max = 1 },
};

pub fn apply(self: *Xtc, set: *candidates.Candidates, step: stage.Step) candidates.Error!void {
    if (!self.tosses(step)) return;
    const weight = self.threshold * set.mass();
    if (weight <= 1) set.removeFrom(@floatCast(@log(weight) / set.beta + set.max));
}

/// Whether it happens.
pub fn tosses(self: *const Xtc, step: stage.Step) bool {
    return step.uniform(id) < self.probability;
}

const reference = @import("core/reference.zig");

test "xtc leaves what a full list of probabilities says" {
    try reference.forAll(51, 600, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            reference.heatSometimes(random, pair);
            const choices = [_]f32{ 0, 0.1, 0.02, 1e-3, 0.4, 0.6, random.float(f32) };
            var self: Xtc = .{ .probability = 1, .threshold = choices[random.uintLessThan(usize, choices.len)] };
            try self.apply(&pair.set, reference.step);
            const items = pair.reference.members.items;
            var above: usize = 0;
            while (above < items.len and items[above].p >= self.threshold) above += 1;
            if (pair.set.len() == pair.values.len) {
                for (items[@min(1, above)..above]) |member| try expectAtBorder(&self, member);
                return;
            }
            const removed = items.len - pair.set.len();
            for (items[removed..]) |member| {
                const index = reference.Reference.indexOf(&pair.set, member.id) orelse return error.TestExpectedMember;
                try std.testing.expectEqual(pair.values[member.id], pair.set.values[index]);
            }
            try std.testing.expectEqual(pair.values[items[removed].id], pair.set.max);
            // The definition, but for those so close to the threshold that rounding decides.
            for (items[@min(removed + 1, above)..@max(removed + 1, above)]) |member| try expectAtBorder(&self, member);
        }
    }.body);
}

fn expectAtBorder(self: *const Xtc, member: reference.Member) !void {
    try std.testing.expectApproxEqRel(self.threshold, member.p, 2e-4);
}

test "xtc at 0.1 leaves of 0.45, 0.35, 0.15, 0.05 the last two" {
    const logits = [_]f32{ @log(0.45), @log(0.35), @log(0.15), @log(0.05) };
    for ([_]f32{ 0.1, 0.2, 0.4, 0.5, 0 }, [_]usize{ 2, 3, 4, 4, 1 }) |threshold, left| {
        var pair: reference.Pair = try .init(std.testing.allocator, &logits);
        defer pair.deinit();
        var self: Xtc = .{ .probability = 1, .threshold = threshold };
        try self.apply(&pair.set, reference.step);
        try std.testing.expectEqual(left, pair.set.len());
        try std.testing.expectEqual(logits[4 - left], pair.set.max);
    }
}

test "xtc happens as often as it is meant to, and at a position always or never" {
    const logits = [_]f32{ 0, 0.1, -1 };
    var self: Xtc = .{ .probability = 0.3, .threshold = 0.1 };
    var happened: usize = 0;
    for (0..4000) |position| {
        const step: stage.Step = .{ .seed = 5, .sequence = 1, .position = position };
        var lens: [2]usize = undefined;
        for (&lens) |*len| {
            var pair: reference.Pair = try .init(std.testing.allocator, &logits);
            defer pair.deinit();
            try self.apply(&pair.set, step);
            len.* = pair.set.len();
        }
        try std.testing.expectEqual(lens[0], lens[1]);
        if (lens[0] == 1) happened += 1;
    }
    // Four standard deviations of a binomial number.
    try std.testing.expectApproxEqAbs(0.3 * 4000, @as(f64, @floatFromInt(happened)), 4 * @sqrt(4000 * 0.3 * 0.7));
}
