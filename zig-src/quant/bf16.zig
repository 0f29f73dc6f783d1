//! bfloat16: the upper half of an f32. Encoding rounds to nearest even; a NaN stays a NaN (its
//! quiet bit is set, since truncating the payload could otherwise leave an infinity).

const std = @import("std");

pub const name = "bf16";
pub const id = 30;
pub const block_len = 1;
pub const block_bytes = 2;

pub const Block = extern struct { bits: u16 };

pub fn decodeBlock(block: *align(1) const Block, out: *[1]f32) void {
    out[0] = @bitCast(@as(u32, block.bits) << 16);
}

pub fn encodeBlock(in: *const [1]f32, block: *align(1) Block) void {
    const bits: u32 = @bitCast(in[0]);
    if (std.math.isNan(in[0])) {
        block.bits = @intCast(bits >> 16 | 0x40);
        return;
    }
    // Ties go to the even neighbour. A finite value can't wrap: at most it becomes infinity.
    const odd = bits >> 16 & 1;
    block.bits = @intCast(bits + 0x7fff + odd >> 16);
}

test "ties round to even, overflow to infinity, NaN stays NaN" {
    const inf = std.math.inf(f32);
    const cases = [_]struct { u32, u16 }{
        .{ 0x3f808000, 0x3f80 }, // halfway, even below
        .{ 0x3f818000, 0x3f82 }, // halfway, even above
        .{ 0x3f808001, 0x3f81 },
        .{ 0x7f7fffff, 0x7f80 }, // the largest f32
        .{ @bitCast(-inf), 0xff80 },
        .{ 0x7f800001, 0x7fc0 }, // a NaN whose payload is all in the lower half
        .{ 0xffffffff, 0xffff },
        .{ 0x00000001, 0x0000 },
    };
    for (cases) |case| {
        var block: Block = undefined;
        encodeBlock(&.{@bitCast(case[0])}, &block);
        try std.testing.expectEqual(case[1], block.bits);
    }
}
