//! Min-k: cuts the sorted logits l₁ ≥ l₂ ≥ … where they fall off most, by the relative decay
//! (lᵢ - lᵢ₊₁) / (l₁ - lₙ) weighted with 1 / i. At least ⌊tau / (l₁ - lₙ)⌋ tokens stay, which matters
//! where the logits are nearly equal (Ding, Li, Garces Arias, Aßenmacher, Heumann, Zhang, "Min-k
//! Sampling: Decoupling Truncation from Temperature Scaling via Relative Logit Dynamics", ACL
//! 2026). Logits before any temperature are meant, so what stays is the same at every temperature.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const head = @import("core/head.zig");
const stage = @import("core/stage.zig");
const MinK = @This();

tau: f32,

pub const id: u32 = 14;
pub const name = "min_k";
pub const about = "Keeps the tokens before the steepest fall of the sorted logits.";
pub const parameters = [_]stage.Parameter{.{ .name = "tau", .min = 0, .max = 1e6 }};

pub fn apply(self: *MinK, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    const n = set.finiteCount();
    const range = @as(f64, set.max) - set.lowestLogit();
    if (n < 2 or range == 0) return;
    const least = @floor(self.tau / range);
    var k = steepest(set, n, range);
    if (least > @as(f64, @floatFromInt(k))) k = if (least >= @as(f64, @floatFromInt(n))) n else @intFromFloat(least);
    if (k < set.len()) head.keep(set, @intCast(k));
}

/// The i of the highest weighted decay, the first among equals. What follows the m highest falls
/// by no more than the rest of the range at once, so only as many are sorted as can win.
fn steepest(set: *candidates.Candidates, n: usize, range: f64) usize {
    var len: usize = head.first_len;
    while (true) : (len *= head.growth) {
        const sorted = head.sorted(set, @min(len, n));
        var best: usize = 1;
        var decay: f64 = -1;
        for (sorted[0 .. sorted.len - 1], sorted[1..], 1..) |x, next, i| {
            const found = (@as(f64, x) - next) / @as(f64, @floatFromInt(i));
            if (found <= decay) continue;
            decay = found;
            best = i;
        }
        const m: f64 = @floatFromInt(sorted.len);
        const rest = range - (@as(f64, set.max) - sorted[sorted.len - 1]);
        if (sorted.len == n or rest / m <= decay) return best;
    }
}

const reference = @import("core/reference.zig");

fn expected(items: []const reference.Member, tau: f64) usize {
    const range = items[0].logit - items[items.len - 1].logit;
    if (range == 0) return items.len;
    var best: usize = 1;
    var decay: f64 = -1;
    for (1..items.len) |i| {
        const found = (items[i - 1].logit - items[i].logit) / @as(f64, @floatFromInt(i));
        if (found <= decay) continue;
        decay = found;
        best = i;
    }
    const least = @floor(tau / range);
    return if (least >= @as(f64, @floatFromInt(items.len))) items.len else @max(best, @as(usize, @intFromFloat(least)));
}

test "min-k keeps what a full sort says, at every temperature the same" {
    try reference.forAll(37, 600, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            const choices = [_]f32{ 0, 3, 1000, random.float(f32) };
            var self: MinK = .{ .tau = choices[random.uintLessThan(usize, choices.len)] };
            if (random.boolean()) pair.set.heat(0.01 + 10 * random.float(f32));
            try self.apply(&pair.set, reference.step);
            const items = pair.reference.members.items;
            const k = expected(items, self.tau);
            // Masked tokens may stay where all others do.
            if (k == items.len and pair.set.len() == pair.values.len) return;
            try std.testing.expectEqual(k, pair.set.len());
            try pair.reference.expectPrefix(&pair.set);
        }
    }.body);
}

test "min-k cuts before the fall, and keeps equal logits whole" {
    for ([_]f32{ 0, 40 }, [_]usize{ 3, 4 }) |tau, k| {
        var pair: reference.Pair = try .init(std.testing.allocator, &.{ 1, 9.5, 0.5, 10, 9, 0 });
        defer pair.deinit();
        var self: MinK = .{ .tau = tau };
        try self.apply(&pair.set, reference.step);
        try std.testing.expectEqual(k, pair.set.len());
    }
    var flat: reference.Pair = try .init(std.testing.allocator, &@as([9]f32, @splat(4)));
    defer flat.deinit();
    var self: MinK = .{ .tau = 0 };
    try self.apply(&flat.set, reference.step);
    try std.testing.expectEqual(9, flat.set.len());
}

test "min-k over a real vocabulary, peaked, linear and flat" {
    const gpa = std.testing.allocator;
    const values = try gpa.alloc(f32, 128_256);
    defer gpa.free(values);
    var prng: std.Random.DefaultPrng = .init(38);
    for (0..3) |kind| {
        for (values, 0..) |*x, i| x.* = switch (kind) {
            0 => prng.random().floatNorm(f32) * 3,
            1 => @floatFromInt(i * 77_773 % 128_256),
            else => 1 + 1e-7 * @as(f32, @floatFromInt(i % 3)),
        };
        var pair: reference.Pair = try .init(gpa, values);
        defer pair.deinit();
        var self: MinK = .{ .tau = 0 };
        try self.apply(&pair.set, reference.step);
        try std.testing.expectEqual(expected(pair.reference.members.items, 0), pair.set.len());
        try pair.reference.expectPrefix(&pair.set);
    }
}
