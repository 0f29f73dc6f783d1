//! IQ3_S: points of a codebook of 512, four values each, with bytes of signs; one 4-bit scale for
//! 32 values, 3.4375 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const grids = @import("shared/grids.zig");
const nibblePairs = @import("shared/groups.zig").nibblePairs;

pub const name = "iq3_s";
pub const id = 21;
pub const block_len = 256;
pub const block_bytes = 110;

pub const Block = extern struct {
    d: f16,
    /// The low eight bits of the codebook index, for four values.
    qs: [64]u8,
    /// The ninth bits of eight indices, the first lowest.
    qh: [8]u8,
    signs: [32]u8,
    /// One nibble for 32 values, the low one first.
    scales: [4]u8,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -15, .q_max = 15 };
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
    for (nibblePairs(4, &block.scales), scale) |nibble, *s| {
        s.* = d * @as(f32, @floatFromInt(1 + 2 * nibble));
    }
    for (block.signs, 0..) |signs, k| {
        const high = @as(u16, block.qh[k / 4]) >> @intCast(k % 4 * 2);
        const first = grids.iq3_s[(high & 1) << 8 | block.qs[2 * k]];
        const second = grids.iq3_s[(high >> 1 & 1) << 8 | block.qs[2 * k + 1]];
        q[8 * k ..][0..8].* = grids.negate(8, first ++ second, signs);
    }
    offset.* = @splat(0);
}
