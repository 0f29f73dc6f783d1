//! MXFP4: 32 four-bit floats (e2m1) that share one power of two (e8m0), 4.25 bits a value. Open
//! Compute Project, "OCP Microscaling Formats (MX) Specification", version 1.0.
//!
//! The floats are decoded doubled, as integers, and the scale halved.
//!
//! The encoder is that of section 6.3 of the specification: the scale is the power of two of the largest
//! magnitude less that of the largest float, and floats are rounded to nearest even. NaN and what is beyond
//! the f16 range are those of `round.zig`.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const e2m1 = @import("shared/e2m1.zig");
const nibbles = @import("shared/groups.zig").nibbles;
const round = @import("shared/round.zig");
const std = @import("std");

pub const name = "mxfp4";
pub const id = 39;
pub const block_len = 32;
pub const block_bytes = 17;

pub const Block = extern struct {
    /// The scale is two to this power, less 127.
    exponent: u8,
    /// Low nibbles are values 0 to 15, high nibbles values 16 to 31.
    qs: [16]u8,
};

/// What scales are.
pub const scale_kind: e2m1.ScaleKind = .e8m0;

/// What codes mean.
pub const levels = e2m1.doubled;

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -12, .q_max = 12 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[1]f32,
    offset: *[1]f32,
) void {
    for (nibbles(16, &block.qs), q) |u, *i| i.* = levels[u];
    scale[0] = scaleOf(block.exponent);
    offset[0] = 0;
}

/// Half of the e8m0 scale. The two smallest are below the normal range of f32. Exponent 255, a NaN
/// in the specification, is taken as the next power of two, as other GGUF readers do.
pub fn scaleOf(exponent: u8) f32 {
    const bits = if (exponent < 2)
        @as(u32, 0x0020_0000) << @intCast(exponent)
    else
        @as(u32, exponent - 1) << 23;
    return @bitCast(bits);
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const F = @Vector(block_len, f32);
    const x: F = round.finite(block_len, in);
    const most: u32 = @bitCast(@reduce(.Max, @abs(x)));
    // The exponents of both are biased by 127; the largest float of e2m1 has an exponent of 2.
    block.exponent = @intCast((most >> 23) -| 2);
    // At most 2^127: the codes are made of products that are exact.
    const inverse = std.math.ldexp(@as(f32, 1), 127 - @as(i32, block.exponent));
    const codes = e2m1.nearest(block_len, x * @as(F, @splat(inverse)));
    for (&block.qs, codes[0..16], codes[16..]) |*byte, low, high| byte.* = low | high << 4;
}

test "the largest magnitude takes one of the three largest floats, and others the nearest" {
    const expect = std.testing.expectEqual;
    var in: [block_len]f32 = @splat(0);
    var out: [block_len]f32 = undefined;
    var block: Block = undefined;
    encodeBlock(&in, &block);
    try expect(Block{ .exponent = 0, .qs = @splat(0) }, block);
    in[0..8].* = .{ 7.9, -4, 0.2, 0.25, 0.26, 2.5, -3.5, std.math.nan(f32) };
    encodeBlock(&in, &block);
    try expect(127, block.exponent);
    decodeBlock(&block, &out);
    try expect([8]f32{ 6, -4, 0, 0, 0.5, 2, -4, 0 }, out[0..8].*);
    in[0..8].* = .{ 8, -4, 0.5, 1e-30, 5, 7, -3, std.math.nan(f32) };
    encodeBlock(&in, &block);
    try expect(128, block.exponent);
    decodeBlock(&block, &out);
    try expect([8]f32{ 8, -4, 0, 0, 4, 8, -3, 0 }, out[0..8].*);
    in[0] = -std.math.inf(f32);
    encodeBlock(&in, &block);
    try expect(127 + 15 - 2, block.exponent);
    in = @splat(1e-42);
    encodeBlock(&in, &block);
    decodeBlock(&block, &out);
    try expect(0, block.exponent);
    try expect(0, out[0]);
}

test "scales are powers of two" {
    for (0..256) |exponent| {
        const expected = std.math.ldexp(@as(f32, 1), @as(i32, @intCast(exponent)) - 128);
        try std.testing.expectEqual(expected, scaleOf(@intCast(exponent)));
    }
}
