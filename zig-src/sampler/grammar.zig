//! Grammar: a token may come when the text that was generated so far is, with it, the beginning of a text
//! of the grammar (GBNF, see `../grammar.zig`); a token that ends the text may when the grammar can end.
//! The prompt is no part of that text. Behind a stage that has left few tokens it may leave none, which is
//! an error, so it stands first.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const data_file = @import("core/data.zig");
const grammar = @import("../grammar.zig");
const stage = @import("core/stage.zig");
const Vocabulary = @import("core/vocabulary.zig").Vocabulary;
const Grammar = @This();

made: ?*Made = null,
/// Why it can't go on.
failed: enum { no, refused, crowded, empty } = .no,
/// Tokens that it allowed last.
allowed: u32 = 0,

pub const id: u32 = 40;
pub const name = "grammar";
pub const about = "Keeps the tokens with which the text goes on as a grammar says.";
pub const parameters = [_]stage.Parameter{};
pub const data: stage.Data = .text;

/// What is made once for a chain, at one place.
const Made = struct {
    program: grammar.Program,
    /// Null when somebody else keeps the tree.
    own: ?grammar.Vocabulary,
    guide: grammar.Guide,
};

pub fn init(self: *Grammar, making: stage.Making) stage.MakeError!void {
    const texts = try making.texts("the texts of its tokens");
    const text = try data_file.text(making);
    const gpa = making.gpa;
    const made = try gpa.create(Made);
    errdefer gpa.destroy(made);
    var look: Look = .{ .texts = texts };
    var diag: @TypeOf(making.diag.*) = .{};
    made.program = grammar.Program.init(gpa, text, look.names(), &diag) catch |err| {
        if (err == error.OutOfMemory) return error.OutOfMemory;
        return making.refuse("{s}", .{diag.text()});
    };
    errdefer made.program.deinit();
    made.own = if (texts.tree_of == null) try grammar.Vocabulary.init(gpa, texts) else null;
    errdefer if (made.own) |*own| own.deinit();
    const tree = if (made.own) |*own| own else try texts.tree_of.?(texts.context);
    made.guide = try .init(gpa, &made.program, tree);
    errdefer made.guide.deinit(gpa);
    made.guide.reset() catch return making.refuse("expected a grammar that begins in fewer ways, found too many", .{});
    self.made = made;
}

/// Finds tokens by their names, as far as somebody knows those.
const Look = struct {
    texts: Vocabulary,

    fn names(look: *const Look) grammar.Names {
        return .{ .context = look, .find = find, .count = look.texts.count };
    }

    fn find(context: *const anyopaque, token_name: []const u8) ?u32 {
        const look: *const Look = @ptrCast(@alignCast(context));
        const find_name = look.texts.find_name orelse return null;
        return find_name(look.texts.context, token_name);
    }
};

pub fn deinit(self: *Grammar, gpa: std.mem.Allocator) void {
    const made = self.made orelse return;
    made.guide.deinit(gpa);
    if (made.own) |*own| own.deinit();
    made.program.deinit();
    gpa.destroy(made);
    self.made = null;
}

pub fn reset(self: *Grammar) void {
    self.failed = .no;
    // It could begin when it was made.
    self.made.?.guide.reset() catch unreachable;
}

pub fn copy(self: *Grammar, from: *const Grammar) void {
    self.failed = from.failed;
    self.made.?.guide.copy(&from.made.?.guide);
}

pub fn apply(self: *Grammar, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    if (self.failed == .empty) self.failed = .no;
    if (self.failed != .no) return error.NoCandidates;
    const words = self.made.?.guide.mask() catch {
        self.failed = .crowded;
        return error.NoCandidates;
    };
    self.allowed = 0;
    for (words) |word| self.allowed += @popCount(word);
    set.keepBits(words) catch |err| {
        if (err == error.NoCandidates) self.failed = .empty;
        return err;
    };
}

pub fn accept(self: *Grammar, accepted: stage.Accepted) void {
    if (self.failed == .refused or self.failed == .crowded) return;
    self.made.?.guide.accept(accepted.token) catch |err| {
        self.failed = if (err == error.TokenRefused) .refused else .crowded;
    };
}

pub fn complaint(self: *const Grammar) []const u8 {
    return switch (self.failed) {
        .no => "",
        .refused => "expected a text of the grammar, found a token that it does not allow",
        .crowded => "expected a grammar that is followed in at most 4096 ways and 8192 steps of depth, found more",
        .empty => if (self.allowed == 0)
            "expected a token that goes on with the grammar, found none in the vocabulary"
        else
            "expected a token that the grammar allows among the candidates, found none; put the grammar first",
    };
}

/// How many tokens of the vocabulary it allows.
pub fn state(self: *const Grammar) f32 {
    return @floatFromInt(self.allowed);
}

const Chain = @import("core/chain.zig").ChainType(.{ Grammar, @import("top_k.zig") });
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

const texts_of_tests: []const []const u8 = &.{ "a", "b", "ab", "", "c" };

fn chainOf(gpa: std.mem.Allocator, specs: []const stage.StageSpec, diag: *Diagnostic) !Chain {
    return Chain.initWith(gpa, specs, .{ .vocab = 6, .seed = 0, .vocabulary = .ofList(&texts_of_tests) }, diag);
}

