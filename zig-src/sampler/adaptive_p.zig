//! Adaptive-p (MrJackSpade and ddh0, llama.cpp pull request 17927, 2026): prefers tokens of about a target
//! probability, and steers so that the mean probability of what is chosen comes to it. With p the
//! probabilities that the stage receives, the logits become
//!
//!   5 - 10 · d² / (1 + d),  d = |p - a| / 0.3
//!
//! where a is the adapted target, 2 · `target` less a mean of the probabilities that the chosen tokens had
//! (those before this stage), each older one weighing `decay` times as much, from 0 to 1. The mean begins as
//! if all before had been at the target. Nothing is removed, so that a tail of many improbable tokens is as
//! probable as its number says; a min-p before it is advised. The temperatures so far go into p, and no
//! further: the new logits are at temperature 1.
//!
//! The constants and the formula are those of the pull request; a negative target, which switches it off
//! there, is out of range here.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const sweep = @import("core/sweep.zig");
const AdaptiveP = @This();

const lanes = sweep.lanes;
const F = @Vector(lanes, f32);

target: f32,
decay: f32,
/// The tokens of the last step, ascending, and the probabilities that they had.
ids: []u32 = &.{}, // [vocab]
/// They were the whole vocabulary, and `ids` says nothing.
whole: bool = false,
probabilities: []f32 = &.{}, // [vocab]
len: usize = 0,
/// Of the probabilities of chosen tokens, and of their weights.
weighted: f64 = 0,
weights: f64 = 0,

const width = 0.3;
const peak = 5;
const sharpness = 10;
/// In place of the probability of a token that was taken out.
const absent = -1;

pub const id: u32 = 24;
pub const name = "adaptive_p";
pub const about = "Prefers tokens near a probability, which it steers so that the mean comes to the target.";
pub const parameters = [_]stage.Parameter{
    .{ .name = "target", .min = 0, .max = 1 },
    .{ .name = "decay", .min = 0, .max = 0.99 },
};

pub fn init(self: *AdaptiveP, making: stage.Making) stage.MakeError!void {
    self.ids = try making.gpa.alloc(u32, making.vocab);
    errdefer making.gpa.free(self.ids);
    self.probabilities = try making.gpa.alloc(f32, making.vocab);
    self.reset();
}

pub fn deinit(self: *AdaptiveP, gpa: std.mem.Allocator) void {
    gpa.free(self.probabilities);
    gpa.free(self.ids);
}

pub fn reset(self: *AdaptiveP) void {
    self.weights = 1 / (1 - @as(f64, self.decay));
    self.weighted = self.target * self.weights;
    self.len = 0;
}

pub fn copy(self: *AdaptiveP, from: *const AdaptiveP) void {
    self.weights = from.weights;
    self.weighted = from.weighted;
    self.len = from.len;
    self.whole = from.whole;
    if (!from.whole) @memcpy(self.ids[0..from.len], from.ids[0..from.len]);
    @memcpy(self.probabilities[0..from.len], from.probabilities[0..from.len]);
}

pub fn apply(self: *AdaptiveP, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    const aim = self.adapted();
    // Numbered by their places, they need no list.
    self.whole = set.whole;
    self.len = set.len();
    if (!set.whole) @memcpy(self.ids[0..self.len], set.ids[0..self.len]);
    const given: Before = .{
        .values = set.values,
        .max = set.max,
        .beta = set.beta,
        .share = @floatCast(1 / set.mass()),
        .aim = aim,
    };
    const logits = set.rewrite();
    var i: usize = 0;
    while (i + lanes <= self.len) : (i += lanes) {
        const both = given.of(given.values[i..][0..lanes].*);
        self.probabilities[i..][0..lanes].* = both[0];
        logits[i..][0..lanes].* = both[1];
    }
    if (i < self.len) {
        const both = given.of(sweep.loadPadded(given.values[i..]));
        const probabilities: [lanes]f32 = both[0];
        const changed: [lanes]f32 = both[1];
        @memcpy(self.probabilities[i..self.len], probabilities[0 .. self.len - i]);
        @memcpy(logits[i..], changed[0 .. self.len - i]);
    }
    try set.edited();
}

/// The distribution that the stage receives.
const Before = struct {
    values: []const f32,
    max: f32,
    beta: f32,
    /// What a weight is multiplied with to be a probability.
    share: f32,
    aim: f32,

    /// Probabilities of some logits, and their new logits.
    inline fn of(given: Before, x: F) [2]F {
        const p = sweep.weights(x, given.max, given.beta) * @as(F, @splat(given.share));
        const distance = @abs(p - @as(F, @splat(given.aim))) / @as(F, @splat(width));
        const fall = @as(F, @splat(sharpness)) * distance * distance / (@as(F, @splat(1)) + distance);
        // What an earlier stage took out stays out.
        const gone = x == none;
        return .{
            @select(f32, gone, @as(F, @splat(absent)), p),
            @select(f32, gone, none, @as(F, @splat(peak)) - fall),
        };
    }
};

const none: F = @splat(-std.math.inf(f32));

fn adapted(self: *const AdaptiveP) f32 {
    return @floatCast(std.math.clamp(2 * @as(f64, self.target) - self.weighted / self.weights, 0, 1));
}

pub fn accept(self: *AdaptiveP, accepted: stage.Accepted) void {
    const p = self.before(accepted.token) orelse return;
    self.weighted = p + self.decay * self.weighted;
    self.weights = 1 + self.decay * self.weights;
}

