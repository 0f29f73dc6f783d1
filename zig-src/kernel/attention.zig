//! Attention of one query token over one KV head, for all query heads that share the head: each
//! key and each value is read and converted once for up to `heads_max` query heads.
//!
//! Positions pass in blocks of 64 that begin at multiples of 64. Within a block: scores, their
//! maximum, weights; the running sums are then scaled to the new maximum once and the values are
//! added position by position (online softmax, after Milakov and Gimelshein, "Online normalizer
//! calculation for softmax", 2018). A block's borders follow from positions alone, so chunks of the
//! prompt and the threads can't change a result. Positions outside of [from, to) are never read.

const std = @import("std");
const elementwise = @import("elementwise.zig");
const table = @import("table.zig");
const vector = @import("vector.zig");

const Args = table.AttentionArgs;
const KvFormat = table.KvFormat;
const Vf = vector.Vf;
const lanes = vector.lanes;

const block = 64;
/// Query heads that share one read; a larger group passes in several runs.
const heads_max = 16;
/// Query heads and vectors of a value row that stay in registers together.
const heads_tiles = .{ 4, 1 };
const width_tile = if (lanes == 16) 4 else 2;

const Scores = [heads_max][block]f32;

pub fn attention(args: *const Args) void {
    var head: usize = 0;
    while (head < args.group) : (head += heads_max) {
        runHeads(args, head, @min(heads_max, args.group - head));
    }
}

fn runHeads(args: *const Args, head: usize, heads: usize) void {
    const key: KvFormat = @fromBackingInt(@intCast(args.key_format));
    const value: KvFormat = @fromBackingInt(@intCast(args.value_format));
    var scores: Scores align(64) = undefined;
    var top: [heads_max]f32 = @splat(-std.math.inf(f32));
    var total: [heads_max]f32 = @splat(0);
    for (head..head + heads) |h| @memset(args.out[h * args.out_stride ..][0..args.head_dim_v], 0);

    var at: usize = args.from / block * block;
    while (at < args.to) : (at += block) {
        const from = @max(at, args.from);
        const to = @min(at + block, args.to);
        for (scores[0..heads]) |*row| row.* = @splat(-std.math.inf(f32));
        switch (key) {
            inline else => |format| scoreBlock(format, args, at, from, to, head, heads, &scores),
        }
        for (0..heads) |h| weigh(args, &scores[h], &top[h], &total[h], head + h);
        switch (value) {
            inline else => |format| accumulate(format, args, at, from, to, head, heads, &scores),
        }
    }
    for (0..heads) |h| {
        elementwise.scale(args.out + (head + h) * args.out_stride, args.head_dim_v, 1 / total[h]);
    }
}

fn scoreBlock(comptime key: KvFormat, args: *const Args, at: usize, from: usize, to: usize, head: usize, heads: usize, scores: *Scores) void {
    for (from..to) |position| {
        const page = args.key_pages[position / args.page_len];
        const row = page + position % args.page_len * args.head_dim_k * comptime key.bytes();
        scorePosition(key, args, row, head, heads, position - at, scores);
    }
}

/// q · k of one position for each query head.
fn scorePosition(comptime key: KvFormat, args: *const Args, row: [*]const u8, head: usize, heads: usize, column: usize, scores: *Scores) void {
    var h: usize = 0;
    inline for (heads_tiles) |tile| {
        while (heads - h >= tile) : (h += tile) {
            const q = args.q + (head + h) * args.q_stride;
            var sums: [tile]Vf = @splat(@splat(0));
            var i: usize = 0;
            while (i + lanes <= args.head_dim_k) : (i += lanes) {
                const k = vector.load(key, lanes, row + i * comptime key.bytes());
                inline for (&sums, 0..) |*sum, j| {
                    sum.* = vector.fma(k, @as(Vf, q[j * args.q_stride + i ..][0..lanes].*), sum.*);
                }
            }
            inline for (sums, 0..) |sum, j| {
                var s = @reduce(.Add, sum);
                for (i..args.head_dim_k) |d| {
                    s += vector.load(key, 1, row + d * comptime key.bytes())[0] * q[j * args.q_stride + d];
                }
                scores[h + j][column] = s;
            }
        }
    }
}

