//! Q5_1: 32 unsigned 5-bit integers, an f16 scale and an f16 minimum, 6 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const fives = @import("shared/groups.zig").fives;
const packFives = @import("shared/groups.zig").packFives;
const round = @import("shared/round.zig");
const sixteen = @import("shared/sixteen.zig");
const std = @import("std");

pub const name = "q5_1";
pub const id = 7;
pub const block_len = 32;
pub const block_bytes = 24;

pub const Block = extern struct {
    d: f16,
    m: f16,
    /// Bit i (counted from the lowest bit of the first byte) is the fifth bit of value i.
    qh: [4]u8,
    /// Low nibbles are values 0 to 15, high nibbles values 16 to 31.
    qs: [16]u8,
};

pub const groups: Groups = .{ .len = 32, .offset = true, .q_min = 0, .q_max = 31 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[1]f32,
    offset: *[1]f32,
) void {
    for (fives(&block.qs, &block.qh), q) |u, *i| i.* = @intCast(u);
    scale[0] = block.d;
    offset[0] = block.m;
}

pub inline fn quads(rows: sixteen.Rows, comptime _: usize) sixteen.Units(1) {
    return .{sixteen.fives(rows, @offsetOf(Block, "qs"), @offsetOf(Block, "qh"))};
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const x = round.finite(block_len, in);
    const min, const max = std.mem.minMax(f32, &x);
    const d = (max - min) / 31;
    const inv = round.inverse(d);
    var u: [block_len]u8 = undefined;
    for (&u, x) |*to, value| to.* = round.steps(value - min, inv, 31);
    block.d = @floatCast(d);
    block.m = @floatCast(min);
    packFives(&u, &block.qs, &block.qh);
}
