//! LLaMA 3 and the others with cl100k's own pattern (scan/cl100k.zig). LLaMA's own vocabulary is
//! meant to be looked up whole before its merges are tried.

const cl100k = @import("../scan/cl100k.zig");
const Name = @import("../pre.zig").Name;

pub const names = [_]Name{
    .{ .text = "llama-bpe", .ignore_merges = true, .add_bos = true },
    .{ .text = "llama3", .ignore_merges = true, .add_bos = true },
    .{ .text = "llama-v3", .ignore_merges = true, .add_bos = true },
    .{ .text = "falcon3", .ignore_merges = true, .add_bos = true },
    .{ .text = "falcon-h1", .ignore_merges = true, .add_bos = true },
    .{ .text = "pixtral", .ignore_merges = true, .add_bos = true },
    .{ .text = "midm-2.0", .ignore_merges = true, .add_bos = true },
    .{ .text = "lfm2", .ignore_merges = true, .add_bos = true },
    .{ .text = "jina-v5-nano", .ignore_merges = true, .add_bos = true },
    .{ .text = "dbrx" },
    .{ .text = "smaug-bpe" },
    .{ .text = "chatglm-bpe" },
    .{ .text = "glm4" },
};

pub const passes = .{cl100k.PassType(.{ .digits_max = 3 })};
