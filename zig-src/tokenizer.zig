//! Text to tokens and back, for every kind of vocabulary that GGUF files carry. The kinds are the
//! members of tokenizer/model.zig; the pre-tokenizers of byte-pair encodings are those of
//! tokenizer/pre.zig.
//!
//! A tokenizer keeps nothing of the file it was made from. Encoding and decoding are safe on any
//! bytes and from any number of threads at once; decoding allocates nothing.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Diagnostic = @import("diagnostic.zig").Diagnostic;
const gguf = @import("gguf.zig");
const endings_file = @import("tokenizer/endings.zig");
const job_file = @import("tokenizer/job.zig");
const model_file = @import("tokenizer/model.zig");
const source_file = @import("tokenizer/source.zig");
const vocabulary_file = @import("tokenizer/vocabulary.zig");
const Job = job_file.Job;

pub const Source = source_file.Source;
pub const Error = source_file.Error || Job.Error;
pub const pre = @import("tokenizer/pre.zig");
pub const Type = vocabulary_file.Type;

pub const Tokenizer = struct {
    gpa: Allocator,
    arena: std.heap.ArenaAllocator,
    vocabulary: vocabulary_file.Vocabulary,
    model: model_file.Model,
    endings: endings_file.Endings,
    strips: Strips,
    bos: ?u32,
    eos: ?u32,
    eot: ?u32,
    unk: ?u32,
    pad: ?u32,
    /// What `add_special` puts before and after a text.
    first: ?u32,
    last: ?u32,
    /// The model puts a space before a text, which detokenising takes away again.
    space_prefix: bool,

    pub const Stream = @import("tokenizer/stream.zig").StreamType(Tokenizer);

    pub const EncodeOptions = struct {
        /// Begin and end the text as the model expects: BOS, EOS, [CLS], [SEP].
        add_special: bool = true,
        /// Read the texts of control tokens as those tokens. User-defined tokens always are.
        parse_special: bool = true,
    };

    pub fn init(gpa: Allocator, file: *const gguf.File, diag: *Diagnostic) Error!*Tokenizer {
        var scratch: std.heap.ArenaAllocator = .init(gpa);
        defer scratch.deinit();
        const source = try source_file.fromFile(scratch.allocator(), file, diag);
        return initSource(gpa, &source, diag);
    }

    pub fn initSource(gpa: Allocator, source: *const Source, diag: *Diagnostic) Error!*Tokenizer {
        const tokenizer = try gpa.create(Tokenizer);
        errdefer gpa.destroy(tokenizer);
        tokenizer.gpa = gpa;
        tokenizer.arena = .init(gpa);
        errdefer tokenizer.arena.deinit();
        const arena = tokenizer.arena.allocator();
        tokenizer.model = try model_file.init(arena, source, &tokenizer.vocabulary, diag);
        const defaults = switch (tokenizer.model) {
            inline else => |*model| model.defaults(),
        };
        const ids = source.ids;
        tokenizer.bos = try tokenizer.known("bos", ids.bos orelse ids.cls, defaults.bos, diag);
        tokenizer.eos = try tokenizer.known("eos", ids.eos, defaults.eos, diag);
        tokenizer.unk = try tokenizer.known("unknown", ids.unknown, defaults.unknown, diag);
        tokenizer.pad = try tokenizer.known("padding", ids.padding, defaults.padding, diag);
        const separator = try tokenizer.known("seperator", ids.seperator, defaults.seperator, diag);
        const eot = try tokenizer.known("eot", ids.eot, null, diag);
        tokenizer.endings = try .init(arena, &tokenizer.vocabulary, tokenizer.eos, eot, &.{
            try tokenizer.known("eom", ids.eom, null, diag),
            try tokenizer.known("fim_pad", ids.fim_pad, null, diag),
            try tokenizer.known("fim_rep", ids.fim_rep, null, diag),
            try tokenizer.known("fim_sep", ids.fim_sep, null, diag),
        });
        tokenizer.eot = tokenizer.endings.eot;
        tokenizer.first = try wanted(diag, "bos", tokenizer.bos, source.flags.add_bos_token, defaults.add_bos);
        tokenizer.last = if (defaults.add_seperator) separator else try wanted(diag, "eos", tokenizer.eos, source.flags.add_eos_token, defaults.add_eos);
        tokenizer.strips = try .init(arena, source, &tokenizer.vocabulary);
        tokenizer.space_prefix = switch (tokenizer.model) {
            inline else => |*model| if (@hasField(@TypeOf(model.*), "space_prefix")) model.space_prefix else model.spelling() == .phantom_space,
        };
        return tokenizer;
    }

    pub fn deinit(tokenizer: *Tokenizer) void {
        const gpa = tokenizer.gpa;
        tokenizer.arena.deinit();
        gpa.destroy(tokenizer);
    }

    /// An id with a role: from the file, where it must be in the vocabulary, or the kind's usual
    /// one, where it may be absent.
    fn known(tokenizer: *const Tokenizer, role: []const u8, given: ?u64, usual: ?u32, diag: *Diagnostic) Error!?u32 {
        const id = given orelse {
            const fallback = usual orelse return null;
            return if (fallback < tokenizer.count()) fallback else null;
        };
        // All ones is how some converters write "none".
        if (id == std.math.maxInt(u32)) return null;
        if (id < tokenizer.count()) return @intCast(id);
        diag.set("expected tokenizer.ggml.{s}_token_id to be below {d}, found {d}", .{ role, tokenizer.count(), id });
        return error.InvalidVocabulary;
    }

    fn wanted(diag: *Diagnostic, role: []const u8, id: ?u32, flag: ?bool, usual: bool) Error!?u32 {
        if (!(flag orelse usual)) return null;
        if (id == null and flag != null) {
            diag.set("expected tokenizer.ggml.{s}_token_id with add_{s}_token, found none", .{ role, role });
            return error.InvalidVocabulary;
        }
        return id;
    }

    /// Appends the tokens of a text to `out`, which uses `gpa`. On an error `out` keeps what was
    /// there before.
    pub fn encode(tokenizer: *const Tokenizer, gpa: Allocator, text: []const u8, options: EncodeOptions, out: *std.ArrayList(u32)) Error!void {
        if (text.len > Job.text_max) return error.TextTooLong;
        const before = out.items.len;
        errdefer out.shrinkRetainingCapacity(before);
        var job: Job = .{ .gpa = gpa, .out = out };
        defer job.deinit();
        if (options.add_special) if (tokenizer.first) |id| try job.emit(id);
        switch (tokenizer.model) {
            inline else => |*model| try tokenizer.encodeWith(model, &job, text, options.parse_special),
        }
        if (options.add_special) if (tokenizer.last) |id| try job.emit(id);
    }

    fn encodeWith(tokenizer: *const Tokenizer, model: anytype, job: *Job, text: []const u8, parse_special: bool) Error!void {
        const vocabulary = &tokenizer.vocabulary;
        var at: usize = 0;
        var after_special = true;
        while (vocabulary.special.next(vocabulary, text, at, parse_special)) |match| {
            const strip = tokenizer.strips.of(match.id);
            var end = match.start;
            if (strip.left) while (end > at and std.ascii.isWhitespace(text[end - 1])) : (end -= 1) {};
            if (end > at) try model.encode(vocabulary, job, text[at..end], after_special);
            try job.emit(match.id);
            after_special = true;
            at = match.end;
            if (strip.right) while (at < text.len and std.ascii.isWhitespace(text[at])) : (at += 1) {};
        }
        if (at < text.len) try model.encode(vocabulary, job, text[at..], after_special);
    }

    /// The size of the vocabulary.
    pub fn count(tokenizer: *const Tokenizer) u32 {
        return tokenizer.vocabulary.count();
    }

    /// The token's text as the file stores it.
    pub fn tokenText(tokenizer: *const Tokenizer, id: u32) []const u8 {
        return if (id < tokenizer.count()) tokenizer.vocabulary.texts.get(id) else "";
    }

    pub fn tokenType(tokenizer: *const Tokenizer, id: u32) Type {
        return if (id < tokenizer.count()) tokenizer.vocabulary.types[id] else .undefined;
    }

    /// The token whose text as the file stores it is `piece`.
    pub fn find(tokenizer: *const Tokenizer, piece: []const u8) ?u32 {
        return switch (tokenizer.model) {
            inline else => |*model| tokenizer.vocabulary.findText(piece, model.spelling()),
        };
    }

    /// The bytes that a token stands for. Control, unknown and unused tokens stand for nothing
    /// unless `special`. They may be part of a character; `Stream` puts characters together.
    pub fn bytesOf(tokenizer: *const Tokenizer, id: u32, special: bool) []const u8 {
        if (id >= tokenizer.count()) return "";
        return switch (tokenizer.vocabulary.types[id]) {
            .normal, .user_defined, .byte => tokenizer.vocabulary.bytes.get(id),
            .control, .unknown, .unused, .undefined => if (special) tokenizer.vocabulary.bytes.get(id) else "",
        };
    }

    /// As `bytesOf`, into the caller's buffer; `bytesMax` bytes always suffice.
    pub fn decode(tokenizer: *const Tokenizer, id: u32, buf: []u8, special: bool) error{NoSpaceLeft}![]const u8 {
        const bytes = tokenizer.bytesOf(id, special);
        if (bytes.len > buf.len) return error.NoSpaceLeft;
        @memcpy(buf[0..bytes.len], bytes);
        return buf[0..bytes.len];
    }

    /// The most bytes a token stands for.
    pub fn bytesMax(tokenizer: *const Tokenizer) usize {
        return tokenizer.vocabulary.bytes_max;
    }

    pub fn isEndOfGeneration(tokenizer: *const Tokenizer, id: u32) bool {
        return id < tokenizer.count() and tokenizer.endings.set.isSet(id);
    }
};

