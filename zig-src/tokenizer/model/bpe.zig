//! Byte-pair encoding with a list of merges ("gpt2" in GGUF files; "gemma4" is the same over plain
//! UTF-8). A text is split into words by its pre-tokenizer (pre.zig); in each word the pair that
//! comes first in the list of merges is merged until none is left. Merges are kept as pairs of
//! token numbers, so that merging compares no text.
//!
//! A merge may name a part that is no token. It takes part in merging all the same, and what is
//! left of it in the end is written byte by byte.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const job_file = @import("../job.zig");
const Job = job_file.Job;
const merge = @import("../merge.zig");
const pieces = @import("../pieces.zig");
const pre = @import("../pre.zig");
const source_file = @import("../source.zig");
const vocabulary_file = @import("../vocabulary.zig");
const Defaults = @import("../model.zig").Defaults;
const Error = source_file.Error;
const Source = source_file.Source;
const Vocabulary = vocabulary_file.Vocabulary;
const none = pieces.none;

pub const names = [_][]const u8{ "gpt2", "gemma4" };

pub const Model = struct {
    pre: pre.Found,
    byte_level: bool,
    pairs: pieces.PairTable,
    /// The symbol of each byte, where words are bytes.
    byte_symbols: [256]u32,
    /// What an invalid byte that has no token is written as: the tokens of U+FFFD.
    replacement: []const u32,
    verdicts: job_file.Verdicts,
    count: u32,

    pub fn init(arena: Allocator, source: *const Source, vocabulary: *Vocabulary, diag: *Diagnostic) Error!Model {
        const found = try findPre(source, diag);
        const byte_level = pre.isByteLevel(found.family);
        const how: vocabulary_file.Spelling = if (byte_level) .byte_level else .sentence_piece;
        const merges = source.merges orelse &.{};
        if (source.merges == null and !found.name.merges_optional) {
            diag.set("expected metadata tokenizer.ggml.merges for a byte-pair encoding, found none", .{});
            return error.MissingVocabulary;
        }
        vocabulary.* = try .init(arena, source, how, diag);
        var model: Model = .{
            .pre = found,
            .byte_level = byte_level,
            .pairs = try .init(arena, merges.len),
            .byte_symbols = undefined,
            .replacement = &.{},
            .verdicts = try .init(arena, vocabulary.count()),
            .count = vocabulary.count(),
        };
        try model.readMerges(arena, merges, how, vocabulary, diag);
        for (&model.byte_symbols, 0..) |*symbol, byte| {
            symbol.* = vocabulary.find(&.{@intCast(byte)}) orelse none;
        }
        model.replacement = try arena.dupe(u32, try model.spellReplacement(arena, vocabulary));
        return model;
    }

    pub fn defaults(model: *const Model) Defaults {
        return .{ .add_bos = model.pre.name.add_bos };
    }

    pub fn spelling(model: *const Model) vocabulary_file.Spelling {
        return if (model.byte_level) .byte_level else .sentence_piece;
    }

    pub fn encode(model: *const Model, vocabulary: *const Vocabulary, job: *Job, text: []const u8, _: bool) Job.Error!void {
        var plain = text;
        if (!model.byte_level and std.mem.indexOf(u8, text, vocabulary_file.space_mark) != null) {
            try job.buffer.resize(job.gpa, text.len);
            plain = vocabulary_file.unmarkSpaces(text, job.buffer.items);
        }
        switch (model.pre.family) {
            inline else => |family| {
                var words: pre.WordsType(pre.MemberType(family)) = .{ .text = plain };
                while (words.next()) |word| try model.encodeWord(vocabulary, job, word);
            },
        }
    }

    fn encodeWord(model: *const Model, vocabulary: *const Vocabulary, job: *Job, word: []const u8) Job.Error!void {
        const whole = vocabulary.find(word) orelse none;
        const is_token = whole < model.count;
        if (is_token) {
            if (model.pre.name.ignore_merges or model.verdicts.get(whole) == .itself) return job.emit(whole);
            if (model.pre.name.whole_newlines and std.mem.allEqual(u8, word, '\n')) return job.emit(whole);
        }
        var stack: [64]merge.Part = undefined;
        var parts: []merge.Part = &stack;
        if (word.len > stack.len) {
            try job.parts.resize(job.gpa, word.len);
            parts = job.parts.items;
        }
        const len = if (model.byte_level) model.splitBytes(word, parts) else splitChars(vocabulary, word, parts);
        const merged = try merge.all(model, &job.heap, job.gpa, word, parts[0..len]);
        if (is_token and model.verdicts.get(whole) == .open) {
            const itself = merged.len == 1 and merged[0].symbol == whole;
            model.verdicts.set(whole, if (itself) .itself else .split);
        }
        for (merged) |part| {
            if (part.symbol < model.count) try job.emit(part.symbol) else try model.emitBytes(vocabulary, job, word[part.start..part.end]);
        }
    }

    fn splitBytes(model: *const Model, word: []const u8, parts: []merge.Part) usize {
        for (word, parts[0..word.len], 0..) |byte, *part, i| {
            part.* = .{ .start = @intCast(i), .end = @intCast(i + 1), .symbol = model.byte_symbols[byte] };
        }
        return word.len;
    }

    /// What merging left without a token, byte by byte.
    fn emitBytes(model: *const Model, vocabulary: *const Vocabulary, job: *Job, bytes: []const u8) Job.Error!void {
        for (bytes) |byte| {
            const id = if (model.byte_level) model.byte_symbols[byte] else vocabulary.byte_tokens[byte];
            if (id < model.count) {
                try job.emit(id);
            } else if (neverInText(byte)) {
                try job.out.appendSlice(job.gpa, model.replacement);
            }
        }
    }

    pub inline fn pair(model: *const Model, _: []const u8, left: merge.Part, right: merge.Part) ?pieces.Merge {
        if (left.symbol == none or right.symbol == none) return null;
        return model.pairs.find(left.symbol, right.symbol);
    }

    fn readMerges(
        model: *Model,
        arena: Allocator,
        merges: []const []const u8,
        how: vocabulary_file.Spelling,
        vocabulary: *Vocabulary,
        diag: *Diagnostic,
    ) Error!void {
        var buffer: std.ArrayList(u8) = .empty;
        defer buffer.deinit(arena);
        var waiting: [merges_at_once]Parts = undefined;
        var rank: usize = 0;
        while (rank < merges.len) {
            // The tables are larger than the near caches: all places that some merges need are asked
            // for before the first is looked at.
            const some = merges[rank..@min(rank + merges_at_once, merges.len)];
            buffer.clearRetainingCapacity();
            for (some, waiting[0..some.len], rank..) |text, *parts, number| {
                parts.* = try spellParts(arena, &buffer, text, how, number, diag);
                for (parts.hashes(buffer.items)) |hash| vocabulary.table.prefetch(hash);
            }
            for (some, waiting[0..some.len]) |_, *parts| {
                parts.product = try symbolOf(arena, vocabulary, buffer.items[parts.start..parts.end]);
                parts.left = try symbolOf(arena, vocabulary, buffer.items[parts.start..parts.gap]);
                parts.right = try symbolOf(arena, vocabulary, buffer.items[parts.gap..parts.end]);
                model.pairs.prefetch(parts.left, parts.right);
            }
            for (waiting[0..some.len], rank..) |parts, number| {
                model.pairs.put(parts.left, parts.right, .{ .rank = @intCast(number), .product = parts.product });
            }
            rank += some.len;
        }
    }

    fn spellReplacement(model: *const Model, arena: Allocator, vocabulary: *const Vocabulary) Error![]const u32 {
        var ids: std.ArrayList(u32) = .empty;
        if (!model.byte_level) return ids.items;
        for ("\u{FFFD}") |byte| if (model.byte_symbols[byte] >= model.count) return ids.items;
        var job: Job = .{ .gpa = arena, .out = &ids };
        model.encodeWord(vocabulary, &job, "\u{FFFD}") catch return error.OutOfMemory;
        return ids.items;
    }
};

