//! Passes that move the few members of a set that stay, and put a few in order.
//!
//! Like the passes of `sweep.zig` they are compiled with each CPU variant of the kernels. They move values and
//! compare them, so that they give the same everywhere.

const std = @import("std");
const half_file = @import("half.zig");
const sweep = @import("sweep.zig");
const assert = std.debug.assert;

const block_len = sweep.block_len;
const lanes = sweep.lanes;
const F = @Vector(lanes, f32);
const U = @Vector(lanes, u32);

/// A set, and where those that stay go, which may be where they are.
pub const Move = extern struct {
    values: [*]const f32, // [len]
    /// Not null: the values are these, in 16 bits, and `values` are not read.
    half: ?[*]align(1) const u16 = null, // [len]
    /// Null where ids are indices.
    ids: ?[*]const u32, // [len]
    len: usize,
    /// Of each block of `sweep.block_len` values.
    block_max: [*]const f32,
    /// Those at or above this stay; it is no NaN.
    bound: f32,
    to_values: [*]f32,
    /// Null where nobody wants ids.
    to_ids: ?[*]u32,
    /// It is given up when more stay and another block has some.
    limit: usize = std.math.maxInt(usize),
};

/// What `gatherRow` returns when it is given up.
pub const too_many = std.math.maxInt(usize);

/// Returns how many stayed.
pub fn gatherRow(move: *const Move) callconv(.c) usize {
    if (move.half != null) return gather(move.*, .halves);
    return if (move.to_ids == null) gather(move.*, .values) else if (move.ids == null) gather(move.*, .indices) else gather(move.*, .ids);
}

/// What is moved: values alone, or with their indices or ids, or values in 16 bits with their indices.
const What = enum { values, indices, ids, halves };

/// Maxima that are looked at together.
const group = 64;

fn gather(move: Move, comptime what: What) usize {
    // Sound: blocks end at the length, and no more is written than was read before.
    @setRuntimeSafety(false);
    const blocks = sweep.blockCount(move.len);
    var kept: usize = 0;
    var waiting: u64 = wanted(move, what, 0, blocks);
    var first: usize = 0;
    while (first < blocks) : (first += group) {
        // A row that is far away is on its way before it is looked at.
        const next = wanted(move, what, first + group, blocks);
        var rest = waiting;
        while (rest != 0) : (rest &= rest - 1) {
            if (kept > move.limit) return too_many;
            const start = (first + @ctz(rest)) * block_len;
            if (start + block_len <= move.len) {
                inline for (0..block_len / lanes) |i| kept = gatherLanes(move, what, start + i * lanes, lanes, kept);
            } else {
                var at = start;
                while (at < move.len) : (at += lanes) kept = gatherLanes(move, what, at, @min(lanes, move.len - at), kept);
            }
        }
        waiting = next;
    }
    return kept;
}

/// Which of the blocks from `first` on have members that stay.
inline fn wanted(move: Move, comptime what: What, first: usize, blocks: usize) u64 {
    if (first >= blocks) return 0;
    var mask: u64 = 0;
    for (0..group / lanes) |part| {
        const from = first + part * lanes;
        if (from >= blocks) break;
        const bits: u16 = @bitCast(sweep.loadPadded(move.block_max[from..blocks]) >= @as(F, @splat(move.bound)));
        mask |= @as(u64, bits) << @intCast(part * lanes);
    }
    if (blocks - first < group) mask &= (@as(u64, 1) << @intCast(blocks - first)) - 1;
    var rest = mask;
    while (rest != 0) : (rest &= rest - 1) {
        const start = (first + @ctz(rest)) * block_len;
        if (what == .halves) {
            inline for (0..block_len / lanes / 2) |i| @prefetch(move.half.? + start + 2 * i * lanes, .{});
        } else inline for (0..block_len / lanes) |i| @prefetch(move.values + start + i * lanes, .{});
    }
    return mask;
}