/// The probability that a token had at the last step; null for one that wasn't there.
fn before(self: *const AdaptiveP, token: u32) ?f32 {
    const index = if (self.whole) token else std.sort.lowerBound(u32, self.ids[0..self.len], token, struct {
        fn order(wanted: u32, member: u32) std.math.Order {
            return std.math.order(wanted, member);
        }
    }.order);
    if (index >= self.len) return null;
    if (!self.whole and self.ids[index] != token) return null;
    return if (self.probabilities[index] == absent) null else self.probabilities[index];
}

/// The adapted target.
pub fn state(self: *const AdaptiveP) f32 {
    return self.adapted();
}

/// The probability that the token had before this stage.
pub fn outcome(self: *const AdaptiveP, accepted: stage.Accepted) f32 {
    return self.before(accepted.token) orelse std.math.nan(f32);
}

const reference = @import("core/reference.zig");
const sampler = @import("../sampler.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

test "adaptive-p gives the logits of its formula, and follows what is chosen" {
    try reference.forAll(84, 300, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            var self: AdaptiveP = .{ .target = random.float(f32), .decay = 0.99 * random.float(f32) };
            try self.init(reference.making(.{ .vocab = @intCast(pair.values.len) }));
            defer self.deinit(std.testing.allocator);
            reference.heatSometimes(random, pair);
            const items = pair.reference.members.items;
            // An average of powers of the decay, as it would be written down.
            var chosen: [6]f64 = undefined;
            for (&chosen, 0..) |*p, i| {
                var mean: f64 = 0;
                var rest: f64 = 1;
                for (0..i) |back| {
                    const share = (1 - @as(f64, self.decay)) * std.math.pow(f64, self.decay, @floatFromInt(back));
                    mean += share * chosen[i - 1 - back];
                    rest -= share;
                }
                const aim = std.math.clamp(2 * @as(f64, self.target) - mean - rest * self.target, 0, 1);
                try std.testing.expectApproxEqAbs(aim, self.state(), 1e-5);
                var step: candidates.Candidates = try .init(std.testing.allocator, @intCast(pair.values.len));
                defer step.deinit(std.testing.allocator);
                try step.begin(pair.values);
                step.beta = pair.set.beta;
                try self.apply(&step, reference.step);
                for (items) |member| {
                    const d = @abs(member.p - aim) / 0.3;
                    try std.testing.expectApproxEqAbs(5 - 10 * d * d / (1 + d), step.values[member.id], 2e-3);
                }
                const member = items[random.uintLessThan(usize, items.len)];
                p.* = member.p;
                try std.testing.expectApproxEqAbs(member.p, self.outcome(.{ .token = member.id }), 1e-5);
                self.accept(.{ .token = member.id });
            }
        }
    }.body);
}

test "of 0.5, 0.25, 0.15, 0.1 the target 0.25 makes the second the most probable" {
    const gpa = std.testing.allocator;
    const logits = [_]f32{ @log(0.5), @log(0.25), @log(0.15), @log(0.1) };
    var pair: reference.Pair = try .init(gpa, &logits);
    defer pair.deinit();
    var self: AdaptiveP = .{ .target = 0.25, .decay = 0.9 };
    try self.init(reference.making(.{ .vocab = 4 }));
    defer self.deinit(gpa);
    try self.apply(&pair.set, reference.step);
    try std.testing.expectEqual(1, pair.set.best());
    try std.testing.expectApproxEqAbs(5, pair.set.max, 1e-5);
    // 0.25 / 0.3 is 0.8333, and 5 - 6.944 / 1.8333 is 1.212.
    try std.testing.expectApproxEqAbs(1.212, pair.set.values[0], 1e-3);
    // After the most probable token a less probable one is aimed at: 0.5 - (0.5 + 0.9 · 2.5) / 10.
    self.accept(.{ .token = 0 });
    try std.testing.expectApproxEqAbs(0.225, self.state(), 1e-6);
    // A token that wasn't there changes nothing.
    self.accept(.{ .token = 9 });
    try std.testing.expectApproxEqAbs(0.225, self.state(), 1e-6);
}

test "the mean probability of what is chosen follows the target" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    var logits: [400]f32 = undefined;
    for (&logits, 1..) |*logit, rank| logit.* = -1.5 * @log(@as(f32, @floatFromInt(rank)));
    var means: [3]f64 = undefined;
    for ([_]f32{ 0.1, 0.2, 0.3 }, &means) |target, *mean| {
        const specs = [_]sampler.StageSpec{ sampler.spec("min_p", .{0.05}), sampler.spec("adaptive_p", .{ target, 0.9 }) };
        var chain: sampler.Chain = try .init(gpa, &specs, logits.len, 3, &diag);
        defer chain.deinit(gpa);
        var sum: f64 = 0;
        for (0..3000) |position| {
            const choice = try chain.sample(&logits, 0, position, &diag);
            sum += chain.stages[1].adaptive_p.outcome(choice.accepted());
            chain.accept(choice.accepted());
        }
        mean.* = sum / 3000;
        // The steering is proportional, which leaves a part of the distance.
        try std.testing.expectApproxEqAbs(target, mean.*, 0.07);
    }
    try std.testing.expect(means[0] + 0.02 < means[1]);
    try std.testing.expect(means[1] + 0.02 < means[2]);
}
