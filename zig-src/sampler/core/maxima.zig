//! The pass that every step begins with: the maximum of a row and of each of its blocks, and whether a value is
//! no number. Block maxima let a later selection skip whole blocks unread.

const std = @import("std");
const half_file = @import("half.zig");
const sweep = @import("sweep.zig");
const assert = std.debug.assert;

const block_len = sweep.block_len;
const lanes = sweep.lanes;
const F = @Vector(lanes, f32);
const U = @Vector(lanes, u32);
const B = @Vector(lanes, bool);
const none: F = @splat(-std.math.inf(f32));

pub const Scan = extern struct {
    /// -inf when there is no value above it. Meaningless when `nan` is set.
    max: f32,
    nan: bool,
};

pub fn scanRow(values: [*]const f32, len: usize, block_max: [*]f32, found: *Scan) callconv(.c) void {
    found.* = scan(values[0..len], block_max[0..sweep.blockCount(len)]);
}

pub fn halfRow(bits: [*]align(1) const u16, len: usize, values: [*]f32, block_max: [*]f32, found: *Scan) callconv(.c) void {
    found.* = scanHalf(bits[0..len], values[0..len], block_max[0..sweep.blockCount(len)]);
}

/// The maximum of `values`, and of each block into `block_max`. A NaN anywhere sets `nan`.
pub fn scan(values: []const f32, block_max: []f32) Scan {
    // The hot loop is bounds-checked per vector otherwise. Sound: `block` never leaves
    // `values`, because its end is clamped to the length, and there are enough blocks by the
    // assert, which is checked before safety is given up.
    assert(block_max.len >= sweep.blockCount(values.len));
    @setRuntimeSafety(false);
    var found: Found = .{};
    var start = scanAligned(values, block_max, &found);
    var index = start / block_len;
    while (start + block_len <= values.len) : (start += block_len) {
        block_max[index] = found.add(values[start..][0..block_len]);
        index += 1;
    }
    if (start < values.len) {
        // Past the end there are lanes of -inf, which are no maximum.
        var tail: [block_len]f32 = @splat(-std.math.inf(f32));
        @memcpy(tail[0 .. values.len - start], values[start..]);
        block_max[index] = found.add(&tail);
    }
    return found.scan();
}

/// The same for whole blocks from the first on, of which all but the last one or two are done. Vectors are
/// read where they lie within a line of the cache: one that lies in two takes twice as long. So the last of
/// a block has some values of the next. Returns where the rest begins.
inline fn scanAligned(values: []const f32, block_max: []f32, found: *Found) usize {
    @setRuntimeSafety(false); // Sound: the last vector of a block ends less than `lanes` values behind it.
    if (values.len < block_len + lanes) return 0;
    const ahead = (0 -% @intFromPtr(values.ptr) / @sizeOf(f32)) % lanes;
    const is_own: B = std.simd.iota(u32, lanes) < @as(U, @splat(@intCast(lanes - ahead)));
    var first: [lanes]f32 = none;
    @memcpy(first[lanes - ahead ..], values[0..ahead]);
    var shared: F = first;
    var is_nan: B = shared != shared;
    var start: usize = 0;
    while (start + block_len + lanes <= values.len) : (start += block_len) {
        const from = values[start + ahead ..];
        var top: [2]F = .{ @select(f32, is_own, none, shared), none };
        inline for (0..block_len / lanes / 2) |i| {
            const x: F = from[2 * i * lanes ..][0..lanes].*;
            const y: F = from[(2 * i + 1) * lanes ..][0..lanes].*;
            const is_last = 2 * i + 2 == block_len / lanes;
            top[0] = higher(x, top[0]);
            top[1] = higher(if (is_last) @select(f32, is_own, y, none) else y, top[1]);
            is_nan = is_nan | ((x != x) | (y != y));
            if (is_last) shared = y;
        }
        block_max[start / block_len] = found.top(maxLane(higher(top[0], top[1])));
    }
    found.mark(is_nan);
    return start;
}

