//! The kinds of tokenizer, by `tokenizer.ggml.model`. A member is a file in `model/` that
//! declares `names`, the values that mean it, and `Model` with
//!   `init(arena, source, vocabulary, diag)`  reads the vocabulary and what the model adds to it
//!   `defaults(model)`                        ids and flags where the file gives none
//!   `spelling(model)`                        how its tokens' texts spell bytes
//!   `encode(model, vocabulary, job, text, after_special)`  text without special tokens to ids

const std = @import("std");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const source_file = @import("source.zig");
const Source = source_file.Source;
const Vocabulary = @import("vocabulary.zig").Vocabulary;

/// The registry.
pub const members = .{
    @import("model/bpe.zig"),
    @import("model/spm.zig"),
    @import("model/wordpiece.zig"),
};

/// What holds when the file doesn't say. An id beyond the vocabulary counts as absent.
pub const Defaults = struct {
    bos: ?u32 = null,
    eos: ?u32 = null,
    unknown: ?u32 = null,
    seperator: ?u32 = null,
    padding: ?u32 = null,
    add_bos: bool = false,
    add_eos: bool = false,
    /// The separator ends a text where others have the end of sequence.
    add_seperator: bool = false,
};

const member_names = blk: {
    var names: [members.len][]const u8 = undefined;
    for (&names, members) |*name, member| name.* = member.names[0];
    const fixed = names;
    break :blk &fixed;
};

const Tag = @Enum(u8, .exhaustive, member_names, &std.simd.iota(u8, members.len));

const member_types = blk: {
    var types: [members.len]type = undefined;
    for (&types, members) |*Type, member| Type.* = member.Model;
    break :blk types;
};

/// One member's `Model`.
pub const Model = @Union(.auto, Tag, member_names, &member_types, &@splat(.{}));

pub const known_names = blk: {
    var text: []const u8 = "";
    for (members) |member| {
        for (member.names) |name| text = text ++ (if (text.len == 0) "" else ", ") ++ name;
    }
    break :blk text;
};

pub fn init(arena: std.mem.Allocator, source: *const Source, vocabulary: *Vocabulary, diag: *Diagnostic) source_file.Error!Model {
    inline for (members) |member| {
        for (member.names) |name| if (std.mem.eql(u8, name, source.model)) {
            return @unionInit(Model, member.names[0], try member.Model.init(arena, source, vocabulary, diag));
        };
    }
    diag.set("expected tokenizer.ggml.model to be one of {s}; found \"{f}\"", .{
        known_names, std.zig.fmtString(source.model[0..@min(source.model.len, 64)]),
    });
    return error.UnknownTokenizer;
}

test "every file of model/ is registered" {
    const io = std.testing.io;
    var dir = std.Io.Dir.cwd().openDir(io, "zig-src/tokenizer/model", .{ .iterate = true }) catch
        try std.Io.Dir.cwd().openDir(io, "tokenizer/model", .{ .iterate = true });
    defer dir.close(io);
    var files: usize = 0;
    var entries = dir.iterate();
    while (try entries.next(io)) |entry| files += @intFromBool(std.mem.endsWith(u8, entry.name, ".zig"));
    try std.testing.expectEqual(members.len, files);
}
