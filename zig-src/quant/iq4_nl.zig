//! IQ4_NL: 32 indices into sixteen fixed levels, denser near zero, and one f16 scale, 4.5 bits a
//! value.
//!
//! The encoder maps the value of largest magnitude to the outermost level, takes the nearest level for
//! each, and then the scale with the smallest error, in which a value weighs as its square: what the
//! public reference encoder of this format does.

const std = @import("std");
const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const nibbles = @import("shared/groups.zig").nibbles;
const round = @import("shared/round.zig");

pub const name = "iq4_nl";
pub const id = 20;
pub const block_len = 32;
pub const block_bytes = 18;

pub const Block = extern struct {
    d: f16,
    /// Low nibbles are values 0 to 15, high nibbles values 16 to 31.
    qs: [16]u8,
};

/// The levels, shared with IQ4_XS: part of the format's definition.
pub const levels = [16]i8{
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -127, .q_max = 113 };
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
    scale[0] = block.d;
    offset[0] = 0;
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const x = round.finite(block_len, in);
    const first = round.extreme(&x) / levels[0];
    const inv = round.inverse(first);
    var codes: [block_len]u8 = undefined;
    var product: f32 = 0;
    var square: f32 = 0;
    for (&codes, x) |*code, value| {
        code.* = nearest(value * inv);
        const level: f32 = levels[code.*];
        // No cube is too large for a float, and where one is too small the scale is 0 as an f16.
        const weight = value * value;
        product += weight * level * value;
        square += weight * level * level;
    }
    block.d = @floatCast(if (square > 0) product / square else 0);
    for (&block.qs, codes[0..16], codes[16..]) |*byte, low, high| byte.* = low | high << 4;
}

/// The index of the nearest level; of two the upper one.
fn nearest(x: f32) u8 {
    var index: u8 = 0;
    for (levels[0..15], levels[1..]) |below, above| {
        const middle = (@as(f32, below) + @as(f32, above)) / 2;
        index += @intFromBool(x >= middle);
    }
    return index;
}

test "values take the nearest level, and the scale is the best for them" {
    var in: [block_len]f32 = undefined;
    for (&in, 0..) |*x, i| x.* = 0.37 * @sin(@as(f32, @floatFromInt(i * i))) - 0.02;
    var block: Block = undefined;
    encodeBlock(&in, &block);
    const codes = nibbles(16, &block.qs);
    const scale = round.extreme(&in) / -127;
    for (in, codes) |x, code| for (levels) |level| {
        try std.testing.expect(@abs(x - scale * levels[code]) <= @abs(x - scale * level) + 1e-6);
    };
    const d: f32 = block.d;
    for ([_]f32{ 0.995, 1.005 }) |factor| {
        var chosen: f32 = 0;
        var other: f32 = 0;
        for (in, codes) |x, code| {
            const q: f32 = levels[code];
            chosen += x * x * (x - d * q) * (x - d * q);
            other += x * x * (x - d * factor * q) * (x - d * factor * q);
        }
        try std.testing.expect(chosen < other);
    }
}
