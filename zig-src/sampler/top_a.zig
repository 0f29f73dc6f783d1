//! Top-a: tokens of a probability of at least a · p², with p that of the most probable one, stay
//! (Peng, "RWKV-LM", 2022, from where KoboldAI took it). Between epsilon cutoff and min-p: the sharper
//! the distribution, the higher the bound, and with a ≤ 1 the best token is never below it.

const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const TopA = @This();

a: f32,

pub const id: u32 = 11;
pub const name = "top_a";
pub const about = "Keeps the tokens of a probability of at least a times the square of the highest.";
pub const parameters = [_]stage.Parameter{.{ .name = "a", .min = 0, .max = 1 }};

pub fn apply(self: *TopA, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    // a · p² as a share of p, which is 1 over the mass.
    if (self.a > 0) set.keepFrom(self.a / set.mass());
}

const reference = @import("core/reference.zig");
const std = @import("std");

test "top-a keeps what a full list of probabilities says" {
    try reference.forAll(33, 400, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            reference.heatSometimes(random, pair);
            const choices = [_]f32{ 1, 0.2, 0.02, 1e-6, random.float(f32) };
            var self: TopA = .{ .a = choices[random.uintLessThan(usize, choices.len)] };
            try self.apply(&pair.set, reference.step);
            const best = pair.reference.members.items[0].p;
            if (self.a > 0) try pair.reference.expectFrom(self.a * best * best, &pair.set);
        }
    }.body);
}

test "of 0.45, 0.35, 0.15, 0.05 the first three stay at a = 0.3: the bound is 0.061" {
    const logits = [_]f32{ @log(0.45), @log(0.35), @log(0.15), @log(0.05) };
    for ([_]f32{ 0, 0.3 }, [_]usize{ 4, 3 }) |a, expected| {
        var pair: reference.Pair = try .init(std.testing.allocator, &logits);
        defer pair.deinit();
        var self: TopA = .{ .a = a };
        try self.apply(&pair.set, reference.step);
        try std.testing.expectEqual(expected, pair.set.len());
    }
}