/// Those of `there` neighbours, behind the last of which there are lanes of -inf.
inline fn gatherLanes(move: Move, comptime what: What, start: usize, there: usize, kept_before: usize) usize {
    const x: F = if (what == .halves) widened: {
        if (there == lanes) break :widened half_file.widenLanes(move.half.?[start..][0..lanes].*);
        var padded: [lanes]f32 = @splat(-std.math.inf(f32));
        half_file.widen(move.half.?[start..][0..there], padded[0..there]);
        break :widened padded;
    } else sweep.loadPadded(move.values[start..][0..there]);
    const mask: u16 = @bitCast(x >= @as(F, @splat(move.bound)));
    if (mask == 0) return kept_before;
    const values: [lanes]f32 = x;
    var kept = kept_before;
    if (@popCount(mask) > lanes / 4 and there == lanes) {
        // Without a branch for each member: all are written, and one that does not stay is written over. The
        // last write is at most at the place that is read.
        const ids: [lanes]u32 = switch (what) {
            .values => undefined,
            .indices, .halves => std.simd.iota(u32, lanes) + @as(U, @splat(@intCast(start))),
            .ids => move.ids.?[start..][0..lanes].*,
        };
        inline for (0..lanes) |lane| {
            move.to_values[kept] = values[lane];
            if (what != .values) move.to_ids.?[kept] = ids[lane];
            kept += mask >> lane & 1;
        }
        return kept;
    }
    var rest = mask;
    while (rest != 0) : (rest &= rest - 1) {
        const index = start + @ctz(rest);
        // The id first: its place may be that of one that stayed.
        switch (what) {
            .values => {},
            .indices, .halves => move.to_ids.?[kept] = @intCast(index),
            .ids => move.to_ids.?[kept] = move.ids.?[index],
        }
        move.to_values[kept] = values[@ctz(rest)];
        kept += 1;
    }
    return kept;
}

/// As many can be put in order by `rankRow`.
pub const rank_max = 64;

/// A few numbers, none of them NaN or -inf.
pub const Few = extern struct {
    values: [*]const f32, // [len]
    len: usize,
    /// Of the weights, as in `sweep.weights`.
    max: f32,
    beta: f32,
    /// In descending order.
    sorted: *[rank_max]f32,
    /// Null where nobody wants the weights of those.
    weights: ?*[rank_max]f32,
};

/// Each is compared with each: for so few that takes less than a sort, which branches.
pub fn rankRow(few: *const Few) callconv(.c) void {
    const len = few.len;
    assert(len <= rank_max);
    var padded: [rank_max]f32 = @splat(-std.math.inf(f32));
    @memcpy(padded[0..len], few.values[0..len]);
    var base: usize = 0;
    while (base < len) : (base += lanes) {
        const x: F = padded[base..][0..lanes].*;
        const index = std.simd.iota(u32, lanes) + @as(U, @splat(@intCast(base)));
        var rank: U = @splat(0);
        for (padded[0..len], 0..) |value, place| {
            const other: F = @splat(value);
            const one: U = @splat(1);
            // Of equal ones the first in place.
            const is_earlier = @as(U, @splat(@intCast(place))) < index;
            const is_before = (other > x) | ((other == x) & is_earlier);
            rank +%= @select(u32, is_before, one, @as(U, @splat(0)));
        }
        const ranks: [lanes]u32 = rank;
        for (ranks[0..@min(lanes, len - base)], padded[base..][0..@min(lanes, len - base)]) |to, value| few.sorted[to] = value;
    }
    const weights = few.weights orelse return;
    base = 0;
    while (base < len) : (base += lanes) {
        weights[base..][0..lanes].* = sweep.weights(few.sorted[base..][0..lanes].*, few.max, few.beta);
    }
}

