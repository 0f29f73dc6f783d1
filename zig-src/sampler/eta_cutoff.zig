//! Eta cutoff: an epsilon cutoff that gives way where the distribution is flat. Tokens of a
//! probability of at least min(epsilon, √epsilon · e^-H) stay, with H the entropy in nats (Hewitt,
//! Manning, Liang, "Truncation Sampling as Language Model Desmoothing", Findings of EMNLP 2022).
//! When there is none, the most probable ones do.

const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const EtaCutoff = @This();

epsilon: f32,

pub const id: u32 = 9;
pub const name = "eta_cutoff";
pub const about = "Keeps the tokens of a probability of at least min(epsilon, sqrt(epsilon) e^-entropy).";
pub const parameters = [_]stage.Parameter{.{ .name = "epsilon", .min = 0, .max = 1 }};

pub fn apply(self: *EtaCutoff, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    if (self.epsilon == 0) return;
    set.keepFrom(eta(self.epsilon, set.entropy()) * set.mass());
}

fn eta(epsilon: f64, entropy: f64) f64 {
    return @min(epsilon, @sqrt(epsilon) * @exp(-entropy));
}

const reference = @import("core/reference.zig");
const std = @import("std");

test "eta cutoff keeps what a full list of probabilities says" {
    try reference.forAll(32, 400, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            reference.heatSometimes(random, pair);
            const choices = [_]f32{ 1, 0.3, 3e-4, 4e-3, 1e-9, random.float(f32) };
            const epsilon = choices[random.uintLessThan(usize, choices.len)];
            var self: EtaCutoff = .{ .epsilon = epsilon };
            try self.apply(&pair.set, reference.step);
            if (epsilon == 0) return;
            const found = pair.reference.entropy();
            const bound = @min(@as(f64, epsilon), @sqrt(@as(f64, epsilon)) * @exp(-found));
            try pair.reference.expectFrom(bound, &pair.set);
        }
    }.body);
}

test "eta is epsilon where the distribution is sharp, and falls with the entropy" {
    try std.testing.expectEqual(@as(f64, 0.01), eta(0.01, 1));
    try std.testing.expectApproxEqRel(0.1 * @exp(-5.0), eta(0.01, 5), 1e-12);
    // A uniform distribution over many tokens stays whole: all of them have the same probability.
    const logits: [500]f32 = @splat(2);
    var pair: reference.Pair = try .init(std.testing.allocator, &logits);
    defer pair.deinit();
    var self: EtaCutoff = .{ .epsilon = 0.5 };
    try self.apply(&pair.set, reference.step);
    try std.testing.expectEqual(500, pair.set.len());
}
