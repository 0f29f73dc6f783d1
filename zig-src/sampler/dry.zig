//! DRY, "don't repeat yourself" (Weidmann, text-generation-webui 5677, 2024): a token that would extend a
//! repetition is made less likely, the more the longer it is. Where the last L tokens of the text are also
//! found before, followed by the token, with L at least `allowed_length`,
//!
//!   logit → logit - multiplier · base^(L - allowed_length)
//!
//! with the largest such L of the token, within the last `last_n` tokens. Its data are sequence breakers: a
//! repetition begins behind the last token in which one of them ends, and such a token is never penalised
//! itself. Behind a temperature the penalty is taken off the divided logits.
//!
//! The lengths of all repetitions come from one pass over the text, as Z-values of its reverse (Gusfield,
//! "Algorithms on Strings, Trees, and Sequences", 1997, section 1.4).

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const Breakers = @import("core/breakers.zig").Breakers;
const TokenTable = @import("core/token_table.zig").TokenTable;
const Dry = @This();

multiplier: f32,
base: f32,
allowed_length: u32,
last_n: u32,
breakers: Breakers = .none,
/// For each distance from the end, how many tokens before it are those at the end.
lengths: []u32 = &.{},
/// The longest repetition that a token would extend.
longest: TokenTable = .empty,

/// A penalty is at most this: an infinite one would remove a token.
const penalty_max = 1e30;

pub const id: u32 = 21;
pub const name = "dry";
pub const about = "Takes off the logits of tokens that extend a repetition, the more the longer it is.";
pub const parameters = [_]stage.Parameter{
    .{ .name = "multiplier", .min = 0, .max = 1e6 },
    .{ .name = "base", .min = 1, .max = 1e3 },
    .{ .name = "allowed_length", .min = 1, .max = 1 << 24, .whole = true },
    .{ .name = "last_n", .min = 0, .max = 1 << 24, .whole = true },
};
pub const data = stage.Data.strings;

pub fn init(self: *Dry, making: stage.Making) stage.MakeError!void {
    const room = @min(self.last_n, making.history_max);
    self.breakers = try .init(making);
    errdefer self.breakers.deinit(making.gpa);
    self.lengths = try making.gpa.alloc(u32, room);
    errdefer making.gpa.free(self.lengths);
    self.longest = try .init(making.gpa, room);
}

pub fn deinit(self: *Dry, gpa: std.mem.Allocator) void {
    self.longest.deinit(gpa);
    gpa.free(self.lengths);
    self.breakers.deinit(gpa);
}

pub fn remembers(self: *const Dry) u32 {
    return self.last_n;
}

pub fn apply(self: *Dry, set: *candidates.Candidates, step: stage.Step) candidates.Error!void {
    const text = stage.last(step.history, @intCast(self.lengths.len));
    const limit: u32 = @intCast(self.breakers.unbroken(text));
    if (limit < self.allowed_length) return;
    self.longest.clear();
    repetitions(text, self.lengths[0..text.len]);
    for (1..text.len) |distance| {
        const length = @min(self.lengths[distance], limit);
        if (length < self.allowed_length) continue;
        const next = text.len - distance;
        if (self.breakers.breaksAt(text, next)) continue;
        const longest = self.longest.at(text[next]);
        longest.* = @max(longest.*, length);
    }
    if (self.longest.len == 0) return;
    for (self.longest.tokens[0..self.longest.len], self.longest.values[0..self.longest.len]) |token, length| {
        const index = set.indexOf(token) orelse continue;
        set.change(index, @floatCast(set.values[index] - self.penalty(length) / set.beta));
    }
    try set.changed();
}

fn penalty(self: *const Dry, length: u32) f64 {
    const exponent: f64 = @floatFromInt(length - self.allowed_length);
    return @min(penalty_max, self.multiplier * std.math.pow(f64, self.base, exponent));
}

/// For each distance d from the end of the text, how many tokens up to d before its end are the same as
/// those up to its end: Z-values of the reversed text. A stretch that is known to repeat, [from, to) counted
/// from the end, gives the values inside of it, or where to begin to compare.
fn repetitions(text: []const u32, lengths: []u32) void {
    const len = text.len;
    var from: usize = 0;
    var to: usize = 0;
    for (lengths[1..], 1..) |*length, distance| {
        var same: usize = if (distance < to) @min(to - distance, lengths[distance - from]) else 0;
        while (distance + same < len and text[len - 1 - same] == text[len - 1 - same - distance]) same += 1;
        length.* = @intCast(same);
        if (distance + same > to) {
            from = distance;
            to = distance + same;
        }
    }
}

