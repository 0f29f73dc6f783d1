//! Dynamic temperature: a temperature that follows the entropy of the distribution. With H the
//! entropy and n the number of candidates, T = low + (high - low) · (H / ln n)^exponent: `low` where
//! the model is sure, `high` where it is not. Entropy as the guide of the temperature is from Zhu
//! et al., "Hot or Cold? Adaptive Temperature Sampling for Code Generation with Large Language
//! Models" (AAAI 2024) and Zhang, Bao, Huang, "EDT" (2024); this form of it from koboldcpp (kalomaze,
//! 2023), as llama.cpp has it. `low` may exceed `high`: then a sure model is heated.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const DynamicTemperature = @This();

low: f32,
high: f32,
exponent: f32,

pub const id: u32 = 12;
pub const name = "dynamic_temperature";
pub const about = "Divides the logits by a temperature between low and high that grows with the entropy.";
pub const parameters = [_]stage.Parameter{
    .{ .name = "low", .min = 0, .max = 1e6 },
    .{ .name = "high", .min = 0, .max = 1e6 },
    .{ .name = "exponent", .min = 0, .max = 100 },
};

pub fn apply(self: *DynamicTemperature, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    const n: f64 = @floatFromInt(set.finiteCount());
    if (n < 2) return;
    const t = self.temperatureAt(set.entropy() / @log(n));
    if (t == 0) set.keepOnly(set.best()) else set.heat(t);
}

/// For an entropy as a share of the highest possible.
fn temperatureAt(self: *const DynamicTemperature, share: f64) f64 {
    const low: f64 = self.low;
    const high: f64 = self.high;
    return low + (high - low) * std.math.pow(f64, std.math.clamp(share, 0, 1), self.exponent);
}

const reference = @import("core/reference.zig");

test "dynamic temperature is the temperature that the entropy of a full list gives" {
    try reference.forAll(36, 400, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            reference.heatSometimes(random, pair);
            var self: DynamicTemperature = .{
                .low = 0.05 + random.float(f32),
                .high = 0.05 + 3 * random.float(f32),
                .exponent = ([_]f32{ 0, 0.5, 1, 2.5 })[random.uintLessThan(usize, 4)],
            };
            const n: f64 = @floatFromInt(pair.reference.members.items.len);
            const share = if (n > 1) pair.reference.entropy() / @log(n) else 0;
            if (self.exponent == 0.5 and share < 1e-4) return; // A root magnifies rounding errors.
            if (n > 1) pair.reference.heat(self.low + (self.high - self.low) * std.math.pow(f64, @min(1, share), self.exponent));
            try self.apply(&pair.set, reference.step);
            try std.testing.expectEqual(pair.values.len, pair.set.len());
            const found = pair.set.probabilities();
            for (pair.reference.members.items) |member| {
                try std.testing.expectApproxEqAbs(member.p, found[member.id], 1e-5);
            }
        }
    }.body);
}

test "the ends of dynamic temperature: uniform gives high, certain gives low, 0 is greedy" {
    var self: DynamicTemperature = .{ .low = 0, .high = 2, .exponent = 1 };
    var flat: reference.Pair = try .init(std.testing.allocator, &@as([300]f32, @splat(1)));
    defer flat.deinit();
    try self.apply(&flat.set, reference.step);
    try std.testing.expectApproxEqRel(0.5, flat.set.beta, 1e-6);
    var sharp: reference.Pair = try .init(std.testing.allocator, &.{ 0, 900, 2 });
    defer sharp.deinit();
    try self.apply(&sharp.set, reference.step);
    try std.testing.expectEqual(1, sharp.set.len());
    try std.testing.expectEqual(1, sharp.set.id(0));
}
