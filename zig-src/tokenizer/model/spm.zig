//! SentencePiece's byte-pair encoding ("llama" in GGUF files: LLaMA 1 and 2, Mistral, Gemma, Phi 3).
//! There are no merges: of all neighbours whose concatenation is a token, the one with the
//! highest score merges first. What is left without a token becomes byte tokens.
//!
//! SentencePiece runs over a whole text at once. Here a text is cut wherever no token could reach
//! across: between two bytes that are neighbours in none. It gives the same tokens, and the words
//! that are left can be looked up whole. A long text repeats the others, whose tokens are copied.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const job_file = @import("../job.zig");
const Job = job_file.Job;
const merge = @import("../merge.zig");
const pieces = @import("../pieces.zig");
const source_file = @import("../source.zig");
const unicode = @import("../unicode.zig");
const vocabulary_file = @import("../vocabulary.zig");
const Defaults = @import("../model.zig").Defaults;
const Error = source_file.Error;
const Source = source_file.Source;
const Vocabulary = vocabulary_file.Vocabulary;
const none = pieces.none;

pub const names = [_][]const u8{"llama"};

pub const Model = struct {
    /// A text that begins, or comes after a special token, gets a space before it.
    space_prefix: bool,
    /// Runs of spaces count as one, and those around the text are dropped.
    squeeze: bool,
    joins: *const Joins,
    verdicts: job_file.Verdicts,
    unknown: u32,

    pub fn init(arena: Allocator, source: *const Source, vocabulary: *Vocabulary, diag: *Diagnostic) Error!Model {
        if (source.scores == null) {
            diag.set("expected metadata tokenizer.ggml.scores for a SentencePiece vocabulary, found none", .{});
            return error.MissingVocabulary;
        }
        vocabulary.* = try .init(arena, source, .sentence_piece, diag);
        // Zero and minus zero are one score.
        for (vocabulary.scores) |*score| score.* += 0;
        return .{
            .space_prefix = source.flags.add_space_prefix orelse true,
            .squeeze = source.flags.remove_extra_whitespaces orelse false,
            .joins = try findJoins(arena, vocabulary),
            .verdicts = try .init(arena, vocabulary.count()),
            .unknown = @intCast(@min(source.ids.unknown orelse 0, vocabulary.count() - 1)),
        };
    }

    pub fn defaults(_: *const Model) Defaults {
        return .{ .bos = 1, .eos = 2, .unknown = 0, .add_bos = true };
    }

    pub fn spelling(_: *const Model) vocabulary_file.Spelling {
        return .sentence_piece;
    }

    pub fn encode(model: *const Model, vocabulary: *const Vocabulary, job: *Job, text: []const u8, after_special: bool) Job.Error!void {
        const plain = try model.normalise(job, text, after_special);
        // Positions in this text and among these tokens.
        const repeats = try job.repeatsFor(plain.len);
        var from: usize = 0;
        while (from < plain.len) {
            var at = from + 1;
            while (at < plain.len and model.joins.has(plain[at - 1], plain[at])) at += 1;
            const word = plain[from..at];
            const whole = vocabulary.find(word) orelse none;
            if (whole != none and model.verdicts.get(whole) == .itself) {
                try job.emit(whole);
            } else if (repeats) |known| {
                try model.encodeRepeated(vocabulary, job, known, plain, from, at, whole);
            } else {
                try model.encodeWord(vocabulary, job, word, whole);
            }
            from = at;
        }
    }

    fn encodeRepeated(
        model: *const Model,
        vocabulary: *const Vocabulary,
        job: *Job,
        known: *job_file.Repeats,
        plain: []const u8,
        from: usize,
        to: usize,
        whole: u32,
    ) Job.Error!void {
        const word = plain[from..to];
        const slot = known.slotOf(word);
        if (std.mem.eql(u8, plain[slot.from..slot.to], word)) return job.emitAgain(slot.first, slot.count);
        const first = job.out.items.len;
        try model.encodeWord(vocabulary, job, word, whole);
        slot.* = .{ .from = @intCast(from), .to = @intCast(to), .first = @intCast(first), .count = @intCast(job.out.items.len - first) };
    }

    fn encodeWord(model: *const Model, vocabulary: *const Vocabulary, job: *Job, word: []const u8, whole: u32) Job.Error!void {
        var stack: [64]merge.Part = undefined;
        var parts: []merge.Part = &stack;
        if (word.len > stack.len) {
            try job.parts.resize(job.gpa, word.len);
            parts = job.parts.items;
        }
        var at: usize = 0;
        var len: usize = 0;
        while (at < word.len) : (len += 1) {
            const end = at + unicode.decode(word, at).len;
            parts[len] = .{ .start = @intCast(at), .end = @intCast(end), .symbol = vocabulary.find(word[at..end]) orelse none };
            at = end;
        }
        const rules: Rules = .{ .vocabulary = vocabulary };
        const merged = try merge.all(&rules, &job.heap, job.gpa, word, parts[0..len]);
        if (whole != none and model.verdicts.get(whole) == .open) {
            const itself = merged.len == 1 and merged[0].symbol == whole;
            model.verdicts.set(whole, if (itself) .itself else .split);
        }
        for (merged) |part| {
            if (part.symbol != none) {
                try job.emit(part.symbol);
                continue;
            }
            for (word[part.start..part.end]) |byte| {
                const id = vocabulary.byte_tokens[byte];
                try job.emit(if (id != none) id else model.unknown);
            }
        }
    }

    /// The text with its spaces as SentencePiece sees them; "▁" counts as one.
    fn normalise(model: *const Model, job: *Job, text: []const u8, after_special: bool) Job.Error![]const u8 {
        const prefix = model.space_prefix and after_special;
        const marked = std.mem.indexOf(u8, text, vocabulary_file.space_mark) != null;
        if (!prefix and !marked and !model.squeeze) return text;
        try job.buffer.resize(job.gpa, text.len + 1);
        var plain = vocabulary_file.unmarkSpaces(text, job.buffer.items[1..]);
        if (model.squeeze) plain = squeezeSpaces(plain);
        if (!prefix or plain.len == 0 and model.squeeze) return plain;
        job.buffer.items[0] = ' ';
        return job.buffer.items[0 .. plain.len + 1];
    }
};

