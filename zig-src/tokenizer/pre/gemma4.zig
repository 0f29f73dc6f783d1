//! Gemma 4 and Sarvam: BPE over whole lines of plain UTF-8, with spaces written as "▁" in the
//! vocabulary and bytes as "<0xNN>".
//! `[^\n]+|[\n]+`

const Name = @import("../pre.zig").Name;
const scan = @import("../scan.zig");

pub const names = [_]Name{
    .{ .text = "gemma4", .add_bos = true, .whole_newlines = true },
    .{ .text = "granite-embed-multi-311m", .add_bos = true, .whole_newlines = true },
    .{ .text = "sarvam-moe" },
};

pub const byte_level = false;

const newline: scan.Set = .{ .chars = "\n" };

pub const passes = .{scan.RunsType(newline, scan.unlimited)};
