//! WordPiece ("bert" in GGUF files): words are cut at white space and around punctuation and Han
//! characters, lowered and stripped of accents, and covered by the longest tokens from the left.
//! A word that can't be covered is unknown as a whole. Files store a token that begins a word as
//! "▁word" and one that goes on as "word".
//!
//! After Devlin et al. 2018 and the normaliser of the models' own tokenizers.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const Job = @import("../job.zig").Job;
const source_file = @import("../source.zig");
const unicode = @import("../unicode.zig");
const vocabulary_file = @import("../vocabulary.zig");
const Defaults = @import("../model.zig").Defaults;
const Error = source_file.Error;
const Source = source_file.Source;
const Vocabulary = vocabulary_file.Vocabulary;

pub const names = [_][]const u8{"bert"};

/// A longer word is unknown.
const chars_max = 100;

pub const Model = struct {
    lowercase: bool,
    strip_accents: bool,
    unknown: u32,

    pub fn init(arena: Allocator, source: *const Source, vocabulary: *Vocabulary, diag: *Diagnostic) Error!Model {
        vocabulary.* = try .init(arena, source, .phantom_space, diag);
        const lowercase = source.flags.@"normalizer.lowercase" orelse true;
        return .{
            .lowercase = lowercase,
            .strip_accents = source.flags.@"normalizer.strip_accents" orelse lowercase,
            .unknown = @intCast(@min(source.ids.unknown orelse 100, vocabulary.count() - 1)),
        };
    }

    pub fn defaults(_: *const Model) Defaults {
        return .{ .bos = 101, .seperator = 102, .unknown = 100, .padding = 0, .add_bos = true, .add_seperator = true };
    }

    pub fn spelling(_: *const Model) vocabulary_file.Spelling {
        return .phantom_space;
    }

    pub fn encode(model: *const Model, vocabulary: *const Vocabulary, job: *Job, text: []const u8, _: bool) Job.Error!void {
        // A word grows in the buffer behind the space that marks its beginning.
        try startWord(job);
        var at: usize = 0;
        while (at < text.len) {
            const char = unicode.decode(text, at);
            at += char.len;
            const mask = char.mask();
            if (char.code == '\t' or char.code == '\n' or char.code == '\r' or mask & blanks != 0) {
                try model.endWord(vocabulary, job);
            } else if (char.code == unicode.replacement or mask & dropped != 0) {
                continue;
            } else if (standsAlone(char.code, mask)) {
                try model.endWord(vocabulary, job);
                try model.append(job, char.code);
                try model.endWord(vocabulary, job);
            } else {
                try model.append(job, char.code);
            }
        }
        try model.endWord(vocabulary, job);
    }

    fn startWord(job: *Job) Job.Error!void {
        job.buffer.clearRetainingCapacity();
        try job.buffer.append(job.gpa, ' ');
    }

    fn append(model: *const Model, job: *Job, code: u21) Job.Error!void {
        var kept: [3]u21 = undefined;
        kept[0] = code;
        var codes: []const u21 = kept[0..1];
        if (model.strip_accents) {
            if (unicode.maskOf(code) & unicode.bit(.mn) != 0) return;
            codes = unicode.bases(code, &kept);
        }
        for (codes) |base| {
            var utf8: [4]u8 = undefined;
            const len = unicode.encode(if (model.lowercase) unicode.lower(base) else base, &utf8);
            try job.buffer.appendSlice(job.gpa, utf8[0..len]);
        }
    }

    fn endWord(model: *const Model, vocabulary: *const Vocabulary, job: *Job) Job.Error!void {
        const word = job.buffer.items;
        if (word.len == 1) return;
        const first = job.out.items.len;
        const chars = std.unicode.utf8CountCodepoints(word) catch unreachable;
        var at: usize = 0;
        while (at < word.len and chars <= chars_max + 1) {
            var end = @min(word.len, at + vocabulary.bytes_max);
            const id = while (end > at) : (end -= 1) {
                if (vocabulary.find(word[at..end])) |id| break id;
            } else break;
            try job.emit(id);
            at = end;
        }
        if (at < word.len) {
            job.out.shrinkRetainingCapacity(first);
            try job.emit(model.unknown);
        }
        try startWord(job);
    }
};

const blanks = unicode.set(&.{ .zs, .zl, .zp });
/// Control characters, the white space among them included, and what no text should have.
const dropped = unicode.set(&.{ .cc, .cc_space, .cf, .co, .cs });

/// Punctuation in the wider sense of BERT, and Han characters.
fn standsAlone(code: u21, mask: unicode.Mask) bool {
    if (mask & unicode.punctuation != 0) return true;
    if (code < 127) return mask & unicode.symbol != 0;
    return switch (code) {
        0x3400...0x4DBF, 0x4E00...0x9FFF, 0xF900...0xFAFF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F => true,
        // The first of this block is off by 0x100 in the tokenizer that the models were trained with.
        0x2B920...0x2CEAF, 0x2F800...0x2FA1F => true,
        else => false,
    };
}
