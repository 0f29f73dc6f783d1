//! IQ2_XS: points of a codebook of 512, eight values each, with signs apart; a 4-bit scale for 16
//! values, 2.3125 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const grids = @import("shared/grids.zig");
const nibblePairs = @import("shared/groups.zig").nibblePairs;

pub const name = "iq2_xs";
pub const id = 17;
pub const block_len = 256;
pub const block_bytes = 74;

pub const Block = extern struct {
    d: f16,
    /// One word for eight values: nine bits of codebook index, seven of signs on top.
    qs: [32]u16,
    /// One nibble for 16 values, the low one first.
    scales: [8]u8,
};

pub const groups: Groups = .{ .len = 16, .offset = false, .q_min = -43, .q_max = 43 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[16]f32,
    offset: *[16]f32,
) void {
    const d: f32 = block.d;
    for (nibblePairs(8, &block.scales), scale) |nibble, *s| {
        s.* = d * (0.5 + @as(f32, @floatFromInt(nibble))) * 0.25;
    }
    for (block.qs, 0..) |word, k| {
        const signs = grids.evenSigns(@intCast(word >> 9));
        q[8 * k ..][0..8].* = grids.negate(8, grids.iq2_xs[word & 511], signs);
    }
    offset.* = @splat(0);
}
