//! Tokens to text, one token at a time. A character that is spread over several tokens comes out
//! with its last byte; bytes that can't be part of a character come out as U+FFFD, one for each
//! longest beginning of a character, as the Unicode standard recommends (chapter 3, table 3-8).

const std = @import("std");
const unicode = @import("unicode.zig");

pub fn StreamType(comptime Tokenizer: type) type {
    return struct {
        tokenizer: *const Tokenizer,
        options: Options,
        held: [4]u8 = undefined,
        held_len: u3 = 0,
        at_start: bool = true,

        const Stream = @This();

        pub const Options = struct {
            /// Show control tokens by their texts.
            special: bool = false,
            /// The text goes on from a prompt, so the space that SentencePiece puts before the
            /// first word is a real one.
            continues: bool = true,
        };

        pub fn init(tokenizer: *const Tokenizer, options: Options) Stream {
            return .{ .tokenizer = tokenizer, .options = options };
        }

        /// How many bytes `out` must hold in `push`.
        pub fn outMax(stream: *const Stream) usize {
            return 3 * (stream.tokenizer.bytesMax() + stream.held.len);
        }

        /// The whole characters that the token completes; a slice of `out`.
        pub fn push(stream: *Stream, id: u32, out: []u8) []const u8 {
            std.debug.assert(out.len >= stream.outMax());
            var bytes = stream.tokenizer.bytesOf(id, stream.options.special);
            if (stream.at_start and bytes.len > 0) {
                if (!stream.options.continues and stream.tokenizer.space_prefix and bytes[0] == ' ') bytes = bytes[1..];
                stream.at_start = false;
            }
            var len: usize = 0;
            for (bytes) |byte| len += stream.add(byte, out[len..]);
            return out[0..len];
        }

        /// What an unfinished character leaves: U+FFFD, or nothing. `out` holds three bytes.
        pub fn flush(stream: *Stream, out: []u8) []const u8 {
            if (stream.held_len == 0) return out[0..0];
            stream.held_len = 0;
            return writeReplacement(out);
        }

        fn add(stream: *Stream, byte: u8, out: []u8) usize {
            var len: usize = 0;
            if (stream.held_len > 0 and !continuesChar(stream.held[0..stream.held_len], byte)) {
                stream.held_len = 0;
                len = writeReplacement(out).len;
            }
            if (stream.held_len == 0 and byte < 128) {
                out[len] = byte;
                return len + 1;
            }
            if (stream.held_len == 0 and unicode.sequenceLen(byte) == null) return len + writeReplacement(out[len..]).len;
            stream.held[stream.held_len] = byte;
            stream.held_len += 1;
            const whole = unicode.sequenceLen(stream.held[0]).?;
            if (stream.held_len == whole) {
                @memcpy(out[len..][0..whole], stream.held[0..whole]);
                len += whole;
                stream.held_len = 0;
            }
            return len;
        }
    };
}

fn writeReplacement(out: []u8) []const u8 {
    const text = "\u{FFFD}";
    @memcpy(out[0..text.len], text);
    return out[0..text.len];
}

/// Whether a byte can follow the beginning of a character: the second byte of some is limited,
/// which excludes overlong forms, surrogates and what is above U+10FFFF.
fn continuesChar(begun: []const u8, byte: u8) bool {
    if (begun.len > 1) return byte & 0xC0 == 0x80;
    return switch (begun[0]) {
        0xE0 => byte >= 0xA0 and byte <= 0xBF,
        0xED => byte >= 0x80 and byte <= 0x9F,
        0xF0 => byte >= 0x90 and byte <= 0xBF,
        0xF4 => byte >= 0x80 and byte <= 0x8F,
        else => byte & 0xC0 == 0x80,
    };
}

const TestTokenizer = struct {
    tokens: []const []const u8,
    space_prefix: bool = true,

    pub fn bytesMax(_: *const TestTokenizer) usize {
        return 16;
    }

    pub fn bytesOf(tokenizer: *const TestTokenizer, id: u32, _: bool) []const u8 {
        return tokenizer.tokens[id];
    }
};

fn expectStream(tokens: []const []const u8, continues: bool, expected: []const u8) !void {
    const tokenizer: TestTokenizer = .{ .tokens = tokens };
    var stream: StreamType(TestTokenizer) = .init(&tokenizer, .{ .continues = continues });
    var out: [64]u8 = undefined;
    var text: std.ArrayList(u8) = .empty;
    defer text.deinit(std.testing.allocator);
    for (0..tokens.len) |id| {
        const piece = stream.push(@intCast(id), &out);
        try std.testing.expect(std.unicode.utf8ValidateSlice(piece));
        try text.appendSlice(std.testing.allocator, piece);
    }
    try text.appendSlice(std.testing.allocator, stream.flush(&out));
    try std.testing.expectEqualStrings(expected, text.items);
}

test "characters are whole and nothing is lost" {
    try expectStream(&.{ " a", "\xF0", "\x9F\x9A", "\x80b", "\xC3", "\xA9" }, true, " a🚀bé");
    try expectStream(&.{ " a", " b" }, false, "a b");
    try expectStream(&.{ "", " b" }, false, "b");
}

test "invalid bytes become replacement characters" {
    try expectStream(&.{ "a\xFF", "\x80b" }, true, "a\u{FFFD}\u{FFFD}b");
    try expectStream(&.{ "\xE2\x82", "x" }, true, "\u{FFFD}x");
    try expectStream(&.{ "\xE2", "\x82" }, true, "\u{FFFD}");
    try expectStream(&.{"\xED\xA0\x80"}, true, "\u{FFFD}\u{FFFD}\u{FFFD}");
    try expectStream(&.{ "\xC3", "\xC3", "\xA9" }, true, "\u{FFFD}é");
    try expectStream(&.{"\xF4\x90"}, true, "\u{FFFD}\u{FFFD}");
}
