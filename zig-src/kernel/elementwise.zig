//! Norms, rotation, activations and the small operations on one row of f32 values.

const std = @import("std");
const table = @import("table.zig");
const vector = @import("vector.zig");

const Vf = vector.Vf;
const lanes = vector.lanes;

/// Reads n values, fewer than a vector, with zeros after them.
fn tail(x: [*]const f32, n: usize) Vf {
    var values: [lanes]f32 = @splat(0);
    @memcpy(values[0..n], x[0..n]);
    return values;
}

fn putTail(out: [*]f32, n: usize, value: Vf) void {
    const values: [lanes]f32 = value;
    @memcpy(out[0..n], values[0..n]);
}

/// The sum of f(x), lane by lane in two chains, then across.
fn reduce(x: [*]const f32, n: usize, shift: f32, comptime square: bool) f32 {
    var sums: [2]Vf = @splat(@splat(0));
    const by: Vf = @splat(shift);
    var i: usize = 0;
    while (i + 2 * lanes <= n) : (i += 2 * lanes) {
        inline for (&sums, 0..) |*sum, j| {
            const v = @as(Vf, x[i + j * lanes ..][0..lanes].*) - by;
            sum.* = if (square) vector.fma(v, v, sum.*) else sum.* + v;
        }
    }
    var total = @reduce(.Add, sums[0] + sums[1]);
    while (i < n) : (i += 1) total += if (square) (x[i] - shift) * (x[i] - shift) else x[i] - shift;
    return total;
}

pub fn rmsNorm(x: [*]const f32, weight: ?[*]const f32, n: usize, eps: f32, out: [*]f32) void {
    const mean = reduce(x, n, 0, true) / @as(f32, @floatFromInt(n));
    normalise(x, weight, null, n, 0, 1 / @sqrt(mean + eps), out);
}

pub fn layerNorm(x: [*]const f32, weight: ?[*]const f32, bias: ?[*]const f32, n: usize, eps: f32, out: [*]f32) void {
    const count: f32 = @floatFromInt(n);
    const mean = reduce(x, n, 0, false) / count;
    const variance = reduce(x, n, mean, true) / count;
    normalise(x, weight, bias, n, mean, 1 / @sqrt(variance + eps), out);
}

fn normalise(x: [*]const f32, weight: ?[*]const f32, bias: ?[*]const f32, n: usize, mean: f32, factor: f32, out: [*]f32) void {
    var i: usize = 0;
    while (i < n) : (i += lanes) {
        const left = @min(lanes, n - i);
        var v = (take(x + i, left) - @as(Vf, @splat(mean))) * @as(Vf, @splat(factor));
        if (weight) |w| v *= take(w + i, left);
        if (bias) |b| v += take(b + i, left);
        put(out + i, left, v);
    }
}

fn take(x: [*]const f32, n: usize) Vf {
    return if (n == lanes) x[0..lanes].* else tail(x, n);
}

fn put(out: [*]f32, n: usize, value: Vf) void {
    if (n == lanes) out[0..lanes].* = value else putTail(out, n, value);
}

pub fn rope(x: [*]f32, n_heads: usize, head_dim: usize, rot_dim: usize, style: table.RopeStyle, cos_sin: [*]const f32) void {
    for (0..n_heads) |head| switch (style) {
        .norm => ropeNeighbours(x + head * head_dim, rot_dim, cos_sin),
        .neox => ropeHalves(x + head * head_dim, rot_dim / 2, cos_sin),
    };
}

/// Rotates pairs of values that stand side by side.
fn ropeNeighbours(row: [*]f32, rot_dim: usize, cos_sin: [*]const f32) void {
    var i: usize = 0;
    while (lanes > 1 and i + lanes <= rot_dim) : (i += lanes) {
        const v: Vf = row[i..][0..lanes].*;
        const angles: Vf = cos_sin[i..][0..lanes].*;
        const even = comptime std.simd.iota(i32, lanes) & @as(@Vector(lanes, i32), @splat(~@as(i32, 1)));
        const odd = comptime std.simd.iota(i32, lanes) | @as(@Vector(lanes, i32), @splat(1));
        const other = comptime std.simd.iota(i32, lanes) ^ @as(@Vector(lanes, i32), @splat(1));
        const sign = comptime std.simd.repeat(lanes, [_]f32{ -1, 1 });
        const cos = @shuffle(f32, angles, undefined, even);
        const sin = @shuffle(f32, angles, undefined, odd) * sign;
        row[i..][0..lanes].* = v * cos + @shuffle(f32, v, undefined, other) * sin;
    }
    while (i < rot_dim) : (i += 2) rotate(&row[i], &row[i + 1], cos_sin + i);
}

