//! The pieces that pre-tokenizers are written with: character sets that cost one table look-up
//! for ASCII, runs of them, English contractions, white space, and the passes that isolate what
//! a pattern finds.
//!
//! A pass splits a text from left to right: `next(pass, text, at)` returns where the piece that
//! begins at `at` ends, always beyond `at`. `text` ends where the piece that the pass before
//! found ends, so that "end of text" in a pattern means the same as when the models' own
//! pre-tokenizers run one after the other. A pass begins as `.{}` and may keep notes.

const std = @import("std");
const unicode = @import("unicode.zig");
const Mask = unicode.Mask;

/// A set of characters: classes, except those of other classes, and single ranges.
pub const Set = struct {
    mask: Mask = 0,
    /// Characters of these classes are out, whatever else they are.
    without: Mask = 0,
    ranges: []const [2]u21 = &.{},
    /// ASCII characters that are in, and out, in spite of their class.
    chars: []const u8 = "",
    without_chars: []const u8 = "",

    pub fn has(comptime set: Set, code: u21) bool {
        const table = comptime set.asciiTable();
        return if (code < 128) table[code] else set.hasWide(code);
    }

    fn hasWide(comptime set: Set, code: u21) bool {
        inline for (set.ranges) |range| {
            if (code >= range[0] and code <= range[1]) return true;
        }
        if (set.mask == 0) return false;
        const mask = unicode.maskOf(code);
        return mask & set.mask != 0 and mask & set.without == 0;
    }

    fn asciiTable(comptime set: Set) [128]bool {
        @setEvalBranchQuota(100_000);
        comptime var table: [128]bool = undefined;
        inline for (&table, 0..) |*in, code| {
            const char: u8 = code;
            in.* = comptime (set.hasWide(char) or std.mem.indexOfScalar(u8, set.chars, char) != null) and
                std.mem.indexOfScalar(u8, set.without_chars, char) == null;
        }
        return table;
    }
};

pub const letters: Set = .{ .mask = unicode.letter };
pub const numbers: Set = .{ .mask = unicode.number };
pub const spaces: Set = .{ .mask = unicode.space };
pub const newlines: Set = .{ .chars = "\r\n" };

/// Every class but these.
pub fn allBut(mask: Mask) Mask {
    return ~(mask | unicode.han);
}

/// Where the longest run of characters of the set ends.
pub inline fn run(comptime set: Set, text: []const u8, from: usize) usize {
    const table = comptime set.asciiTable();
    var at = from;
    while (at < text.len) {
        const byte = text[at];
        if (byte < 128) {
            if (!table[byte]) break;
            at += 1;
        } else {
            const char = unicode.decode(text, at);
            if (!set.hasWide(char.code)) break;
            at += char.len;
        }
    }
    return at;
}

/// As `run`, for at most `max` characters.
pub inline fn runOf(comptime set: Set, text: []const u8, from: usize, max: usize) usize {
    var at = from;
    for (0..max) |_| {
        const end = one(set, text, at);
        if (end == at) break;
        at = end;
    }
    return at;
}

/// Behind the character at `at` when it is of the set, else `at`.
pub inline fn one(comptime set: Set, text: []const u8, at: usize) usize {
    if (at >= text.len) return at;
    const char = unicode.decode(text, at);
    return if (set.has(char.code)) at + char.len else at;
}

/// 's 't 're 've 'm 'll 'd: behind the contraction at `at`, else `at`. `any_case` folds as Unicode
/// does, where the long s is an s too.
pub inline fn contraction(text: []const u8, at: usize, comptime any_case: bool) usize {
    if (at + 1 >= text.len or text[at] != '\'') return at;
    const first = if (any_case) text[at + 1] | 0x20 else text[at + 1];
    switch (first) {
        's', 't', 'm', 'd' => return at + 2,
        'r', 'v', 'l' => {
            if (at + 2 >= text.len) return at;
            const second = if (any_case) text[at + 2] | 0x20 else text[at + 2];
            return if (second == (if (first == 'l') @as(u8, 'l') else 'e')) at + 3 else at;
        },
        else => {
            if (any_case and std.mem.startsWith(u8, text[at + 1 ..], "ſ")) return at + 3;
            return at;
        },
    }
}

