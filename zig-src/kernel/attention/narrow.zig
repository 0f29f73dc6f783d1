//! Codes of 4 and 5 bits in registers: of keys as bytes for integer products, of values as numbers.
//!
//! A *block* is sixteen positions of a unit of 32 values: four vectors of 64 bytes, whose low and high
//! nibbles are the low four bits of the codes, and for five bits a fifth vector. It has 32 bits a position:
//! in keys, a byte holds the fifth bits of the codes in that byte of the four vectors, bit v of the low
//! nibble of vector v, bit 4 + v of the high one; in values, bit i is that of value i. Which code is where
//! says `page.zig`.

const std = @import("std");
const builtin = @import("builtin");
const dot = @import("../dot.zig");
const table = @import("../table.zig");
const vector = @import("../vector.zig");

const KvFormat = table.KvFormat;
const Vf = vector.Vf;
const lanes = vector.lanes;
const Bytes = dot.Bytes;
/// Four codes a lane, the first in the lowest byte.
pub const Words = @Vector(lanes, u32);

/// Bytes of a vector of a block.
pub const line = 64;
/// Vectors of a block without the fifth bits.
pub const vectors = 4;
/// Positions that share a vector of values.
pub const quad = 4;

pub fn blockBytes(format: KvFormat) usize {
    return format.bits() * line;
}

/// Whether codes are indices into uneven levels.
fn hasLevels(comptime format: KvFormat) bool {
    return @hasDecl(format.Blocks().?, "levels");
}

/// What a code stands for, before its scale.
pub fn number(comptime format: KvFormat, code: u8) f32 {
    const Member = comptime format.Blocks().?;
    if (comptime hasLevels(format)) return Member.levels[code];
    return @floatFromInt(@as(i16, code) + Member.groups.q_min);
}

/// The same for the codes of a unit.
pub inline fn numbers(comptime format: KvFormat, codes: @Vector(32, u8)) @Vector(32, f32) {
    if (comptime !hasLevels(format)) {
        const shifted = @as(@Vector(32, i8), @bitCast(codes)) + @as(@Vector(32, i8), @splat(format.Blocks().?.groups.q_min));
        return @floatFromInt(shifted);
    }
    const levels: @Vector(16, u8) = @bitCast(format.Blocks().?.levels);
    const low = lookupSixteen(levels, std.simd.extract(codes, 0, 16));
    const high = lookupSixteen(levels, std.simd.extract(codes, 16, 16));
    return @floatFromInt(@as(@Vector(32, i8), @bitCast(std.simd.join(low, high))));
}

/// What `keys` adds to the numbers.
pub fn zero(comptime format: KvFormat) comptime_int {
    if (keyBits(format) == 8) return if (dot.wantsSigned(8)) 0 else 128;
    return -@as(comptime_int, format.Blocks().?.groups.q_min);
}

/// Bits of the bytes that `keys` returns.
pub fn keyBits(comptime format: KvFormat) u8 {
    return if (hasLevels(format)) format.Blocks().?.q_bits else @intCast(format.bits());
}

/// What a scale stands for, beside `number`.
pub fn scale(comptime format: KvFormat, at: [*]const u8) f32 {
    if (comptime format.scaleBytes() == 1) return format.Blocks().?.scaleOf(at[0]);
    return vector.load(.f16, 1, at)[0];
}

/// The same for `n` scales. Two that no encoder writes may differ: the NaN of either kind of 8 bits, and
/// a power of two below the range of f32, which becomes 0.
pub inline fn scales(comptime format: KvFormat, comptime n: usize, at: [*]const u8) @Vector(n, f32) {
    if (comptime format.scaleBytes() == 2) return vector.load(.f16, n, at);
    const codes = vector.read(u8, n, at);
    return switch (format.Blocks().?.scale_kind) {
        // Half of a power of two has an exponent that is less by one.
        .e8m0 => @bitCast(@as(@Vector(n, u32), codes -| @as(@Vector(n, u8), @splat(1))) << @splat(23)),
        // As an f16 the shifted bits are 2^8 too small, subnormals included.
        .e4m3 => vector.fromF16(n, @as(@Vector(n, u16), codes) << @splat(7)) * @as(@Vector(n, f32), @splat(0x1p7)),
    };
}

