//! Random small grammars over random vocabularies: masks, accepted tokens and whole texts agree with
//! the definition, which tries everything. And random texts never do more than fail to be a grammar.

const std = @import("std");
const ast = @import("ast.zig");
const check_file = @import("check.zig");
const guide_file = @import("guide.zig");
const parser = @import("parser.zig");
const program_file = @import("program.zig");
const reference = @import("reference.zig");
const vocabulary_file = @import("vocabulary.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Guide = guide_file.Guide;
const Program = program_file.Program;
const Vocabulary = vocabulary_file.Vocabulary;

/// Letters of grammars and texts; two and three bytes long ones share their beginnings.
const alphabet = [_][]const u8{ "a", "b", "c", "0", " ", "é", "ê", "字", "孖" };

/// Writes a random grammar.
const Author = struct {
    random: std.Random,
    out: std.ArrayList(u8) = .empty,

    const gpa = std.testing.allocator;

    fn grammar(author: *Author) !void {
        const rules = 1 + author.random.uintLessThan(usize, 4);
        for (0..rules) |rule| {
            try author.write("{s} ::= ", .{ruleName(rule)});
            try author.expression(3, rules);
            try author.write("\n", .{});
        }
    }

    fn write(author: *Author, comptime format: []const u8, args: anytype) !void {
        const text = try std.fmt.allocPrint(gpa, format, args);
        defer gpa.free(text);
        try author.out.appendSlice(gpa, text);
    }

    fn ruleName(rule: usize) []const u8 {
        return ([_][]const u8{ "root", "two", "three", "four" })[rule];
    }

    fn letter(author: *Author) []const u8 {
        return alphabet[author.random.uintLessThan(usize, alphabet.len)];
    }

    fn expression(author: *Author, depth: usize, rules: usize) error{OutOfMemory}!void {
        const random = author.random;
        switch (random.uintLessThan(u8, if (depth == 0) 5 else 10)) {
            0, 1 => try author.write("\"{s}{s}\"", .{ author.letter(), if (random.boolean()) author.letter() else "" }),
            2 => try author.write("[{s}{s}{s}]", .{ if (random.uintLessThan(u8, 4) == 0) "^" else "", author.letter(), author.letter() }),
            3 => try author.write("{s}", .{([_][]const u8{ "[a-c]", "[^a]", ".", "\"\"", "[é-字]" })[random.uintLessThan(usize, 5)]}),
            4 => try author.write("{s}", .{ruleName(random.uintLessThan(usize, rules))}),
            5, 6 => {
                try author.expression(depth - 1, rules);
                try author.write(" ", .{});
                try author.expression(depth - 1, rules);
            },
            7 => {
                try author.write("(", .{});
                try author.expression(depth - 1, rules);
                try author.write(" | ", .{});
                try author.expression(depth - 1, rules);
                try author.write(")", .{});
            },
            else => {
                try author.write("(", .{});
                try author.expression(depth - 1, rules);
                const repetitions = [_][]const u8{ "*", "+", "?", "{2}", "{1,}", "{0,3}", "{2,3}" };
                try author.write("){s}", .{repetitions[random.uintLessThan(usize, repetitions.len)]});
            },
        }
    }
};

/// A vocabulary of letters, pairs, halves of letters, and what is no text.
const Pieces = struct {
    texts: [end + 1][]const u8,
    bytes: [1024]u8,

    const end = 36;

    fn init(random: std.Random, pieces: *Pieces) void {
        var used: usize = 0;
        for (&pieces.texts, 0..) |*text, number| {
            const from = used;
            const letters = if (number < alphabet.len) 1 else random.uintLessThan(usize, 4);
            for (0..letters) |i| {
                const letter = alphabet[if (number < alphabet.len) number else random.uintLessThan(usize, alphabet.len)];
                // Half of a letter, at the beginning or at the end.
                const cut = number >= alphabet.len and letter.len > 1 and random.uintLessThan(u8, 3) == 0;
                const piece = if (!cut) letter else if (i == 0) letter[1..] else letter[0 .. letter.len - 1];
                @memcpy(pieces.bytes[used..][0..piece.len], piece);
                used += piece.len;
            }
            text.* = pieces.bytes[from..used];
        }
    }
};

const Case = struct {
    tree: *const ast.Ast,
    program: *const Program,
    vocabulary: *const Vocabulary,
    texts: []const []const u8,
    /// Whether a token was allowed and another one was not, so that the test has tested.
    telling: bool = false,

    /// Follows random allowed tokens, and compares every mask.
    fn follow(case: *Case, random: std.Random) !void {
        const gpa = std.testing.allocator;
        var guide: Guide = try .init(gpa, case.program, case.vocabulary);
        defer guide.deinit(gpa);
        try guide.reset();
        var text: std.ArrayList(u8) = .empty;
        defer text.deinit(gpa);
        for (0..5) |_| {
            const words = guide.mask() catch return;
            const first = try gpa.dupe(u64, words);
            defer gpa.free(first);
            // What is kept is what was computed.
            try std.testing.expectEqualSlices(u64, first, try guide.mask());
            try case.compare(first, text.items);
            const allowed = pick(random, first) orelse return;
            if (allowed == Pieces.end) return;
            for (0..case.vocabulary.count) |token| {
                if (isSet(first, token)) continue;
                try std.testing.expectError(error.TokenRefused, guide.accept(@intCast(token)));
            }
            guide.accept(allowed) catch return;
            try text.appendSlice(gpa, case.texts[allowed]);
            if (text.items.len > 12) return;
        }
    }

    fn compare(case: *Case, words: []const u64, before: []const u8) !void {
        var buffer: [64]u8 = undefined;
        @memcpy(buffer[0..before.len], before);
        var count: usize = 0;
        for (case.texts, 0..) |piece, token| {
            @memcpy(buffer[before.len..][0..piece.len], piece);
            const whole = buffer[0 .. before.len + piece.len];
            const expected = if (token == Pieces.end)
                reference.recognises(case.tree, before, .whole)
            else
                piece.len > 0 and reference.recognises(case.tree, whole, .beginning);
            if (expected != isSet(words, token)) {
                std.debug.print("{s}after \"{s}\": token \"{s}\"\n", .{ case.tree.text, before, piece });
                return error.TestMaskDiffers;
            }
            count += @intFromBool(expected);
        }
        if (count > 0 and count < case.texts.len - 1) case.telling = true;
    }
};

fn isSet(words: []const u64, token: usize) bool {
    return words[token / 64] >> @intCast(token % 64) & 1 != 0;
}

fn pick(random: std.Random, words: []const u64) ?u32 {
    var count: usize = 0;
    for (words) |word| count += @popCount(word);
    if (count == 0) return null;
    var left = random.uintLessThan(usize, count);
    for (0..Pieces.end + 1) |token| {
        if (!isSet(words, token)) continue;
        if (left == 0) return @intCast(token);
        left -= 1;
    }
    unreachable;
}

test "masks of random grammars are those of the definition" {
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(6);
    const random = prng.random();
    var telling: usize = 0;
    var author: Author = .{ .random = random };
    defer author.out.deinit(gpa);
    for (0..1500) |_| {
        author.out.clearRetainingCapacity();
        try author.grammar();
        var arena: std.heap.ArenaAllocator = .init(gpa);
        defer arena.deinit();
        var diag: Diagnostic = .{};
        const tree = try parser.parse(arena.allocator(), author.out.items, null, &diag);
        // Left recursion and the like, which the definition can't do either.
        _ = check_file.check(arena.allocator(), &tree, &diag) catch continue;
        var program: Program = try .init(gpa, author.out.items, null, &diag);
        defer program.deinit();
        var pieces: Pieces = undefined;
        Pieces.init(random, &pieces);
        var vocabulary: Vocabulary = try .init(gpa, vocabulary_file.Texts.of(&pieces.texts, Pieces.end));
        defer vocabulary.deinit();
        var case: Case = .{ .tree = &tree, .program = &program, .vocabulary = &vocabulary, .texts = &pieces.texts };
        for (0..2) |_| try case.follow(random);
        telling += @intFromBool(case.telling);
    }
    try std.testing.expect(telling > 500);
}

test "texts that are no grammars are refused, and the others compiled" {
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(66);
    const random = prng.random();
    const parts = [_][]const u8{
        "root ::= ", "a ::= ", "\"x\"", "[a-z]", "[^",  "]",      "(",       ")",           "|",    "*",     "+",           "?",
        "{2}",       "{0,}",   "{1,9}", "{",     "}",   "\n",     "\r\n",    "#",           " ",    "\"",    "\\",          "\\u00e9",
        "<[1]>",     "<a>",    "!",     ".",
        "é",
        "\xff",      "\x00",   "a",     "root",  "::=", "\\x41-", "{99999}", "(((((((((((", "{,3}", "{3,1}", "\\UFFFFFFFF",
    };
    var text: std.ArrayList(u8) = .empty;
    defer text.deinit(gpa);
    var compiled: usize = 0;
    for (0..20000) |_| {
        text.clearRetainingCapacity();
        if (random.uintLessThan(u8, 4) != 0) try text.appendSlice(gpa, "a ::= \"b\"\nroot ::= ");
        for (0..random.uintLessThan(usize, 12)) |_| try text.appendSlice(gpa, parts[random.uintLessThan(usize, parts.len)]);
        var diag: Diagnostic = .{};
        var program = Program.init(gpa, text.items, null, &diag) catch |err| {
            try std.testing.expectEqual(error.BadGrammar, err);
            try std.testing.expect(std.mem.find(u8, diag.text(), "expected") != null);
            continue;
        };
        program.deinit();
        compiled += 1;
    }
    try std.testing.expect(compiled > 1000);
}
