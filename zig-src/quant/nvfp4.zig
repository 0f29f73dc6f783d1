//! NVFP4: 64 four-bit floats (e2m1) in groups of 16, each with an unsigned 8-bit float (e4m3) as
//! scale, 4.5 bits a value. The format has a further f32 scale for the whole tensor; in GGUF files
//! that is a tensor of its own and not part of the block.
//!
//! The encoder takes 1 for that scale, which leaves values up to 448 * 6 = 2688, and steps that grow coarse
//! in groups below 6 * 2^-6. A group's scale is its largest magnitude over 6, the largest float; floats are
//! rounded to nearest even. NaN and what is beyond the f16 range are those of `round.zig`.
//!
//! The floats are decoded doubled, as integers, and the scale halved.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const e2m1 = @import("shared/e2m1.zig");
const nibbles = @import("shared/groups.zig").nibbles;
const round = @import("shared/round.zig");
const std = @import("std");

pub const name = "nvfp4";
pub const id = 40;
pub const block_len = 64;
pub const block_bytes = 36;

pub const Block = extern struct {
    scales: [4]u8,
    /// Each 8 bytes hold 16 values: first the low nibbles, then the high ones.
    qs: [32]u8,
};

/// What scales are.
pub const scale_kind: e2m1.ScaleKind = .e4m3;

/// What codes mean.
pub const levels = e2m1.doubled;

pub const groups: Groups = .{ .len = 16, .offset = false, .q_min = -12, .q_max = 12 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[4]f32,
    offset: *[4]f32,
) void {
    for (block.scales, scale, 0..) |code, *s, g| {
        s.* = scaleOf(code);
        const codes = nibbles(8, block.qs[8 * g ..][0..8]);
        for (codes, q[16 * g ..][0..16]) |u, *i| i.* = levels[u];
    }
    offset.* = @splat(0);
}

pub fn scaleOf(code: u8) f32 {
    return half_scales[code];
}

/// Half of each e4m3 scale: four bits of exponent (bias 7), three of mantissa, below 2^-6 without
/// an implicit one. The top bit is no part of the number; 0x7f, the NaN of e4m3, counts as 0.
const half_scales: [256]f32 = table: {
    @setEvalBranchQuota(10_000);
    var out: [256]f32 = undefined;
    for (&out, 0..) |*value, code| {
        const exponent: i32 = code >> 3 & 15;
        const mantissa: f32 = @floatFromInt(code & 7);
        value.* = if (code == 0x7f)
            0
        else if (exponent == 0)
            mantissa * 0x1p-10
        else
            (1 + mantissa / 8) * std.math.ldexp(@as(f32, 1), exponent - 8);
    }
    break :table out;
};

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const F = @Vector(16, f32);
    for (&block.scales, 0..) |*scale, g| {
        const x: F = round.finite(16, in[16 * g ..][0..16]);
        scale.* = nearestScale(@reduce(.Max, @abs(x)) / e2m1.largest);
        // A scale of 0 belongs to zeros.
        const codes = if (scale.* == 0) @as([16]u8, @splat(0)) else e2m1.nearest(16, x / @as(F, @splat(2 * half_scales[scale.*])));
        for (block.qs[8 * g ..][0..8], codes[0..8], codes[8..]) |*byte, low, high| byte.* = low | high << 4;
    }
}

/// The nearest e4m3, of two the even one, at most 448. What isn't 0 is at least the smallest, so that it
/// isn't lost.
fn nearestScale(x: f32) u8 {
    if (x == 0) return 0;
    if (x >= 448) return 0x7e;
    // Below 2^-6 steps are 2^-9; from there on eight of them to a power of two.
    const exponent = @max(@as(i32, @intCast(@as(u32, @bitCast(x)) >> 23)) - 127, -6);
    const steps = std.math.ldexp(x, 3 - exponent);
    // Adding 2^23 rounds to an integer, of two to the even one.
    const whole: i32 = @trunc(steps + 0x1p23 - 0x1p23);
    return @intCast(@max(1, whole + (exponent + 6) * 8));
}

test "scales are rounded to the nearest e4m3" {
    const expect = std.testing.expectEqual;
    for (1..0x7e) |i| {
        const code: u8 = @intCast(i);
        const low = 2 * half_scales[code];
        const high = 2 * half_scales[code + 1];
        try expect(code, nearestScale(low));
        const middle = (low + high) / 2;
        try expect(code + code % 2, nearestScale(middle));
        try expect(code, nearestScale(std.math.nextAfter(f32, middle, 0)));
        try expect(code + 1, nearestScale(std.math.nextAfter(f32, middle, 500)));
    }
    try expect(0, nearestScale(0));
    try expect(1, nearestScale(1e-40));
    try expect(0x7e, nearestScale(1e30));
}

test "each group has the scale of its largest magnitude, and values the nearest float" {
    const expect = std.testing.expectEqual;
    var in: [block_len]f32 = @splat(0);
    in[0..4].* = .{ -6, 2.5, 0.25, std.math.nan(f32) };
    in[16..18].* = .{ 0.75, 0.1 };
    in[32] = std.math.inf(f32);
    var block: Block = undefined;
    encodeBlock(&in, &block);
    try expect([4]u8{ 0x38, 0x20, 0x7e, 0 }, block.scales);
    var out: [block_len]f32 = undefined;
    decodeBlock(&block, &out);
    try expect([4]f32{ -6, 2, 0, 0 }, out[0..4].*);
    try expect([2]f32{ 0.75, 0.125 }, out[16..18].*);
    try expect([2]f32{ 2688, 0 }, out[32..34].*);
    try expect(0, out[63]);
}

test "scales are half of e4m3" {
    // The landmarks of the format: smallest subnormal, smallest normal, one, largest.
    try std.testing.expectEqual(0x1p-10, half_scales[0x01]);
    try std.testing.expectEqual(0x1p-7, half_scales[0x08]);
    try std.testing.expectEqual(0.5, half_scales[0x38]);
    try std.testing.expectEqual(224, half_scales[0x7e]);
    try std.testing.expectEqual(0, half_scales[0x7f]);
}