/// Rotates pairs of which one value is in the first half and one in the second.
fn ropeHalves(row: [*]f32, half: usize, cos_sin: [*]const f32) void {
    var i: usize = 0;
    while (i + lanes <= half) : (i += lanes) {
        const a: Vf = row[i..][0..lanes].*;
        const b: Vf = row[half + i ..][0..lanes].*;
        const pairs = std.simd.deinterlace(2, @as(@Vector(2 * lanes, f32), cos_sin[2 * i ..][0 .. 2 * lanes].*));
        row[i..][0..lanes].* = a * pairs[0] - b * pairs[1];
        row[half + i ..][0..lanes].* = a * pairs[1] + b * pairs[0];
    }
    while (i < half) : (i += 1) rotate(&row[i], &row[half + i], cos_sin + 2 * i);
}

fn rotate(a: *f32, b: *f32, cos_sin: [*]const f32) void {
    const x = a.*;
    const y = b.*;
    a.* = x * cos_sin[0] - y * cos_sin[1];
    b.* = x * cos_sin[1] + y * cos_sin[0];
}

pub const Activation = enum { silu, gelu };

pub fn gate(comptime kind: Activation, gates: [*]const f32, up: [*]const f32, n: usize, out: [*]f32) void {
    var i: usize = 0;
    while (i < n) : (i += lanes) {
        const left = @min(lanes, n - i);
        const x = take(gates + i, left);
        const one: Vf = @splat(1);
        const value = switch (kind) {
            .silu => x / (one + vector.exp(-x)),
            .gelu => value: {
                // sqrt(2 / pi) * (x + 0.044715 x³)
                const inner = x * @as(Vf, @splat(0.7978845608028654)) * (one + x * x * @as(Vf, @splat(0.044715)));
                break :value @as(Vf, @splat(0.5)) * x * (one + vector.tanh(inner));
            },
        };
        put(out + i, left, value * take(up + i, left));
    }
}

pub fn add(a: [*]f32, b: [*]const f32, n: usize) void {
    var i: usize = 0;
    while (i < n) : (i += lanes) {
        const left = @min(lanes, n - i);
        put(a + i, left, take(a + i, left) + take(b + i, left));
    }
}

pub fn scale(x: [*]f32, n: usize, factor: f32) void {
    var i: usize = 0;
    while (i < n) : (i += lanes) {
        const left = @min(lanes, n - i);
        put(x + i, left, take(x + i, left) * @as(Vf, @splat(factor)));
    }
}

/// Multiplies each head, a power of two of values, with the Hadamard matrix over the root of its size.
/// The pairs are those of the reference, so every variant gives its bits.
pub fn hadamard(x: [*]f32, n_heads: usize, head_dim: usize) void {
    const factor = 1 / @sqrt(@as(f32, @floatFromInt(head_dim)));
    for (0..n_heads) |head| {
        const row = x[head * head_dim ..][0..head_dim];
        var half: usize = 1;
        if (head_dim >= lanes) {
            comptime var within = 1;
            inline while (within < lanes) : (within *= 2) {
                var i: usize = 0;
                while (i < head_dim) : (i += lanes) row[i..][0..lanes].* = exchange(within, row[i..][0..lanes].*);
            }
            half = lanes;
        }
        const n = @min(half, lanes);
        while (half < head_dim) : (half *= 2) {
            var from: usize = 0;
            while (from < head_dim) : (from += 2 * half) {
                if (n == lanes) butterflies(lanes, row[from..].ptr, half) else butterflies(1, row[from..].ptr, half);
            }
        }
        scale(row.ptr, head_dim, factor);
    }
}

/// Sums and differences of values that lie `half` apart.
fn butterflies(comptime n: usize, x: [*]f32, half: usize) void {
    var i: usize = 0;
    while (i < half) : (i += n) {
        const a: @Vector(n, f32) = x[i..][0..n].*;
        const b: @Vector(n, f32) = x[half + i ..][0..n].*;
        x[i..][0..n].* = a + b;
        x[half + i ..][0..n].* = a - b;
    }
}

/// The same within a vector.
fn exchange(comptime half: usize, v: Vf) Vf {
    const other = comptime std.simd.iota(i32, lanes) ^ @as(@Vector(lanes, i32), @splat(half));
    const upper = comptime (std.simd.iota(i32, lanes) & @as(@Vector(lanes, i32), @splat(half))) != @as(@Vector(lanes, i32), @splat(0));
    return @shuffle(f32, v, undefined, other) + @select(f32, upper, -v, v);
}

pub fn softcap(x: [*]f32, n: usize, cap: f32) void {
    var i: usize = 0;
    while (i < n) : (i += lanes) {
        const left = @min(lanes, n - i);
        put(x + i, left, cappedScores(take(x + i, left), cap));
    }
}

pub fn cappedScores(x: Vf, cap: f32) Vf {
    return @as(Vf, @splat(cap)) * vector.tanh(x / @as(Vf, @splat(cap)));
}
