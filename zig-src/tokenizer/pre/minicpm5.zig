//! MiniCPM 5: digits in groups of three first, then cl100k's words.
//! `\p{N}{1,3}`, cl100k with `\p{N}+`

const Name = @import("../pre.zig").Name;
const cl100k = @import("../scan/cl100k.zig");
const scan = @import("../scan.zig");

pub const names = [_]Name{
    .{ .text = "minicpm5", .ignore_merges = true },
};

pub const passes = .{
    scan.RunsType(scan.numbers, 3),
    cl100k.PassType(.{ .digits_max = scan.unlimited }),
};
