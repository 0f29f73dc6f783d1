//! EXAONE's mixture of experts: words that a single space joins make one piece.
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+`

const Name = @import("../pre.zig").Name;
const cl100k = @import("../scan/cl100k.zig");
const o200k = @import("../scan/o200k.zig");

pub const names = [_]Name{
    .{ .text = "exaone-moe" },
};

pub const passes = .{cl100k.PassType(.{
    .digits_max = 1,
    .tail = o200k.newlines_and_slashes,
    .tail_max = 1,
    .join_words = true,
})};
