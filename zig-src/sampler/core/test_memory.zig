//! Tests of what stages with data, memory and a look at the text rely on: how a chain makes, resets,
//! copies and frees them, what they see of the text and of a choice, and single logits written.

const std = @import("std");
const sampler = @import("../../sampler.zig");
const candidates = @import("candidates.zig");
const chain_file = @import("chain.zig");
const reader = @import("data.zig");
const reference = @import("reference.zig");
const stage = @import("stage.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const StageSpec = sampler.StageSpec;
const spec = sampler.spec;

/// Adds to the logit of every token of its list how often the text's last `n` tokens have it, and keeps the
/// surprise of every choice.
const Counter = struct {
    n: u32,
    words: []u32 = &.{},
    surprises: []f32 = &.{},
    seen: usize = 0,

    pub const id: u32 = 1001;
    pub const name = "counter";
    pub const about = "For the tests.";
    pub const parameters = [_]stage.Parameter{.{ .name = "n", .min = 0, .max = 100, .whole = true }};
    pub const data = sampler.Data.strings;

    pub fn init(self: *Counter, making: stage.Making) stage.MakeError!void {
        const texts = try making.texts("the texts of its list");
        var strings: reader.Strings = .{ .making = making };
        var words: std.ArrayList(u32) = .empty;
        errdefer words.deinit(making.gpa);
        while (try strings.next()) |string| {
            const token = for (0..making.vocab) |token| {
                if (std.mem.eql(u8, texts.bytes(@intCast(token)), string)) break token;
            } else return making.refuse("expected texts of tokens, found {s}", .{string});
            try words.append(making.gpa, @intCast(token));
        }
        self.surprises = try making.gpa.alloc(f32, 8);
        errdefer making.gpa.free(self.surprises);
        self.words = try words.toOwnedSlice(making.gpa);
    }

    pub fn deinit(self: *Counter, gpa: std.mem.Allocator) void {
        gpa.free(self.words);
        gpa.free(self.surprises);
    }

    pub fn reset(self: *Counter) void {
        self.seen = 0;
    }

    pub fn copy(self: *Counter, from: *const Counter) void {
        @memcpy(self.surprises, from.surprises);
        self.seen = from.seen;
    }

    pub fn remembers(self: *const Counter) u32 {
        return self.n;
    }

    pub fn apply(self: *Counter, set: *sampler.Candidates, step: stage.Step) candidates.Error!void {
        const text = stage.last(step.history, self.n);
        for (self.words) |word| {
            const index = set.indexOf(word) orelse continue;
            const count = std.mem.countScalar(u32, text, word);
            set.change(index, set.values[index] + @as(f32, @floatFromInt(count)));
        }
        try set.changed();
    }

    pub fn accept(self: *Counter, accepted: stage.Accepted) void {
        self.surprises[self.seen] = accepted.logprob;
        self.seen += 1;
    }

    pub fn outcome(self: *const Counter, accepted: stage.Accepted) f32 {
        return accepted.probability + @as(f32, @floatFromInt(self.seen));
    }
};

const Chain = chain_file.ChainType(sampler.stages ++ .{Counter});
const list: []const []const u8 = &.{ "a", "b", "", "c" };
const all_texts: sampler.Vocabulary = .ofList(&list);
const options: sampler.Options = .{ .vocab = 5, .seed = 3, .history_max = 8, .vocabulary = all_texts };
const two_words = "\x01\x00\x00\x00b\x01\x00\x00\x00c";

fn counter(n: f32, bytes: []const u8) StageSpec {
    return .{ .id = Counter.id, .p = .{ n, 0, 0, 0, 0, 0 }, .data = bytes };
}

/// What the stages added to the logits of each token.
const Watcher = struct {
    added: [5]f32 = @splat(0),
    outcomes: [2]f32 = @splat(0),

    fn observe(context: *anyopaque, event: sampler.Event) void {
        const watcher: *Watcher = @ptrCast(@alignCast(context));
        for (event.candidates.values, 0..) |value, index| watcher.added[event.candidates.id(index)] = value;
        if (event.choice != null) @memcpy(&watcher.outcomes, event.outcomes);
    }
};

test "a stage sees its data, the texts of tokens and the last tokens of the text" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    var chain: Chain = try .initWith(gpa, &.{ counter(3, two_words), spec("temperature", .{2}) }, options, &diag);
    defer chain.deinit(gpa);
    var watcher: Watcher = .{};
    chain.observer = .{ .context = &watcher, .observe = Watcher.observe };
    const logits: [5]f32 = @splat(0);
    _ = try chain.sample(&logits, 0, 0, &diag);
    try std.testing.expectEqual([5]f32{ 0, 0, 0, 0, 0 }, watcher.added);
    chain.read(&.{ 3, 3, 3, 1 });
    _ = try chain.sample(&logits, 0, 0, &diag);
    try std.testing.expectEqual([5]f32{ 0, 1, 0, 2, 0 }, watcher.added);
    try std.testing.expectEqual([5]f32{ 0, 0, 0, 0, 0 }, logits);
    chain.accept(.{ .token = 1 });
    const choice = try chain.sample(&logits, 0, 1, &diag);
    try std.testing.expectEqual([5]f32{ 0, 2, 0, 1, 0 }, watcher.added);
    try std.testing.expectEqual(choice.probability + 1, watcher.outcomes[0]);
    try std.testing.expect(std.math.isNan(watcher.outcomes[1]));
    // The model's own distribution is uniform.
    chain.accept(choice.accepted());
    try std.testing.expectApproxEqAbs(-@log(5.0), chain.stages[0].counter.surprises[1], 1e-6);
    chain.reset();
    try std.testing.expectEqual(0, chain.stages[0].counter.seen);
    _ = try chain.sample(&logits, 0, 0, &diag);
    try std.testing.expectEqual([5]f32{ 0, 0, 0, 0, 0 }, watcher.added);
}

