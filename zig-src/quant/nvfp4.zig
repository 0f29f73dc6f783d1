//! NVFP4: 64 four-bit floats (e2m1) in groups of 16, each with an unsigned 8-bit float (e4m3) as
//! scale, 4.5 bits a value. The format has a further f32 scale for the whole tensor; in GGUF files
//! that is a tensor of its own and not part of the block.
//!
//! The floats are decoded doubled, as integers, and the scale halved.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const doubled = @import("mxfp4.zig").doubled;
const nibbles = @import("shared/groups.zig").nibbles;
const std = @import("std");

pub const name = "nvfp4";
pub const id = 40;
pub const block_len = 64;
pub const block_bytes = 36;

pub const Block = extern struct {
    scales: [4]u8,
    /// Each 8 bytes hold 16 values: first the low nibbles, then the high ones.
    qs: [32]u8,
};

pub const groups: Groups = .{ .len = 16, .offset = false, .q_min = -12, .q_max = 12 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[4]f32,
    offset: *[4]f32,
) void {
    for (block.scales, scale, 0..) |code, *s, g| {
        s.* = half_scales[code];
        const codes = nibbles(8, block.qs[8 * g ..][0..8]);
        for (codes, q[16 * g ..][0..16]) |u, *i| i.* = doubled[u];
    }
    offset.* = @splat(0);
}

/// Half of each e4m3 scale: four bits of exponent (bias 7), three of mantissa, below 2^-6 without
/// an implicit one. The top bit is no part of the number; 0x7f, the NaN of e4m3, counts as 0.
const half_scales: [256]f32 = table: {
    @setEvalBranchQuota(10_000);
    var out: [256]f32 = undefined;
    for (&out, 0..) |*value, code| {
        const exponent: i32 = code >> 3 & 15;
        const mantissa: f32 = @floatFromInt(code & 7);
        value.* = if (code == 0x7f)
            0
        else if (exponent == 0)
            mantissa * 0x1p-10
        else
            (1 + mantissa / 8) * std.math.ldexp(@as(f32, 1), exponent - 8);
    }
    break :table out;
};

test "scales are half of e4m3" {
    // The landmarks of the format: smallest subnormal, smallest normal, one, largest.
    try std.testing.expectEqual(0x1p-10, half_scales[0x01]);
    try std.testing.expectEqual(0x1p-7, half_scales[0x08]);
    try std.testing.expectEqual(0.5, half_scales[0x38]);
    try std.testing.expectEqual(224, half_scales[0x7e]);
    try std.testing.expectEqual(0, half_scales[0x7f]);
}