const Rules = struct {
    vocabulary: *const Vocabulary,

    pub inline fn pair(rules: *const Rules, word: []const u8, left: merge.Part, right: merge.Part) ?pieces.Merge {
        if (right.end - left.start > rules.vocabulary.bytes_max) return null;
        const id = rules.vocabulary.find(word[left.start..right.end]) orelse return null;
        return .{ .rank = rankOf(rules.vocabulary.scores[id]), .product = id };
    }
};

/// A number that is lower for a higher score.
fn rankOf(score: f32) u32 {
    const bits: u32 = @bitCast(score);
    const rising = if (bits >> 31 == 1) ~bits else bits | 1 << 31;
    return ~rising;
}

fn squeezeSpaces(text: []u8) []u8 {
    var len: usize = 0;
    for (text) |byte| {
        if (byte == ' ' and (len == 0 or text[len - 1] == ' ')) continue;
        text[len] = byte;
        len += 1;
    }
    return if (len > 0 and text[len - 1] == ' ') text[0 .. len - 1] else text[0..len];
}

/// Pairs of bytes that may not be cut apart: those that are neighbours within some token, and
/// those within a character.
const Joins = struct {
    /// A word a byte that comes first and eighth of those that come second.
    bits: [256][8]u32 = @splat(@splat(0)),

    inline fn has(joins: *const Joins, first: u8, second: u8) bool {
        return joins.bits[first][second >> 5] >> @truncate(second) & 1 == 1;
    }

    fn add(joins: *Joins, first: u8, second: u8) void {
        joins.bits[first][second >> 5] |= @as(u32, 1) << @truncate(second);
    }
};

fn findJoins(arena: Allocator, vocabulary: *const Vocabulary) error{OutOfMemory}!*const Joins {
    const joins = try arena.create(Joins);
    joins.* = .{};
    // A byte that continues a character is of one part with the byte before it.
    for (0..256) |first| for (0x80..0xC0) |second| joins.add(@intCast(first), @intCast(second));
    for (0..vocabulary.count()) |id| {
        const bytes = vocabulary.bytes.get(@intCast(id));
        if (bytes.len > 1) for (1..bytes.len) |at| joins.add(bytes[at - 1], bytes[at]);
    }
    return joins;
}

test "ranks fall as scores rise" {
    const scores = [_]f32{ std.math.inf(f32), 3, 0.5, 0, -0.25, -1, -1000, -std.math.inf(f32) };
    for (scores[0 .. scores.len - 1], scores[1..]) |high, low| {
        try std.testing.expect(rankOf(high) < rankOf(low));
        try std.testing.expect(rankOf(low) < none);
    }
}
