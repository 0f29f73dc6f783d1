//! The integer product that everything else is built on: unsigned bytes of weights times signed
//! bytes of activations, four at a time into the 32-bit lane of their row. It is exact in every
//! form, so that the form may differ between CPU variants without a bound on the difference.
//!
//!     VNNI, i8mm   one instruction
//!     dotprod      signed times signed: 8-bit weights enter as q, without their zero point
//!     AVX2, AVX-512 without VNNI   `pmaddubsw` adds pairs in 16 bits, which must not overflow:
//!                  127 * 2 * u fits 8, 4 and 2 times for weights of 4, 5 and 6 bits. 8-bit
//!                  weights enter as q: |q| times the activation with q's sign fits once, where
//!                  the processor has `psignb` (for many tokens `pxor`, which more ports have, see
//!                  `Signs`); AVX-512 has not and multiplies two halves of 4 bits
//!     otherwise    plain vector arithmetic

const std = @import("std");
const builtin = @import("builtin");
const lanes = @import("vector.zig").lanes;

pub const Ints = @Vector(lanes, i32);
pub const Bytes = @Vector(4 * lanes, u8);
pub const Signed = @Vector(4 * lanes, i8);
pub const Words = @Vector(2 * lanes, i16);

const Form = enum { one, signed, pairs, plain };

const form: Form = switch (builtin.cpu.arch) {
    .x86_64 => if (builtin.cpu.has(.x86, if (lanes == 16) .avx512vnni else .avxvnni))
        .one
    else if (builtin.cpu.has(.x86, .ssse3)) .pairs else .plain,
    .aarch64 => if (builtin.cpu.has(.aarch64, .i8mm))
        .one
    else if (builtin.cpu.has(.aarch64, .dotprod)) .signed else .plain,
    else => .plain,
};

/// Whether a quad is one instruction, whose weights are unsigned.
pub const in_one = form == .one;

/// Whether signs of weights go over to the activations.
const moves_signs = form == .pairs and lanes < 16;

/// Whether weights of so many bits are to be given as signed bytes, q instead of u.
pub fn wantsSigned(comptime bits: u8) bool {
    return bits == 8 and (form == .signed or moves_signs);
}

/// The zero point that activations hold ready for each half of a unit: that of 6 bits, which cannot
/// get another one, or the one that `zeroOfMany` gives.
pub const zero_of_half = if (form == .pairs) 32 else 128;

/// The zero point to give weights that are unpacked for many tokens: the one whose start activations
/// hold ready, or none, where the form's range allows it.
pub fn zeroOfMany(comptime zero: u8) u8 {
    return switch (form) {
        .one, .plain => if (zero == 0) 0 else 128,
        .signed => 0,
        // Sums of 16 bits have room for the stored range only.
        .pairs => if (moves_signs and zero == 128) 0 else zero,
    };
}

/// How signs of weights reach the activations. By `psignb`, or, for weights that many tokens share, by a mask
/// of the negative ones: -a is ~a + 1, and what the ones come to is the same for all tokens, which begin with
/// it (`startOf`).
pub const Signs = enum { value, mask };

/// The signs of weights that are unpacked for many tokens.
pub fn signsOfMany(comptime bits: u8) Signs {
    return if (moves_signs and bits == 8) .mask else .value;
}

/// Vectors that a quad takes when it is split for `group`.
pub fn splits(comptime bits: u8) usize {
    return if (form == .pairs and bits == 8) 2 else 1;
}

/// The weights as `group` takes them.
pub fn split(comptime bits: u8, comptime signs: Signs, w: anytype) [w.len * splits(bits)]Bytes {
    if (comptime splits(bits) == 1) return w;
    var out: [2 * w.len]Bytes = undefined;
    inline for (w, 0..) |of, j| {
        const q: Signed = @bitCast(of);
        out[2 * j] = if (moves_signs) @abs(q) else of & @as(Bytes, @splat(15));
        out[2 * j + 1] = if (signs == .mask) @bitCast(q >> @splat(7)) else if (moves_signs) of else of >> @splat(4);
    }
    return out;
}

