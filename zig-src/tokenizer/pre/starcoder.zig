//! Single digits, then GPT-2's words: StarCoder, SmolLM, Command R and others.
//! `\p{N}`, GPT-2

const Name = @import("../pre.zig").Name;
const gpt2 = @import("../scan/gpt2.zig");
const scan = @import("../scan.zig");

pub const names = [_]Name{
    .{ .text = "starcoder" },
    .{ .text = "refact" },
    .{ .text = "command-r" },
    .{ .text = "smollm" },
    .{ .text = "codeshell" },
    .{ .text = "exaone" },
    .{ .text = "minerva-7b" },
    .{ .text = "mellum2" },
};

pub const passes = .{ scan.RunsType(scan.numbers, 1), gpt2.Pass };
