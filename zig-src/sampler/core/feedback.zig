//! What both versions of mirostat have in common: the surprise of a choice, and the step that moves μ
//! against its distance from the target (Basu et al. 2020, algorithm 1).

const std = @import("std");
const stage = @import("stage.zig");

pub const parameters = [_]stage.Parameter{
    .{ .name = "tau", .min = 0, .max = 100 },
    .{ .name = "eta", .min = 0, .max = 10 },
    .{ .name = "mu", .min = -1e6, .max = 1e6 },
};

/// In bits, in the model's own distribution; NaN where nobody knows.
pub fn surprise(accepted: stage.Accepted) f32 {
    return -accepted.logprob / std.math.ln2;
}

/// μ after a choice. One without a finite surprise, which was not drawn, teaches nothing.
pub fn next(tau: f32, eta: f32, mu: f32, accepted: stage.Accepted) f32 {
    const found = surprise(accepted);
    if (!std.math.isFinite(found)) return mu;
    return mu - eta * (found - tau);
}

const sampler = @import("../../sampler.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;

/// Draws with a version of mirostat behind other stages from distributions of Zipf whose exponents change,
/// and expects the mean surprise, once μ has settled, to be the target, within 0.1 bits: at a learning rate
/// of 0.1 the sum of all errors is (μ₀ - μₙ) / 0.1, so that of 3000 steps 0.07 bits are left if μ moves by
/// 20. The mean can't be less than the surprise of the most probable tokens, here 1.7 bits, nor more than
/// the entropy, 5. `rest` are the version's further parameters.
pub fn expectConvergence(comptime name: []const u8, comptime rest: anytype, before: []const sampler.StageSpec) !void {
    const gpa = std.testing.allocator;
    const vocab = 3000;
    const steps = 4000;
    for ([_]f32{ 2.5, 3.2, 4 }) |tau| {
        var diag: Diagnostic = .{};
        var specs: [3]sampler.StageSpec = undefined;
        @memcpy(specs[0..before.len], before);
        specs[before.len] = sampler.spec(name, .{ tau, 0.1, 2 * tau } ++ rest);
        var chain: sampler.Chain = try .init(gpa, specs[0 .. before.len + 1], vocab, 7, &diag);
        defer chain.deinit(gpa);
        var logits: [2][vocab]f32 = undefined;
        for (&logits, [_]f32{ 1.2, 1.6 }) |*row, exponent| for (row, 1..) |*logit, rank| {
            logit.* = -exponent * @log(@as(f32, @floatFromInt(rank)));
        };
        var sum: f64 = 0;
        for (0..steps) |position| {
            const choice = try chain.sample(&logits[position / 7 % 2], 0, position, &diag);
            chain.accept(choice.accepted());
            if (position >= steps / 4) sum += surprise(choice.accepted());
        }
        try std.testing.expectApproxEqAbs(tau, sum / (steps - steps / 4), 0.1);
    }
}