/// The numbers of a unit for the positions from `lane` on, four values a lane, each plus `zero`.
pub inline fn keys(comptime format: KvFormat, block: [*]const u8, lane: usize) [2 * vectors]Bytes {
    const from = block + lane * 4;
    var out: [2 * vectors]Bytes = undefined;
    inline for (0..vectors) |v| {
        const two = vector.read(u8, 4 * lanes, from + v * line);
        out[v] = two & @as(Bytes, @splat(15));
        out[v + vectors] = two >> @splat(4);
    }
    if (comptime format.bits() == 5) {
        const fifth = vector.read(u8, 4 * lanes, from + vectors * line);
        inline for (&out, 0..) |*to, j| {
            const bit: Bytes = @splat(16);
            to.* |= (if (j < 4) fifth << @splat(4 - j) else fifth >> @splat(j - 4)) & bit;
        }
    }
    if (comptime hasLevels(format)) inline for (&out) |*to| {
        to.* = lookup(Levels(format, zero(format)).all, to.*);
    };
    return out;
}

/// The levels plus `more`, sixteen bytes again and again.
fn Levels(comptime format: KvFormat, comptime more: u8) type {
    return struct {
        const all: Bytes = blk: {
            const levels = format.Blocks().?.levels;
            var out: [4 * lanes]u8 = undefined;
            for (&out, 0..) |*to, i| to.* = @as(u8, @bitCast(levels[i % 16])) +% more;
            break :blk out;
        };
    };
}

/// Whether a register holds sixteen numbers, which a lane picks from by its lowest bits.
pub const picks = builtin.cpu.arch == .x86_64 and lanes == 16;

/// The codes in vector `v` of a block, for the lanes from `lane` on: of the low halves and of the high
/// ones, as `value` takes them.
pub inline fn words(comptime format: KvFormat, block: [*]const u8, v: usize, lane: usize) [2]Words {
    const two = vector.read(u32, lanes, block + v * line + lane * 4);
    var out: [2]Words = .{ two, two >> @splat(4) };
    // What picks by four bits doesn't look at those above.
    if (comptime picks and format.bits() == 4) return out;
    for (&out) |*to| to.* &= @splat(0x0f0f0f0f);
    if (comptime format.bits() == 5) {
        const fifth = block + vectors * line + v * 4 * quad + lane / 8;
        inline for (&out, 0..) |*to, half| to.* |= @bitCast(fifths(fifth, lane, half));
    }
    if (picks) return out;
    for (&out) |*to| {
        const codes: Bytes = @bitCast(to.*);
        if (comptime hasLevels(format)) {
            to.* = @bitCast(lookup(Levels(format, 0).all, codes));
        } else to.* = @bitCast(codes -% @as(Bytes, @splat(zero(format))));
    }
    return out;
}

/// 16 for each code of one half that has its fifth bit. What is read behind the four positions is in the
/// page: scales follow.
inline fn fifths(at: [*]const u8, lane: usize, comptime half: usize) Bytes {
    const from: [4 * lanes]i32, const bits: [4 * lanes]u8 = comptime blk: {
        var from: [4 * lanes]i32 = undefined;
        var bits: [4 * lanes]u8 = undefined;
        for (&from, &bits, 0..) |*byte, *bit, i| {
            const l = i / quad;
            byte.* = i % quad * 4 + half * 2 + l / 8;
            bit.* = 1 << l % 8;
        }
        break :blk .{ from, bits };
    };
    var bit: Bytes = bits;
    // Columns of four values share a byte.
    if (lanes < 8) bit <<= @splat(@intCast(lane % 8));
    const spread = @shuffle(u8, vector.read(u8, 4 * quad, at), undefined, from);
    return @select(u8, spread & bit == bit, @as(Bytes, @splat(16)), @as(Bytes, @splat(0)));
}