const merges_at_once = 32;

/// A merge's parts: bytes `start` to `gap` and `gap` to `end` of a buffer, then as symbols.
const Parts = struct {
    start: usize,
    gap: usize,
    end: usize,
    product: u32 = none,
    left: u32 = none,
    right: u32 = none,

    fn hashes(parts: *const Parts, bytes: []const u8) [3]u64 {
        return .{
            pieces.hashOf(bytes[parts.start..parts.end]),
            pieces.hashOf(bytes[parts.start..parts.gap]),
            pieces.hashOf(bytes[parts.gap..parts.end]),
        };
    }
};

/// Appends the bytes that a merge's parts stand for.
fn spellParts(
    arena: Allocator,
    buffer: *std.ArrayList(u8),
    text: []const u8,
    how: vocabulary_file.Spelling,
    rank: usize,
    diag: *Diagnostic,
) Error!Parts {
    // A part may itself begin with a space in files of plain UTF-8.
    const space = std.mem.indexOfScalarPos(u8, text, @min(1, text.len), ' ') orelse 0;
    if (space == 0 or space + 1 == text.len) return badMerge(diag, rank, text, "two parts with a space between them");
    const start = buffer.items.len;
    const room = try buffer.addManyAsSlice(arena, text.len);
    const spelled = "characters that stand for bytes";
    const left = vocabulary_file.spell(text[0..space], room, how) orelse return badMerge(diag, rank, text, spelled);
    const right = vocabulary_file.spell(text[space + 1 ..], room[left.len..], how) orelse return badMerge(diag, rank, text, spelled);
    buffer.shrinkRetainingCapacity(start + left.len + right.len);
    return .{ .start = start, .gap = start + left.len, .end = start + left.len + right.len };
}

