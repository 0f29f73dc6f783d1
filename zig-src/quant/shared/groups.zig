//! The integer decomposition of a quantised block. Every block format is, underneath, groups of
//! 16 or 32 small integers with one scale and at most one offset a group:
//!
//!     value[i] = scale[g] * q[i] + offset[g],   g = i / groups.len
//!
//! A member writes `decodeGroups`, which finds those integers, and declares their range here; its
//! `decodeBlock` is derived, so the two can't disagree. The int8 kernels of all formats are packed
//! from `decodeGroups`, which is why `q` is always an `i8`, whatever the format stores.
//!
//! Formulas are those of the GGUF block definitions, with the products in the same order as the
//! public readers compute them: results are bitwise theirs.

const std = @import("std");

pub const Groups = struct {
    /// Values that share one scale and one offset: 16 or 32.
    len: u32,
    /// Whether offsets can differ from zero. Without them `decodeGroups` writes zeros.
    offset: bool,
    /// The range of `q`, inclusive. Every bit pattern of a block decodes to integers within it.
    q_min: i8,
    q_max: i8,

    /// Bits that hold `q - q_min` as an unsigned integer, rounded up to a width worth packing.
    pub fn bits(comptime groups: Groups) comptime_int {
        const range = @as(i16, groups.q_max) - groups.q_min;
        if (range < 16) return 4;
        if (range < 32) return 5;
        if (range < 64) return 6;
        return 8;
    }
};

/// The reference decoder of a member: its integers, scaled.
pub fn decoder(comptime M: type) fn (*align(1) const M.Block, *[M.block_len]f32) void {
    return struct {
        fn decodeBlock(block: *align(1) const M.Block, out: *[M.block_len]f32) void {
            const len = M.groups.len;
            var q: [M.block_len]i8 = undefined;
            var scale: [M.block_len / len]f32 = undefined;
            var offset: [M.block_len / len]f32 = undefined;
            M.decodeGroups(block, &q, &scale, &offset);
            for (scale, offset, 0..) |s, o, g| {
                const ints: @Vector(len, i8) = q[g * len ..][0..len].*;
                const scaled = @as(@Vector(len, f32), @splat(s)) *
                    @as(@Vector(len, f32), @floatFromInt(ints));
                // Without an offset nothing is added: adding zero would turn -0 into 0.
                out[g * len ..][0..len].* = if (M.groups.offset)
                    scaled + @as(@Vector(len, f32), @splat(o))
                else
                    scaled;
            }
        }
    }.decodeBlock;
}

/// Low halves of the bytes, then high halves: the order of two nibbles in most formats.
pub fn nibbles(comptime n: usize, bytes: *align(1) const [n]u8) [2 * n]u8 {
    const packed_bytes: @Vector(n, u8) = bytes.*;
    const low: [n]u8 = packed_bytes & @as(@Vector(n, u8), @splat(15));
    const high: [n]u8 = packed_bytes >> @splat(4);
    return low ++ high;
}

/// The two halves of each byte in turn, the low one first: the order of small scales.
pub fn nibblePairs(comptime n: usize, bytes: *align(1) const [n]u8) [2 * n]u8 {
    var out: [2 * n]u8 = undefined;
    for (bytes, 0..) |byte, i| out[2 * i ..][0..2].* = .{ byte & 15, byte >> 4 };
    return out;
}

/// 256 two-bit integers: each 32 bytes hold 128 values, first the lowest pairs of bits of all
/// bytes, then the next pairs.
pub fn pairs(bytes: *align(1) const [64]u8) [256]u8 {
    var out: [256]u8 = undefined;
    inline for (0..8) |k| {
        const source: @Vector(32, u8) = bytes[k / 4 * 32 ..][0..32].*;
        out[32 * k ..][0..32].* = source >> @splat(k % 4 * 2) & @as(@Vector(32, u8), @splat(3));
    }
    return out;
}

/// The inverse of `pairs`.
pub fn packPairs(in: *const [256]u8, bytes: *align(1) [64]u8) void {
    for (bytes, 0..) |*byte, i| {
        const at = i / 32 * 128 + i % 32;
        byte.* = in[at] | in[at + 32] << 2 | in[at + 64] << 4 | in[at + 96] << 6;
    }
}

/// 32 five-bit integers: nibbles, with the fifth bits in `high` from the lowest bit up.
pub fn fives(low: *align(1) const [16]u8, high: *align(1) const [4]u8) [32]u8 {
    const fifth = std.mem.readInt(u32, high, .little);
    var out = nibbles(16, low);
    for (&out, 0..) |*u, i| u.* |= @intCast((fifth >> @intCast(i) & 1) << 4);
    return out;
}

/// The inverse of `fives`.
pub fn packFives(in: *const [32]u8, low: *align(1) [16]u8, high: *align(1) [4]u8) void {
    var fifth: u32 = 0;
    for (in, 0..) |u, i| fifth |= @as(u32, u >> 4) << @intCast(i);
    for (low, in[0..16], in[16..]) |*byte, a, b| byte.* = a & 15 | b << 4;
    std.mem.writeInt(u32, high, fifth, .little);
}

test "five-bit integers survive packing" {
    var in: [32]u8 = undefined;
    for (&in, 0..) |*u, i| u.* = @intCast((i * 13 + 5) % 32);
    var low: [16]u8 = undefined;
    var high: [4]u8 = undefined;
    packFives(&in, &low, &high);
    try std.testing.expectEqual(in, fives(&low, &high));
}

test "two-bit integers survive packing" {
    var in: [256]u8 = undefined;
    for (&in, 0..) |*u, i| u.* = @intCast((i * 7 + i / 32) % 4);
    var bytes: [64]u8 = undefined;
    packPairs(&in, &bytes);
    try std.testing.expectEqual(in, pairs(&bytes));
    try std.testing.expectEqual([4]u8{ 2, 1, 4, 3 }, nibblePairs(2, &.{ 0x12, 0x34 }));
}

test "bits is the smallest width that holds the range" {
    const expect = std.testing.expectEqual;
    const base: Groups = .{ .len = 32, .offset = false, .q_min = -8, .q_max = 7 };
    try expect(4, base.bits());
    try expect(5, (Groups{ .len = 32, .offset = false, .q_min = -9, .q_max = 9 }).bits());
    try expect(6, (Groups{ .len = 16, .offset = false, .q_min = -32, .q_max = 31 }).bits());
    try expect(8, (Groups{ .len = 32, .offset = false, .q_min = -128, .q_max = 127 }).bits());
}

test "nibbles puts low halves first" {
    try std.testing.expectEqual([4]u8{ 2, 4, 1, 3 }, nibbles(2, &.{ 0x12, 0x34 }));
}
