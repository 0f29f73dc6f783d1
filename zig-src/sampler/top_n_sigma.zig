//! Top-nσ: tokens whose logit is at most n standard deviations of all logits below the highest stay
//! (Tang, Liu, Xu, Huang, "Top-nσ: Not All Logits Are You Need", 2024). The deviation is that of the
//! candidates the stage gets, over their number. Both it and the distances scale with the
//! temperature alike, so what stays is the same at every temperature.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const TopNSigma = @This();

n: f32,

pub const id: u32 = 7;
pub const name = "top_n_sigma";
pub const about = "Keeps the tokens whose logit is within n standard deviations of the highest.";
pub const parameters = [_]stage.Parameter{.{ .name = "n", .min = 0, .max = 1e6 }};

pub fn apply(self: *TopNSigma, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    const found = set.passes.spread(set.values, set.max);
    const mean = found.sum / found.count;
    const sigma = @sqrt(@max(0, found.squares / found.count - mean * mean));
    const threshold = set.max - self.n * sigma;
    // Below the lowest float everything stays.
    const all = threshold < -std.math.floatMax(f32);
    set.keep(if (all) .everything else .{ .threshold = @floatCast(threshold), .ties = set.len() });
}

const reference = @import("core/reference.zig");

/// By the definition in two passes: the mean first.
fn sigmaOf(items: []const reference.Member) f64 {
    const n: f64 = @floatFromInt(items.len);
    var mean: f64 = 0;
    for (items) |member| mean += member.logit / n;
    var variance: f64 = 0;
    for (items) |member| variance += (member.logit - mean) * (member.logit - mean) / n;
    return @sqrt(variance);
}

test "top-nσ keeps what two passes over a list say, at every temperature the same" {
    try reference.forAll(35, 500, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            const items = pair.reference.members.items;
            const choices = [_]f32{ 0, 1, 2.5, 40, random.float(f32) };
            var self: TopNSigma = .{ .n = choices[random.uintLessThan(usize, choices.len)] };
            if (random.boolean()) pair.set.heat(0.01 + 10 * random.float(f32));
            try self.apply(&pair.set, reference.step);
            try pair.reference.expectPrefix(&pair.set);
            const sigma = sigmaOf(items);
            const bound = items[0].logit - self.n * sigma;
            for (items, 0..) |member, rank| {
                if ((member.logit >= bound) == (rank < pair.set.len())) continue;
                // The rounding of the threshold to a float, and of a deviation next to nothing.
                const slack = 1e-6 * (@abs(items[0].logit) + @abs(items[items.len - 1].logit));
                try std.testing.expectApproxEqAbs(bound, member.logit, slack);
            }
        }
    }.body);
}

test "of the logits 3, 2, 1, 0 the first stay within n deviations of 1.118" {
    for ([_]f32{ 0, 0.9, 1, 2, 3 }, [_]usize{ 1, 2, 2, 3, 4 }) |n, expected| {
        var pair: reference.Pair = try .init(std.testing.allocator, &.{ 0, 3, -std.math.inf(f32), 1, 2 });
        defer pair.deinit();
        var self: TopNSigma = .{ .n = n };
        try self.apply(&pair.set, reference.step);
        try std.testing.expectEqual(expected, pair.set.len());
    }
}
