//! Epsilon cutoff: tokens of a probability of at least epsilon stay (Hewitt, Manning, Liang,
//! "Truncation Sampling as Language Model Desmoothing", Findings of EMNLP 2022). When there is
//! none, the most probable ones do.

const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const EpsilonCutoff = @This();

epsilon: f32,

pub const id: u32 = 8;
pub const name = "epsilon_cutoff";
pub const about = "Keeps the tokens of a probability of at least epsilon.";
pub const parameters = [_]stage.Parameter{.{ .name = "epsilon", .min = 0, .max = 1 }};

pub fn apply(self: *EpsilonCutoff, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    if (self.epsilon > 0) set.keepFrom(self.epsilon * set.mass());
}

const reference = @import("core/reference.zig");
const std = @import("std");

test "epsilon cutoff keeps what a full list of probabilities says" {
    try reference.forAll(31, 400, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            reference.heatSometimes(random, pair);
            const choices = [_]f32{ 1, 0.3, 3e-4, 2e-3, 1e-9, random.float(f32) };
            var self: EpsilonCutoff = .{ .epsilon = choices[random.uintLessThan(usize, choices.len)] };
            try self.apply(&pair.set, reference.step);
            if (self.epsilon > 0) try pair.reference.expectFrom(self.epsilon, &pair.set);
        }
    }.body);
}

test "of 0.45, 0.35, 0.15, 0.05 the first two stay at epsilon 0.2, and one at 0.9" {
    const logits = [_]f32{ @log(0.45), @log(0.35), @log(0.15), @log(0.05) };
    for ([_]f32{ 0, 0.2, 0.9 }, [_]usize{ 4, 2, 1 }) |epsilon, expected| {
        var pair: reference.Pair = try .init(std.testing.allocator, &logits);
        defer pair.deinit();
        var self: EpsilonCutoff = .{ .epsilon = epsilon };
        try self.apply(&pair.set, reference.step);
        try std.testing.expectEqual(expected, pair.set.len());
    }
}
