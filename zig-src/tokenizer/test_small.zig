//! Small vocabularies made by hand: what each kind of tokenizer promises, round trips, and
//! vocabularies that are broken on purpose.

const std = @import("std");
const testing = std.testing;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Tokenizer = @import("../tokenizer.zig").Tokenizer;
const Source = @import("source.zig").Source;
const byte_text = @import("byte_text.zig");

/// Single bytes, some merges, and special tokens, in GPT-2's spelling.
const Bpe = struct {
    tokens: [256 + extra.len][]const u8 = undefined,
    types: [256 + extra.len]i64 = @splat(1),
    spelled: [256][2]u8 = undefined,

    const extra = [_][]const u8{ "th", "the", "Ġthe", "in", "ing", "<|im_end|>", "<keep>", "<keep><keep>", "Ġt", "<s>" };
    const merges = [_][]const u8{ "t h", "th e", "Ġ the", "i n", "in g", "Ġ t", "Ġt h" };

    fn init(bpe: *Bpe) void {
        bpe.* = .{};
        for (0..256) |byte| bpe.tokens[byte] = byte_text.encode(&.{@intCast(byte)}, &bpe.spelled[byte]);
        for (extra, 256..) |text, i| bpe.tokens[i] = text;
        bpe.types[261] = 3;
        bpe.types[262] = 4;
        bpe.types[263] = 4;
        bpe.types[265] = 3;
    }

    fn source(bpe: *const Bpe) Source {
        return .{
            .model = "gpt2",
            .pre = "gpt-2",
            .tokens = &bpe.tokens,
            .types = &bpe.types,
            .merges = &merges,
            .ids = .{ .bos = 265, .eos = 261 },
            .flags = .{ .add_bos_token = true },
        };
    }
};

const spm_tokens = [_][]const u8{
    "<unk>", "<s>", "</s>", "<0x0A>", "<0xC3>", "<0xA9>", "\u{2581}", "a", "b", "ab", "\u{2581}a", "\u{2581}ab", "\u{2581}\u{2581}", "<x>", "<0xFF>",
};
const spm_types = [_]i64{ 2, 3, 3, 6, 6, 6, 1, 1, 1, 1, 1, 1, 1, 4, 6 };
const spm_scores = [_]f32{ 0, 0, 0, 0, 0, 0, -3, -4, -5, -1, -2, -0.5, -0.25, 0, 0 };
const spm: Source = .{ .model = "llama", .tokens = &spm_tokens, .types = &spm_types, .scores = &spm_scores };

const bert_tokens = [_][]const u8{ "[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u{2581}un", "able", "\u{2581}able", "\u{2581},", "\u{2581}我", "\u{2581}e", "s" };
const bert: Source = .{
    .model = "bert",
    .tokens = &bert_tokens,
    .types = &.{ 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1 },
    .ids = .{ .unknown = 1, .cls = 2, .seperator = 3 },
};

fn expectTokens(source: *const Source, text: []const u8, options: Tokenizer.EncodeOptions, expected: []const u32) !void {
    var diag: Diagnostic = .{};
    errdefer std.debug.print("\"{s}\": {s}\n", .{ text, diag.text() });
    const tokenizer = try Tokenizer.initSource(testing.allocator, source, &diag);
    defer tokenizer.deinit();
    var ids: std.ArrayList(u32) = .empty;
    defer ids.deinit(testing.allocator);
    // Twice, as a word that was seen is known.
    for (0..2) |_| {
        ids.clearRetainingCapacity();
        try tokenizer.encode(testing.allocator, text, options, &ids);
        try testing.expectEqualSlices(u32, expected, ids.items);
    }
}

const plain: Tokenizer.EncodeOptions = .{ .add_special = false, .parse_special = false };
const parsed: Tokenizer.EncodeOptions = .{ .add_special = false };

test "byte-level BPE: merges by rank, special tokens, BOS" {
    var bpe: Bpe = undefined;
    bpe.init();
    const source = bpe.source();
    try expectTokens(&source, "the thing", plain, &.{ 257, ' ', 256, 260 });
    try expectTokens(&source, " the", .{}, &.{ 265, 258 });
    try expectTokens(&source, "", .{}, &.{265});
    try expectTokens(&source, "a<|im_end|>b", parsed, &.{ 'a', 261, 'b' });
    try expectTokens(&source, "<s>", plain, &.{ '<', 's', '>' });
    // User-defined tokens are found always, the longest first.
    try expectTokens(&source, "<keep>a<keep><keep>", plain, &.{ 262, 'a', 263 });
    try expectTokens(&source, "<keep><keep><keep><kee", plain, &.{ 263, 262, '<', 'k', 'e', 'e' });
    var whole = source;
    whole.pre = "llama-bpe";
    whole.merges = &.{"t h"};
    try expectTokens(&whole, "ing", plain, &.{260});
    whole.pre = "dbrx";
    try expectTokens(&whole, "ing", plain, &.{ 'i', 'n', 'g' });
}

