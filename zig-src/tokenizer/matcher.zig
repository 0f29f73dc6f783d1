//! Finds special tokens in text: the leftmost, and of those that begin there the longest.
//! User-defined tokens are found always, control and unknown tokens when the caller parses
//! special tokens. Text without them costs one look-up per byte.

const std = @import("std");
const Allocator = std.mem.Allocator;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Error = @import("source.zig").Error;
const pieces = @import("pieces.zig");
const vocabulary_file = @import("vocabulary.zig");
const Vocabulary = vocabulary_file.Vocabulary;

pub const Match = struct { start: usize, end: usize, id: u32 };

pub const Matcher = struct {
    /// Texts of the special tokens to their ids.
    table: pieces.ByteTable,
    /// The lengths that tokens with a first byte have, longest first.
    lengths: [256][]const u32,
    /// The first two bytes of the tokens, and tokens of one byte with any second.
    starts: *std.bit_set.Static(1 << 16),
    empty: bool,

    pub fn init(arena: Allocator, vocabulary: *const Vocabulary, diag: *Diagnostic) Error!Matcher {
        var total: usize = 0;
        for (vocabulary.types) |kind| total += @intFromBool(isSpecial(kind));
        const starts = try arena.create(std.bit_set.Static(1 << 16));
        starts.* = .empty;
        var matcher: Matcher = .{
            .table = try .init(arena, total),
            .lengths = @splat(&.{}),
            .starts = starts,
            .empty = total == 0,
        };
        var lists: [256]std.ArrayList(u32) = @splat(.empty);
        for (vocabulary.types, 0..) |kind, i| {
            const id: u32 = @intCast(i);
            const text = vocabulary.texts.get(id);
            if (!isSpecial(kind) or text.len == 0) continue;
            if (matcher.table.put(&vocabulary.texts, id)) |other| return vocabulary_file.duplicate(diag, text, other, id);
            if (vocabulary.find(text)) |other| if (other != id and std.mem.eql(u8, vocabulary.texts.get(other), text)) {
                return vocabulary_file.duplicate(diag, text, other, id);
            };
            const list = &lists[text[0]];
            const len: u32 = @intCast(text.len);
            if (std.mem.indexOfScalar(u32, list.items, len) == null) try list.append(arena, len);
            if (len > 1) starts.set(startOf(text)) else for (0..256) |second| starts.set(startOf(&.{ text[0], @intCast(second) }));
        }
        for (&lists, &matcher.lengths) |*list, *lengths| {
            std.mem.sort(u32, list.items, {}, std.sort.desc(u32));
            lengths.* = list.items;
        }
        return matcher;
    }

    pub fn find(matcher: *const Matcher, vocabulary: *const Vocabulary, text: []const u8) ?u32 {
        return matcher.table.find(&vocabulary.texts, text);
    }

    /// The first special token at or after `from`.
    pub fn next(matcher: *const Matcher, vocabulary: *const Vocabulary, text: []const u8, from: usize, parse_special: bool) ?Match {
        if (matcher.empty) return null;
        for (text[from..], from..) |first, at| {
            const lengths = matcher.lengths[first];
            if (lengths.len == 0) continue;
            if (at + 1 < text.len and !matcher.starts.isSet(startOf(text[at..]))) continue;
            for (lengths) |len| {
                if (len > text.len - at) continue;
                const id = matcher.find(vocabulary, text[at..][0..len]) orelse continue;
                if (!parse_special and vocabulary.types[id] != .user_defined) continue;
                return .{ .start = at, .end = at + len, .id = id };
            }
        }
        return null;
    }
};

fn startOf(text: []const u8) u16 {
    return @as(u16, text[0]) << 8 | text[1];
}

pub fn isSpecial(kind: vocabulary_file.Type) bool {
    return switch (kind) {
        .control, .user_defined, .unknown => true,
        .undefined, .normal, .unused, .byte => false,
    };
}
