//! What the tokenizers know of Unicode: decoding that survives invalid UTF-8, character classes
//! as bit masks, lower case, and the base characters that are left when accents are dropped.
//! The tables are generated (tools/unicode_tables.py); the version is `version`.
//!
//! A byte that is not part of valid UTF-8 is a character of its own: `Char.len` 1, the class of
//! U+FFFD, and `Char.valid` false, so that every scanner walks over any bytes.

const std = @import("std");
const data = @import("unicode_data.zig");

pub const version = data.version;

/// General categories in the order of the generated table. `cc_space` are the white-space
/// characters among the control characters.
pub const Category = enum(u5) {
    lu,
    ll,
    lt,
    lm,
    lo,
    mn,
    mc,
    me,
    nd,
    nl,
    no,
    pc,
    pd,
    ps,
    pe,
    pi,
    pf,
    po,
    sm,
    sc,
    sk,
    so,
    zs,
    zl,
    zp,
    cc,
    cf,
    cs,
    co,
    cn,
    cc_space,
};

/// A set of classes: one bit per category, and the highest bit for the Han script.
pub const Mask = u32;

pub fn bit(category: Category) Mask {
    return @as(Mask, 1) << @backingInt(category);
}

/// The union of categories, written as `set(.{ .lu, .ll })`.
pub fn set(comptime categories: []const Category) Mask {
    comptime {
        var mask: Mask = 0;
        for (categories) |category| mask |= bit(category);
        return mask;
    }
}

/// \p{L}
pub const letter = set(&.{ .lu, .ll, .lt, .lm, .lo });
/// \p{M}
pub const mark = set(&.{ .mn, .mc, .me });
/// \p{N}
pub const number = set(&.{ .nd, .nl, .no });
/// \p{P}
pub const punctuation = set(&.{ .pc, .pd, .ps, .pe, .pi, .pf, .po });
/// \p{S}
pub const symbol = set(&.{ .sm, .sc, .sk, .so });
/// \s: the property White_Space.
pub const space = set(&.{ .zs, .zl, .zp, .cc_space });
/// \p{Han}
pub const han: Mask = 1 << 31;

const masks: [64]Mask = blk: {
    var table: [64]Mask = @splat(0);
    for (@typeInfo(Category).@"enum".field_names) |name| {
        const category: Category = @field(Category, name);
        table[@backingInt(category)] = bit(category);
        table[@as(usize, @backingInt(category)) + 32] = bit(category) | han;
    }
    break :blk table;
};

/// The line of `data.blocks` that describes a block of code points.
const rows: [0x110000 / data.block_len]u16 = blk: {
    @setEvalBranchQuota(data.index.len * 4);
    var table: [0x110000 / data.block_len]u16 = undefined;
    for (&table, 0..) |*row, i| {
        // The newlines of the literal count.
        const at = 2 * i + 2 * i / data.index_line;
        row.* = @as(u16, data.index[at] - '#') * 64 + (data.index[at + 1] - '#');
    }
    break :blk table;
};

const ascii: [128]Mask = blk: {
    var table: [128]Mask = undefined;
    for (&table, 0..) |*mask, code| mask.* = wideMaskOf(code);
    break :blk table;
};

fn wideMaskOf(code: u21) Mask {
    const row: usize = rows[code / data.block_len];
    return masks[data.blocks[row * (data.block_len + 1) + code % data.block_len] - '#'];
}

/// The classes of a code point.
pub inline fn maskOf(code: u21) Mask {
    return if (code < 128) ascii[code] else wideMaskOf(code);
}

pub const Char = struct {
    code: u21,
    /// Bytes it takes in the text; at least 1.
    len: u3,
    valid: bool = true,

    pub inline fn mask(char: Char) Mask {
        return maskOf(char.code);
    }
};

pub const replacement: u21 = 0xFFFD;

/// The character that begins at `text[at]`, which must exist.
pub inline fn decode(text: []const u8, at: usize) Char {
    const first = text[at];
    if (first < 128) return .{ .code = first, .len = 1 };
    return decodeWide(text, at);
}

fn decodeWide(text: []const u8, at: usize) Char {
    const invalid: Char = .{ .code = replacement, .len = 1, .valid = false };
    const len = sequenceLen(text[at]) orelse return invalid;
    if (len > text.len - at) return invalid;
    const code = switch (len) {
        2 => std.unicode.utf8Decode2(text[at..][0..2].*),
        3 => std.unicode.utf8Decode3(text[at..][0..3].*),
        else => std.unicode.utf8Decode4(text[at..][0..4].*),
    } catch return invalid;
    return .{ .code = code, .len = len };
}

/// How many bytes a character with this first byte (128 or more) takes; null where none begins.
pub fn sequenceLen(first: u8) ?u3 {
    return switch (first) {
        0xC2...0xDF => 2,
        0xE0...0xEF => 3,
        0xF0...0xF4 => 4,
        else => null,
    };
}

/// Writes a code point as UTF-8 and returns its length. Surrogates don't occur: they are not
/// decoded, and no table maps to one.
pub fn encode(code: u21, out: *[4]u8) u3 {
    return std.unicode.utf8Encode(code, out) catch unreachable;
}

