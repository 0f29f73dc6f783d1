//! Reads the data of stages: lists of biases and of strings. Whatever comes in is checked, and what is
//! wrong is refused with the stage's name.

const std = @import("std");
const stage = @import("stage.zig");

pub const Bias = struct { token: u32, value: f32 };

/// How many biases the data has.
pub fn biasCount(making: stage.Making) error{BadSampler}!usize {
    if (making.data.len % 8 == 0) return making.data.len / 8;
    return making.refuse("expected biases of 8 bytes each, found {d} bytes", .{making.data.len});
}

/// The bias at `index`, of a token of the vocabulary.
pub fn bias(making: stage.Making, index: usize) error{BadSampler}!Bias {
    const bytes = making.data[8 * index ..][0..8];
    const token = std.mem.readInt(u32, bytes[0..4], .little);
    if (token >= making.vocab) {
        return making.refuse("expected tokens under {d}, found {d} in bias {d}", .{ making.vocab, token, index + 1 });
    }
    return .{ .token = token, .value = @bitCast(std.mem.readInt(u32, bytes[4..8], .little)) };
}

/// The strings of the data, one after the other; they point into it.
pub const Strings = struct {
    making: stage.Making,
    at: usize = 0,
    number: usize = 0,

    pub fn next(strings: *Strings) error{BadSampler}!?[]const u8 {
        const rest = strings.making.data[strings.at..];
        if (rest.len == 0) return null;
        strings.number += 1;
        if (rest.len < 4) {
            return strings.making.refuse("expected the length of string {d} in 4 bytes, found {d}", .{ strings.number, rest.len });
        }
        const length = std.mem.readInt(u32, rest[0..4], .little);
        if (length > rest.len - 4) {
            return strings.making.refuse("expected {d} bytes of string {d}, found {d}", .{ length, strings.number, rest.len - 4 });
        }
        const found = rest[4..][0..length];
        if (!std.unicode.utf8ValidateSlice(found)) {
            return strings.making.refuse("expected string {d} to be UTF-8, found other bytes", .{strings.number});
        }
        strings.at += 4 + length;
        return found;
    }
};

/// The data as one text.
pub fn text(making: stage.Making) error{BadSampler}![]const u8 {
    if (std.unicode.utf8ValidateSlice(making.data)) return making.data;
    return making.refuse("expected text in UTF-8, found other bytes", .{});
}

const Diagnostic = @import("../../diagnostic.zig").Diagnostic;

fn testMaking(bytes: []const u8, diag: *Diagnostic) stage.Making {
    return .{
        .gpa = std.testing.allocator,
        .data = bytes,
        .vocab = 100,
        .history_max = 0,
        .vocabulary = null,
        .number = 2,
        .name = "test",
        .diag = diag,
    };
}

test "biases are read, and what is none is refused" {
    var diag: Diagnostic = .{};
    const bytes = [_]u8{ 7, 0, 0, 0, 0, 0, 0x80, 0xbf, 100, 0, 0, 0, 0, 0, 0, 0 };
    const given = testMaking(&bytes, &diag);
    try std.testing.expectEqual(2, try biasCount(given));
    try std.testing.expectEqual(Bias{ .token = 7, .value = -1 }, try bias(given, 0));
    try std.testing.expectError(error.BadSampler, bias(given, 1));
    try std.testing.expectEqualStrings("sampler stage 2 (test): expected tokens under 100, found 100 in bias 2", diag.text());
    try std.testing.expectError(error.BadSampler, biasCount(testMaking(bytes[0..9], &diag)));
    try std.testing.expectEqualStrings("sampler stage 2 (test): expected biases of 8 bytes each, found 9 bytes", diag.text());
}

test "strings are read, and what is none is refused" {
    var diag: Diagnostic = .{};
    var strings: Strings = .{ .making = testMaking("\x02\x00\x00\x00ab\x00\x00\x00\x00\x05\x00\x00\x00cd", &diag) };
    try std.testing.expectEqualStrings("ab", (try strings.next()).?);
    try std.testing.expectEqualStrings("", (try strings.next()).?);
    try std.testing.expectError(error.BadSampler, strings.next());
    try std.testing.expectEqualStrings("sampler stage 2 (test): expected 5 bytes of string 3, found 2", diag.text());
    for ([_][]const u8{ "\x01\x00", "\xff\xff\xff\xffa", "\x01\x00\x00\x00\xff" }) |hostile| {
        var wrong: Strings = .{ .making = testMaking(hostile, &diag) };
        try std.testing.expectError(error.BadSampler, wrong.next());
    }
    try std.testing.expectError(error.BadSampler, text(testMaking("a\xff", &diag)));
    try std.testing.expectEqualStrings("aß", try text(testMaking("aß", &diag)));
}
