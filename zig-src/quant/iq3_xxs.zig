//! IQ3_XXS: points of a codebook of 256, four values each, with signs apart; one 4-bit scale for 32
//! values, 3.0625 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const grids = @import("shared/grids.zig");
const std = @import("std");

pub const name = "iq3_xxs";
pub const id = 18;
pub const block_len = 256;
pub const block_bytes = 98;

pub const Block = extern struct {
    d: f16,
    /// One codebook index for four values.
    qs: [64]u8,
    /// Four bytes for 32 values, one little-endian number: four times seven signs and the scale
    /// on top.
    rest: [32]u8,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -62, .q_max = 62 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[8]f32,
    offset: *[8]f32,
) void {
    const d: f32 = block.d;
    for (scale, 0..) |*s, g| {
        const rest = std.mem.readInt(u32, block.rest[4 * g ..][0..4], .little);
        s.* = d * (0.5 + @as(f32, @floatFromInt(rest >> 28))) * 0.5;
        for (0..4) |k| {
            const indices = block.qs[8 * g + 2 * k ..][0..2];
            const signs = grids.evenSigns(@truncate(rest >> @intCast(7 * k)));
            const values = grids.iq3_xxs[indices[0]] ++ grids.iq3_xxs[indices[1]];
            q[32 * g + 8 * k ..][0..8].* = grids.negate(8, values, signs);
        }
    }
    offset.* = @splat(0);
}
