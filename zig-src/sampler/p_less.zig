//! p-less: tokens at least as probable as two independent draws are to agree stay. That bound is
//! Σ p², which no parameter tunes and which is at most the highest probability (Tan, Wu, Howard,
//! "p-less Sampling: A Robust Hyperparameter-Free Approach for LLM Decoding", 2025). With
//! `norm` = 1 it is the paper's relaxed bound (n · Σ p² - 1) / (n - 1) over n candidates.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const PLess = @This();

norm: u32,

pub const id: u32 = 13;
pub const name = "p_less";
pub const about = "Keeps the tokens at least as probable as two draws are to agree.";
pub const parameters = [_]stage.Parameter{.{ .name = "norm", .min = 0, .max = 1, .whole = true }};

pub fn apply(self: *PLess, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    const total = set.mass();
    // The squares of the weights are the weights at half the temperature. Block masses in `probs`,
    // because those of the set are to stay.
    const squares = set.passes.mass(set.values, set.max, 2 * set.beta, set.probs);
    var bound = squares / total;
    if (self.norm == 1) {
        const n: f64 = @floatFromInt(set.finiteCount());
        if (n < 2) return;
        // All as shares of the best one's probability, 1 / total.
        bound = (n * bound - total) / (n - 1);
    }
    set.keepFrom(bound);
}

const reference = @import("core/reference.zig");

test "p-less keeps what a full list of probabilities says, plain and relaxed" {
    try reference.forAll(34, 600, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            reference.heatSometimes(random, pair);
            var self: PLess = .{ .norm = random.uintLessThan(u32, 2) };
            try self.apply(&pair.set, reference.step);
            const items = pair.reference.members.items;
            var bound: f64 = 0;
            for (items) |member| bound += member.p * member.p;
            const n: f64 = @floatFromInt(items.len);
            if (self.norm == 1 and n > 1) {
                // The difference of two nearly equal numbers when the distribution is nearly flat.
                if (n * bound - 1 < 1e-3) return;
                bound = (n * bound - 1) / (n - 1);
            }
            try pair.reference.expectFrom(bound, &pair.set);
        }
    }.body);
}

test "of 0.4, 0.35, 0.2, 0.05 two stay, for two draws agree with probability 0.325" {
    const logits = [_]f32{ @log(0.4), @log(0.35), @log(0.2), @log(0.05) };
    // The relaxed bound is (4 · 0.325 - 1) / 3 = 0.1.
    for ([_]u32{ 0, 1 }, [_]usize{ 2, 3 }) |norm, expected| {
        var pair: reference.Pair = try .init(std.testing.allocator, &logits);
        defer pair.deinit();
        var self: PLess = .{ .norm = norm };
        try self.apply(&pair.set, reference.step);
        try std.testing.expectEqual(expected, pair.set.len());
    }
}

test "p-less keeps a uniform distribution whole" {
    const logits: [700]f32 = @splat(-3);
    for ([_]u32{ 0, 1 }) |norm| {
        var pair: reference.Pair = try .init(std.testing.allocator, &logits);
        defer pair.deinit();
        var self: PLess = .{ .norm = norm };
        try self.apply(&pair.set, reference.step);
        try std.testing.expectEqual(700, pair.set.len());
    }
}
