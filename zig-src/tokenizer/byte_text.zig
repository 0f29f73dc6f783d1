//! GPT-2's spelling of bytes as characters, in which byte-level vocabularies are stored: the
//! printable bytes of Latin-1 stand for themselves, the other 68 for U+0100 to U+0143 in order,
//! so that a space is "Ġ" and a newline "Ċ".

const std = @import("std");
const unicode = @import("unicode.zig");

const first_other = 0x100;
const last_other = 0x143;

/// The character of each byte.
pub const chars: [256]u21 = blk: {
    var table: [256]u21 = undefined;
    var other: u21 = first_other;
    for (&table, 0..) |*char, byte| {
        char.* = switch (byte) {
            0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF => byte,
            else => other,
        };
        if (char.* == other) other += 1;
    }
    break :blk table;
};

/// The byte of each character up to U+0143; 256 and more where there is none.
const bytes: [last_other + 1]u16 = blk: {
    var table: [last_other + 1]u16 = @splat(256);
    for (chars, 0..) |char, byte| table[char] = byte;
    break :blk table;
};

/// Undoes the spelling into `out`, which holds as many bytes as the text; null when the text has
/// a character that stands for no byte.
pub fn decode(text: []const u8, out: []u8) ?[]u8 {
    var at: usize = 0;
    var len: usize = 0;
    while (at < text.len) : (len += 1) {
        const char = unicode.decode(text, at);
        if (char.code > last_other or bytes[char.code] > 255) return null;
        out[len] = @intCast(bytes[char.code]);
        at += char.len;
    }
    return out[0..len];
}

/// Spells bytes as characters; `out` holds twice as many.
pub fn encode(from: []const u8, out: []u8) []u8 {
    var len: usize = 0;
    for (from) |byte| {
        var buffer: [4]u8 = undefined;
        const count = unicode.encode(chars[byte], &buffer);
        @memcpy(out[len..][0..count], buffer[0..count]);
        len += count;
    }
    return out[0..len];
}

test "bytes are spelled and read back" {
    var all: [256]u8 = undefined;
    for (&all, 0..) |*byte, i| byte.* = @intCast(i);
    var spelled: [512]u8 = undefined;
    var back: [512]u8 = undefined;
    const text = encode(&all, &spelled);
    try std.testing.expectEqualSlices(u8, &all, decode(text, &back).?);
    try std.testing.expectEqualStrings("ĠaĊ", encode(" a\n", &spelled));
    try std.testing.expectEqual(null, decode("a b", &back));
    try std.testing.expectEqual(null, decode("中", &back));
    try std.testing.expectEqual(null, decode("\xFF", &back));
}
