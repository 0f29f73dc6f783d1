//! 8-bit floats after OCP's "8-bit Floating Point Specification" (2023): e4m3 with a largest value of
//! 448, one NaN and no infinity, and e5m2, which is the upper half of an f16. Reading is exact. Writing
//! rounds to nearest even and goes no further than the largest value; infinity stays one, or becomes NaN
//! where there is none.

const std = @import("std");
const denormals = @import("denormals.zig");
const vector = @import("vector.zig");

const splat = vector.splat;

pub const Kind = enum {
    e4m3,
    e5m2,

    fn fraction(kind: Kind) comptime_int {
        return if (kind == .e4m3) 3 else 2;
    }

    /// The exponent of the smallest normal value.
    fn lowest(kind: Kind) comptime_int {
        return if (kind == .e4m3) -6 else -14;
    }

    pub fn largest(kind: Kind) f32 {
        return if (kind == .e4m3) 448 else 57344;
    }

    /// What an infinite value becomes, without its sign.
    fn infinite(kind: Kind) u8 {
        return if (kind == .e4m3) 0x7f else 0x7c;
    }
};

/// Exact.
pub fn from(comptime kind: Kind, comptime n: usize, bits: @Vector(n, u8)) @Vector(n, f32) {
    return steps(kind, n, bits) * splat(@Vector(n, f32), step(kind));
}

/// What `steps` counts.
pub fn step(comptime kind: Kind) f32 {
    return if (kind == .e4m3) 0x1p8 else 1;
}

/// The value over `step`, which costs one product less.
pub inline fn steps(comptime kind: Kind, comptime n: usize, bits: @Vector(n, u8)) @Vector(n, f32) {
    const U = @Vector(n, u16);
    if (kind == .e5m2) return vector.fromF16(n, @as(U, bits) << @splat(8));
    // The sign goes to the top two bits, and what is behind it below the largest exponent of an f16, where
    // it is 2^8 too small, subnormals included. The second bit goes again, but for NaN: of all codes that
    // alone carries into it.
    const wide: U = @bitCast(@as(@Vector(n, i16), @as(@Vector(n, i8), @bitCast(bits))));
    const half = wide << @splat(7);
    return vector.fromF16(n, half ^ ((half +% splat(U, 0x80)) & splat(U, 0x4000)));
}

pub fn to(comptime kind: Kind, comptime n: usize, x: @Vector(n, f32)) @Vector(n, u8) {
    const U = @Vector(n, u32);
    const F = @Vector(n, f32);
    const fraction = comptime kind.fraction();
    const lowest = comptime kind.lowest();
    const size = @abs(x);
    const sign: U = @as(U, @bitCast(x)) >> @splat(24) & splat(U, 0x80);
    // A number so large that its last bit is the last that is kept: adding it rounds.
    const exponent = @max(@as(U, @bitCast(size)) >> @splat(23), splat(U, lowest + 127));
    const large: F = @bitCast((@min(exponent, splat(U, 200)) + splat(U, 23 - fraction)) << @splat(23));
    const most = splat(F, kind.largest());
    const rounded = @min((size + large) - large, most);
    const normal = (@as(U, @bitCast(rounded)) >> @splat(23 - fraction)) -% splat(U, (lowest + 126) << fraction);
    const whole = rounded * splat(F, std.math.ldexp(@as(f32, 1), fraction - lowest));
    const subnormal: U = @intFromFloat(@select(f32, whole < splat(F, 256), whole, splat(F, 0)));
    const finite = @select(u32, rounded >= splat(F, std.math.ldexp(@as(f32, 1), lowest)), normal, subnormal);
    const endless = @select(u32, size == splat(F, std.math.inf(f32)), splat(U, kind.infinite()), finite);
    return @truncate(sign | @select(u32, x == x, endless, splat(U, 0x7f)));
}

/// The value of a code, by the specification's own words.
fn valueOf(comptime kind: Kind, code: u8) f32 {
    const fraction = kind.fraction();
    const exponent: i32 = code >> fraction & if (kind == .e4m3) 15 else 31;
    const part: f32 = @floatFromInt(code & ((1 << fraction) - 1));
    const sign: f32 = if (code >= 128) -1 else 1;
    if (kind == .e4m3 and code & 0x7f == 0x7f) return std.math.nan(f32);
    if (kind == .e5m2 and exponent == 31) return if (part == 0) sign * std.math.inf(f32) else std.math.nan(f32);
    if (exponent == 0) return sign * std.math.ldexp(part, kind.lowest() - fraction);
    return sign * std.math.ldexp(part + (1 << fraction), exponent - 1 + kind.lowest() - fraction);
}

fn encoded(comptime kind: Kind, x: f32) u8 {
    return to(kind, 4, @splat(x))[0];
}

test "codes of 8-bit floats" {
    const mode = denormals.flush();
    defer denormals.restore(mode);
    inline for (.{ Kind.e4m3, Kind.e5m2 }) |kind| {
        for (0..256) |i| {
            const code: u8 = @intCast(i);
            const want = valueOf(kind, code);
            const got = from(kind, 4, @splat(code))[0];
            if (std.math.isNan(want)) {
                try std.testing.expect(std.math.isNan(got));
                try std.testing.expect(std.math.isNan(valueOf(kind, encoded(kind, want))));
            } else {
                try std.testing.expectEqual(@as(u32, @bitCast(want)), @as(u32, @bitCast(got)));
                const infinite = std.math.isInf(want);
                try std.testing.expectEqual(if (infinite) kind.infinite() | (code & 0x80) else code, encoded(kind, want));
            }
        }
    }
    try std.testing.expectEqual(448, valueOf(.e4m3, 0x7e));
    try std.testing.expectEqual(0x1p-9, valueOf(.e4m3, 1));
    try std.testing.expectEqual(57344, valueOf(.e5m2, 0x7b));
}

test "rounding to 8-bit floats" {
    inline for (.{ Kind.e4m3, Kind.e5m2 }) |kind| {
        // Between neighbours: below the middle down, above it up, in the middle to the even code.
        for (0..256) |i| {
            const code: u8 = @intCast(i);
            const low = valueOf(kind, code);
            const high = valueOf(kind, code +| 1);
            if (!std.math.isFinite(low) or !std.math.isFinite(high) or code == 127 or code == 255) continue;
            const middle = (low + high) / 2;
            try std.testing.expectEqual(code + code % 2, encoded(kind, middle));
            try std.testing.expectEqual(code, encoded(kind, std.math.nextAfter(f32, middle, low)));
            try std.testing.expectEqual(code + 1, encoded(kind, std.math.nextAfter(f32, middle, high)));
        }
        for ([_]f32{ kind.largest() * 1.01, kind.largest() * 2, 1e30, std.math.floatMax(f32) }) |x| {
            try std.testing.expectEqual(kind.largest(), valueOf(kind, encoded(kind, x)));
            try std.testing.expectEqual(-kind.largest(), valueOf(kind, encoded(kind, -x)));
        }
        try std.testing.expectEqual(0, encoded(kind, 1e-30));
        try std.testing.expectEqual(0x80, encoded(kind, -0.0));
    }
    try std.testing.expectEqual(0x7f, encoded(.e4m3, std.math.inf(f32)));
    try std.testing.expectEqual(0x7c, encoded(.e5m2, std.math.inf(f32)));
    try std.testing.expectEqual(0xfc, encoded(.e5m2, -std.math.inf(f32)));
}
