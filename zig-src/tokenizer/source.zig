//! What a tokenizer is made from: the arrays, ids and flags under `tokenizer.ggml.` of a GGUF
//! file, as plain slices. `fromFile` collects them; tests build one by hand. The slices are only
//! looked at while the tokenizer is made, which copies what it keeps.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const gguf = @import("../gguf.zig");

pub const Error = error{ OutOfMemory, MissingVocabulary, InvalidVocabulary, UnknownTokenizer, UnknownPreTokenizer };

/// Ids of tokens with a role. Keys are those of the GGUF specification, "seperator" included.
pub const Ids = struct {
    bos: ?u64 = null,
    eos: ?u64 = null,
    eot: ?u64 = null,
    eom: ?u64 = null,
    unknown: ?u64 = null,
    seperator: ?u64 = null,
    padding: ?u64 = null,
    cls: ?u64 = null,
    mask: ?u64 = null,
    fim_pad: ?u64 = null,
    fim_rep: ?u64 = null,
    fim_sep: ?u64 = null,
};

pub const Flags = struct {
    add_bos_token: ?bool = null,
    add_eos_token: ?bool = null,
    add_space_prefix: ?bool = null,
    remove_extra_whitespaces: ?bool = null,
    @"normalizer.lowercase": ?bool = null,
    @"normalizer.strip_accents": ?bool = null,
};

pub const Source = struct {
    model: []const u8,
    pre: ?[]const u8 = null,
    tokens: []const []const u8,
    scores: ?[]const f32 = null,
    types: ?[]const i64 = null,
    merges: ?[]const []const u8 = null,
    /// SentencePiece's compiled normalisation.
    charsmap: ?[]const u8 = null,
    ids: Ids = .{},
    flags: Flags = .{},
    /// `general.name` and `general.architecture`: some models strip the blanks around their
    /// special tokens, which no key says.
    name: []const u8 = "",
    architecture: []const u8 = "",
};

const prefix = "tokenizer.ggml.";

/// Reads the keys of an open file. What it allocates lives in `arena`; strings stay in the file.
pub fn fromFile(arena: Allocator, file: *const gguf.File, diag: *Diagnostic) Error!Source {
    const model = file.getString(prefix ++ "model") orelse {
        diag.set("expected metadata " ++ prefix ++ "model to name the kind of tokenizer, found none", .{});
        return error.MissingVocabulary;
    };
    var source: Source = .{
        .model = model,
        .pre = file.getString(prefix ++ "pre"),
        .tokens = try strings(arena, file, prefix ++ "tokens", diag) orelse {
            diag.set("expected metadata " ++ prefix ++ "tokens to hold the vocabulary, found none", .{});
            return error.MissingVocabulary;
        },
        .merges = try strings(arena, file, prefix ++ "merges", diag),
        .name = file.getString("general.name") orelse "",
        .architecture = file.getString("general.architecture") orelse "",
    };
    if (file.getArray(prefix ++ "scores")) |array| {
        if (!array.element.isNumber()) return wrongType(diag, prefix ++ "scores", "numbers");
        const scores = try arena.alloc(f32, @intCast(array.len));
        for (scores, 0..) |*score, i| score.* = @floatCast(array.float(i));
        source.scores = scores;
    }
    if (file.getArray(prefix ++ "token_type")) |array| {
        if (!array.element.isInteger()) return wrongType(diag, prefix ++ "token_type", "integers");
        const types = try arena.alloc(i64, @intCast(array.len));
        for (types, 0..) |*kind, i| kind.* = array.int(i);
        source.types = types;
    }
    if (file.getArray(prefix ++ "precompiled_charsmap")) |array| {
        if (!array.element.isInteger()) return wrongType(diag, prefix ++ "precompiled_charsmap", "bytes");
        const bytes = try arena.alloc(u8, @intCast(array.len));
        for (bytes, 0..) |*byte, i| byte.* = @truncate(@as(u64, @bitCast(array.int(i))));
        source.charsmap = bytes;
    }
    inline for (@typeInfo(Ids).@"struct".field_names) |name| {
        @field(source.ids, name) = file.getUint(prefix ++ name ++ "_token_id");
    }
    inline for (@typeInfo(Flags).@"struct".field_names) |name| {
        @field(source.flags, name) = file.getBool(prefix ++ name);
    }
    return source;
}

fn strings(arena: Allocator, file: *const gguf.File, key: []const u8, diag: *Diagnostic) Error!?[]const []const u8 {
    const array = file.getArray(key) orelse return null;
    if (array.element != .string) return wrongType(diag, key, "strings");
    const list = try arena.alloc([]const u8, @intCast(array.len));
    for (list, 0..) |*text, i| text.* = array.string(i);
    return list;
}

fn wrongType(diag: *Diagnostic, key: []const u8, expected: []const u8) Error {
    diag.set("expected metadata {s} to be an array of {s}, found another type", .{ key, expected });
    return error.InvalidVocabulary;
}