/// The numbers of byte `k` of each lane.
pub inline fn value(comptime format: KvFormat, of: Words, comptime k: usize) Vf {
    if (picks) {
        const index = of >> @splat(8 * k);
        if (comptime format.bits() == 4) return pick(Numbers(format, 0).all, index);
        return @"llvm.x86.avx512.vpermi2var.ps.512"(Numbers(format, 0).all, index, Numbers(format, 16).all);
    }
    if (comptime format.hasMinimum()) return @floatFromInt(of >> @splat(8 * k) & @as(Words, @splat(255)));
    const signed: @Vector(lanes, i32) = @bitCast(of << @splat(24 - 8 * k));
    return @floatFromInt(signed >> @splat(24));
}

/// Of sixteen numbers those that the lowest four bits of indices name, where the processor `picks`.
pub inline fn pick(from: Vf, index: Words) Vf {
    return @"llvm.x86.avx512.permvar.sf.512"(from, index);
}

/// The numbers of sixteen codes, once a format.
fn Numbers(comptime format: KvFormat, comptime from: u8) type {
    return struct {
        const all: Vf = blk: {
            var out: [lanes]f32 = undefined;
            for (&out, 0..) |*to, i| to.* = number(format, from + i);
            break :blk out;
        };
    };
}

/// Of each sixteen bytes those that indices below sixteen name.
fn lookup(comptime each: Bytes, index: Bytes) Bytes {
    if (comptime builtin.cpu.arch == .x86_64 and builtin.cpu.has(.x86, .ssse3)) return switch (lanes) {
        16 => @"llvm.x86.avx512.pshuf.b.512"(each, index),
        8 => @"llvm.x86.avx2.pshuf.b"(each, index),
        else => @"llvm.x86.ssse3.pshuf.b.128"(each, index),
    };
    if (comptime builtin.cpu.arch == .aarch64 and lanes == 4) return @"llvm.aarch64.neon.tbl1.v16i8"(each, index);
    const indices: [4 * lanes]u8 = index;
    var out: [4 * lanes]u8 = undefined;
    for (&out, indices) |*to, i| to.* = each[i];
    return out;
}

fn lookupSixteen(each: @Vector(16, u8), index: @Vector(16, u8)) @Vector(16, u8) {
    if (comptime builtin.cpu.arch == .x86_64 and builtin.cpu.has(.x86, .ssse3)) return @"llvm.x86.ssse3.pshuf.b.128"(each, index);
    if (comptime builtin.cpu.arch == .aarch64) return @"llvm.aarch64.neon.tbl1.v16i8"(each, index);
    const bytes: [16]u8 = each;
    const indices: [16]u8 = index;
    var out: [16]u8 = undefined;
    for (&out, indices) |*to, i| to.* = bytes[i];
    return out;
}

/// As in `dot.zig`.
const direct: std.lang.CallingConvention = if (builtin.cpu.arch == .x86_64) .{ .x86_64_sysv = .{} } else .c;

extern fn @"llvm.x86.avx512.permvar.sf.512"(Vf, Words) callconv(direct) Vf;
extern fn @"llvm.x86.avx512.vpermi2var.ps.512"(Vf, Words, Vf) callconv(direct) Vf;
extern fn @"llvm.x86.avx512.pshuf.b.512"(Bytes, Bytes) callconv(direct) Bytes;
extern fn @"llvm.x86.avx2.pshuf.b"(Bytes, Bytes) callconv(direct) Bytes;
extern fn @"llvm.x86.ssse3.pshuf.b.128"(@Vector(16, u8), @Vector(16, u8)) callconv(direct) @Vector(16, u8);
extern fn @"llvm.aarch64.neon.tbl1.v16i8"(@Vector(16, u8), @Vector(16, u8)) @Vector(16, u8);
