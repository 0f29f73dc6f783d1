//! The tokens of a model: their texts as stored, the bytes they stand for, their types and
//! scores, a table from bytes to token, and the special tokens with their matcher.
//!
//! Text is looked up by the bytes that tokens stand for, never by their spelling: "Ġthe" and
//! "▁the" are both " the". So encoding copies and respells nothing.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const byte_text = @import("byte_text.zig");
const endings = @import("endings.zig");
const pieces = @import("pieces.zig");
const source_file = @import("source.zig");
const Error = source_file.Error;
const Matcher = @import("matcher.zig").Matcher;
const Source = source_file.Source;
const none = pieces.none;

/// `tokenizer.ggml.token_type`, by its numbers in the GGUF specification.
pub const Type = enum(u8) { undefined = 0, normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

/// How the texts of normal tokens spell bytes.
pub const Spelling = enum {
    /// "▁" is a space and "<0xNN>" a byte.
    sentence_piece,
    /// GPT-2's characters for bytes.
    byte_level,
    /// As sentence_piece for spaces, without byte tokens: WordPiece files.
    phantom_space,
    /// Backslash escapes: RWKV files.
    escapes,
};

/// U+2581, which SentencePiece writes for a space.
pub const space_mark = "\u{2581}";

const tokens_max = 1 << 30;

pub const Vocabulary = struct {
    /// As stored in the file.
    texts: pieces.Pieces = .{},
    /// What each token stands for. Symbols of merges that are no tokens come after the tokens.
    bytes: pieces.Pieces = .{},
    types: []Type = &.{},
    /// Empty when the file has none.
    scores: []f32 = &.{},
    /// Bytes to token, of the tokens that text can become.
    table: pieces.ByteTable = undefined,
    /// The token of each single byte, for what no token covers.
    byte_tokens: [256]u32 = @splat(none),
    special: Matcher = undefined,
    /// The longest of `bytes`.
    bytes_max: usize = 0,

    pub fn count(vocabulary: *const Vocabulary) u32 {
        return @intCast(vocabulary.types.len);
    }

    /// The token that a stretch of text is as a whole.
    pub inline fn find(vocabulary: *const Vocabulary, bytes: []const u8) ?u32 {
        return vocabulary.table.find(&vocabulary.bytes, bytes);
    }

    pub fn init(arena: Allocator, source: *const Source, spelling: Spelling, diag: *Diagnostic) Error!Vocabulary {
        const n = source.tokens.len;
        if (n == 0 or n > tokens_max) {
            diag.set("expected 1 to {d} tokens in the vocabulary, found {d}", .{ tokens_max, n });
            return error.InvalidVocabulary;
        }
        var vocabulary: Vocabulary = .{};
        try vocabulary.readTypes(arena, source, diag);
        try vocabulary.readScores(arena, source, diag);
        var text_bytes: usize = 0;
        for (source.tokens) |text| text_bytes += text.len;
        try vocabulary.texts.reserve(arena, n, text_bytes);
        for (source.tokens) |text| _ = try vocabulary.texts.add(arena, text);
        endings.overrideTypes(&vocabulary);

        try vocabulary.bytes.reserve(arena, n, text_bytes);
        vocabulary.table = try .init(arena, n);
        var waiting: Waiting = .{};
        for (0..n) |i| {
            const id: u32 = @intCast(i);
            if (try vocabulary.addToken(arena, id, spelling)) try waiting.add(&vocabulary, id, diag);
        }
        try waiting.finish(&vocabulary, diag);
        vocabulary.special = try .init(arena, &vocabulary, diag);
        if (spelling != .byte_level) vocabulary.fillByteTokens();
        return vocabulary;
    }

    fn readTypes(vocabulary: *Vocabulary, arena: Allocator, source: *const Source, diag: *Diagnostic) Error!void {
        const n = source.tokens.len;
        vocabulary.types = try arena.alloc(Type, n);
        const numbers = source.types orelse return @memset(vocabulary.types, .normal);
        if (numbers.len < n) return wrongLength(diag, "token_type", n, numbers.len);
        for (vocabulary.types, numbers[0..n]) |*kind, number| {
            kind.* = if (number >= 0 and number <= 6) @fromBackingInt(@intCast(number)) else .undefined;
        }
    }

    fn readScores(vocabulary: *Vocabulary, arena: Allocator, source: *const Source, diag: *Diagnostic) Error!void {
        const n = source.tokens.len;
        const scores = source.scores orelse return;
        if (scores.len < n) return wrongLength(diag, "scores", n, scores.len);
        for (scores[0..n], 0..) |score, i| if (std.math.isNan(score)) {
            diag.set("expected the score of token {d} to be a number, found NaN", .{i});
            return error.InvalidVocabulary;
        };
        vocabulary.scores = try arena.dupe(f32, scores[0..n]);
    }

    /// Stores what the token stands for; true when text can become the token.
    fn addToken(vocabulary: *Vocabulary, arena: Allocator, id: u32, spelling: Spelling) Error!bool {
        const text = vocabulary.texts.get(id);
        const start = vocabulary.bytes.bytes.items.len;
        const out = try vocabulary.bytes.bytes.addManyAsSlice(arena, text.len);
        const kind = vocabulary.types[id];
        const plain = switch (kind) {
            .normal, .unused, .byte, .undefined => spell(text, out, spelling),
            .user_defined => if (spelling == .sentence_piece) spell(text, out, spelling) else null,
            .control, .unknown => null,
        };
        if (plain == null) @memcpy(out, text);
        const len = if (plain) |bytes| bytes.len else text.len;
        vocabulary.bytes.bytes.shrinkRetainingCapacity(start + len);
        _ = try vocabulary.bytes.finish(arena);
        vocabulary.bytes_max = @max(vocabulary.bytes_max, len);

        const reachable = switch (kind) {
            .normal, .unused => plain != null and !std.mem.eql(u8, text, "") and !spacedByHand(text, spelling),
            // SentencePiece's user-defined pieces take part in merges; its byte pieces don't.
            .user_defined => spelling == .sentence_piece and text.len > 0 and !spacedByHand(text, spelling),
            .control, .unknown, .byte, .undefined => false,
        };
        if (spelling == .sentence_piece) if (byteOf(text)) |byte| {
            if (kind == .byte or kind == .normal) {
                // One character stands for one byte, so the token's bytes are just that.
                vocabulary.bytes.bytes.items[start] = byte;
                vocabulary.bytes.bytes.shrinkRetainingCapacity(start + 1);
                vocabulary.bytes.ends.items[id] = @intCast(start + 1);
                vocabulary.byte_tokens[byte] = id;
                return false;
            }
        };
        return reachable;
    }

    /// Bytes that no byte token covers may be tokens by themselves.
    fn fillByteTokens(vocabulary: *Vocabulary) void {
        for (&vocabulary.byte_tokens, 0..) |*id, byte| {
            if (id.* == none) id.* = vocabulary.find(&.{@intCast(byte)}) orelse none;
        }
    }

    /// The token with this text as stored.
    pub fn findText(vocabulary: *const Vocabulary, text: []const u8, spelling: Spelling) ?u32 {
        if (vocabulary.special.find(vocabulary, text)) |id| return id;
        if (text.len > vocabulary.bytes_max * 6) return null;
        if (spelling == .sentence_piece) if (byteOf(text)) |byte| {
            const id = vocabulary.byte_tokens[byte];
            if (id != none and std.mem.eql(u8, vocabulary.texts.get(id), text)) return id;
        };
        var short: [1024]u8 = undefined;
        if (text.len > short.len) return vocabulary.scanText(text);
        const bytes = spell(text, &short, spelling) orelse return null;
        const id = vocabulary.find(bytes) orelse return null;
        return if (id < vocabulary.count() and std.mem.eql(u8, vocabulary.texts.get(id), text)) id else null;
    }

    fn scanText(vocabulary: *const Vocabulary, text: []const u8) ?u32 {
        for (0..vocabulary.count()) |id| {
            if (std.mem.eql(u8, vocabulary.texts.get(@intCast(id)), text)) return @intCast(id);
        }
        return null;
    }
};

/// Tokens whose place in the table has been asked for and is on its way.
const Waiting = struct {
    tokens: [distance]Token = undefined,
    first: usize = 0,
    end: usize = 0,

    const distance = 16;
    const Token = struct { id: u32, hash: u64 };

    fn add(waiting: *Waiting, vocabulary: *Vocabulary, id: u32, diag: *Diagnostic) Error!void {
        if (waiting.end - waiting.first == distance) try waiting.put(vocabulary, diag);
        const hash = pieces.hashOf(vocabulary.bytes.get(id));
        vocabulary.table.prefetch(hash);
        waiting.tokens[waiting.end % distance] = .{ .id = id, .hash = hash };
        waiting.end += 1;
    }

    fn finish(waiting: *Waiting, vocabulary: *Vocabulary, diag: *Diagnostic) Error!void {
        while (waiting.first < waiting.end) try waiting.put(vocabulary, diag);
    }

    fn put(waiting: *Waiting, vocabulary: *Vocabulary, diag: *Diagnostic) Error!void {
        const token = waiting.tokens[waiting.first % distance];
        waiting.first += 1;
        const other = vocabulary.table.putHashed(&vocabulary.bytes, token.id, token.hash) orelse return;
        const text = vocabulary.texts.get(token.id);
        if (std.mem.eql(u8, vocabulary.texts.get(other), text)) return duplicate(diag, text, other, token.id);
    }
};

/// The bytes that a normal token's text stands for, in `out`, which has the text's length; null
/// when the spelling gives none.
pub fn spell(text: []const u8, out: []u8, spelling: Spelling) ?[]u8 {
    switch (spelling) {
        .byte_level => return byte_text.decode(text, out),
        .sentence_piece, .phantom_space => return unmarkSpaces(text, out),
        .escapes => return unescape(text, out),
    }
}

/// Replaces "▁" by spaces.
pub fn unmarkSpaces(text: []const u8, out: []u8) []u8 {
    var at: usize = 0;
    var len: usize = 0;
    while (at < text.len) : (len += 1) {
        if (std.mem.startsWith(u8, text[at..], space_mark)) {
            out[len] = ' ';
            at += space_mark.len;
        } else {
            out[len] = text[at];
            at += 1;
        }
    }
    return out[0..len];
}

fn unescape(text: []const u8, out: []u8) ?[]u8 {
    var at: usize = 0;
    var len: usize = 0;
    while (at < text.len) : (len += 1) {
        out[len] = text[at];
        at += 1;
        if (out[len] != '\\') continue;
        if (at == text.len) return null;
        out[len] = switch (text[at]) {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'x' => hex: {
                if (at + 3 > text.len) return null;
                const byte = std.fmt.parseInt(u8, text[at + 1 ..][0..2], 16) catch return null;
                at += 2;
                break :hex byte;
            },
            else => |byte| byte,
        };
        at += 1;
    }
    return out[0..len];
}

/// A space that is no "▁" is never met in text, where every space counts as "▁".
fn spacedByHand(text: []const u8, spelling: Spelling) bool {
    return spelling == .sentence_piece and std.mem.indexOfScalar(u8, text, ' ') != null;
}

/// The byte of "<0x0A>".
pub fn byteOf(text: []const u8) ?u8 {
    if (text.len != 6 or !std.mem.startsWith(u8, text, "<0x") or text[5] != '>') return null;
    return std.fmt.parseInt(u8, text[3..5], 16) catch null;
}

pub fn duplicate(diag: *Diagnostic, text: []const u8, first: u32, second: u32) Error {
    diag.set("expected every token to be there once, found \"{f}\" as {d} and as {d}", .{
        std.zig.fmtString(text[0..@min(text.len, 100)]), first, second,
    });
    return error.InvalidVocabulary;
}

fn wrongLength(diag: *Diagnostic, name: []const u8, expected: usize, found: usize) Error {
    diag.set("expected tokenizer.ggml.{s} to have one value for each of {d} tokens, found {d}", .{ name, expected, found });
    return error.InvalidVocabulary;
}