test "only tokens of the grammar are drawn, and its end is" {
    var diag: Diagnostic = .{};
    const specs = [_]stage.StageSpec{ .{ .id = id, .data = "root ::= \"a\" \"b\"* \"c\"" }, .{ .id = 3, .p = .{ 1, 0, 0, 0, 0, 0 } } };
    var chain = try chainOf(std.testing.allocator, &specs, &diag);
    defer chain.deinit(std.testing.allocator);
    var other = try chain.clone(std.testing.allocator, &diag);
    defer other.deinit(std.testing.allocator);
    // The last token has no text.
    const logits = [_]f32{ 1, 3, 2, 4, 0, 9 };
    for ([_]u32{ 2, 1, 1 }) |expected| {
        const choice = try chain.sample(&logits, 0, 0, &diag);
        try std.testing.expectEqual(expected, choice.token);
        chain.accept(choice.accepted());
    }
    other.copy(&chain);
    chain.accept(.{ .token = 4 });
    const last = try chain.sample(&logits, 0, 0, &diag);
    try std.testing.expectEqual(3, last.token);
    try std.testing.expectEqual(1, chain.stages[0].grammar.state());
    try std.testing.expectEqual(1, (try other.sample(&logits, 0, 0, &diag)).token);
    try std.testing.expectEqual(2, other.stages[0].grammar.state());
    chain.reset();
    try std.testing.expectEqual(2, (try chain.sample(&logits, 0, 0, &diag)).token);
}

test "what is wrong is said, and the chain can be used again" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    const wrong = [_]stage.StageSpec{.{ .id = id, .data = "root ::= x" }};
    try std.testing.expectError(error.BadSampler, chainOf(gpa, &wrong, &diag));
    try std.testing.expectEqualStrings(
        "sampler stage 1 (grammar): grammar line 1, column 10: expected a rule that is defined, found x, which is not",
        diag.text(),
    );
    const given = [_]stage.StageSpec{.{ .id = id, .data = "root ::= \"a\" \"b\"" }};
    try std.testing.expectError(error.BadSampler, Chain.init(gpa, &given, 6, 0, &diag));
    try std.testing.expectEqualStrings("sampler stage 1 (grammar): expected a model for the texts of its tokens, found none", diag.text());
    const late = [_]stage.StageSpec{ .{ .id = 3, .p = .{ 1, 0, 0, 0, 0, 0 } }, given[0] };
    var chain = try chainOf(gpa, &late, &diag);
    defer chain.deinit(gpa);
    try std.testing.expectError(error.NoCandidates, chain.sample(&.{ 1, 3, 2, 4, 0, 9 }, 0, 0, &diag));
    try std.testing.expect(std.mem.endsWith(u8, diag.text(), "put the grammar first"));
    try std.testing.expectEqual(0, (try chain.sample(&.{ 9, 3, 2, 4, 0, 1 }, 0, 0, &diag)).token);
    chain.accept(.{ .token = 4 });
    try std.testing.expectError(error.NoCandidates, chain.sample(&.{ 9, 3, 2, 4, 0, 1 }, 0, 0, &diag));
    try std.testing.expect(std.mem.endsWith(u8, diag.text(), "found a token that it does not allow"));
    chain.reset();
    try std.testing.expectEqual(0, (try chain.sample(&.{ 9, 3, 2, 4, 0, 1 }, 0, 0, &diag)).token);
}

test "making a grammar may fail at any allocation" {
    const Attempt = struct {
        fn run(gpa: std.mem.Allocator) !void {
            var diag: Diagnostic = .{};
            var chain = try chainOf(gpa, &.{.{ .id = id, .data = "root ::= [a-c]+" }}, &diag);
            chain.deinit(gpa);
        }
    };
    try std.testing.checkAllAllocationFailures(std.testing.allocator, Attempt.run, .{});
}

test "bits keep what a list of them keeps" {
    const Pair = @import("core/reference.zig").Pair;
    var prng: std.Random.DefaultPrng = .init(40);
    const random = prng.random();
    var logits: [200]f32 = undefined;
    for (0..500) |_| {
        const count = 1 + random.uintLessThan(usize, logits.len);
        for (logits[0..count]) |*x| x.* = 4 * random.floatNorm(f32);
        var pair: Pair = try .init(std.testing.allocator, logits[0..count]);
        defer pair.deinit();
        if (random.boolean()) pair.set.keepFrom(0.01);
        var words: [4]u64 = undefined;
        const dense = random.boolean();
        for (&words) |*word| {
            const few = random.int(u64) & random.int(u64);
            word.* = if (dense) ~(few & random.int(u64) & random.int(u64)) else few;
        }
        const given = words[0 .. 1 + random.uintLessThan(usize, words.len)];
        var ids: [200]u32 = undefined;
        var values: [200]f32 = undefined;
        var kept: usize = 0;
        var max = -std.math.inf(f32);
        for (pair.set.values, 0..) |value, index| {
            const token = pair.set.id(index);
            if (token / 64 >= given.len or given[token / 64] >> @intCast(token % 64) & 1 == 0) continue;
            ids[kept] = token;
            values[kept] = value;
            max = @max(max, value);
            kept += 1;
        }
        if (kept == 0) {
            try std.testing.expectError(error.NoCandidates, pair.set.keepBits(given));
            continue;
        }
        try pair.set.keepBits(given);
        var at: usize = 0;
        for (pair.set.values, 0..) |value, index| {
            if (value == -std.math.inf(f32)) continue;
            try std.testing.expectEqual(values[at], value);
            try std.testing.expectEqual(ids[at], pair.set.id(index));
            at += 1;
        }
        try std.testing.expectEqual(kept, at);
        try std.testing.expectEqual(max, pair.set.max);
    }
}
