//! Spark 2.5: DeepSeek V3's sequence with line ends and digits one by one.

const Name = @import("../pre.zig").Name;
const deepseek = @import("../scan/deepseek.zig");
const scan = @import("../scan.zig");

pub const names = [_]Name{
    .{ .text = "spark2_5" },
};

pub const passes = .{
    scan.RunsType(scan.numbers, 3),
    scan.RunsType(deepseek.cjk, scan.unlimited),
    deepseek.PassType(.{ .join_newlines = false }),
    scan.RunsType(scan.numbers, 1),
};
