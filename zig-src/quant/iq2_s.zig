//! IQ2_S: points of a codebook of 1024, eight values each, with a byte of signs; a 4-bit scale for
//! 16 values, 2.5625 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const grids = @import("shared/grids.zig");
const nibblePairs = @import("shared/groups.zig").nibblePairs;

pub const name = "iq2_s";
pub const id = 22;
pub const block_len = 256;
pub const block_bytes = 82;

pub const Block = extern struct {
    d: f16,
    /// The low eight bits of the codebook index, for eight values.
    qs: [32]u8,
    signs: [32]u8,
    /// The upper two bits of four indices, the first lowest.
    qh: [8]u8,
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
    for (block.qs, block.signs, 0..) |low, signs, k| {
        const high: u16 = block.qh[k / 4] >> @intCast(k % 4 * 2) & 3;
        q[8 * k ..][0..8].* = grids.negate(8, grids.iq2_s[high << 8 | low], signs);
    }
    offset.* = @splat(0);
}
