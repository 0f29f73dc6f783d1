//! IQ1_M: points of a codebook of 2048, eight values of -1, 0 or 1 each, shifted by an eighth up or
//! down; a 3-bit scale for 16 values, 1.75 bits a value.
//!
//! Because the shift differs within a group it goes into the integers: in eighths, the values are
//! -9, -7, -1, 1, 7 and 9.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const grids = @import("shared/grids.zig");
const nibblePairs = @import("shared/groups.zig").nibblePairs;
const std = @import("std");

pub const name = "iq1_m";
pub const id = 29;
pub const block_len = 256;
pub const block_bytes = 56;

pub const Block = extern struct {
    /// The low eight bits of the codebook index, for eight values.
    qs: [32]u8,
    /// One nibble for eight values, the low one first: the upper three bits of the index, and the
    /// sign of the shift.
    qh: [16]u8,
    /// Four little-endian words: four 3-bit scales in each, the first lowest, and above them a
    /// quarter of the bits of the f16 super-scale, the lowest quarter first.
    scales: [8]u8,
};

pub const groups: Groups = .{ .len = 16, .offset = false, .q_min = -9, .q_max = 9 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[16]f32,
    offset: *[16]f32,
) void {
    var words: [4]u16 = undefined;
    var d_bits: u16 = 0;
    for (&words, 0..) |*word, i| {
        word.* = std.mem.readInt(u16, block.scales[2 * i ..][0..2], .little);
        d_bits |= word.* >> 12 << @intCast(4 * i);
    }
    const d: f32 = @as(f16, @bitCast(d_bits));
    for (scale, 0..) |*s, g| {
        const three = words[g / 4] >> @intCast(g % 4 * 3) & 7;
        s.* = d * @as(f32, @floatFromInt(2 * three + 1)) * 0.125;
    }
    for (nibblePairs(16, &block.qh), block.qs, 0..) |high, low, k| {
        const point: @Vector(8, i8) = grids.iq1[@as(u16, high & 7) << 8 | low];
        const shift: i8 = if (high & 8 == 0) 1 else -1;
        q[8 * k ..][0..8].* = point * @as(@Vector(8, i8), @splat(8)) +
            @as(@Vector(8, i8), @splat(shift));
    }
    offset.* = @splat(0);
}
