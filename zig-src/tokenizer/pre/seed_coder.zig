//! Seed-Coder: as Qwen 2, but line ends don't belong to the punctuation before them.
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+`

const Name = @import("../pre.zig").Name;
const cl100k = @import("../scan/cl100k.zig");

pub const names = [_]Name{
    .{ .text = "seed-coder" },
};

pub const passes = .{cl100k.PassType(.{ .digits_max = 1, .tail_max = 0 })};
