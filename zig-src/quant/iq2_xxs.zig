//! IQ2_XXS: points of a codebook of 256, eight values each, with signs apart; one 4-bit scale for
//! 32 values, 2.0625 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const grids = @import("shared/grids.zig");

pub const name = "iq2_xxs";
pub const id = 16;
pub const block_len = 256;
pub const block_bytes = 66;

pub const Block = extern struct {
    d: f16,
    /// Four words for 32 values. The first two hold four codebook indices; the last two, as one
    /// 32-bit number with the first word low, four times seven signs and the scale on top.
    qs: [32]u16,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -43, .q_max = 43 };
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
        const words = block.qs[4 * g ..][0..4];
        const rest = @as(u32, words[3]) << 16 | words[2];
        s.* = d * (0.5 + @as(f32, @floatFromInt(rest >> 28))) * 0.25;
        for (0..4) |k| {
            const index: u8 = @truncate(words[k / 2] >> @intCast(k % 2 * 8));
            const signs = grids.evenSigns(@truncate(rest >> @intCast(7 * k)));
            q[32 * g + 8 * k ..][0..8].* = grids.negate(8, grids.iq2_xxs[index], signs);
        }
    }
    offset.* = @splat(0);
}
