//! q · k for keys whose scales belong to channels (`channels.zig`). A query is multiplied with the scales of a
//! group of positions once and rounded to 8 bits, as it is for keys of other integers, and its products with the
//! values of the zero are summed up once; then keys cost an integer product.

const std = @import("std");
const channels = @import("channels.zig");
const dot = @import("../dot.zig");
const layout = @import("../layout.zig");
const outliers = @import("outliers.zig");
const table = @import("../table.zig");
const tile = @import("tile.zig");
const vector = @import("../vector.zig");

const KvFormat = table.KvFormat;
const Vf = vector.Vf;
const lanes = vector.lanes;
const beside = channels.beside;
const unit = channels.unit;
const Row = [table.page_len]f32;
const Unit = @Vector(unit, f32);

/// 32 values as 8-bit integers, x being about d * q, as in `layout.Act`.
pub const Rounded = struct {
    q: [layout.quads]i32 align(4), // four i8 each
    d: f32,
};

/// What belongs to a group of positions, for the queries of a tile: these times the scales, rounded to 8 bits,
/// and the scores of keys whose codes are all zero points, less what products have of these.
fn Scaled(comptime key: KvFormat, comptime rows: usize) type {
    return struct {
        base: [rows]f32,
        acts: [*]Rounded, // [rows][dim / 32]

        const Self = @This();

        fn of(kind: channels.Kind, q: [*]const f32, page: [*]const u8, position: usize, acts: [*]Rounded, ahead: *tile.Ahead) Self {
            const units = kind.dim / unit;
            var base: [rows]Unit = @splat(@splat(0));
            var u: usize = 0;
            inline for (.{ 4, 1 }) |n| {
                // It reads little and computes much meanwhile.
                while (units - u >= n) : (u += n) {
                    ahead.lines(comptime n * key.bits() / 2);
                    add(n, kind, q, page, position, u, acts, &base);
                }
            }
            var sums: [rows]f32 = undefined;
            for (&sums, base) |*sum, all| sum.* = @reduce(.Add, all);
            return .{ .base = sums, .acts = acts };
        }

        /// `n` units from `u` on.
        inline fn add(
            comptime n: usize,
            kind: channels.Kind,
            q: [*]const f32,
            page: [*]const u8,
            position: usize,
            u: usize,
            acts: [*]Rounded,
            base: *[rows]Unit,
        ) void {
            var scales: [n]Unit = undefined;
            var middles: [n]Unit = undefined;
            inline for (&scales, &middles, u..) |*scale, *middle, index| {
                scale.* = vector.load(.f16, unit, page + kind.scaleAt(position, index * unit));
                if (kind.hasMinimum()) {
                    const minimum = vector.load(.f16, unit, page + kind.minimumAt(position, index * unit));
                    middle.* = vector.fma(scale.*, @as(Unit, @splat(comptime channels.zero(key))), minimum);
                }
            }
            for (0..rows) |r| {
                const row = q + r * kind.dim + u * unit;
                var x: [n]Unit = undefined;
                inline for (&x, scales, middles, 0..) |*product, scale, middle, i| {
                    const values: Unit = row[i * unit ..][0..unit].*;
                    product.* = values * scale;
                    if (kind.hasMinimum()) base[r] = vector.fma(values, middle, base[r]);
                }
                round(n, &x, acts + r * (kind.dim / unit) + u, &base[r]);
            }
        }

        inline fn round(comptime n: usize, x: *const [n]Unit, acts: [*]Rounded, base: *Unit) void {
            const D = @Vector(n, f32);
            const largest = largestOf(n, x);
            const d = largest * @as(D, @splat(1.0 / 127.0));
            // What is not a number has none, and a subnormal one no finite one.
            const inverse = @select(f32, d >= @as(D, @splat(std.math.floatMin(f32))), @as(D, @splat(127)) / largest, @as(D, @splat(0)));
            const point: f32 = comptime if (dot.wantsSigned(key.bits())) 0 else channels.zero(key);
            inline for (x, 0..) |values, i| {
                const shifted = values * @as(Unit, @splat(inverse[i])) + @as(Unit, @splat(layout.magic_value));
                const bits: @Vector(unit, i32) = @bitCast(shifted);
                // What isn't a number leaves any bits; d says so then.
                acts[i] = .{ .q = @bitCast(@as(@Vector(unit, i8), @truncate(bits))), .d = d[i] };
                if (point != 0) {
                    const rounded = shifted - @as(Unit, @splat(layout.magic_value));
                    base.* = vector.fma(rounded, @as(Unit, @splat(-point * d[i])), base.*);
                }
            }
        }
    };
}

