//! Softmax in one pass (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018):
//! the weights of a block are relative to the largest score so far, and what was summed before is
//! scaled when that grows. Sums of parts of the positions are joined in the same way.

const std = @import("std");
const elementwise = @import("../elementwise.zig");
const table = @import("../table.zig");
const vector = @import("../vector.zig");

const PartSums = table.PartSums;
pub const Vf = vector.Vf;
pub const lanes = vector.lanes;
const low = -std.math.inf(f32);

/// Of one row, over the positions of a part so far.
pub const Running = struct {
    top: f32 = low,
    /// Of weights, lane by lane.
    total: Vf = @splat(0),

    pub fn sums(running: Running) PartSums {
        return .{ .top = running.top, .total = fold(.add, running.total) };
    }
};

/// Vectors that pass together where a block is whole: one after the other, each would wait for its own
/// steps.
const together = @min(4, table.page_len / lanes);

/// Scales and caps the scores of positions [from, to) of a block, and returns their largest, lane by
/// lane. Whatever stands in the other columns is not looked at; the vectors that hold [from, to) get
/// minus infinity there.
pub fn scaled(row: *[table.page_len]f32, from: usize, to: usize, scale: f32, cap: f32) Vf {
    var highest: Vf = @splat(low);
    if (from == 0 and to == table.page_len and cap == 0) {
        var i: usize = 0;
        while (i < table.page_len / lanes) : (i += together) inline for (0..together) |j| {
            const s = @as(Vf, row[(i + j) * lanes ..][0..lanes].*) * @as(Vf, @splat(scale));
            row[(i + j) * lanes ..][0..lanes].* = s;
            highest = @select(f32, s > highest, s, highest);
        };
        return highest;
    }
    for (from / lanes..(to + lanes - 1) / lanes) |i| {
        var s = @as(Vf, row[i * lanes ..][0..lanes].*) * @as(Vf, @splat(scale));
        if (cap != 0) s = elementwise.cappedScores(s, cap);
        if (i * lanes < from or (i + 1) * lanes > to) s = limited(s, low, i * lanes, from, to);
        row[i * lanes ..][0..lanes].* = s;
        highest = @select(f32, s > highest, s, highest);
    }
    return highest;
}

/// What the largest scores of several rows become, and what their sums so far are to be multiplied by:
/// together, because one row alone would wait for each of its steps.
pub fn raise(comptime rows: usize, highest: *const [rows]Vf, running: *[rows]Running, shrink: *[rows]f32) void {
    inline for (highest, running, shrink) |high, *of, *difference| {
        const top = @max(of.top, fold(.max, high));
        // Scores that are all minus infinity have no weights, whatever came before; and where the
        // largest stays, nothing shrinks.
        difference.* = if (top == of.top) 0 else of.top - top;
        of.top = top;
    }
    shrink.* = vector.exp(@as(@Vector(rows, f32), shrink.*));
}

/// Scores of positions [from, to) of a block become weights, relative to the largest so far.
pub fn weigh(row: *[table.page_len]f32, from: usize, to: usize, shrink: f32, running: *Running) void {
    const base: Vf = @splat(if (running.top == low) 0 else running.top);
    var total: Vf = @splat(0);
    var i = from / lanes;
    const end = (to + lanes - 1) / lanes;
    while (i + together <= end) : (i += together) {
        var weights: [together]Vf = undefined;
        inline for (&weights, 0..) |*w, j| w.* = vector.expNegative(@as(Vf, row[(i + j) * lanes ..][0..lanes].*) - base);
        inline for (weights, 0..) |w, j| {
            row[(i + j) * lanes ..][0..lanes].* = w;
            total += w;
        }
    }
    while (i < end) : (i += 1) {
        const weights = vector.expNegative(@as(Vf, row[i * lanes ..][0..lanes].*) - base);
        row[i * lanes ..][0..lanes].* = weights;
        total += weights;
    }
    running.total = vector.fma(running.total, @as(Vf, @splat(shrink)), total);
}

/// Another value outside of [from, to); `at` is the column of the first lane.
pub fn limited(s: Vf, outside: f32, at: usize, from: usize, to: usize) Vf {
    const U = @Vector(lanes, u32);
    const columns = std.simd.iota(u32, lanes) + @as(U, @splat(@intCast(at)));
    const behind = @select(f32, columns >= @as(U, @splat(@intCast(from))), s, @as(Vf, @splat(outside)));
    return @select(f32, columns < @as(U, @splat(@intCast(to))), behind, @as(Vf, @splat(outside)));
}

/// The sum of the lanes.
pub fn sumOf(v: Vf) f32 {
    return fold(.add, v);
}

/// The sum or the maximum of the lanes, by halves: four steps instead of sixteen.
fn fold(comptime kind: enum { add, max }, v: anytype) f32 {
    const n = @typeInfo(@TypeOf(v)).vector.len;
    if (n == 1) return v[0];
    const half = n / 2;
    const a = std.simd.extract(v, 0, half);
    const b = std.simd.extract(v, half, half);
    return fold(kind, if (kind == .add) a + b else @select(f32, b > a, b, a));
}

/// Adds the sums of a part to those of the parts before it.
pub fn join(out: [*]f32, sums: *PartSums, part: [*]const f32, of_part: PartSums, n: usize) void {
    const top = @max(sums.top, of_part.top);
    const base = if (top == low) 0 else top;
    const a = vector.exp(@as(Vf, @splat(sums.top - base)))[0];
    const b = vector.exp(@as(Vf, @splat(of_part.top - base)))[0];
    var i: usize = 0;
    while (i + lanes <= n) : (i += lanes) {
        const x: Vf = out[i..][0..lanes].*;
        const y: Vf = part[i..][0..lanes].*;
        out[i..][0..lanes].* = vector.fma(x, @as(Vf, @splat(a)), y * @as(Vf, @splat(b)));
    }
    while (i < n) : (i += 1) out[i] = out[i] * a + part[i] * b;
    sums.* = .{ .top = top, .total = sums.total * a + of_part.total * b };
}
