//! Viking: BLOOM's words, then single digits.
//! ` ?[^(\s|.,!?…。，、।۔،)]+`, `\p{N}`

const Name = @import("../pre.zig").Name;
const scan = @import("../scan.zig");

const bloom = @import("bloom.zig");

pub const names = [_]Name{
    .{ .text = "viking" },
};

pub const passes = .{ bloom.Words, scan.RunsType(scan.numbers, 1) };
