//! A grammar as it was written: rules, and expressions that refer to each other by index. What it
//! may be in size is here, too, so that a hostile text costs bounded memory and time.

const std = @import("std");
const chars = @import("chars.zig");

/// Bytes of a text.
pub const text_max = 1 << 20;
pub const rules_max = 1 << 14;
/// Parentheses in each other.
pub const depth_max = 100;
/// Instructions that a grammar may take with its repetitions written out.
pub const program_max = 1 << 18;

pub const Node = union(enum) {
    /// UTF-8.
    literal: []const u8,
    class: u32,
    rule: u32,
    sequence: []const u32,
    choice: []const u32,
    repeat: Repeat,
    token: Token,
};

pub const Repeat = struct {
    of: u32,
    min: u32,
    max: u32,

    pub const unlimited = std.math.maxInt(u32);
};

/// One token of the vocabulary, or any other one.
pub const Token = struct { id: u32, other: bool };

pub const Rule = struct {
    name: []const u8,
    /// Null until it is defined.
    body: ?u32 = null,
    /// Where it is first named: an offset into the text.
    at: u32,
};

pub const Ast = struct {
    text: []const u8,
    nodes: []const Node,
    rules: []const Rule,
    classes: []const chars.Class,
    root: u32,
    /// Whether it has tokens, which a text does not show.
    tokens: bool,
};

/// Line and column of an offset, both from 1; columns are characters.
pub fn place(text: []const u8, at: usize) struct { line: usize, column: usize } {
    const before = text[0..@min(at, text.len)];
    const from = if (std.mem.findScalarLast(u8, before, '\n')) |newline| newline + 1 else 0;
    var column: usize = 1;
    for (before[from..]) |byte| column += @intFromBool(byte & 0xC0 != 0x80);
    return .{ .line = 1 + std.mem.countScalar(u8, before, '\n'), .column = column };
}

test "places are counted in lines and characters" {
    const text = "a ::= \"é\"\n  b";
    try std.testing.expectEqual(1, place(text, 0).line);
    try std.testing.expectEqual(9, place(text, 9).column);
    try std.testing.expectEqual(2, place(text, text.len).line);
    try std.testing.expectEqual(4, place(text, text.len).column);
}
