//! Q8_0: 32 signed 8-bit integers and one f16 scale, 8.5 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const round = @import("shared/round.zig");
const sixteen = @import("shared/sixteen.zig");

pub const name = "q8_0";
pub const id = 8;
pub const block_len = 32;
pub const block_bytes = 34;

pub const Block = extern struct {
    d: f16,
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

pub inline fn quads(rows: sixteen.Rows, comptime _: usize) sixteen.Units(1) {
    var words = rows.eight(@offsetOf(Block, "qs"));
    // Adds 128 to each byte.
    inline for (&words) |*word| word.* ^= sixteen.splat(0x80808080);
    return .{words};
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const x = round.finite(block_len, in);
    const d = @abs(round.extreme(&x)) / 127;
    const inv = round.inverse(d);
    block.d = @floatCast(d);
    for (&block.qs, x) |*q, value| q.* = @intCast(round.nearest(value * inv, -127, 127));
}
