//! Chameleon: image tokens, tabs and pairs of spaces, digits and punctuation one by one, then
//! GPT-2's words.
//! `<sentinel:[0-9]+>`, `(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z`, `([\t\n]|    |  )`, `\p{N}`,
//! `[\p{P}!-/:-@\[-`{-~]`, GPT-2

const std = @import("std");
const Name = @import("../pre.zig").Name;
const gpt2 = @import("../scan/gpt2.zig");
const scan = @import("../scan.zig");
const unicode = @import("../unicode.zig");

pub const names = [_]Name{
    .{ .text = "chameleon", .add_bos = true },
};

const Sentinel = scan.IsolateType(struct {
    const open = "<sentinel:";
    pub fn match(text: []const u8, at: usize) usize {
        if (!std.mem.startsWith(u8, text[at..], open)) return at;
        var end = at + open.len;
        while (end < text.len and std.ascii.isDigit(text[end])) end += 1;
        if (end == at + open.len or end == text.len or text[end] != '>') return at;
        return end + 1;
    }
});

const Image = scan.IsolateType(struct {
    const open = "IMGIMG";
    pub fn match(text: []const u8, at: usize) usize {
        if (!std.mem.startsWith(u8, text[at..], open)) return at;
        var end = at + open.len;
        while (end < text.len and text[end] >= 'A' and text[end] <= 'I' and end < at + open.len + 4) end += 1;
        if (end == at + open.len or end == text.len or text[end] != 'Z') return at;
        return end + 1;
    }
});

const Blanks = scan.IsolateType(struct {
    pub fn match(text: []const u8, at: usize) usize {
        if (text[at] == '\t' or text[at] == '\n') return at + 1;
        for ([_][]const u8{ "    ", "  " }) |blanks| {
            if (std.mem.startsWith(u8, text[at..], blanks)) return at + blanks.len;
        }
        return at;
    }
});

const signs: scan.Set = .{
    .mask = unicode.punctuation,
    .ranges = &.{ .{ '!', '/' }, .{ ':', '@' }, .{ '[', '`' }, .{ '{', '~' } },
};

pub const passes = .{
    Sentinel,
    Image,
    Blanks,
    scan.RunsType(scan.numbers, 1),
    scan.RunsType(signs, 1),
    gpt2.Pass,
};
