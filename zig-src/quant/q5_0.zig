//! Q5_0: 32 signed 5-bit integers and one f16 scale, 5.5 bits a value.
//!
//! The encoder maps the value of largest magnitude to -16, so that the wider negative side is used.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const fives = @import("shared/groups.zig").fives;
const packFives = @import("shared/groups.zig").packFives;
const round = @import("shared/round.zig");
const sixteen = @import("shared/sixteen.zig");

pub const name = "q5_0";
pub const id = 6;
pub const block_len = 32;
pub const block_bytes = 22;

pub const Block = extern struct {
    d: f16,
    /// Bit i (counted from the lowest bit of the first byte) is the fifth bit of value i.
    qh: [4]u8,
    /// Low nibbles are values 0 to 15, high nibbles values 16 to 31.
    qs: [16]u8,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -16, .q_max = 15 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[1]f32,
    offset: *[1]f32,
) void {
    for (fives(&block.qs, &block.qh), q) |u, *i| i.* = @as(i8, @intCast(u)) - 16;
    scale[0] = block.d;
    offset[0] = 0;
}

pub inline fn quads(rows: sixteen.Rows, comptime _: usize) sixteen.Units(1) {
    return .{sixteen.fives(rows, @offsetOf(Block, "qs"), @offsetOf(Block, "qh"))};
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const x = round.finite(block_len, in);
    const d = round.extreme(&x) / -16;
    const inv = round.inverse(d);
    var u: [block_len]u8 = undefined;
    for (&u, x) |*to, value| to.* = round.biased(value, inv, 16.5, 31);
    block.d = @floatCast(d);
    packFives(&u, &block.qs, &block.qh);
}