/// Simple lower case, one character to one. (U+0130 alone lowers to two; its base letter, which
/// `bases` gives, lowers to the expected "i".)
pub fn lower(code: u21) u21 {
    if (code < 128) return if (code >= 'A' and code <= 'Z') code + 32 else code;
    var from: usize = 0;
    var to: usize = data.lower.len / 4;
    while (from < to) {
        const middle = (from + to) / 2;
        if (data.lower[middle * 4] <= code) from = middle + 1 else to = middle;
    }
    // Runs with a step of two interleave, so the run that holds the code may be a few earlier.
    var run = from;
    while (run > 0 and from - run < 4) {
        run -= 1;
        const first, const count, const step, const difference = data.lower[run * 4 ..][0..4].*;
        const distance = code - first;
        if (distance > (count - 1) * step or distance % step != 0) continue;
        return @intCast(code + difference - 65536);
    }
    return code;
}

const hangul_first = 0xAC00;
const hangul_last = 0xD7A3;

/// What is left of a character when it is decomposed canonically and its nonspacing marks are
/// dropped: one to three characters, the character itself for most.
pub fn bases(code: u21, out: *[3]u21) []const u21 {
    out[0] = code;
    if (code < 0xC0) return out[0..1];
    if (code >= hangul_first and code <= hangul_last) {
        const index = code - hangul_first;
        out[0] = 0x1100 + index / 588;
        out[1] = 0x1161 + index % 588 / 28;
        out[2] = 0x11A7 + index % 28;
        return if (index % 28 == 0) out[0..2] else out[0..3];
    }
    if (std.sort.binarySearch([2]u21, &base_pairs, code, orderPair)) |i| {
        out[0] = base_pairs[i][1];
        return out[0..1];
    }
    var i: usize = 0;
    while (i < data.several_bases.len) : (i += 4) {
        if (data.several_bases[i] != code) continue;
        for (out, data.several_bases[i + 1 ..][0..3]) |*to, from| to.* = @intCast(from);
        return if (out[2] == 0) out[0..2] else out[0..3];
    }
    return out[0..1];
}

fn orderPair(code: u21, pair: [2]u21) std.math.Order {
    return std.math.order(code, pair[0]);
}

const base_pairs: [data.bases.len / 2][2]u21 = blk: {
    @setEvalBranchQuota(data.bases.len * 4);
    var table: [data.bases.len / 2][2]u21 = undefined;
    var code: u32 = 0;
    for (&table, 0..) |*pair, i| {
        code += data.bases[2 * i];
        pair.* = .{ @intCast(code), @intCast(data.bases[2 * i + 1]) };
    }
    break :blk table;
};

const testing = std.testing;

test "classes" {
    try testing.expectEqual(bit(.lu), maskOf('A'));
    try testing.expectEqual(bit(.cc_space), maskOf('\n'));
    try testing.expectEqual(bit(.cc), maskOf(0x1C));
    try testing.expectEqual(bit(.zs), maskOf(0x3000));
    try testing.expectEqual(bit(.lo) | han, maskOf('我'));
    try testing.expectEqual(bit(.lm) | han, maskOf('々'));
    try testing.expectEqual(bit(.lo), maskOf('カ'));
    try testing.expectEqual(bit(.mc), maskOf(0x17B6));
    try testing.expectEqual(bit(.no), maskOf('½'));
    try testing.expectEqual(bit(.so), maskOf('🚀'));
    try testing.expectEqual(bit(.cn), maskOf(0x10FFFF));
    try testing.expectEqual(bit(.co), maskOf(0x100000));
}

test "decoding valid and invalid bytes" {
    const text = "aé€🚀\xC3\xED\xA0\x80\xF4\x90\x80\x80\xC0\x80\xE2\x82";
    var at: usize = 0;
    var codes: [32]u21 = undefined;
    var n: usize = 0;
    while (at < text.len) : (n += 1) {
        const char = decode(text, at);
        codes[n] = char.code;
        try testing.expect(char.valid == (n < 4));
        at += char.len;
    }
    try testing.expectEqualSlices(u21, &.{ 'a', 'é', '€', '🚀' }, codes[0..4]);
    try testing.expectEqual(4 + (text.len - 10), n);
    for (codes[4..n]) |code| try testing.expectEqual(replacement, code);
}

test "lower case" {
    const upper = "AZÀÞĀĄŸŽƁƂΑΩАЯԱႠḀẞＡ𐐀ŊǅǄ";
    const expected = "azàþāąÿžɓƃαωаяաⴀḁßａ𐐨ŋǆǆ";
    var i: usize = 0;
    var j: usize = 0;
    while (i < upper.len) {
        const from = decode(upper, i);
        const to = decode(expected, j);
        try testing.expectEqual(to.code, lower(from.code));
        try testing.expectEqual(to.code, lower(to.code));
        i += from.len;
        j += to.len;
    }
    try testing.expectEqual(expected.len, j);
    try testing.expectEqual(@as(u21, '中'), lower('中'));
}

test "bases" {
    var out: [3]u21 = undefined;
    try testing.expectEqualSlices(u21, &.{'a'}, bases('á', &out));
    try testing.expectEqualSlices(u21, &.{'A'}, bases('Ấ', &out));
    try testing.expectEqualSlices(u21, &.{'x'}, bases('x', &out));
    try testing.expectEqualSlices(u21, &.{ 0x1112, 0x1161, 0x11AB }, bases('한', &out));
    try testing.expectEqualSlices(u21, &.{ 0x1100, 0x1161 }, bases('가', &out));
    try testing.expectEqualSlices(u21, &.{ 0x9C7, 0x9BE }, bases(0x9CB, &out));
    try testing.expectEqualSlices(u21, &.{'豈'}, bases(0xF900, &out));
}