/// start + what the products of weights that are split with masks lack: the sum of |q| over negative q.
pub fn startOf(w: []const Bytes, start: Ints) Ints {
    var sum = start;
    for (0..w.len / 2) |j| sum +%= madd(maddubs(w[2 * j] & w[2 * j + 1], @splat(1)));
    return sum;
}

/// start + sum over quads of w * a for several tokens, for weights of at most `bits` bits. Tokens take
/// turns, so that none waits for its last sum.
pub fn group(
    comptime bits: u8,
    comptime signs: Signs,
    comptime n: usize,
    comptime tokens: usize,
    w: *const [n * splits(bits)]Bytes,
    a: [tokens]*const [n]i32,
    start: [tokens]Ints,
) [tokens]Ints {
    var sums = start;
    switch (form) {
        .one, .signed, .plain => inline for (0..n) |j| {
            inline for (&sums, a) |*sum, of| sum.* = quad(sum.*, w[j], of[j]);
        },
        .pairs => if (moves_signs and bits == 8) {
            inline for (0..n) |j| inline for (&sums, a) |*sum, of| {
                sum.* = signedQuad(signs, sum.*, w[2 * j], w[2 * j + 1], broadcast(of[j]));
            };
        } else inline for (&sums, a) |*sum, of| {
            if (bits == 8) {
                const upper = pairs(4, n, 2, w[1..], of, @splat(0));
                sum.* = pairs(4, n, 2, w, of, sum.*) +% (upper << @splat(4));
            } else sum.* = pairs(bits, n, 1, w, of, sum.*);
        },
    }
    return sums;
}

/// sum + q * a, where `magnitude` is |q| and `sign` q itself or its mask (less |q| then where q is negative).
inline fn signedQuad(comptime signs: Signs, sum: Ints, magnitude: Bytes, sign: Bytes, a: Signed) Ints {
    if (lanes != 8) {
        const turned = if (signs == .mask) a ^ @as(Signed, @bitCast(sign)) else psign(a, @bitCast(sign));
        return sum +% madd(maddubs(magnitude, turned));
    }
    // Written out, because the compiler would add up the quads of a token in another order, for which it
    // hasn't the registers.
    const turn = if (signs == .mask) "vpxor" else "vpsignb";
    var out = sum;
    var t = a;
    asm (turn ++
            \\ %[sign], %[t], %[t]
            \\vpmaddubsw %[t], %[magnitude], %[t]
            \\vpmaddwd %[ones], %[t], %[t]
            \\vpaddd %[t], %[out], %[out]
        : [out] "+x" (out),
          [t] "+x" (t),
        : [sign] "x" (sign),
          [magnitude] "x" (magnitude),
          [ones] "x" (@as(Words, @splat(1))),
    );
    return out;
}

fn pairs(comptime bits: u8, comptime n: usize, comptime step: usize, w: [*]const Bytes, a: *const [n]i32, start: Ints) Ints {
    const most = switch (bits) {
        4 => 8,
        5 => 4,
        6 => 2,
        else => @compileError("expected 4, 5 or 6 bits"),
    };
    var sum = start;
    comptime var from = 0;
    inline while (from < n) : (from += most) {
        var words = maddubs(w[from * step], broadcast(a[from]));
        inline for (from + 1..@min(n, from + most)) |j| words +%= maddubs(w[j * step], broadcast(a[j]));
        sum +%= madd(words);
    }
    return sum;
}