/// The largest magnitude of each unit, or what is not a number: among bits without a sign that is larger. Four
/// units share the steps.
inline fn largestOf(comptime n: usize, x: *const [n]Unit) @Vector(n, f32) {
    const half_unit = unit / 2;
    var of: [n]@Vector(half_unit, u32) = undefined;
    inline for (&of, x) |*most, values| {
        const bits: @Vector(unit, u32) = @bitCast(@abs(values));
        most.* = @max(std.simd.extract(bits, 0, half_unit), std.simd.extract(bits, half_unit, half_unit));
    }
    if (n == 1) return .{@bitCast(@reduce(.Max, of[0]))};
    const all = interlaced(2, interlaced(1, of[0], of[1]), interlaced(1, of[2], of[3]));
    const two = @max(std.simd.extract(all, 0, 8), std.simd.extract(all, 8, 8));
    return @bitCast(@max(std.simd.extract(two, 0, 4), std.simd.extract(two, 4, 4)));
}

/// The larger of every second `len` lanes of each, in turns.
inline fn interlaced(comptime len: usize, a: @Vector(unit / 2, u32), b: @Vector(unit / 2, u32)) @Vector(unit / 2, u32) {
    const low, const high = comptime order: {
        var low: [unit / 2]i32 = undefined;
        var high: [unit / 2]i32 = undefined;
        for (&low, &high, 0..) |*l, *h, i| {
            // Within four lanes, which vectors of all sizes have.
            const from: i32 = i / 4 * 4 + i % 4 / (2 * len) * len + i % len;
            const second = i % (2 * len) >= len;
            l.* = if (second) ~from else from;
            h.* = if (second) ~(from + 2) else from + 2;
        }
        break :order .{ low, high };
    };
    return @max(@shuffle(u32, a, b, low), @shuffle(u32, a, b, high));
}

/// The codes of a block for the positions from `lane` on, four a lane, as `dot.zig` takes weights.
inline fn quads(comptime key: KvFormat, block: [*]const u8, lane: usize) [layout.quads]dot.Bytes {
    const bits = comptime key.bits();
    var out: [layout.quads]dot.Bytes = undefined;
    inline for (0..bits) |v| {
        const stored = vector.read(u8, 4 * lanes, block + (v * beside + lane) * 4);
        inline for (0..layout.quads / bits) |i| {
            const shifted = stored >> @splat(i * bits);
            out[i * bits + v] = if (bits == 8) stored else shifted & @as(dot.Bytes, @splat(comptime channels.mask(key)));
        }
    }
    if (comptime dot.wantsSigned(bits)) for (&out) |*of| {
        of.* ^= @splat(0x80);
    };
    return out;
}

/// Scores of the sixteens of positions from `from` to `to`. `q` is [rows][dim]; `acts` is room for as many.
pub fn scores(
    comptime key: KvFormat,
    comptime rows: usize,
    kind: channels.Kind,
    q: [*]const f32,
    acts: [*]Rounded,
    page: [*]const u8,
    from: usize,
    to: usize,
    out: *[rows]Row,
    ahead: *tile.Ahead,
) void {
    const in_group = kind.group() / beside;
    var sixteen = from;
    while (sixteen < to) {
        const first = sixteen / in_group * in_group;
        const scaled: Scaled(key, rows) = .of(kind, q, page, first * beside, acts, ahead);
        const end = @min(to, first + in_group);
        while (sixteen < end) : (sixteen += 1) scoreSixteen(key, rows, kind, &scaled, page, sixteen, out, ahead);
        if (kind.options.outliers == 0) continue;
        const set: outliers.Set = .of(kind, page, first * beside);
        inline for (0..rows) |r| set.addScores(kind, page, first * beside, q + r * kind.dim, &out[r]);
    }
}

inline fn scoreSixteen(
    comptime key: KvFormat,
    comptime rows: usize,
    kind: channels.Kind,
    scaled: *const Scaled(key, rows),
    page: [*]const u8,
    sixteen: usize,
    out: *[rows]Row,
    ahead: *tile.Ahead,
) void {
    const bits = comptime key.bits();
    const wide: u8 = comptime if (bits == 8) 8 else 4;
    const units = kind.dim / unit;
    var lane: usize = 0;
    while (lane < beside) : (lane += lanes) {
        var sums: [rows]Vf = undefined;
        inline for (&sums, scaled.base) |*sum, base| sum.* = @splat(base);
        for (0..units) |u| {
            // As much as is read here, and some of the scales.
            ahead.lines(comptime 1 + lanes * bits * 4 / 64);
            const k = quads(key, page + (sixteen * units + u) * bits * 4 * beside, lane);
            var of: [rows]*const [layout.quads]i32 = undefined;
            inline for (&of, 0..) |*row, r| row.* = &scaled.acts[r * units + u].q;
            // Floats at once (`layout.magic`).
            const products = dot.group(wide, .value, layout.quads, rows, &dot.split(wide, .value, k), of, @splat(@splat(layout.magic)));
            inline for (&sums, products, 0..) |*sum, product, r| {
                const exact = @as(Vf, @bitCast(product)) - @as(Vf, @splat(layout.magic_value));
                sum.* = vector.fma(exact, @as(Vf, @splat(scaled.acts[r * units + u].d)), sum.*);
            }
        }
        inline for (sums, 0..) |sum, r| out[r][sixteen * beside + lane ..][0..lanes].* = sum;
    }
}
