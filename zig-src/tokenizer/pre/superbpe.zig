//! SuperBPE: runs of numbers, cut in groups of three digits from the right; words are not split.
//! `\p{N}+`, then at every `(?=(\d{3})+(?!\d))`

const Name = @import("../pre.zig").Name;
const groups = @import("../scan/groups.zig");
const scan = @import("../scan.zig");
const unicode = @import("../unicode.zig");

pub const names = [_]Name{
    .{ .text = "superbpe" },
};

pub const passes = .{
    scan.RunsType(scan.numbers, scan.unlimited),
    groups.CutType(unicode.bit(.nd)),
};
