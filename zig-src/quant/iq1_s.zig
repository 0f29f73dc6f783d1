//! IQ1_S: points of a codebook of 2048, eight values of -1, 0 or 1 each; a 3-bit scale and a shift
//! of an eighth of it up or down for 32 values, 1.5625 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const grids = @import("shared/grids.zig");

pub const name = "iq1_s";
pub const id = 19;
pub const block_len = 256;
pub const block_bytes = 50;

pub const Block = extern struct {
    d: f16,
    /// The low eight bits of the codebook index, for eight values.
    qs: [32]u8,
    /// One word for 32 values: the upper three bits of four indices (the first lowest), three bits
    /// of scale, and the sign of the shift.
    qh: [8]u16,
};

pub const groups: Groups = .{ .len = 32, .offset = true, .q_min = -1, .q_max = 1 };
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
    for (block.qh, scale, offset, 0..) |word, *s, *o, g| {
        s.* = d * @as(f32, @floatFromInt(2 * (word >> 12 & 7) + 1));
        // Scale and shift have few enough bits for value = scale * (q + 1/8) to come out exactly
        // as it does here, in two parts.
        o.* = s.* * @as(f32, if (word & 0x8000 == 0) 0.125 else -0.125);
        for (block.qs[4 * g ..][0..4], 0..) |low, k| {
            const high = word >> @intCast(3 * k) & 7;
            q[32 * g + 8 * k ..][0..8].* = grids.iq1[high << 8 | low];
        }
    }
}
