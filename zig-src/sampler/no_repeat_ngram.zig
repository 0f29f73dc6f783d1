//! No repeated n-grams: removes every token that would complete an n-gram which the text already has, the
//! prompt included (Paulus, Xiong, Socher, "A Deep Reinforced Model for Abstractive Summarization", 2018,
//! section 2.5, with trigrams). 1 removes every token that the text has.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const NoRepeatNgram = @This();

n: u32,

pub const id: u32 = 19;
pub const name = "no_repeat_ngram";
pub const about = "Removes the tokens that would complete an n-gram which the text has.";
pub const parameters = [_]stage.Parameter{.{ .name = "n", .min = 1, .max = 1024, .whole = true }};

pub fn remembers(_: *const NoRepeatNgram) u32 {
    return stage.whole_text;
}

pub fn apply(self: *NoRepeatNgram, set: *candidates.Candidates, step: stage.Step) candidates.Error!void {
    const text = step.history;
    if (text.len < self.n) return;
    const before = stage.last(text, self.n - 1);
    for (text[before.len..], 0..) |token, start| {
        if (!std.mem.eql(u32, text[start..][0..before.len], before)) continue;
        set.change(set.indexOf(token) orelse continue, -std.math.inf(f32));
    }
    try set.changed();
}

const reference = @import("core/reference.zig");

test "what stays completes no n-gram of the text, and everything else stays" {
    try reference.forAll(79, 400, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            const text = reference.randomText(random, pair);
            var self: NoRepeatNgram = .{ .n = 1 + random.uintLessThan(u32, 4) };
            _ = reference.heatAndNarrow(random, pair);
            const before = try std.testing.allocator.dupe(f32, pair.set.values);
            defer std.testing.allocator.free(before);
            const applied = self.apply(&pair.set, reference.stepAfter(text));
            var left: usize = 0;
            for (before, 0..) |own, index| {
                const repeats = completes(text, pair.set.id(index), self.n);
                if (!repeats and own > -std.math.inf(f32)) left += 1;
                try std.testing.expectEqual(if (repeats) -std.math.inf(f32) else own, pair.set.values[index]);
            }
            if (left == 0) return std.testing.expectError(error.NoCandidates, applied);
            try applied;
        }
    }.body);
}

/// Whether the n-gram that ends with `token` is in the text before it.
fn completes(text: []const u32, token: u32, n: usize) bool {
    if (text.len + 1 < n) return false;
    var gram: [8]u32 = undefined;
    @memcpy(gram[0 .. n - 1], text[text.len - (n - 1) ..]);
    gram[n - 1] = token;
    return std.mem.indexOf(u32, text, gram[0..n]) != null;
}

test "after a b c a b no trigram leaves c out, and after a b nothing" {
    var pair: reference.Pair = try .init(std.testing.allocator, &.{ 1, 2, 3, 0 });
    defer pair.deinit();
    var self: NoRepeatNgram = .{ .n = 3 };
    try self.apply(&pair.set, reference.stepAfter(&.{ 0, 1 }));
    try std.testing.expect(pair.set.untouched());
    try self.apply(&pair.set, reference.stepAfter(&.{ 0, 1, 2, 0, 1 }));
    try std.testing.expectEqualSlices(f32, &.{ 1, 2, -std.math.inf(f32), 0 }, pair.set.values);
}
