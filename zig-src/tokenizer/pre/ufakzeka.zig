//! As Qwen 2 without the English contractions, which would cut Turkish suffixes off.
//! `[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

const Name = @import("../pre.zig").Name;
const cl100k = @import("../scan/cl100k.zig");

pub const names = [_]Name{
    .{ .text = "ufakzeka" },
};

pub const passes = .{cl100k.PassType(.{ .digits_max = 1, .contractions = false })};