const reference = @import("core/reference.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Vocabulary = @import("core/vocabulary.zig").Vocabulary;

/// By comparing at every place of the text, as the definition says it.
fn longestBefore(self: *const Dry, text: []const u32, token: u32) usize {
    var longest: usize = 0;
    for (1..text.len) |next| {
        if (text[next] != token or self.breakers.breaksAt(text, next)) continue;
        var length: usize = 0;
        while (length < next and text[next - 1 - length] == text[text.len - 1 - length] and
            !self.breakers.breaksAt(text, text.len - 1 - length)) length += 1;
        longest = @max(longest, length);
    }
    return longest;
}

const letters: []const []const u8 = &.{ "a", "b", ":", "", "c:" };

test "dry penalises what extends a repetition, by its length, and nothing else" {
    try reference.forAll(81, 500, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            var text_buffer: [90]u32 = undefined;
            const text = text_buffer[0..random.uintLessThan(usize, text_buffer.len)];
            const kinds = @min(pair.values.len, 1 + random.uintLessThan(usize, 5));
            for (text) |*token| token.* = @intCast(random.uintLessThan(usize, kinds));
            var self: Dry = .{
                .multiplier = random.float(f32),
                .base = 1 + random.float(f32),
                .allowed_length = 1 + random.uintLessThan(u32, 4),
                .last_n = random.uintLessThan(u32, 100),
            };
            try self.init(reference.making(.{
                .vocab = @intCast(pair.values.len),
                .history_max = 64,
                .data = if (random.boolean()) "\x01\x00\x00\x00:" else "",
                .vocabulary = .ofList(&letters),
            }));
            defer self.deinit(std.testing.allocator);
            const t = reference.heatAndNarrow(random, pair);
            const before = try std.testing.allocator.dupe(f32, pair.set.values);
            defer std.testing.allocator.free(before);
            try self.apply(&pair.set, reference.stepAfter(text));
            const seen = stage.last(text, @min(64, self.last_n));
            for (before, pair.set.values, 0..) |own, found, index| {
                const length = if (seen.len == 0) 0 else longestBefore(&self, seen, pair.set.id(index));
                var expected = @as(f64, own) / t;
                if (length >= self.allowed_length) {
                    var factor: f64 = self.multiplier;
                    for (0..length - self.allowed_length) |_| factor *= self.base;
                    expected -= factor;
                } else try std.testing.expectEqual(own, found);
                // The penalty of a long repetition has the larger error.
                if (expected != -std.math.inf(f64)) {
                    try std.testing.expectApproxEqRel(expected, @as(f64, found) / t, 1e-4 + 1e-5 / @max(1e-3, @abs(expected)));
                } else try std.testing.expectEqual(own, found);
            }
        }
    }.body);
}

test "after a b c a b the penalty of c is multiplier · base at an allowed length of 1, and a newline ends it" {
    const list: []const []const u8 = &.{ "a", "b", "c", "\n" };
    const text = [_]u32{ 0, 1, 2, 0, 1 };
    const broken = [_]u32{ 0, 1, 2, 0, 3, 1 };
    for ([_][]const u32{ &text, &broken }, [_]f32{ 3 - 0.8 * 1.75, 3 - 0.8 }) |tokens, expected| {
        var pair: reference.Pair = try .init(std.testing.allocator, &.{ 1, 2, 3, 0 });
        defer pair.deinit();
        var self: Dry = .{ .multiplier = 0.8, .base = 1.75, .allowed_length = 1, .last_n = 1 << 24 };
        try self.init(reference.making(.{ .vocab = 4, .data = "\x01\x00\x00\x00\n", .vocabulary = .ofList(&list) }));
        defer self.deinit(std.testing.allocator);
        try self.apply(&pair.set, reference.stepAfter(tokens));
        try std.testing.expectApproxEqAbs(expected, pair.set.values[2], 1e-6);
        try std.testing.expectEqualSlices(f32, &.{ 1, 2 }, pair.set.values[0..2]);
    }
}

test "a repetition of thousands of tokens is penalised and not removed" {
    const text: [4000]u32 = @splat(1);
    var pair: reference.Pair = try .init(std.testing.allocator, &.{ 1, 2, 3 });
    defer pair.deinit();
    var self: Dry = .{ .multiplier = 1, .base = 1e3, .allowed_length = 2, .last_n = 1 << 24 };
    try self.init(reference.making(.{ .vocab = 3, .history_max = 4000 }));
    defer self.deinit(std.testing.allocator);
    try self.apply(&pair.set, reference.stepAfter(&text));
    try std.testing.expectEqualSlices(f32, &.{ 1, -penalty_max, 3 }, pair.set.values);
}

test "sequence breakers need a model, and are strings" {
    var diag: Diagnostic = .{};
    const list: []const []const u8 = &.{"a"};
    const cases = [_]struct { []const u8, ?Vocabulary, []const u8 }{
        .{ "\x01\x00\x00\x00:", null, "expected a model for the texts of its sequence breakers, found none" },
        .{ "\x00\x00\x00\x00", .ofList(&list), "expected sequence breakers of 1 to 256 bytes, found 0" },
        .{ "\x09\x00\x00\x00:", .ofList(&list), "expected 9 bytes of string 1, found 1" },
    };
    for (cases) |case| {
        const bytes, const vocabulary, const text = case;
        var self: Dry = .{ .multiplier = 1, .base = 2, .allowed_length = 2, .last_n = 9 };
        const made = self.init(reference.making(.{ .vocab = 1, .data = bytes, .name = name, .vocabulary = vocabulary, .diag = &diag }));
        try std.testing.expectError(error.BadSampler, made);
        try std.testing.expectStringStartsWith(diag.text(), "sampler stage 1 (dry): ");
        try std.testing.expectStringEndsWith(diag.text(), text);
    }
}
