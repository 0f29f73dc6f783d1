//! Classifier-free guidance (Sanchez et al. 2023, "Stay on topic with Classifier-Free Guidance", after Ho
//! and Salimans 2021): log p = log p_u + scale · (log p_c - log p_u), where p_c is the distribution as it
//! stands, p_u what another session, of another prompt, makes of the same text. A scale of 1 changes
//! nothing, more goes further away from the other prompt, 0 takes its distribution.
//!
//! Both are taken at the temperature in force and over the candidates that are left. Constants of a
//! distribution don't matter here, so that logits are told from their maxima and not normalised. What
//! either holds to be impossible is.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const Guidance = @This();

scale: f32,

pub const id: u32 = 41;
pub const name = "guidance";
pub const about = "Goes away from what another session would say (classifier-free guidance).";
pub const parameters = [_]stage.Parameter{.{ .name = "scale", .min = 0, .max = 100 }};

pub fn apply(self: *Guidance, set: *candidates.Candidates, step: stage.Step) candidates.Error!void {
    const guide = step.guide orelse return error.NoGuide;
    const beta = set.beta;
    const max = set.max * beta;
    const logits = set.edit();
    const ids = set.ids[0..logits.len];
    var guide_max = -std.math.inf(f32);
    for (ids) |token| guide_max = @max(guide_max, guide[token] * beta);
    for (ids, logits) |token, *logit| {
        const other = guide[token] * beta;
        const excluded = logit.* == -std.math.inf(f32) or other == -std.math.inf(f32);
        // Differences of large numbers don't fit into those of the logits.
        const away = @as(f64, other) - guide_max;
        const guided = away + self.scale * ((@as(f64, logit.*) - max) - away);
        logit.* = if (excluded) -std.math.inf(f32) else @floatCast(guided);
    }
    try set.edited();
}

test "the distribution is the paper's, at any temperature and behind any stage" {
    const reference = @import("core/reference.zig");
    const logits = [_]f32{ 1, 2.5, -3, 0.5, -std.math.inf(f32), 4 };
    const other = [_]f32{ 0.5, 3, -1, -std.math.inf(f32), 2, 5 };
    const guided: stage.Step = .{ .seed = 0, .sequence = 0, .position = 0, .guide = &other };
    for ([_]f32{ 0, 1, 1.5, 3 }) |scale| for ([_]f64{ 1, 0.5 }) |temperature| {
        var pair: reference.Pair = try .init(std.testing.allocator, &logits);
        defer pair.deinit();
        pair.set.heat(temperature);
        var self: Guidance = .{ .scale = scale };
        try self.apply(&pair.set, guided);
        var expected: [6]f64 = undefined;
        var total: f64 = 0;
        for (&expected, 0..) |*p, i| {
            const c = logits[i] / temperature - logSum(&logits, temperature);
            const u = other[i] / temperature - logSum(&other, temperature);
            p.* = if (i == 3 or i == 4) 0 else @exp(u + scale * (c - u));
            total += p.*;
        }
        for (expected, pair.set.probabilities()) |p, found| try std.testing.expectApproxEqAbs(p / total, found, 1e-6);
    };
    var pair: reference.Pair = try .init(std.testing.allocator, &logits);
    defer pair.deinit();
    var self: Guidance = .{ .scale = 2 };
    try std.testing.expectError(error.NoGuide, self.apply(&pair.set, .{ .seed = 0, .sequence = 0, .position = 0 }));
    // What is left decides, also when the other session doubts it.
    const doubtful = [_]f32{ -1e30, -1e30, -1e30, -1e30, -1e30, 3e38 };
    try self.apply(&pair.set, .{ .seed = 0, .sequence = 0, .position = 0, .guide = &doubtful });
    const broken = [_]f32{ 0, 0, std.math.nan(f32), 0, 0, 0 };
    try std.testing.expectError(error.NotANumber, self.apply(&pair.set, .{ .seed = 0, .sequence = 0, .position = 0, .guide = &broken }));
}

fn logSum(logits: []const f32, temperature: f64) f64 {
    var sum: f64 = 0;
    for (logits) |x| sum += @exp(x / temperature);
    return @log(sum);
}
