//! TQ2_0: 256 values of -1, 0 or 1 times one f16 scale, four to a byte, 2.0625 bits a value.
//! The fourth code, which encoders don't use, is 2.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const pairs = @import("shared/groups.zig").pairs;

pub const name = "tq2_0";
pub const id = 35;
pub const block_len = 256;
pub const block_bytes = 66;

pub const Block = extern struct {
    /// Values plus 1, in the order of `pairs`.
    qs: [64]u8,
    d: f16,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -1, .q_max = 2 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[8]f32,
    offset: *[8]f32,
) void {
    for (pairs(&block.qs), q) |u, *i| i.* = @as(i8, @intCast(u)) - 1;
    scale.* = @splat(block.d);
    offset.* = @splat(0);
}
