//! What a stage may ask about tokens: their texts, and which of them end a text. Whoever has a tokenizer
//! provides it; the sampler knows nothing of tokenizers. It must outlive the chains that were made with it,
//! and be safe to ask from any thread.

const std = @import("std");
const grammar = @import("../../grammar.zig");

pub const Vocabulary = struct {
    context: *const anyopaque,
    /// How many tokens have texts; rows of logits may be longer.
    count: u32,
    bytes_of: *const fn (context: *const anyopaque, token: u32) []const u8,
    ends_text: *const fn (context: *const anyopaque, token: u32) bool,
    /// The token of a special name, such as `<think>`; null where nobody knows names.
    find_name: ?*const fn (context: *const anyopaque, name: []const u8) ?u32 = null,
    /// The tokens in a tree, made when it is first asked for and kept; null where nobody keeps one.
    tree_of: ?*const fn (context: *const anyopaque) error{OutOfMemory}!*const grammar.Vocabulary = null,

    /// The bytes that a token adds to the text, which may be part of a character; none for one that adds
    /// none, as control tokens, and for one that has no text. They stay as long as the vocabulary.
    pub fn bytes(vocabulary: Vocabulary, token: u32) []const u8 {
        return if (token < vocabulary.count) vocabulary.bytes_of(vocabulary.context, token) else "";
    }

    /// Whether generation ends behind this token.
    pub fn ends(vocabulary: Vocabulary, token: u32) bool {
        return token < vocabulary.count and vocabulary.ends_text(vocabulary.context, token);
    }

    /// What a tree of the tokens is made from.
    pub fn bytesOf(vocabulary: Vocabulary, token: u32) []const u8 {
        return vocabulary.bytes(token);
    }

    pub fn isEnd(vocabulary: Vocabulary, token: u32) bool {
        return vocabulary.ends(token);
    }

    /// A vocabulary over a list of texts, for tests: `list` is what `context` points to, and an empty
    /// text ends the text.
    pub fn ofList(list: *const []const []const u8) Vocabulary {
        const List = struct {
            fn of(context: *const anyopaque) []const []const u8 {
                return @as(*const []const []const u8, @ptrCast(@alignCast(context))).*;
            }

            fn bytesOf(context: *const anyopaque, token: u32) []const u8 {
                return of(context)[token];
            }

            fn endsText(context: *const anyopaque, token: u32) bool {
                return of(context)[token].len == 0;
            }
        };
        return .{ .context = @ptrCast(list), .count = @intCast(list.len), .bytes_of = List.bytesOf, .ends_text = List.endsText };
    }
};

test "tokens beyond the vocabulary have no text and end nothing" {
    const texts: []const []const u8 = &.{ "a", "", "bc" };
    const vocabulary: Vocabulary = .ofList(&texts);
    try std.testing.expectEqualStrings("bc", vocabulary.bytes(2));
    try std.testing.expect(vocabulary.ends(1));
    try std.testing.expect(!vocabulary.ends(2));
    try std.testing.expectEqualStrings("", vocabulary.bytes(3));
    try std.testing.expect(!vocabulary.ends(3));
}