test "what a stage refuses has its place and name" {
    var diag: Diagnostic = .{};
    const cases = [_]struct { []const StageSpec, ?sampler.Vocabulary, []const u8 }{
        .{ &.{counter(1, two_words)}, null, "sampler stage 1 (counter): expected a model for the texts of its list, found none" },
        .{
            &.{ spec("greedy", .{}), counter(1, "\x09\x00\x00\x00b") },
            all_texts,
            "sampler stage 2 (counter): expected 9 bytes of string 1, found 1",
        },
        // What was made before is given back.
        .{
            &.{ counter(1, two_words), counter(1, "\x01\x00\x00\x00x") },
            all_texts,
            "sampler stage 2 (counter): expected texts of tokens, found x",
        },
    };
    for (cases) |case| {
        const specs, const vocabulary, const text = case;
        const made = Chain.initWith(std.testing.allocator, specs, .{ .vocab = 5, .vocabulary = vocabulary }, &diag);
        try std.testing.expectError(error.BadSampler, made);
        try std.testing.expectEqualStrings(text, diag.text());
    }
}

test "making and cloning a chain with memory survives the lack of it" {
    const Body = struct {
        fn make(gpa: std.mem.Allocator) !void {
            var diag: Diagnostic = .{};
            var chain: Chain = try .initWith(gpa, &.{ counter(3, two_words), counter(2, "") }, options, &diag);
            defer chain.deinit(gpa);
            var other = try chain.clone(gpa, &diag);
            other.deinit(gpa);
        }
    };
    try std.testing.checkAllAllocationFailures(std.testing.allocator, Body.make, .{});
}

test "a clone goes on by itself, and a copy takes tokens back" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    var chain: Chain = try .initWith(gpa, &.{ spec("top_k", .{4}), counter(2, two_words) }, options, &diag);
    defer chain.deinit(gpa);
    const logits = [_]f32{ 0, 1, 2, 1.5, -3 };
    chain.read(&.{ 1, 1 });
    chain.accept((try chain.sample(&logits, 0, 0, &diag)).accepted());
    var other = try chain.clone(gpa, &diag);
    defer other.deinit(gpa);
    const expected = try chain.sample(&logits, 0, 1, &diag);
    chain.accept(.{ .token = 1 });
    chain.accept(.{ .token = 3 });
    try std.testing.expectEqual(1, other.stages[1].counter.seen);
    try std.testing.expectEqual(expected, try other.sample(&logits, 0, 1, &diag));
    chain.copy(&other);
    try std.testing.expectEqual(expected, try chain.sample(&logits, 0, 1, &diag));
    try std.testing.expectEqual(1, chain.stages[1].counter.seen);
    try std.testing.expect(chain.follows());
    try std.testing.expectEqual(expected.probability, chain.probabilityOf(expected.token));
    try std.testing.expectEqual(0, chain.probabilityOf(4));
}

test "single logits that are written leave the set as if all had been" {
    try reference.forAll(61, 600, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            const set = &pair.set;
            const inf = std.math.inf(f32);
            if (random.boolean()) set.keep(set.cut(.count, @floatFromInt(1 + random.uintLessThan(usize, set.len())), -inf));
            var expected: [3000]f32 = undefined;
            const len = set.len();
            @memcpy(expected[0..len], set.values);
            for (0..1 + random.uintLessThan(usize, 20)) |_| {
                const index = random.uintLessThan(usize, len);
                try std.testing.expectEqual(index, set.indexOf(set.id(index)).?);
                const value = switch (random.uintLessThan(u32, 4)) {
                    0 => -inf,
                    1 => expected[index] / 2,
                    else => random.floatNorm(f32),
                };
                expected[index] = value;
                set.change(index, value);
            }
            try std.testing.expectEqualSlices(f32, expected[0..len], set.values);
            const max = std.mem.max(f32, expected[0..len]);
            if (max == -inf) return std.testing.expectError(error.NoCandidates, set.changed());
            try set.changed();
            try std.testing.expectEqual(max, set.max);
            const maxima = set.maxima();
            var fresh: [100]f32 = undefined;
            const found = set.passes.scan(set.values, &fresh);
            try std.testing.expectEqual(max, found.max);
            try std.testing.expectEqualSlices(f32, fresh[0..maxima.len], maxima);
            // What every selection does with it.
            set.keepOnly(set.best());
            try std.testing.expectEqual(max, set.values[0]);
            for (pair.values, 0..) |x, i| try std.testing.expectEqual(pair.values[i], x);
        }
    }.body);
}

test "a written logit that is no number is an error, and infinity too" {
    for ([_]f32{ std.math.nan(f32), std.math.inf(f32) }) |wrong| {
        var pair: reference.Pair = try .init(std.testing.allocator, &.{ 1, 2, 3 });
        defer pair.deinit();
        pair.set.change(1, wrong);
        pair.set.change(2, -1);
        try std.testing.expectError(error.NotANumber, pair.set.changed());
        try std.testing.expectEqual(1, pair.set.firstInvalid().?);
        try std.testing.expect(!pair.set.untouched());
    }
}
