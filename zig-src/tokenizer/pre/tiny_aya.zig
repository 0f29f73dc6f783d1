//! Tiny Aya and Cohere 2 MoE: digits in groups of three from the right, then o200k.
//! `\d{1,3}(?=(?:\d{3})*\b)`, o200k

const Name = @import("../pre.zig").Name;
const groups = @import("../scan/groups.zig");
const o200k = @import("../scan/o200k.zig");
const scan = @import("../scan.zig");
const unicode = @import("../unicode.zig");

pub const names = [_]Name{
    .{ .text = "tiny_aya" },
    .{ .text = "cohere2moe" },
};

/// What may not follow the digits: \b asks for a character outside \w, which holds the letters
/// in circles and squares and Latin-1's raised digits and fractions as well.
const word: scan.Set = .{
    .mask = unicode.letter | unicode.mark | unicode.set(&.{ .nd, .nl, .pc }),
    .ranges = &.{
        .{ 0xB2, 0xB3 },       .{ 0xB9, 0xB9 },       .{ 0xBC, 0xBE },       .{ 0x24B6, 0x24E9 },
        .{ 0x1F130, 0x1F149 }, .{ 0x1F150, 0x1F169 }, .{ 0x1F170, 0x1F189 },
    },
};

pub const passes = .{
    groups.PassType(.{ .digit = unicode.bit(.nd), .not_before = word }),
    o200k.PassType(.{ .contractions = true, .digits_max = 3, .tail = o200k.newlines_and_slashes }),
};