/// Bytes that valid UTF-8 doesn't have. Vocabularies often lack tokens for them. Any other byte
/// that lacks a token is passed over, as the models' own tokenizers do.
fn neverInText(byte: u8) bool {
    return byte == 0xC0 or byte == 0xC1 or byte >= 0xF5;
}

/// The number of a part of a merge. One that is no token gets a number behind the tokens.
fn symbolOf(arena: Allocator, vocabulary: *Vocabulary, bytes: []const u8) Error!u32 {
    if (vocabulary.find(bytes)) |symbol| return symbol;
    const symbol = try vocabulary.bytes.add(arena, bytes);
    _ = try vocabulary.table.putMore(arena, &vocabulary.bytes, symbol);
    return symbol;
}

fn splitChars(vocabulary: *const Vocabulary, word: []const u8, parts: []merge.Part) usize {
    var at: usize = 0;
    var len: usize = 0;
    while (at < word.len) : (len += 1) {
        const end = at + @import("../unicode.zig").decode(word, at).len;
        parts[len] = .{ .start = @intCast(at), .end = @intCast(end), .symbol = vocabulary.find(word[at..end]) orelse none };
        at = end;
    }
    return len;
}

fn findPre(source: *const Source, diag: *Diagnostic) Error!pre.Found {
    if (std.mem.eql(u8, source.model, "gemma4")) return pre.find("gemma4").?;
    const name = source.pre orelse "default";
    return pre.find(name) orelse {
        diag.set("expected tokenizer.ggml.pre to be one of {s}; found \"{f}\"", .{
            pre.known_names, std.zig.fmtString(name[0..@min(name.len, 64)]),
        });
        return error.UnknownPreTokenizer;
    };
}

fn badMerge(diag: *Diagnostic, rank: usize, text: []const u8, expected: []const u8) Error {
    diag.set("expected merge {d} to be {s}, found \"{f}\"", .{ rank, expected, std.zig.fmtString(text[0..@min(text.len, 100)]) });
    return error.InvalidVocabulary;
}