/// Scores of a block become weights e^(score - maximum); what was summed before is scaled to the
/// new maximum.
fn weigh(args: *const Args, row: *[block]f32, top: *f32, total: *f32, head: usize) void {
    const low = -std.math.inf(f32);
    var highest: Vf = @splat(low);
    inline for (0..block / lanes) |i| {
        const raw: Vf = row[i * lanes ..][0..lanes].*;
        var s = raw * @as(Vf, @splat(args.scale));
        if (args.softcap != 0) {
            // Columns outside of the range stay at minus infinity.
            s = @select(f32, raw == @as(Vf, @splat(low)), raw, elementwise.cappedScores(s, args.softcap));
        }
        row[i * lanes ..][0..lanes].* = s;
        highest = @max(highest, s);
    }
    const new_top = @max(top.*, @reduce(.Max, highest));
    // A block of scores that are all minus infinity has no weights, whatever came before.
    const base = if (new_top == low) 0 else new_top;
    const shrink = vector.exp(@as(Vf, @splat(top.* - base)))[0];
    var sum: Vf = @splat(0);
    inline for (0..block / lanes) |i| {
        const weights = vector.exp(@as(Vf, row[i * lanes ..][0..lanes].*) - @as(Vf, @splat(base)));
        row[i * lanes ..][0..lanes].* = weights;
        sum += weights;
    }
    total.* = total.* * shrink + @reduce(.Add, sum);
    if (top.* != new_top) elementwise.scale(args.out + head * args.out_stride, args.head_dim_v, shrink);
    top.* = new_top;
}

/// out += weight * value, position by position.
fn accumulate(comptime value: KvFormat, args: *const Args, at: usize, from: usize, to: usize, head: usize, heads: usize, scores: *const Scores) void {
    var h: usize = 0;
    inline for (heads_tiles) |tile| {
        while (heads - h >= tile) : (h += tile) {
            var i: usize = 0;
            while (i + width_tile * lanes <= args.head_dim_v) : (i += width_tile * lanes) {
                accumulateTile(value, tile, lanes, width_tile, args, at, from, to, head + h, i, scores[h..][0..tile]);
            }
            while (i + lanes <= args.head_dim_v) : (i += lanes) {
                accumulateTile(value, tile, lanes, 1, args, at, from, to, head + h, i, scores[h..][0..tile]);
            }
            while (i < args.head_dim_v) : (i += 1) {
                accumulateTile(value, tile, 1, 1, args, at, from, to, head + h, i, scores[h..][0..tile]);
            }
        }
    }
}

fn accumulateTile(
    comptime value: KvFormat,
    comptime heads: usize,
    comptime n: usize,
    comptime width: usize,
    args: *const Args,
    at: usize,
    from: usize,
    to: usize,
    head: usize,
    dim: usize,
    scores: *const [heads][block]f32,
) void {
    const F = @Vector(n, f32);
    var sums: [heads][width]F = undefined;
    inline for (&sums, 0..) |*of_head, h| inline for (of_head, 0..) |*sum, w| {
        sum.* = args.out[(head + h) * args.out_stride + dim + w * n ..][0..n].*;
    };
    for (from..to) |position| {
        const page = args.value_pages[position / args.page_len];
        const row = page + (position % args.page_len * args.head_dim_v + dim) * comptime value.bytes();
        inline for (0..width) |w| {
            const v = vector.load(value, n, row + w * n * comptime value.bytes());
            inline for (&sums, 0..) |*of_head, h| {
                of_head[w] = vector.fma(v, @as(F, @splat(scores[h][position - at])), of_head[w]);
            }
        }
    }
    inline for (sums, 0..) |of_head, h| inline for (of_head, 0..) |sum, w| {
        args.out[(head + h) * args.out_stride + dim + w * n ..][0..n].* = sum;
    };
}
