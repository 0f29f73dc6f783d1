//! Qwen 2 and 3 and others: cl100k with single digits.
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

const Name = @import("../pre.zig").Name;
const cl100k = @import("../scan/cl100k.zig");

pub const names = [_]Name{
    .{ .text = "qwen2" },
    .{ .text = "deepseek-r1-qwen" },
    .{ .text = "kormo" },
    .{ .text = "f2llmv2" },
    .{ .text = "stablelm2" },
    .{ .text = "megrez" },
    .{ .text = "hunyuan" },
    .{ .text = "solar-open" },
    .{ .text = "grok-2" },
};

pub const passes = .{cl100k.PassType(.{ .digits_max = 1 })};
