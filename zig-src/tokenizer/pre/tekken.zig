//! Mistral's Tekken: o200k without contractions, with single digits.

const Name = @import("../pre.zig").Name;
const o200k = @import("../scan/o200k.zig");

pub const names = [_]Name{
    .{ .text = "tekken", .ignore_merges = true, .add_bos = true },
};

pub const passes = .{o200k.PassType(.{
    .contractions = false,
    .digits_max = 1,
    .tail = o200k.newlines_and_slashes,
})};
