//! IEEE 754 half precision. Encoding rounds to nearest even and overflows to infinity.
//!
//! Decoding is written out for CPUs that can't convert: the compiler would call a function for each
//! value, at three times the cost.

const std = @import("std");
const cpu = @import("builtin").target.cpu;

pub const name = "f16";
pub const id = 1;
pub const block_len = 1;
pub const block_bytes = 2;

pub const Block = extern struct { value: f16 };

pub fn decodeBlock(block: *align(1) const Block, out: *[1]f32) void {
    out[0] = if (native) block.value else widen(@bitCast(block.value));
}

pub fn encodeBlock(in: *const [1]f32, block: *align(1) Block) void {
    block.value = @floatCast(in[0]);
}

const native = cpu.arch.isAARCH64() or
    (cpu.arch.isX86() and cpu.has(.x86, .f16c));

/// Never forms a subnormal f32, which a thread may have set to count as zero.
fn widen(half: u16) f32 {
    const sign = @as(u32, half & 0x8000) << 16;
    const rest: u32 = half & 0x7fff;
    const rebias: u32 = if (rest >= 0x7c00) 2 * 112 << 23 else 112 << 23;
    const normal = (rest << 13) + rebias;
    const small: f32 = @as(f32, @floatFromInt(@as(i32, @intCast(rest)))) * 0x1p-24;
    const magnitude = if (rest < 0x0400) @as(u32, @bitCast(small)) else normal;
    return @bitCast(sign | magnitude);
}

test "widening is the compiler's conversion, for every f16" {
    for (0..1 << 16) |i| {
        const half: u16 = @intCast(i);
        const expected: f32 = @as(f16, @bitCast(half));
        const found = widen(half);
        if (std.math.isNan(expected)) {
            try std.testing.expect(std.math.isNan(found));
        } else {
            try std.testing.expectEqual(@as(u32, @bitCast(expected)), @as(u32, @bitCast(found)));
        }
    }
}
