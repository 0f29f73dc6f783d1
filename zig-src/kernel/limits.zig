//! Loops that do nothing but reach a limit of the machine: reading memory, and the arithmetic that
//! products with weights are made of. What a kernel reaches is judged by them, so they are compiled
//! for the same CPU variant as the kernels, from the same sources. `engine/limits.zig` runs them on
//! all threads and keeps the time.
//!
//! Arithmetic runs in registers, in as many independent sums as cover the latency of the
//! instruction. A multiplication and an addition count as two operations.

const std = @import("std");
const builtin = @import("builtin");
const amx = @import("amx.zig");
const dot = @import("dot.zig");
const vector = @import("vector.zig");

const lanes = vector.lanes;
const is_x86 = builtin.cpu.arch == .x86_64;

/// What is measured; the numbers cross the table.
pub const Kind = enum(u32) {
    /// One stream of reads through the memory. Amounts are bytes.
    read_one = 0,
    /// Four streams, each through a quarter of the memory.
    read_four = 1,
    /// Four streams that also ask for the lines `ahead` bytes further on.
    read_ahead = 5,
    /// The product of bytes that this variant has: that of tiles, `vpdpbusd` and its like, else
    /// `pmaddubsw`, `pmaddwd` and an addition.
    int8 = 2,
    /// Fused multiply-add of f32.
    f32 = 3,
    /// Dot products of bf16 pairs; 0 where the variant has none.
    bf16 = 4,
};

/// Bytes that one turn of the reading loop takes from each stream: two cache lines.
const step = 128;

/// Asking for lines further on than any buffer of the core reaches back is harmless, also past the
/// end of the memory: a prefetch of an address that isn't mapped does nothing.
const ahead = 2048;

/// Reads `length` bytes at `memory` once (`memory` is not used by the arithmetic, whose loop turns
/// `length` times). Returns bytes read, or operations done.
pub fn run(kind: Kind, memory: [*]const u8, length: usize) f64 {
    return switch (kind) {
        .read_one => read(1, false, memory, length),
        .read_four => read(4, false, memory, length),
        .read_ahead => read(4, true, memory, length),
        .int8 => if (amx.has) amx.peak(length) else int8(length),
        .f32 => fma(length),
        .bf16 => bf16(length),
    };
}

fn read(comptime streams: usize, comptime prefetch: bool, memory: [*]const u8, length: usize) f64 {
    const width = 4 * lanes;
    const each = length / streams / step * step;
    // Two sums a stream: an addition a load, and none waits for the one before.
    var sums: [streams][2]dot.Ints = @splat(@splat(@splat(0)));
    var at: usize = 0;
    while (at < each) : (at += step) {
        inline for (0..streams) |s| {
            const from = memory + s * each + at;
            if (prefetch) {
                @prefetch(from + ahead, .{});
                @prefetch(from + ahead + step / 2, .{});
            }
            inline for (0..step / width) |i| sums[s][i % 2] +%= vector.read(i32, lanes, from + i * width);
        }
    }
    inline for (&sums) |pair| inline for (pair) |sum| keep(sum);
    return @floatFromInt(each * streams);
}

const sums_count = 12;

fn int8(turns: usize) f64 {
    var sums: [sums_count]dot.Ints = @splat(@splat(0));
    var w: dot.Bytes = @splat(3);
    var a: dot.Bytes = @splat(5);
    w = opaqueValue(w);
    a = opaqueValue(a);
    for (0..turns) |_| {
        inline for (&sums) |*sum| {
            sum.* = dot.quads(sum.*, w, @bitCast(a));
            // Without this the products, which never change, would be made once.
            w = opaqueValue(w);
        }
    }
    inline for (sums) |sum| keep(sum);
    return @floatFromInt(turns * sums_count * 4 * lanes * 2);
}

fn fma(turns: usize) f64 {
    var sums: [sums_count]vector.Vf = @splat(@splat(0));
    const x = opaqueValue(@as(vector.Vf, @splat(1.0000001)));
    const y = opaqueValue(@as(vector.Vf, @splat(0.9999999)));
    for (0..turns) |_| {
        inline for (&sums) |*sum| sum.* = vector.fma(x, y, sum.*);
    }
    inline for (sums) |sum| keep(sum);
    return @floatFromInt(turns * sums_count * lanes * 2);
}

const has_bf16 = if (is_x86) builtin.cpu.has(.x86, .avx512bf16) else builtin.cpu.arch == .aarch64 and builtin.cpu.has(.aarch64, .bf16);

fn bf16(turns: usize) f64 {
    if (!has_bf16) return 0;
    var sums: [sums_count]vector.Vf = @splat(@splat(0));
    // 1.0 in each half of a lane.
    const x = opaqueValue(@as(dot.Ints, @splat(0x3f803f80)));
    for (0..turns) |_| {
        inline for (&sums) |*sum| sum.* = bf16Pair(sum.*, x, x);
    }
    inline for (sums) |sum| keep(sum);
    return @floatFromInt(turns * sums_count * lanes * 4);
}

fn bf16Pair(sum: vector.Vf, a: dot.Ints, b: dot.Ints) vector.Vf {
    var out = sum;
    if (is_x86) {
        asm ("vdpbf16ps %[b], %[a], %[out]"
            : [out] "+v" (out),
            : [a] "v" (a),
              [b] "v" (b),
        );
    } else {
        asm ("bfdot %[out].4s, %[a].8h, %[b].8h"
            : [out] "+w" (out),
            : [a] "w" (a),
              [b] "w" (b),
        );
    }
    return out;
}

/// A value that the compiler knows nothing about, and leaves in its register.
fn opaqueValue(value: anytype) @TypeOf(value) {
    var out = value;
    if (is_x86) {
        asm volatile (""
            : [out] "+v" (out),
        );
    } else {
        asm volatile (""
            : [out] "+w" (out),
        );
    }
    return out;
}

/// The compiler must compute the value.
fn keep(value: anytype) void {
    _ = opaqueValue(value);
}

test "each loop says what it did" {
    var memory: [4096]u8 align(64) = @splat(1);
    for ([_]Kind{ .read_one, .read_four, .read_ahead }) |kind| try std.testing.expectEqual(4096, run(kind, &memory, memory.len));
    try std.testing.expectEqual(100 * sums_count * 4 * lanes * 2, run(.int8, &memory, 100));
    try std.testing.expectEqual(100 * sums_count * lanes * 2, run(.f32, &memory, 100));
    const pairs = run(.bf16, &memory, 100);
    try std.testing.expect(pairs == 0 or pairs == 100 * sums_count * lanes * 4);
}
