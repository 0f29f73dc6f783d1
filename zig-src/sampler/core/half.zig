//! Rows of logits in 16 bits, rounded to the nearest, of two the even one, as IEEE 754 says. In vectors of
//! whole numbers, where this is compiled for processors without an instruction for it.

const std = @import("std");
const builtin = @import("builtin");

const lanes = 16;
const has_instruction = !builtin.cpu.arch.isX86() or builtin.cpu.has(.x86, .f16c);
const F = @Vector(lanes, f32);
const U = @Vector(lanes, u32);

/// Values beyond the largest of 16 bits become that; -inf stays. Places behind the values become 0.
pub fn round(values: []const f32, out: []align(1) u16) void {
    std.debug.assert(out.len >= values.len);
    var i: usize = 0;
    while (i < values.len) : (i += lanes) {
        var x: [lanes]f32 = @splat(0);
        const len = @min(lanes, values.len - i);
        @memcpy(x[0..len], values[i..][0..len]);
        const bits: [lanes]u16 = roundLanes(x);
        for (out[i..][0..len], bits[0..len]) |*to, h| to.* = h;
    }
    for (out[values.len..]) |*to| to.* = 0;
}

pub fn widen(bits: []align(1) const u16, out: []f32) void {
    std.debug.assert(out.len == bits.len);
    var i: usize = 0;
    while (i < bits.len) : (i += lanes) {
        var h: [lanes]u16 = @splat(0);
        const len = @min(lanes, bits.len - i);
        for (h[0..len], bits[i..][0..len]) |*to, from| to.* = from;
        const x: [lanes]f32 = widenLanes(h);
        @memcpy(out[i..][0..len], x[0..len]);
    }
}

inline fn splat(value: u32) U {
    return @splat(value);
}

inline fn roundLanes(x: F) @Vector(lanes, u16) {
    const bits: U = @bitCast(x);
    const sign = (bits & splat(0x8000_0000)) >> @splat(16);
    const is_infinite = bits & splat(0x7fff_ffff) >= splat(0x7f80_0000);
    const size: F = @min(@abs(x), @as(F, @splat(65504)));
    const mag: U = @bitCast(size);
    // Half of the last bit that goes, less one where the last that stays is even; 112 is the difference
    // of the exponents' zeros.
    const normal = (mag +% splat(0xfff) +% (mag >> @splat(13) & splat(1)) -% splat(112 << 23)) >> @splat(13);
    // The last bit of a float from a half to one is the least number of 16 bits.
    const small = @as(U, @bitCast(size + @as(F, @splat(0.5)))) -% splat(0x3f00_0000);
    const finite = @select(u32, mag < splat(0x3880_0000), small, normal);
    return @truncate(sign | @select(u32, is_infinite, splat(0x7c00), finite));
}

pub inline fn widenLanes(h: @Vector(lanes, u16)) F {
    if (has_instruction) return @floatCast(@as(@Vector(lanes, f16), @bitCast(h)));
    const bits: U = h;
    const mag = bits & splat(0x7fff);
    const normal: U = (mag << @splat(13)) + splat(112 << 23);
    const small: U = @bitCast(@as(F, @floatFromInt(mag)) * @as(F, @splat(0x1p-24)));
    const finite = @select(u32, mag < splat(0x400), small, normal);
    const infinite = @select(u32, mag > splat(0x7c00), splat(0x7fc0_0000), splat(0x7f80_0000));
    const size = @select(u32, mag >= splat(0x7c00), infinite, finite);
    return @bitCast(size | (bits & splat(0x8000)) << @splat(16));
}

test "all numbers of 16 bits, and those between them" {
    var wide: [1]f32 = undefined;
    var narrow: [1]u16 = undefined;
    for (0..0x10000) |number| {
        const bits: u16 = @intCast(number);
        const exact: f16 = @bitCast(bits);
        widen(&.{bits}, &wide);
        if (std.math.isNan(exact)) try std.testing.expect(std.math.isNan(wide[0]));
        if (exact == std.math.inf(f16)) try std.testing.expectEqual(std.math.inf(f32), wide[0]);
        if (std.math.isNan(exact) or exact == std.math.inf(f16)) continue;
        try std.testing.expectEqual(@as(u32, @bitCast(@as(f32, exact))), @as(u32, @bitCast(wide[0])));
        if (exact == -std.math.inf(f16)) {
            round(&wide, &narrow);
            try std.testing.expectEqual(bits, narrow[0]);
            continue;
        }
        const next = std.math.nextAfter(f16, exact, std.math.copysign(std.math.inf(f16), exact));
        if (std.math.isInf(next)) continue;
        const middle = (wide[0] + @as(f32, next)) / 2;
        for ([_]f32{ wide[0], middle, std.math.nextAfter(f32, middle, 0), std.math.nextAfter(f32, middle, 2 * middle) }) |x| {
            round(&.{x}, &narrow);
            try std.testing.expectEqual(@as(u16, @bitCast(@as(f16, @floatCast(x)))), narrow[0]);
        }
    }
}

test "what is too large becomes the largest, and rows of any length" {
    var out: [40]u16 = undefined;
    var values: [35]f32 = @splat(1);
    values[0..5].* = .{ 65519, 70_000, 1e30, -65520, -1e38 };
    round(&values, &out);
    for (out[0..5], [_]u16{ 0x7bff, 0x7bff, 0x7bff, 0xfbff, 0xfbff }) |found, expected| try std.testing.expectEqual(expected, found);
    for (out[5..values.len]) |found| try std.testing.expectEqual(0x3c00, found);
    for (out[values.len..]) |found| try std.testing.expectEqual(0, found);
}
