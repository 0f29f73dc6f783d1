//! DeepSeek V3 and R1, dense Hunyuan and others: groups of three digits, Han and Kana runs, then
//! the words of scan/deepseek.zig.
//! `\p{N}{1,3}`, `[一-龥぀-ゟ゠-ヿ]+`, words

const Name = @import("../pre.zig").Name;
const deepseek = @import("../scan/deepseek.zig");
const scan = @import("../scan.zig");

pub const names = [_]Name{
    .{ .text = "deepseek-v3" },
    .{ .text = "hunyuan-dense" },
    .{ .text = "joyai-llm" },
    .{ .text = "hy_v4" },
};

pub const passes = .{
    scan.RunsType(scan.numbers, 3),
    scan.RunsType(deepseek.cjk, scan.unlimited),
    deepseek.PassType(.{}),
};