test "a merge may have parts that are no tokens" {
    var bpe: Bpe = undefined;
    bpe.init();
    var source = bpe.source();
    source.merges = &.{ "x y", "xy z", "Q R", "i n", "in g" };
    try expectTokens(&source, "xyz ing", plain, &.{ 'x', 'y', 'z', ' ', 260 });
}

test "SentencePiece: scores, byte tokens, the space before a text" {
    try expectTokens(&spm, "ab", .{}, &.{ 1, 11 });
    try expectTokens(&spm, "ab a", plain, &.{ 11, 10 });
    try expectTokens(&spm, "é\n", plain, &.{ 6, 4, 5, 3 });
    try expectTokens(&spm, "", .{}, &.{1});
    // "▁" is a space; a byte without a token is unknown; text never becomes a control token.
    try expectTokens(&spm, "a\u{2581}b", plain, &.{ 10, 6, 8 });
    try expectTokens(&spm, "z\xFF", plain, &.{ 6, 0, 14 });
    try expectTokens(&spm, "a<x>a", plain, &.{ 10, 13, 10 });
    try expectTokens(&spm, "a</s>a", parsed, &.{ 10, 2, 10 });
    var bare = spm;
    bare.flags.add_space_prefix = false;
    try expectTokens(&bare, "ab  ab", plain, &.{ 9, 12, 9 });
    bare.flags.remove_extra_whitespaces = true;
    try expectTokens(&bare, "  ab   ab ", plain, &.{ 9, 11 });
    var named = spm;
    named.name = "Phi-3 mini";
    try expectTokens(&named, "a<x>  a", plain, &.{ 10, 13, 10 });
}

test "WordPiece: longest pieces, accents, Han, unknown words" {
    try expectTokens(&bert, "unable,able", .{}, &.{ 2, 4, 5, 7, 6, 3 });
    try expectTokens(&bert, "És我 UNable\u{300}", plain, &.{ 9, 10, 8, 4, 5 });
    try expectTokens(&bert, "unx able", plain, &.{ 1, 6 });
    try expectTokens(&bert, "[CLS]\x00 un", parsed, &.{ 2, 4 });
    try expectTokens(&bert, " \n", plain, &.{});
}

fn expectBack(tokenizer: *const Tokenizer, text: []const u8) !void {
    var ids: std.ArrayList(u32) = .empty;
    defer ids.deinit(testing.allocator);
    try tokenizer.encode(testing.allocator, text, plain, &ids);
    var bytes: std.ArrayList(u8) = .empty;
    defer bytes.deinit(testing.allocator);
    var buffer: [64]u8 = undefined;
    for (ids.items) |id| try bytes.appendSlice(testing.allocator, try tokenizer.decode(id, &buffer, true));
    try testing.expectEqualSlices(u8, text, bytes.items);
}

test "any bytes come back" {
    var bpe: Bpe = undefined;
    bpe.init();
    var diag: Diagnostic = .{};
    var random: std.Random.DefaultPrng = .init(3);
    for ([_][]const u8{ "gpt-2", "default", "llama-bpe", "gpt-4o", "deepseek-llm", "kimi-k2" }) |name| {
        var source = bpe.source();
        source.pre = name;
        const tokenizer = try Tokenizer.initSource(testing.allocator, &source, &diag);
        defer tokenizer.deinit();
        var buffer: [200]u8 = undefined;
        for (0..200) |round| {
            const text = buffer[0..round];
            for (text) |*byte| byte.* = if (round % 2 == 0) random.random().int(u8) else "the inga\n' 12\xC3\xA9\xE6\x88\x91"[random.random().uintLessThan(usize, 18)];
            try expectBack(tokenizer, text);
        }
    }
}

test "a megabyte without a space is not quadratic" {
    var bpe: Bpe = undefined;
    bpe.init();
    var diag: Diagnostic = .{};
    const source = bpe.source();
    const tokenizer = try Tokenizer.initSource(testing.allocator, &source, &diag);
    defer tokenizer.deinit();
    const text = try testing.allocator.alloc(u8, 1 << 20);
    defer testing.allocator.free(text);
    for (text, 0..) |*byte, i| byte.* = "theing"[i % 6];
    try expectBack(tokenizer, text);
}

