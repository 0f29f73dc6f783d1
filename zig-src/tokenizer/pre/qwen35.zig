//! Qwen 3.5: as Qwen 2, with combining marks in words.
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

const Name = @import("../pre.zig").Name;
const cl100k = @import("../scan/cl100k.zig");

pub const names = [_]Name{
    .{ .text = "qwen35" },
};

pub const passes = .{cl100k.PassType(.{ .digits_max = 1, .marks = true })};