/// `\s*[\r\n]+` (when `newline_first`), `\s+(?!\S)`, `\s+`: behind the white space at `at` that
/// makes one piece, else `at`. The last blank before a word is left to the word.
pub inline fn whitespace(text: []const u8, from: usize, comptime newline_first: bool) usize {
    var at = from;
    var last = from;
    var newline_end = from;
    while (at < text.len) {
        const char = unicode.decode(text, at);
        if (!spaces.has(char.code)) break;
        last = at;
        at += char.len;
        if (char.code == '\n' or char.code == '\r') newline_end = at;
    }
    if (newline_first and newline_end > from) return newline_end;
    return if (at == text.len or last == from) at else last;
}

/// A pass whose pieces are the matches of a pattern and what lies between them.
/// `Pattern.match(text, at)` returns where the match at `at` ends, or `at` when there is none.
pub fn IsolateType(comptime Pattern: type) type {
    return struct {
        pub fn next(_: *@This(), text: []const u8, from: usize) usize {
            const end = Pattern.match(text, from);
            if (end > from) return end;
            var at = from + unicode.decode(text, from).len;
            while (at < text.len and Pattern.match(text, at) == at) at += unicode.decode(text, at).len;
            return at;
        }
    };
}

/// A pass that isolates runs of at most `max` characters of a set.
pub fn RunsType(comptime set: Set, comptime max: usize) type {
    return struct {
        pub fn next(_: *@This(), text: []const u8, from: usize) usize {
            const end = if (max == std.math.maxInt(usize)) run(set, text, from) else runOf(set, text, from, max);
            if (end > from) return end;
            var at = from + unicode.decode(text, from).len;
            while (at < text.len) {
                const char = unicode.decode(text, at);
                if (set.has(char.code)) break;
                at += char.len;
            }
            return at;
        }
    };
}

pub const unlimited = std.math.maxInt(usize);

/// `[0-9][0-9][0-9]`
pub const ThreeDigits = IsolateType(struct {
    pub fn match(text: []const u8, at: usize) usize {
        if (at + 3 > text.len) return at;
        for (text[at..][0..3]) |byte| if (!std.ascii.isDigit(byte)) return at;
        return at + 3;
    }
});

const testing = std.testing;

fn expectPieces(comptime Pass: type, text: []const u8, expected: []const []const u8) !void {
    var pass: Pass = .{};
    var at: usize = 0;
    for (expected) |piece| {
        try testing.expect(at < text.len);
        const end = pass.next(text, at);
        try testing.expectEqualStrings(piece, text[at..end]);
        at = end;
    }
    try testing.expectEqual(text.len, at);
}

test "runs and what is between them" {
    try expectPieces(RunsType(numbers, 1), "a12½b", &.{ "a", "1", "2", "½", "b" });
    try expectPieces(RunsType(numbers, 3), "1234567", &.{ "123", "456", "7" });
    try expectPieces(RunsType(numbers, unlimited), "x 1234567y", &.{ "x ", "1234567", "y" });
    try expectPieces(ThreeDigits, "12345678ab1", &.{ "123", "456", "78ab1" });
}

test "white space leaves its last blank to the word" {
    try testing.expectEqual(2, whitespace("   a", 0, true));
    try testing.expectEqual(1, whitespace("\ta", 0, true));
    try testing.expectEqual(3, whitespace("   ", 0, true));
    try testing.expectEqual(3, whitespace(" \n\n  a", 0, true));
    try testing.expectEqual(4, whitespace(" \n\n  a", 0, false));
    try testing.expectEqual(0, whitespace("a ", 0, true));
    try testing.expectEqual(3, whitespace("\u{3000}\u{3000}a", 0, true));
}

test "contractions" {
    for ([_][]const u8{ "'s", "'t", "'m", "'d", "'re", "'ve", "'ll" }) |text| {
        try testing.expectEqual(text.len, contraction(text, 0, false));
        var upper: [3]u8 = undefined;
        _ = std.ascii.upperString(&upper, text);
        try testing.expectEqual(text.len, contraction(upper[0..text.len], 0, true));
        try testing.expectEqual(0, contraction(upper[0..text.len], 0, false));
    }
    for ([_][]const u8{ "'", "'r", "'x", "'lL", "'\xF3", "s" }) |text| {
        try testing.expectEqual(0, contraction(text, 0, false));
    }
    try testing.expectEqual(0, contraction("'\xD3", 0, true));
    try testing.expectEqual(3, contraction("'ſ", 0, true));
}
