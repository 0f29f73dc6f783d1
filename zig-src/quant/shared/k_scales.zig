//! The 12 bytes in which Q4_K and Q5_K keep eight 6-bit scales and eight 6-bit minima.
//!
//! Scales 0 to 3 and minima 0 to 3 take the low six bits of bytes 0 to 3 and 4 to 7. The others
//! have their low four bits in the nibbles of bytes 8 to 11 (scale low, minimum high), and their
//! upper two bits on top of the first eight bytes.

const std = @import("std");
const sixteen = @import("sixteen.zig");

pub const Unpacked = struct {
    scales: [8]u6,
    mins: [8]u6,

    pub fn from(scales: *const [8]u8, mins: *const [8]u8) Unpacked {
        var out: Unpacked = undefined;
        for (&out.scales, &out.mins, scales, mins) |*to_scale, *to_min, s, m| {
            to_scale.* = @intCast(s);
            to_min.* = @intCast(m);
        }
        return out;
    }
};

pub fn unpack(bytes: *align(1) const [12]u8) Unpacked {
    var out: Unpacked = undefined;
    for (0..4) |i| {
        out.scales[i] = @truncate(bytes[i]);
        out.mins[i] = @truncate(bytes[4 + i]);
        out.scales[4 + i] = @intCast(bytes[8 + i] & 15 | bytes[i] >> 6 << 4);
        out.mins[4 + i] = @intCast(bytes[8 + i] >> 4 | bytes[4 + i] >> 6 << 4);
    }
    return out;
}

/// Scales and offsets of the eight groups of a block.
pub fn scaled(
    bytes: *align(1) const [12]u8,
    d: f32,
    dmin: f32,
    scale: *[8]f32,
    offset: *[8]f32,
) void {
    const from = unpack(bytes);
    for (from.scales, from.mins, scale, offset) |s, m, *to_scale, *to_offset| {
        to_scale.* = d * @as(f32, @floatFromInt(s));
        to_offset.* = -(dmin * @as(f32, @floatFromInt(m)));
    }
}

/// The integers of `scaled` in sixteen rows, where `offset` is that of the 12 bytes in a block.
pub inline fn codes(rows: sixteen.Rows, comptime offset: usize) sixteen.Codes(8, 8) {
    const splat = sixteen.splat;
    const a = rows.word(offset);
    const b = rows.word(offset + 4);
    const c = rows.word(offset + 8);
    const scales = .{ a & splat(0x3f3f3f3f), (c & splat(0x0f0f0f0f)) | (a >> splat(2) & splat(0x30303030)) };
    const mins = .{ b & splat(0x3f3f3f3f), (c >> splat(4) & splat(0x0f0f0f0f)) | (b >> splat(2) & splat(0x30303030)) };
    var out: sixteen.Codes(8, 8) = undefined;
    inline for (&out.scales, &out.offsets, 0..) |*scale, *negated, i| {
        scale.* = sixteen.byte(scales[i / 4], i % 4);
        negated.* = -%sixteen.byte(mins[i / 4], i % 4);
    }
    return out;
}

pub fn pack(in: Unpacked) [12]u8 {
    var bytes: [12]u8 = undefined;
    for (0..4) |i| {
        const scale: u8 = in.scales[4 + i];
        const min: u8 = in.mins[4 + i];
        bytes[i] = in.scales[i] | scale >> 4 << 6;
        bytes[4 + i] = in.mins[i] | min >> 4 << 6;
        bytes[8 + i] = scale & 15 | (min & 15) << 4;
    }
    return bytes;
}

test "pack is the inverse of unpack" {
    var random: std.Random.DefaultPrng = .init(1);
    for (0..100) |_| {
        var bytes: [12]u8 = undefined;
        random.fill(&bytes);
        try std.testing.expectEqual(bytes, pack(unpack(&bytes)));
    }
}
