//! Tiny Aya and Cohere 2 MoE: digits in groups of three from the right, then o200k.
//! `\d{1,3}(?=(?:\d{3})*\b)`, o200k

const Name = @import("../pre.zig").Name;
const groups = @import("../scan/groups.zig");
const o200k = @import("../scan/o200k.zig");
const unicode = @import("../unicode.zig");

pub const names = [_]Name{
    .{ .text = "tiny_aya" },
    .{ .text = "cohere2moe" },
};

/// What may not follow the digits: \b asks for a character outside \w.
const word = unicode.letter | unicode.mark | unicode.set(&.{ .nd, .pc });

pub const passes = .{
    groups.PassType(.{ .digit = unicode.bit(.nd), .not_before = word }),
    o200k.PassType(.{ .contractions = true, .digits_max = 3, .tail = o200k.newlines_and_slashes }),
};
