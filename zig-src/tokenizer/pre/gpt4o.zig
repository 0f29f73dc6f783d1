//! GPT-4o and others with o200k's pattern (scan/o200k.zig).

const Name = @import("../pre.zig").Name;
const o200k = @import("../scan/o200k.zig");

pub const names = [_]Name{
    .{ .text = "gpt-4o" },
    .{ .text = "llama4" },
    .{ .text = "kanana2" },
    .{ .text = "talkie" },
    .{ .text = "minimax-m2" },
    .{ .text = "granite-embed-multi-97m", .ignore_merges = true },
};

pub const passes = .{o200k.PassType(.{
    .contractions = true,
    .digits_max = 3,
    .tail = o200k.newlines_and_slashes,
})};
