//! Laguna: lines and runs of line ends first, then Qwen 2's words.
//! `[^\n]+|[\n]+`, Qwen 2

const Name = @import("../pre.zig").Name;
const cl100k = @import("../scan/cl100k.zig");
const scan = @import("../scan.zig");

pub const names = [_]Name{
    .{ .text = "laguna" },
};

const newline: scan.Set = .{ .chars = "\n" };

pub const passes = .{ scan.RunsType(newline, scan.unlimited), cl100k.PassType(.{ .digits_max = 1 }) };
