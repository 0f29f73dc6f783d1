//! MXFP4: 32 four-bit floats (e2m1) that share one power of two (e8m0), 4.25 bits a value. Open
//! Compute Project, "OCP Microscaling Formats (MX) Specification", version 1.0.
//!
//! The floats are decoded doubled, as integers, and the scale halved.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const nibbles = @import("shared/groups.zig").nibbles;
const std = @import("std");

pub const name = "mxfp4";
pub const id = 39;
pub const block_len = 32;
pub const block_bytes = 17;

pub const Block = extern struct {
    /// The scale is two to this power, less 127.
    exponent: u8,
    /// Low nibbles are values 0 to 15, high nibbles values 16 to 31.
    qs: [16]u8,
};

/// Twice the values of e2m1, shared with NVFP4. The top bit of the code is the sign.
pub const doubled = [16]i8{ 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -12, .q_max = 12 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[1]f32,
    offset: *[1]f32,
) void {
    for (nibbles(16, &block.qs), q) |u, *i| i.* = doubled[u];
    scale[0] = half(block.exponent);
    offset[0] = 0;
}

/// Half of the e8m0 scale. The two smallest are below the normal range of f32. Exponent 255, a NaN
/// in the specification, is taken as the next power of two, as other GGUF readers do.
fn half(exponent: u8) f32 {
    const bits = if (exponent < 2)
        @as(u32, 0x0020_0000) << @intCast(exponent)
    else
        @as(u32, exponent - 1) << 23;
    return @bitCast(bits);
}

test "scales are powers of two" {
    for (0..256) |exponent| {
        const expected = std.math.ldexp(@as(f32, 1), @as(i32, @intCast(exponent)) - 128);
        try std.testing.expectEqual(expected, half(@intCast(exponent)));
    }
}
