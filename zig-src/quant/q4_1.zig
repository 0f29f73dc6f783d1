//! Q4_1: 32 unsigned 4-bit integers, an f16 scale and an f16 minimum, 5 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const nibbles = @import("shared/groups.zig").nibbles;
const round = @import("shared/round.zig");
const sixteen = @import("shared/sixteen.zig");
const std = @import("std");

pub const name = "q4_1";
pub const id = 3;
pub const block_len = 32;
pub const block_bytes = 20;

pub const Block = extern struct {
    d: f16,
    m: f16,
    /// Low nibbles are values 0 to 15, high nibbles values 16 to 31.
    qs: [16]u8,
};

pub const groups: Groups = .{ .len = 32, .offset = true, .q_min = 0, .q_max = 15 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[1]f32,
    offset: *[1]f32,
) void {
    for (nibbles(16, &block.qs), q) |u, *i| i.* = @intCast(u);
    scale[0] = block.d;
    offset[0] = block.m;
}

pub inline fn quads(rows: sixteen.Rows, comptime _: usize) sixteen.Units(1) {
    return .{sixteen.nibbles(rows, @offsetOf(Block, "qs"))};
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const x = round.finite(block_len, in);
    const min, const max = std.mem.minMax(f32, &x);
    const d = (max - min) / 15;
    const inv = round.inverse(d);
    block.d = @floatCast(d);
    block.m = @floatCast(min);
    for (&block.qs, x[0..16], x[16..]) |*byte, low, high| {
        const u = round.steps(low - min, inv, 15);
        byte.* = u | round.steps(high - min, inv, 15) << 4;
    }
}
