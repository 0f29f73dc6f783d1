//! Repetition penalty: a token of the last `last_n` of the text has its logit divided by the penalty, or
//! multiplied where it is negative, so that it always falls (Keskar et al., "CTRL: A Conditional Transformer
//! Language Model for Controllable Generation", 2019, section 4.1, with the sign as implementations have
//! it). How often a token is there doesn't count. 1 changes nothing, below 1 it rewards. The prompt is text
//! too. It isn't the same for logits that are shifted by a constant, although their distribution is.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const TokenTable = @import("core/token_table.zig").TokenTable;
const RepetitionPenalty = @This();

penalty: f32,
last_n: u32,
counts: TokenTable = .empty,

pub const id: u32 = 16;
pub const name = "repetition_penalty";
pub const about = "Divides the logits of tokens of the text by the penalty, multiplies negative ones.";
pub const parameters = [_]stage.Parameter{
    .{ .name = "penalty", .min = 0.01, .max = 100 },
    .{ .name = "last_n", .min = 0, .max = 1 << 24, .whole = true },
};

pub fn init(self: *RepetitionPenalty, making: stage.Making) stage.MakeError!void {
    self.counts = try .init(making.gpa, @min(self.last_n, making.history_max));
}

pub fn deinit(self: *RepetitionPenalty, gpa: std.mem.Allocator) void {
    self.counts.deinit(gpa);
}

pub fn remembers(self: *const RepetitionPenalty) u32 {
    return self.last_n;
}

pub fn apply(self: *RepetitionPenalty, set: *candidates.Candidates, step: stage.Step) candidates.Error!void {
    const text = stage.last(step.history, @intCast(self.counts.tokens.len));
    if (text.len == 0) return;
    self.counts.count(text);
    for (self.counts.tokens[0..self.counts.len]) |token| {
        const index = set.indexOf(token) orelse continue;
        const logit = set.values[index];
        set.change(index, if (logit <= 0) logit * self.penalty else logit / self.penalty);
    }
    try set.changed();
}

const reference = @import("core/reference.zig");

test "repetition penalty is the definition, for every count and temperature" {
    try reference.forAll(76, 400, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            const text = reference.randomText(random, pair);
            const n = random.uintLessThan(u32, 80);
            const seen = stage.last(text, n);
            var self: RepetitionPenalty = .{ .penalty = 0.5 + random.float(f32), .last_n = n };
            try self.init(reference.making(.{ .vocab = @intCast(pair.values.len), .history_max = 64 }));
            defer self.deinit(std.testing.allocator);
            const t = reference.heatAndNarrow(random, pair);
            const before = try std.testing.allocator.dupe(f32, pair.set.values);
            defer std.testing.allocator.free(before);
            try self.apply(&pair.set, reference.stepAfter(text));
            for (pair.set.values, before, 0..) |found, own, index| {
                const count = std.mem.countScalar(u32, stage.last(seen, 64), pair.set.id(index));
                const logit = @as(f64, own) / t;
                const expected = if (count == 0) logit else if (logit <= 0) logit * self.penalty else logit / self.penalty;
                if (count == 0) try std.testing.expectEqual(own, found);
                try reference.expectLogit(expected, @as(f64, found) / t);
            }
        }
    }.body);
}

test "a penalty of 1.25 leaves of 2, 1, -2, 1 after the second and third 2, 0.8, -2.5, 1" {
    var pair: reference.Pair = try .init(std.testing.allocator, &.{ 2, 1, -2, 1 });
    defer pair.deinit();
    var self: RepetitionPenalty = .{ .penalty = 1.25, .last_n = 3 };
    try self.init(reference.making(.{ .vocab = 4 }));
    defer self.deinit(std.testing.allocator);
    try self.apply(&pair.set, reference.stepAfter(&.{ 0, 0, 2, 1, 2 }));
    try std.testing.expectEqualSlices(f32, &.{ 2, 0.8, -2.5, 1 }, pair.set.values);
    try std.testing.expectEqual(2, pair.set.max);
}
