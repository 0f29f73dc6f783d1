//! Contrastive search (Su et al. 2022, "A Contrastive Framework for Neural Text Generation"): of the k most
//! probable tokens that whose (1 - alpha) · p - alpha · s is highest, where s, the degeneration penalty, is
//! the largest cosine between the token's hidden state, once it is evaluated, and those of the text before.
//! The hidden state is that of the last layer behind the last norm, which the output matrix multiplies.
//!
//! p is that of the distribution as it stands. The penalties come from whoever can evaluate tokens: a
//! session does so for all candidates in one batch, and then asks again.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const head = @import("core/head.zig");
const stage = @import("core/stage.zig");
const ContrastiveSearch = @This();

alpha: f32,
k: u32,

pub const id: u32 = 42;
pub const name = "contrastive_search";
pub const about = "Takes the probable token that repeats least of what the text meant before (contrastive search).";
pub const parameters = [_]stage.Parameter{
    .{ .name = "alpha", .min = 0, .max = 1 },
    .{ .name = "k", .min = 1, .max = stage.ahead_max, .whole = true },
};

/// Candidates that have to be evaluated before one is chosen.
pub fn looksAhead(self: *const ContrastiveSearch) u32 {
    return self.k;
}

pub fn apply(self: *ContrastiveSearch, set: *candidates.Candidates, step: stage.Step) candidates.Error!void {
    const total = set.mass();
    head.keep(set, self.k);
    var indices: [stage.ahead_max]usize = undefined;
    var ids: [stage.ahead_max]u32 = undefined;
    var count: usize = 0;
    for (0..set.len()) |index| {
        // Tokens that were removed may still be members.
        if (set.weight(index) == 0) continue;
        indices[count] = index;
        ids[count] = set.id(index);
        count += 1;
    }
    // What is alone needs no score.
    if (count == 1) return set.keepOnly(indices[0]);
    const ahead = step.ahead orelse return error.NoSession;
    const penalties = ahead.ask(ahead.context, ids[0..count]) orelse return error.LookAhead;
    var best: usize = 0;
    var best_score = -std.math.inf(f64);
    for (penalties, indices[0..count]) |penalty, index| {
        const score = (1 - @as(f64, self.alpha)) * (set.weight(index) / total) - @as(f64, self.alpha) * penalty;
        if (score <= best_score) continue;
        best = index;
        best_score = score;
    }
    set.keepOnly(best);
}

const Known = struct {
    penalties: []const f32,
    expected: []const u32,
    evaluated: bool = true,

    fn ask(context: *anyopaque, ids: []const u32) ?[]const f32 {
        const known: *const Known = @ptrCast(@alignCast(context));
        std.testing.expectEqualSlices(u32, known.expected, ids) catch return null;
        return if (known.evaluated) known.penalties else null;
    }
};

test "the score of the paper decides among the k most probable" {
    const reference = @import("core/reference.zig");
    const shares = [_]f32{ 0.05, 0.45, 0.15, 0.35 };
    var logits: [4]f32 = undefined;
    for (shares, &logits) |p, *x| x.* = @log(p);
    // 0.4 · 0.45 - 0.6 · 0.9, 0.4 · 0.15 - 0.6 · 0.3, 0.4 · 0.35 - 0.6 · 0.5.
    const penalties = [_]f32{ 0.9, 0.3, 0.5 };
    for ([_]f32{ 0, 0.6, 1 }, [_]u32{ 1, 2, 2 }) |alpha, expected| {
        var known: Known = .{ .penalties = &penalties, .expected = &.{ 1, 2, 3 } };
        const step: stage.Step = .{ .seed = 0, .sequence = 0, .position = 0, .ahead = .{ .context = &known, .ask = Known.ask } };
        var pair: reference.Pair = try .init(std.testing.allocator, &logits);
        defer pair.deinit();
        var self: ContrastiveSearch = .{ .alpha = alpha, .k = 3 };
        try self.apply(&pair.set, step);
        try std.testing.expectEqual(1, pair.set.len());
        try std.testing.expectEqual(expected, pair.set.id(0));
        known.evaluated = false;
        try pair.set.begin(&logits);
        try std.testing.expectError(error.LookAhead, self.apply(&pair.set, step));
        try std.testing.expectError(error.NoSession, self.apply(&pair.set, .{ .seed = 0, .sequence = 0, .position = 0 }));
    }
    // One alone is taken as it is.
    var pair: reference.Pair = try .init(std.testing.allocator, &logits);
    defer pair.deinit();
    var known: Known = .{ .penalties = &.{}, .expected = &.{} };
    var self: ContrastiveSearch = .{ .alpha = 1, .k = 1 };
    try self.apply(&pair.set, .{ .seed = 0, .sequence = 0, .position = 0, .ahead = .{ .context = &known, .ask = Known.ask } });
    try std.testing.expectEqual(1, pair.set.id(0));
}