/// sum + w * a, quad by quad, without the care for overflow that `group` takes: what the variant
/// can do at most, for `limits.zig`.
pub fn quads(sum: Ints, w: Bytes, a: Signed) Ints {
    return switch (form) {
        .one => if (builtin.cpu.arch == .x86_64) vpdpbusd(sum, w, a) else @"llvm.aarch64.neon.usdot.v4i32.v16i8"(sum, w, a),
        .signed => @"llvm.aarch64.neon.sdot.v4i32.v16i8"(sum, @bitCast(w), a),
        .plain => plain(sum, w, a),
        .pairs => sum +% madd(maddubs(w, a)),
    };
}

/// sum + both products of each lane. Exact while the sum fits.
pub fn wordPairs(sum: Ints, a: Words, b: Words) Ints {
    return if (form == .one) vpdpwssd(sum, a, b) else sum +% maddWords(a, b);
}

/// The sums of both halves of 32 bytes.
pub fn halves(q: @Vector(32, i8)) [2]i32 {
    if (comptime builtin.cpu.arch == .x86_64 and builtin.cpu.has(.x86, .avx2)) {
        // Bytes without a sign are added up by eight; as such each is 128 more.
        const shifted = @as(@Vector(32, u8), @bitCast(q)) ^ @as(@Vector(32, u8), @splat(0x80));
        const eights = @as(@Vector(4, i64), @"llvm.x86.avx2.psad.bw"(shifted, @splat(0)));
        return .{ @as(i32, @intCast(eights[0] + eights[1])) - 16 * 128, @as(i32, @intCast(eights[2] + eights[3])) - 16 * 128 };
    }
    const words: [32]i32 = @as(@Vector(32, i32), q);
    return .{ @reduce(.Add, @as(@Vector(16, i32), words[0..16].*)), @reduce(.Add, @as(@Vector(16, i32), words[16..].*)) };
}

pub fn broadcast(a: i32) Signed {
    return @bitCast(@as(Ints, @splat(a)));
}

fn quad(sum: Ints, w: Bytes, a: i32) Ints {
    return switch (form) {
        .one, .signed, .plain => quads(sum, w, broadcast(a)),
        .pairs => unreachable,
    };
}

/// Products fit 16 bits (255 * 128 < 2^15); neighbours are added by shifting them over each other.
fn plain(sum: Ints, w: Bytes, a: Signed) Ints {
    const product: @Vector(4 * lanes, i16) = @as(@Vector(4 * lanes, i16), w) *% @as(@Vector(4 * lanes, i16), a);
    const two: @Vector(2 * lanes, i32) = @bitCast(product);
    const pair = (two << @splat(16) >> @splat(16)) +% (two >> @splat(16));
    const four: @Vector(lanes, i64) = @bitCast(pair);
    return sum +% @as(Ints, @truncate(four)) +% @as(Ints, @truncate(four >> @splat(32)));
}

const vpdpbusd = switch (lanes) {
    16 => @"llvm.x86.avx512.vpdpbusd.512",
    8 => @"llvm.x86.avx512.vpdpbusd.256",
    else => @"llvm.x86.avx512.vpdpbusd.128",
};

const maddubs = switch (lanes) {
    16 => @"llvm.x86.avx512.pmaddubs.w.512",
    8 => @"llvm.x86.avx2.pmadd.ub.sw",
    else => @"llvm.x86.ssse3.pmadd.ub.sw.128",
};

const psign = if (lanes == 8) @"llvm.x86.avx2.psign.b" else @"llvm.x86.ssse3.psign.b.128";

fn madd(words: Words) Ints {
    return maddWords(words, @splat(1));
}

const maddWords = switch (lanes) {
    16 => @"llvm.x86.avx512.pmaddw.d.512",
    8 => @"llvm.x86.avx2.pmadd.wd",
    else => @"llvm.x86.sse2.pmadd.wd",
};

const vpdpwssd = switch (lanes) {
    16 => @"llvm.x86.avx512.vpdpwssd.512",
    8 => @"llvm.x86.avx512.vpdpwssd.256",
    else => @"llvm.x86.avx512.vpdpwssd.128",
};

