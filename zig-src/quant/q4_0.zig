//! Q4_0: 32 signed 4-bit integers and one f16 scale, 4.5 bits a value.
//!
//! The encoder maps the value of largest magnitude to -8, so that the wider negative side is used.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const nibbles = @import("shared/groups.zig").nibbles;
const round = @import("shared/round.zig");
const sixteen = @import("shared/sixteen.zig");

pub const name = "q4_0";
pub const id = 2;
pub const block_len = 32;
pub const block_bytes = 18;

pub const Block = extern struct {
    d: f16,
    /// Low nibbles are values 0 to 15, high nibbles values 16 to 31, each plus 8.
    qs: [16]u8,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -8, .q_max = 7 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[1]f32,
    offset: *[1]f32,
) void {
    for (nibbles(16, &block.qs), q) |u, *i| i.* = @as(i8, @intCast(u)) - 8;
    scale[0] = block.d;
    offset[0] = 0;
}

pub inline fn quads(rows: sixteen.Rows, comptime _: usize) sixteen.Units(1) {
    return .{sixteen.nibbles(rows, @offsetOf(Block, "qs"))};
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const x = round.finite(block_len, in);
    const d = round.extreme(&x) / -8;
    const inv = round.inverse(d);
    block.d = @floatCast(d);
    for (&block.qs, x[0..16], x[16..]) |*byte, low, high| {
        byte.* = round.biased(low, inv, 8.5, 15) | round.biased(high, inv, 8.5, 15) << 4;
    }
}
