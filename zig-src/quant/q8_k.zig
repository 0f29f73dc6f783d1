//! Q8_K: 256 signed 8-bit integers, one f32 scale, and the sums of sixteen integers each, which
//! decoding doesn't need. The activation format beside the K formats, hardly ever seen in files.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;

pub const name = "q8_k";
pub const id = 15;
pub const block_len = 256;
pub const block_bytes = 292;

pub const Block = extern struct {
    d: f32,
    qs: [256]i8,
    /// Sums of `qs` over each sixteen.
    sums: [16]i16,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -128, .q_max = 127 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[8]f32,
    offset: *[8]f32,
) void {
    q.* = block.qs;
    scale.* = @splat(block.d);
    offset.* = @splat(0);
}
