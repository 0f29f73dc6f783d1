//! Q8_1: 32 signed 8-bit integers, an f16 scale, and the scaled sum of the integers, which
//! decoding doesn't need: it lets a dot product with an offset format skip a pass. An activation
//! format, hardly ever seen in files. Layout: 36 bytes, as the C block definition has it.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;

pub const name = "q8_1";
pub const id = 9;
pub const block_len = 32;
pub const block_bytes = 36;

pub const Block = extern struct {
    d: f16,
    /// `d` times the sum of `qs`.
    s: f16,
    qs: [32]i8,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -128, .q_max = 127 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[1]f32,
    offset: *[1]f32,
) void {
    q.* = block.qs;
    scale[0] = block.d;
    offset[0] = 0;
}
