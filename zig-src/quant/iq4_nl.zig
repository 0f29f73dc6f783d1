//! IQ4_NL: 32 indices into sixteen fixed levels, denser near zero, and one f16 scale, 4.5 bits a
//! value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const nibbles = @import("shared/groups.zig").nibbles;

pub const name = "iq4_nl";
pub const id = 20;
pub const block_len = 32;
pub const block_bytes = 18;

pub const Block = extern struct {
    d: f16,
    /// Low nibbles are values 0 to 15, high nibbles values 16 to 31.
    qs: [16]u8,
};

/// The levels, shared with IQ4_XS: part of the format's definition.
pub const levels = [16]i8{
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -127, .q_max = 113 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[1]f32,
    offset: *[1]f32,
) void {
    for (nibbles(16, &block.qs), q) |u, *i| i.* = levels[u];
    scale[0] = block.d;
    offset[0] = 0;
}
