//! Presence penalty: takes the penalty off the logit of every token that is among the last `last_n` of the
//! text, however often (OpenAI, API reference, `presence_penalty`, by which μⱼ → μⱼ - [cⱼ > 0] · α). 0
//! changes nothing, below 0 it rewards. The prompt is text too. Behind a temperature it is taken off the
//! divided logits, as written there.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const TokenTable = @import("core/token_table.zig").TokenTable;
const PresencePenalty = @This();

penalty: f32,
last_n: u32,
counts: TokenTable = .empty,

pub const id: u32 = 17;
pub const name = "presence_penalty";
pub const about = "Takes the penalty off the logits of tokens that the text has.";
pub const parameters = [_]stage.Parameter{
    .{ .name = "penalty", .min = -1e4, .max = 1e4 },
    .{ .name = "last_n", .min = 0, .max = 1 << 24, .whole = true },
};

pub fn init(self: *PresencePenalty, making: stage.Making) stage.MakeError!void {
    self.counts = try .init(making.gpa, @min(self.last_n, making.history_max));
}

pub fn deinit(self: *PresencePenalty, gpa: std.mem.Allocator) void {
    self.counts.deinit(gpa);
}

pub fn remembers(self: *const PresencePenalty) u32 {
    return self.last_n;
}

pub fn apply(self: *PresencePenalty, set: *candidates.Candidates, step: stage.Step) candidates.Error!void {
    const text = stage.last(step.history, @intCast(self.counts.tokens.len));
    if (text.len == 0) return;
    self.counts.count(text);
    const distance = self.penalty / set.beta;
    for (self.counts.tokens[0..self.counts.len]) |token| {
        const index = set.indexOf(token) orelse continue;
        set.change(index, set.values[index] - distance);
    }
    try set.changed();
}

const reference = @import("core/reference.zig");

test "presence penalty is the definition, for every count and temperature" {
    try reference.forAll(77, 400, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            const text = reference.randomText(random, pair);
            const n = random.uintLessThan(u32, 80);
            const seen = stage.last(text, n);
            var self: PresencePenalty = .{ .penalty = random.floatNorm(f32), .last_n = n };
            try self.init(reference.making(.{ .vocab = @intCast(pair.values.len), .history_max = 64 }));
            defer self.deinit(std.testing.allocator);
            const t = reference.heatAndNarrow(random, pair);
            const before = try std.testing.allocator.dupe(f32, pair.set.values);
            defer std.testing.allocator.free(before);
            try self.apply(&pair.set, reference.stepAfter(text));
            for (pair.set.values, before, 0..) |found, own, index| {
                const count = std.mem.countScalar(u32, stage.last(seen, 64), pair.set.id(index));
                const logit = @as(f64, own) / t;
                const expected = if (count == 0) logit else logit - self.penalty;
                if (count == 0) try std.testing.expectEqual(own, found);
                try reference.expectLogit(expected, @as(f64, found) / t);
            }
        }
    }.body);
}

test "a presence penalty of 0.5 takes 0.5 off what is there, once or three times" {
    var pair: reference.Pair = try .init(std.testing.allocator, &.{ 2, 1, -2, 1 });
    defer pair.deinit();
    var self: PresencePenalty = .{ .penalty = 0.5, .last_n = 4 };
    try self.init(reference.making(.{ .vocab = 4 }));
    defer self.deinit(std.testing.allocator);
    try self.apply(&pair.set, reference.stepAfter(&.{ 3, 0, 2, 0, 0 }));
    try std.testing.expectEqualSlices(f32, &.{ 1.5, 1, -2.5, 1 }, pair.set.values);
}