test "gather moves what is at or above the bound, to another place or within" {
    const reference = @import("reference.zig");
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(21);
    const random = prng.random();
    const len_max = 20_000;
    const floats = try gpa.alloc(f32, 2 * len_max);
    defer gpa.free(floats);
    const words = try gpa.alloc(u32, 2 * len_max);
    defer gpa.free(words);
    for (0..300) |round| {
        const len = 1 + random.uintLessThan(usize, if (round % 10 == 0) len_max else 700);
        const values = floats[0..len];
        reference.fillRandom(random, round, values);
        var block_max: [sweep.blockCount(len_max)]f32 = undefined;
        _ = sweep.scan(values, &block_max);
        const ids = words[0..len];
        for (ids, 0..) |*id, i| id.* = @intCast(3 * i);
        const bound = if (round % 5 == 0) -std.math.floatMax(f32) else values[random.uintLessThan(usize, len)];
        if (bound == -std.math.inf(f32)) continue;
        const out = floats[len_max..];
        const out_ids = words[len_max..];
        var move: Move = .{ .values = values.ptr, .ids = null, .len = len, .block_max = &block_max, .bound = bound, .to_values = out.ptr, .to_ids = null };
        const count = gatherRow(&move);
        var expected: usize = 0;
        for (values) |x| {
            if (x < bound) continue;
            try std.testing.expectEqual(x, out[expected]);
            expected += 1;
        }
        try std.testing.expectEqual(expected, count);
        move.to_ids = out_ids.ptr;
        try std.testing.expectEqual(count, gatherRow(&move));
        for (out[0..count], out_ids[0..count]) |x, id| try std.testing.expectEqual(values[id], x);
        try expectHalves(move, gpa, out[0..count], out_ids[0..count]);
        move.ids = ids.ptr;
        move.to_ids = ids.ptr;
        move.to_values = values.ptr;
        try std.testing.expectEqual(count, gatherRow(&move));
        try std.testing.expectEqualSlices(f32, out[0..count], values[0..count]);
        for (out_ids[0..count], ids[0..count]) |index, id| try std.testing.expectEqual(3 * index, id);
    }
}

/// In 16 bits those stay that are rounded to the bound, too; the rounded ones are expected to.
fn expectHalves(whole: Move, gpa: std.mem.Allocator, kept: []f32, ids: []u32) !void {
    const rounded = try gpa.alloc(f32, whole.len);
    defer gpa.free(rounded);
    const halves = try gpa.alloc(u16, whole.len + 1);
    defer gpa.free(halves);
    // At an odd address, as rows of a file may lie.
    const odd: []align(1) u16 = std.mem.bytesAsSlice(u16, std.mem.sliceAsBytes(halves)[1..][0 .. 2 * whole.len]);
    half_file.round(whole.values[0..whole.len], odd);
    half_file.widen(odd, rounded);
    const block_max = try gpa.alloc(f32, sweep.blockCount(whole.len));
    defer gpa.free(block_max);
    const top = sweep.scan(rounded, block_max).max;
    var move = whole;
    move.block_max = block_max.ptr;
    move.half = odd.ptr;
    move.bound = @min(whole.bound, top);
    if (move.bound == -std.math.inf(f32)) return;
    const count = gatherRow(&move);
    var expected: usize = 0;
    for (rounded, 0..) |x, id| {
        if (x < move.bound) continue;
        try std.testing.expectEqual(x, move.to_values[expected]);
        try std.testing.expectEqual(id, move.to_ids.?[expected]);
        expected += 1;
    }
    try std.testing.expectEqual(expected, count);
    var again = whole;
    again.to_values = kept.ptr;
    again.to_ids = ids.ptr;
    try std.testing.expectEqual(kept.len, gatherRow(&again));
}

test "few values in order are those of a sort, with their weights" {
    var prng: std.Random.DefaultPrng = .init(22);
    const random = prng.random();
    for (0..500) |round| {
        var values: [rank_max]f32 = undefined;
        const len = 1 + random.uintLessThan(usize, rank_max);
        for (values[0..len]) |*x| x.* = if (round % 3 == 0) @floatFromInt(random.uintLessThan(u32, 5)) else random.floatNorm(f32) * 9;
        var sorted: [rank_max]f32 = undefined;
        var weights: [rank_max]f32 = undefined;
        const max = std.mem.max(f32, values[0..len]);
        rankRow(&.{ .values = &values, .len = len, .max = max, .beta = 1.25, .sorted = &sorted, .weights = &weights });
        std.sort.pdq(f32, values[0..len], {}, std.sort.desc(f32));
        try std.testing.expectEqualSlices(f32, values[0..len], sorted[0..len]);
        for (values[0..len], weights[0..len]) |x, w| try std.testing.expectEqual(sweep.weight(x, max, 1.25), w);
    }
}
