//! Mirostat 2 (Basu, Ramachandran, Keskar, Varshney, "Mirostat: A Neural Text Decoding Algorithm that
//! Directly Controls Perplexity", ICLR 2021, arXiv:2007.14966; the second version is the authors' of their
//! repository): removes the tokens whose surprise, -log₂ p, is above μ, all but the most probable. After each
//! choice μ falls by the learning rate `eta` times what its surprise is above the target `tau`, so that the
//! mean surprise of the text comes to `tau` bits a token: its perplexity to 2^tau.
//!
//! What is removed is decided in the distribution that the stage receives. The surprise of a choice is that
//! in the model's own distribution, which is the same where mirostat comes first, as in the paper, and is
//! what perplexity is made of wherever it stands. The mean can't be less than what the most probable tokens
//! have. μ begins at `mu`, in the paper 2 · `tau`.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const Feedback = @import("core/feedback.zig");
const MirostatV2 = @This();

tau: f32,
eta: f32,
mu: f32,

pub const id: u32 = 23;
pub const name = "mirostat_v2";
pub const about = "Removes tokens of a surprise above μ, which it steers so that the mean comes to tau bits.";
pub const parameters = Feedback.parameters;

pub fn apply(self: *MirostatV2, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    // The most probable has 1 of the mass.
    set.keepFrom(@min(1, @exp2(-@as(f64, self.mu)) * set.mass()));
}

pub fn accept(self: *MirostatV2, accepted: stage.Accepted) void {
    self.mu = Feedback.next(self.tau, self.eta, self.mu, accepted);
}

/// μ in bits.
pub fn state(self: *const MirostatV2) f32 {
    return self.mu;
}

/// Surprise in bits.
pub fn outcome(_: *const MirostatV2, accepted: stage.Accepted) f32 {
    return Feedback.surprise(accepted);
}

const reference = @import("core/reference.zig");

test "mirostat 2 keeps what a full list says is of a surprise up to μ" {
    try reference.forAll(83, 600, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            reference.heatSometimes(random, pair);
            var self: MirostatV2 = .{ .tau = 3, .eta = 0.1, .mu = random.float(f32) * 14 - 1 };
            try self.apply(&pair.set, reference.step);
            try pair.reference.expectFrom(@exp2(-@as(f64, self.mu)), &pair.set);
        }
    }.body);
}

test "of 0.5, 0.25, 0.125, 0.125 two have a surprise of up to 2.5 bits, and one always stays" {
    for ([_]f32{ 2.5, 0.5, -9, 3.5 }, [_]usize{ 2, 1, 1, 4 }) |mu, left| {
        var pair: reference.Pair = try .init(std.testing.allocator, &.{ @log(0.5), @log(0.25), @log(0.125), @log(0.125) });
        defer pair.deinit();
        var self: MirostatV2 = .{ .tau = 3, .eta = 0.1, .mu = mu };
        try self.apply(&pair.set, reference.step);
        try std.testing.expectEqual(left, pair.set.len());
    }
    var self: MirostatV2 = .{ .tau = 3, .eta = 0.5, .mu = 6 };
    // Half a bit of probability 1/32 is five bits of surprise, two above the target.
    self.accept(.{ .token = 0, .logprob = @log(1.0 / 32.0) });
    try std.testing.expectApproxEqAbs(5, self.mu, 1e-5);
    // Nobody knows how surprising it is.
    self.accept(.{ .token = 0 });
    try std.testing.expectApproxEqAbs(5, self.mu, 1e-5);
}

test "the mean surprise of mirostat 2 comes to tau on a distribution of Zipf" {
    try Feedback.expectConvergence("mirostat_v2", .{}, &.{});
    // The same behind a temperature and before a nucleus: the target is the model's surprise.
    try Feedback.expectConvergence("mirostat_v2", .{}, &.{@import("../sampler.zig").spec("temperature", .{1.2})});
}