/// As `scan`, of a row in 16 bits, which is widened into `values` on the way.
pub fn scanHalf(bits: []align(1) const u16, values: []f32, block_max: []f32) Scan {
    assert(values.len == bits.len);
    assert(block_max.len >= sweep.blockCount(values.len));
    @setRuntimeSafety(false); // Sound for the reason given in `scan`.
    var found: Found = .{};
    var index: usize = 0;
    var start: usize = 0;
    while (start + block_len <= values.len) : (start += block_len) {
        const block = values[start..][0..block_len];
        inline for (0..block_len / lanes) |i| {
            block[i * lanes ..][0..lanes].* = half_file.widenLanes(bits[start + i * lanes ..][0..lanes].*);
        }
        block_max[index] = found.add(block);
        index += 1;
    }
    if (start < values.len) {
        half_file.widen(bits[start..], values[start..]);
        const rest = scan(values[start..], block_max[index..]);
        _ = found.top(rest.max);
        found.unordered |= @as(U, @splat(@intFromBool(rest.nan)));
    }
    return found.scan();
}

const Found = struct {
    max: f32 = -std.math.inf(f32),
    /// Bits are set in lanes that had a NaN.
    unordered: U = @splat(0),

    fn scan(found: Found) Scan {
        return .{ .max = found.max, .nan = @reduce(.Or, found.unordered) != 0 };
    }

    inline fn top(found: *Found, max: f32) f32 {
        if (max > found.max) found.max = max;
        return max;
    }

    inline fn mark(found: *Found, is_nan: B) void {
        found.unordered |= @select(u32, is_nan, @as(U, @splat(~@as(u32, 0))), @as(U, @splat(0)));
    }

    /// The maximum of a block, two chains of it. A comparison of two vectors is unordered where either has a
    /// NaN, so each looks at two.
    inline fn add(found: *Found, block: *const [block_len]f32) f32 {
        var best: [2]F = @splat(none);
        var is_nan: B = @splat(false);
        inline for (0..block_len / lanes / 2) |i| {
            const x: F = block[2 * i * lanes ..][0..lanes].*;
            const y: F = block[(2 * i + 1) * lanes ..][0..lanes].*;
            best[0] = higher(x, best[0]);
            best[1] = higher(y, best[1]);
            is_nan = is_nan | ((x != x) | (y != y));
        }
        found.mark(is_nan);
        return found.top(maxLane(higher(best[0], best[1])));
    }
};

/// A tree of comparisons; `@reduce(.Max)` has another meaning of NaN and takes longer.
inline fn maxLane(v: F) f32 {
    const a = higher(sweep.halfOf(0, v), sweep.halfOf(1, v));
    const b = higher(sweep.halfOf(0, a), sweep.halfOf(1, a));
    const c = higher(sweep.halfOf(0, b), sweep.halfOf(1, b));
    return if (c[0] > c[1]) c[0] else c[1];
}

inline fn higher(a: anytype, b: @TypeOf(a)) @TypeOf(a) {
    return @select(f32, a > b, a, b);
}

test "scan finds every maximum and every NaN, tails included, wherever the row lies" {
    var prng: std.Random.DefaultPrng = .init(1);
    const random = prng.random();
    var memory: [4 * block_len + 40]f32 align(64) = undefined;
    for (1..4 * block_len + 6) |len| {
        const values = memory[len * 7 % 17 ..][0..len];
        // Outside of the row there is what must not be found.
        @memset(&memory, if (len % 2 == 0) std.math.nan(f32) else 1000);
        for (values) |*x| x.* = random.floatNorm(f32);
        const at = random.uintLessThan(usize, len);
        if (len % 3 == 0) values[at] = -std.math.inf(f32);
        var block_max: [5]f32 = undefined;
        const found = scan(values, &block_max);
        try std.testing.expect(!found.nan);
        try std.testing.expectEqual(std.mem.max(f32, values), found.max);
        for (0..sweep.blockCount(len)) |b| {
            const block = values[b * block_len .. @min((b + 1) * block_len, len)];
            try std.testing.expectEqual(std.mem.max(f32, block), block_max[b]);
        }
        values[at] = std.math.nan(f32);
        try std.testing.expect(scan(values, &block_max).nan);
    }
    // Infinities are not NaN, even when both signs meet in one lane.
    const values = memory[3..][0 .. 3 * block_len + 5];
    @memset(values, -std.math.inf(f32));
    values[7] = std.math.inf(f32);
    var block_max: [4]f32 = undefined;
    const found = scan(values, &block_max);
    try std.testing.expect(!found.nan);
    try std.testing.expectEqual(std.math.inf(f32), found.max);
}
