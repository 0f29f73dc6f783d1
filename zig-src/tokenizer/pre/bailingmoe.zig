//! Bailing and LLaDA mixtures of experts: Qwen 2's pieces, from a pattern that ends its white
//! space with one line end; the longest match up to the last line end is the same.
//! `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`

const Name = @import("../pre.zig").Name;
const cl100k = @import("../scan/cl100k.zig");

pub const names = [_]Name{
    .{ .text = "bailingmoe" },
    .{ .text = "bailingmoe2" },
    .{ .text = "llada-moe" },
};

pub const passes = .{cl100k.PassType(.{ .digits_max = 1 })};