/// LLVM's intrinsics take and return vectors in registers. Zig declares them like C functions, and
/// the C convention of Windows would pass pointers to the vectors instead.
const direct: std.lang.CallingConvention = if (builtin.cpu.arch == .x86_64) .{ .x86_64_sysv = .{} } else .c;

extern fn @"llvm.x86.avx512.vpdpbusd.512"(Ints, Bytes, Signed) callconv(direct) Ints;
extern fn @"llvm.x86.avx512.vpdpbusd.256"(Ints, Bytes, Signed) callconv(direct) Ints;
extern fn @"llvm.x86.avx512.vpdpbusd.128"(Ints, Bytes, Signed) callconv(direct) Ints;
extern fn @"llvm.x86.avx512.vpdpwssd.512"(Ints, Words, Words) callconv(direct) Ints;
extern fn @"llvm.x86.avx512.vpdpwssd.256"(Ints, Words, Words) callconv(direct) Ints;
extern fn @"llvm.x86.avx512.vpdpwssd.128"(Ints, Words, Words) callconv(direct) Ints;
extern fn @"llvm.x86.avx512.pmaddubs.w.512"(Bytes, Signed) callconv(direct) Words;
extern fn @"llvm.x86.avx2.pmadd.ub.sw"(Bytes, Signed) callconv(direct) Words;
extern fn @"llvm.x86.ssse3.pmadd.ub.sw.128"(Bytes, Signed) callconv(direct) Words;
extern fn @"llvm.x86.avx2.psad.bw"(@Vector(32, u8), @Vector(32, u8)) callconv(direct) @Vector(4, i64);
extern fn @"llvm.x86.avx2.psign.b"(Signed, Signed) callconv(direct) Signed;
extern fn @"llvm.x86.ssse3.psign.b.128"(Signed, Signed) callconv(direct) Signed;
extern fn @"llvm.x86.avx512.pmaddw.d.512"(Words, Words) callconv(direct) Ints;
extern fn @"llvm.x86.avx2.pmadd.wd"(Words, Words) callconv(direct) Ints;
extern fn @"llvm.x86.sse2.pmadd.wd"(Words, Words) callconv(direct) Ints;
extern fn @"llvm.aarch64.neon.usdot.v4i32.v16i8"(Ints, Bytes, Signed) Ints;
extern fn @"llvm.aarch64.neon.sdot.v4i32.v16i8"(Ints, Signed, Signed) Ints;

test "extremes are exact for every width" {
    inline for (.{ 4, 5, 6, 8 }) |bits| {
        const top: u8 = (1 << bits) - 1;
        for ([_]i8{ -127, 127, 1 }) |value| for ([_]u8{ 0, top }) |u| {
            const a: [8]i32 = @splat(@bitCast(@as([4]i8, @splat(value))));
            const stored: u8 = if (wantsSigned(bits)) u ^ 0x80 else u;
            const q: i32 = if (wantsSigned(bits)) @as(i8, @bitCast(stored)) else u;
            inline for (.{ .value, comptime signsOfMany(bits) }) |signs| {
                const w = split(bits, signs, @as([8]Bytes, @splat(@splat(stored))));
                const begin: Ints = if (signs == .mask) startOf(&w, @splat(3)) else @splat(3);
                const sums = group(bits, signs, 8, 3, &w, @splat(&a), @splat(begin));
                for (sums) |sum| try std.testing.expectEqual(@as([lanes]i32, @splat(3 + 32 * q * value)), @as([lanes]i32, sum));
            }
        };
    }
}

test "halves of bytes add up" {
    var q: [32]i8 = @splat(-128);
    try std.testing.expectEqual([2]i32{ -2048, -2048 }, halves(q));
    q = @splat(127);
    for (q[16..], 0..) |*value, i| value.* = @intCast(i);
    try std.testing.expectEqual([2]i32{ 127 * 16, 120 }, halves(q));
}
