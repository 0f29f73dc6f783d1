//! Arcee's mixture of experts: digits in groups of three from the right, then East and South-East
//! Asian scripts, then DeepSeek V3's words (scan/deepseek.zig).

const Name = @import("../pre.zig").Name;
const deepseek = @import("../scan/deepseek.zig");
const groups = @import("../scan/groups.zig");
const scan = @import("../scan.zig");
const unicode = @import("../unicode.zig");

pub const names = [_]Name{
    .{ .text = "afmoe" },
};

const asian: scan.Set = .{ .ranges = &.{
    .{ 0x4E00, 0x9FFF }, .{ 0x3400, 0x4DBF }, .{ 0xF900, 0xFAFF }, .{ 0x3040, 0x309F },
    .{ 0x30A0, 0x30FF }, .{ 0xFF65, 0xFF9F }, .{ 0x2F00, 0x2FDF }, .{ 0x0E00, 0x0E7F },
    .{ 0x0E80, 0x0EFF }, .{ 0x1780, 0x17FF }, .{ 0x1000, 0x109F }, .{ 0xAA60, 0xAA7F },
    .{ 0xA9E0, 0xA9FF }, .{ 0xAC00, 0xD7AF }, .{ 0x1100, 0x11FF },
} };

pub const passes = .{
    groups.PassType(.{ .digit = unicode.number }),
    scan.RunsType(asian, scan.unlimited),
    deepseek.PassType(.{}),
};
