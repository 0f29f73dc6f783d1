//! Kimi K2: o200k with Han characters in pieces of their own, and no slashes behind signs.
//! `[\p{Han}]+|P?U*L+S?|P?U+L*S?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`, U and L
//! without Han. Its files may come without merges.

const Name = @import("../pre.zig").Name;
const o200k = @import("../scan/o200k.zig");
const scan = @import("../scan.zig");

pub const names = [_]Name{
    .{ .text = "kimi-k2", .merges_optional = true },
};

pub const passes = .{o200k.PassType(.{
    .contractions = true,
    .digits_max = 3,
    .tail = scan.newlines,
    .han_apart = true,
})};