test "roles and endings" {
    var bpe: Bpe = undefined;
    bpe.init();
    // A usual ending with the type of text is a control token all the same.
    bpe.types[261] = 1;
    var diag: Diagnostic = .{};
    const source = bpe.source();
    const tokenizer = try Tokenizer.initSource(testing.allocator, &source, &diag);
    defer tokenizer.deinit();
    try testing.expectEqual(261, tokenizer.eot.?);
    try testing.expect(tokenizer.isEndOfGeneration(261));
    try testing.expect(!tokenizer.isEndOfGeneration(257));
    try testing.expect(!tokenizer.isEndOfGeneration(1 << 31));
    try testing.expectEqual(258, tokenizer.find("Ġthe").?);
    try testing.expectEqual(261, tokenizer.find("<|im_end|>").?);
    try testing.expectEqual(null, tokenizer.find(" the"));
    try testing.expectEqualStrings("Ġthe", tokenizer.tokenText(258));
    try testing.expectEqualStrings("", tokenizer.bytesOf(261, false));
    try testing.expectEqualStrings("<|im_end|>", tokenizer.bytesOf(261, true));
    var buffer: [2]u8 = undefined;
    try testing.expectError(error.NoSpaceLeft, tokenizer.decode(258, &buffer, true));
}

fn expectRefused(source: Source, expected: anyerror, words: []const u8) !void {
    var diag: Diagnostic = .{};
    try testing.expectError(expected, Tokenizer.initSource(testing.allocator, &source, &diag));
    if (std.mem.indexOf(u8, diag.text(), words) != null) return;
    std.debug.print("expected \"{s}\" in the message, found \"{s}\"\n", .{ words, diag.text() });
    return error.WrongMessage;
}

test "broken vocabularies are refused by name" {
    var bpe: Bpe = undefined;
    bpe.init();
    const good = bpe.source();
    var bad = good;
    bad.model = "sorcery";
    try expectRefused(bad, error.UnknownTokenizer, "one of gpt2");
    bad = good;
    bad.pre = "gpt-2\n";
    try expectRefused(bad, error.UnknownPreTokenizer, "smollm");
    bad = good;
    bad.merges = null;
    try expectRefused(bad, error.MissingVocabulary, "merges");
    for ([_][]const u8{ "", "a", " a", "a ", "a 中", "\xFF b" }) |text| {
        bad.merges = &.{ "t h", text };
        try expectRefused(bad, error.InvalidVocabulary, "merge 1");
    }
    bad = good;
    bad.tokens = &.{};
    try expectRefused(bad, error.InvalidVocabulary, "1 to");
    bad = good;
    bad.types = &.{ 1, 1 };
    try expectRefused(bad, error.InvalidVocabulary, "token_type");
    bad = good;
    bad.ids.eos = 1 << 40;
    try expectRefused(bad, error.InvalidVocabulary, "eos_token_id");
    bad = good;
    bad.ids.bos = null;
    try expectRefused(bad, error.InvalidVocabulary, "bos_token_id");
    bpe.tokens[7] = "<s>";
    try expectRefused(bpe.source(), error.InvalidVocabulary, "once");

    bad = spm;
    bad.scores = null;
    try expectRefused(bad, error.MissingVocabulary, "scores");
    bad.scores = spm_scores[0..3];
    try expectRefused(bad, error.InvalidVocabulary, "scores");
    bad.scores = &.{ 0, 0, 0, std.math.nan(f32), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
    try expectRefused(bad, error.InvalidVocabulary, "NaN");
    bad = spm;
    bad.tokens = &(spm_tokens[0..14].* ++ [_][]const u8{"ab"});
    bad.types = &(spm_types[0..14].* ++ [_]i64{1});
    try expectRefused(bad, error.InvalidVocabulary, "once");
}

test "odd vocabularies load and encode anything" {
    const empty: Source = .{
        .model = "llama",
        .tokens = &.{ "", "", "\xFF\xFE", "<0x", "<0xGG>" },
        .types = &.{ -1, 99, 1, 6, 6 },
        .scores = &.{ 0, 0, std.math.inf(f32), 0, -std.math.inf(f32) },
    };
    try expectTokens(&empty, "a\xFF\xFE", plain, &.{ 0, 0, 2 });
    const one: Source = .{ .model = "bert", .tokens = &.{"x"} };
    try expectTokens(&one, "y", plain, &.{0});
    const none: Source = .{ .model = "gpt2", .tokens = &.{"\u{120}"}, .merges = &.{} };
    try expectTokens(&none, "a \xFF", plain, &.{0});
}

fn loadAndEncode(gpa: std.mem.Allocator, source: *const Source) !void {
    var diag: Diagnostic = .{};
    const tokenizer = try Tokenizer.initSource(gpa, source, &diag);
    defer tokenizer.deinit();
    var ids: std.ArrayList(u32) = .empty;
    defer ids.deinit(gpa);
    const long: [60][2]u8 = @splat("ab".*);
    try tokenizer.encode(gpa, "ab<x> \u{2581}", .{}, &ids);
    try tokenizer.encode(gpa, @ptrCast(&long), .{}, &ids);
}

test "running out of memory leaks nothing" {
    var bpe: Bpe = undefined;
    bpe.init();
    const source = bpe.source();
    for ([_]*const Source{ &source, &spm, &bert }) |each| {
        try testing.checkAllAllocationFailures(testing.allocator, loadAndEncode, .{each});
    }
}