/// Special tokens that swallow the blanks around them. Files don't say which do, so they are
/// known by the model.
const Strips = struct {
    all_right: bool = false,
    /// The exceptions to `all_right`.
    kept: [3]?u32 = @splat(null),
    left: ?u32 = null,

    const Strip = struct { left: bool, right: bool };

    fn init(arena: Allocator, source: *const Source, vocabulary: *const vocabulary_file.Vocabulary) !Strips {
        var strips: Strips = .{};
        const name = try std.ascii.allocLowerString(arena, source.name[0..@min(source.name.len, 256)]);
        const named = source.pre orelse "";
        if (contains(name, "phi-3") or contains(name, "phi3")) {
            strips.all_right = true;
            for (&strips.kept, [_][]const u8{ "<unk>", "<s>", "<|endoftext|>" }) |*id, text| id.* = vocabulary.special.find(vocabulary, text);
        } else if (contains(named, "jina-v2-de") or contains(named, "jina-v2-es") or contains(named, "jina-v2-code") or
            contains(source.architecture, "nomic-bert-moe") or contains(source.architecture, "jina-bert-v3"))
        {
            strips.left = vocabulary.special.find(vocabulary, "<mask>");
        } else if (contains(name, "modern-bert")) {
            strips.left = vocabulary.special.find(vocabulary, "[MASK]");
        }
        return strips;
    }

    fn contains(text: []const u8, part: []const u8) bool {
        return std.mem.indexOf(u8, text, part) != null;
    }

    fn of(strips: *const Strips, id: u32) Strip {
        if (!strips.all_right) return .{ .left = strips.left == id, .right = false };
        for (strips.kept) |kept| if (kept == id) return .{ .left = false, .right = false };
        return .{ .left = false, .right = true };
    }
};

test {
    _ = endings_file;
    _ = job_file;
    _ = model_file;
    _ = pre;
    _ = source_file;
    _ = vocabulary_file;
    _ = @import("tokenizer/byte_text.zig");
    _ = @import("tokenizer/matcher.zig");
    _ = @import("tokenizer/merge.zig");
    _ = @import("tokenizer/model/bpe.zig");
    _ = @import("tokenizer/model/spm.zig");
    _ = @import("tokenizer/model/wordpiece.zig");
    _ = @import("tokenizer/pieces.zig");
    _ = @import("tokenizer/scan.zig");
    _ = @import("tokenizer/scan/groups.zig");
    _ = @import("tokenizer/stream.zig");
    _ = @import("tokenizer/unicode.zig");
    _ = @import("tokenizer/test_golden.zig");
    _ = @import("tokenizer/test_small.zig");
    _ = @import("tokenizer/test_vectors.zig");
}
