//! Mirostat (Basu, Ramachandran, Keskar, Varshney, "Mirostat: A Neural Text Decoding Algorithm that Directly
//! Controls Perplexity", ICLR 2021, arXiv:2007.14966, algorithm 1): keeps the k most probable tokens, where k
//! is what makes a text of a distribution of Zipf have at most the surprise μ. Its exponent s is estimated
//! of the `m` most probable tokens by least squares,
//!
//!   ŝ = Σ tᵢbᵢ / Σ tᵢ²,  tᵢ = ln((i + 1) / i),  bᵢ = ln(pᵢ / pᵢ₊₁),  i from 1 to m - 1
//!   k = (ε · 2^μ / (1 - N^-ε))^(1/ŝ),  ε = ŝ - 1,  N tokens in the vocabulary
//!
//! rounded, and one more, as in the authors' program. After each choice μ moves as in `mirostat_v2`, which
//! also says what surprise is, and what μ begins with.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const head = @import("core/head.zig");
const stage = @import("core/stage.zig");
const Feedback = @import("core/feedback.zig");
const Mirostat = @This();

tau: f32,
eta: f32,
mu: f32,
m: u32,

pub const id: u32 = 22;
pub const name = "mirostat";
pub const about = "Keeps the k most probable tokens, k such that the mean surprise comes to tau bits.";
pub const parameters = Feedback.parameters ++ [_]stage.Parameter{
    .{ .name = "m", .min = 2, .max = 10_000, .whole = true },
};

pub fn apply(self: *Mirostat, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    const k = self.count(head.sorted(set, self.m), set.beta, set.logits.len);
    if (k < set.len()) head.keep(set, @intCast(k));
}

/// k, of the highest logits in descending order.
fn count(self: *const Mirostat, sorted: []const f32, beta: f32, vocab: usize) usize {
    const s = exponent(sorted, beta);
    const epsilon = s - 1;
    const n: f64 = @floatFromInt(vocab);
    // At ε = 0 its limit is the logarithm.
    const harmonic = if (@abs(epsilon) < 1e-9) @log(n) else (1 - std.math.pow(f64, n, -epsilon)) / epsilon;
    const k = @round(std.math.pow(f64, @exp2(@as(f64, self.mu)) / harmonic, 1 / s));
    // One token has no exponent, which is not a number: it stays, as the negated comparison has it.
    return if (k < n) @as(usize, @intFromFloat(@max(0, k))) + 1 else vocab;
}

fn exponent(sorted: []const f32, beta: f32) f64 {
    var products: f64 = 0;
    var squares: f64 = 0;
    for (sorted[1..], sorted[0 .. sorted.len - 1], 1..) |later, earlier, i| {
        const rank: f64 = @floatFromInt(i);
        const t = @log((rank + 1) / rank);
        products += t * (@as(f64, earlier) - later) * beta;
        squares += t * t;
    }
    return products / squares;
}

pub fn accept(self: *Mirostat, accepted: stage.Accepted) void {
    self.mu = Feedback.next(self.tau, self.eta, self.mu, accepted);
}

/// μ in bits.
pub fn state(self: *const Mirostat) f32 {
    return self.mu;
}

/// Surprise in bits.
pub fn outcome(_: *const Mirostat, accepted: stage.Accepted) f32 {
    return Feedback.surprise(accepted);
}

const reference = @import("core/reference.zig");

test "mirostat keeps as many of a full sort as its formula says" {
    try reference.forAll(82, 600, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            reference.heatSometimes(random, pair);
            var self: Mirostat = .{ .tau = 3, .eta = 0.1, .mu = random.float(f32) * 12, .m = 2 + random.uintLessThan(u32, 200) };
            try self.apply(&pair.set, reference.step);
            const items = pair.reference.members.items;
            if (pair.set.len() < items.len) try pair.reference.expectPrefix(&pair.set);
            var xy: f64 = 0;
            var xx: f64 = 0;
            for (1..@min(self.m, items.len)) |i| {
                const x = std.math.log1p(1 / @as(f64, @floatFromInt(i)));
                // Of logits, because a probability may be 0.
                xy += x * (items[i - 1].logit - items[i].logit);
                xx += x * x;
            }
            const s = xy / xx;
            const power = std.math.pow(f64, @floatFromInt(pair.values.len), 1 - s);
            const k = std.math.pow(f64, (s - 1) * std.math.pow(f64, 2, self.mu) / (1 - power), 1 / s);
            if (!(k < @as(f64, @floatFromInt(items.len)) - 2)) return std.testing.expect(pair.set.len() + 2 >= items.len);
            // Rounding may decide otherwise where k is half a number.
            const found: f64 = @floatFromInt(pair.set.len());
            try std.testing.expectApproxEqAbs(k + 1, found, 0.5 + 1e-3 * k + 1e-6);
        }
    }.body);
}

test "of Zipf's distribution of exponent 1.2 over 1000 tokens 4 bits are 4 tokens" {
    var logits: [1000]f32 = undefined;
    for (&logits, 1..) |*logit, rank| logit.* = -1.2 * @log(@as(f32, @floatFromInt(rank)));
    var pair: reference.Pair = try .init(std.testing.allocator, &logits);
    defer pair.deinit();
    try std.testing.expectApproxEqAbs(1.2, exponent(head.sorted(&pair.set, 100), 1), 1e-5);
    var self: Mirostat = .{ .tau = 3, .eta = 0.1, .mu = 4, .m = 100 };
    try self.apply(&pair.set, reference.step);
    // (0.2 · 16 / (1 - 1000^-0.2))^(1/1.2) = (3.2 / 0.7488)^0.8333 = 3.35: three, and one more.
    try std.testing.expectEqual(4, pair.set.len());
}

test "equally probable tokens, of log₂ N bits each, are all kept if μ is more, and one if it is less" {
    for ([_]usize{ 1, 2, 500, 500 }, [_]f32{ -3, 2, 12, 6 }, [_]usize{ 1, 2, 500, 1 }) |len, mu, left| {
        const logits: [500]f32 = @splat(0.5);
        var pair: reference.Pair = try .init(std.testing.allocator, logits[0..len]);
        defer pair.deinit();
        var self: Mirostat = .{ .tau = 3, .eta = 0.1, .mu = mu, .m = 100 };
        try self.apply(&pair.set, reference.step);
        try std.testing.expectEqual(left, pair.set.len());
    }
}

test "the mean surprise of mirostat comes to tau on a distribution of Zipf" {
    try Feedback.expectConvergence("mirostat", .{100}, &.{});
}
