//! Values of grouped integers (`channels.zig`) that are kept as f16 with their place beside the codes: a fixed
//! number of a *set*, which is a group of positions of keys of one head, or one position of its values. Those
//! furthest from the mean of their group, in its standard deviations, are chosen (after Hooper et al. 2024,
//! "KVQuant", whose outliers have thresholds instead); of equally far ones the first.
//!
//! An entry is the place in [positions][values of the head] as u16, and the value; entries go by place. The
//! codes of outliers stand for the middle of their group, and what is missing is added where they are used.

const std = @import("std");
const channels = @import("channels.zig");
const table = @import("../table.zig");
const vector = @import("../vector.zig");

const Kind = channels.Kind;

/// A place and a value.
pub const entry_bytes = 4;

/// The outliers of one set.
pub const Set = struct {
    entries: [*]const u8,
    count: usize,

    /// Those that a position belongs to.
    pub fn of(kind: Kind, page: [*]const u8, position: usize) Set {
        return .{ .entries = page + kind.outliersOf(position), .count = kind.capacity() };
    }

    fn place(set: Set, i: usize) usize {
        return std.mem.readInt(u16, set.entries[i * entry_bytes ..][0..2], .little);
    }

    fn value(set: Set, i: usize) f32 {
        return vector.load(.f16, 1, set.entries + i * entry_bytes + 2)[0];
    }

    /// Which of some places, `stride` apart from `first` on, are those of outliers.
    pub fn mark(set: Set, first: usize, stride: usize, marks: []bool) void {
        for (0..set.count) |i| {
            const from = std.math.sub(usize, set.place(i), first) catch continue;
            if (from % stride == 0 and from / stride < marks.len) marks[from / stride] = true;
        }
    }

    /// What the outliers of a group of keys from `position` on add to its scores.
    pub fn addScores(set: Set, kind: Kind, page: [*]const u8, position: usize, q: [*]const f32, scores: *[table.page_len]f32) void {
        for (0..set.count) |i| {
            const row, const index = set.find(kind, i) orelse continue;
            const missing = set.value(i) - kind.middle(page, position, index);
            scores[position + row] = vector.fma(@as(@Vector(1, f32), .{q[index]}), .{missing}, .{scores[position + row]})[0];
        }
    }

    /// Where an outlier is; null where a damaged page names a place that there isn't.
    fn find(set: Set, kind: Kind, i: usize) ?struct { usize, usize } {
        const at = set.place(i);
        const positions: usize = if (kind.side == .key) kind.group() else 1;
        return if (at < positions * kind.dim) .{ at / kind.dim, at % kind.dim } else null;
    }
};

/// What is kept takes the place of what the codes stand for: [to - from][dim].
pub fn overlay(kind: Kind, page: [*]const u8, from: usize, to: usize, out: [*]f32) void {
    const positions: usize = if (kind.side == .key) kind.group() else 1;
    var first = from / positions * positions;
    while (first < to) : (first += positions) {
        const set: Set = .of(kind, page, first);
        for (0..set.count) |i| {
            const row, const index = set.find(kind, i) orelse continue;
            if (first + row < from or first + row >= to) continue;
            out[(first + row - from) * kind.dim + index] = set.value(i);
        }
    }
}

/// What the outliers of values at positions [from, to) add to a row, position by position.
pub fn accumulate(kind: Kind, page: [*]const u8, weights: *const [table.page_len]f32, from: usize, to: usize, out: [*]f32) void {
    for (from..to) |position| {
        const set: Set = .of(kind, page, position);
        const weight: @Vector(1, f32) = .{weights[position]};
        for (0..set.count) |i| {
            _, const index = set.find(kind, i) orelse continue;
            const missing = set.value(i) - kind.middle(page, position, index);
            out[index] = vector.fma(weight, .{missing}, .{out[index]})[0];
        }
    }
}

/// Longest heads that outliers are kept of: places are 16 bits.
pub const head_max = (1 << 16) / table.group_max;

/// Writes the entries of a set that has these values: [positions][dim].
pub fn choose(kind: Kind, x: []const f32, entries: [*]u8) void {
    std.debug.assert(kind.dim <= head_max);
    var buffer: [table.page_len * head_max]f32 = undefined;
    const distances = buffer[0..x.len];
    measure(kind, x, distances);
    const count = kind.capacity();
    const least, var equal = leastOf(distances, count);
    var written: usize = 0;
    for (distances, x, 0..) |distance, value, at| {
        if (distance < least) continue;
        if (distance == least) {
            if (equal == 0) continue;
            equal -= 1;
        }
        const entry = entries[written * entry_bytes ..];
        std.mem.writeInt(u16, entry[0..2], @intCast(at), .little);
        entry[2..4].* = @bitCast(@as(f16, @floatCast(channels.within(value))));
        written += 1;
    }
    std.debug.assert(written == count);
}

/// How far each value is from the mean of its group, in standard deviations of the group.
fn measure(kind: Kind, x: []const f32, distances: []f32) void {
    const len = kind.group();
    const groups = x.len / len;
    const stride = if (kind.side == .key) kind.dim else 1;
    for (0..groups) |g| {
        const first = if (kind.side == .key) g else g * len;
        var sum: f64 = 0;
        for (0..len) |i| sum += channels.within(x[first + i * stride]);
        const mean = sum / @as(f64, @floatFromInt(len));
        var square: f64 = 0;
        for (0..len) |i| square += (channels.within(x[first + i * stride]) - mean) * (channels.within(x[first + i * stride]) - mean);
        const found = @sqrt(square / @as(f64, @floatFromInt(len)));
        const deviation = if (found == 0) 1 else found;
        for (0..len) |i| {
            const at = first + i * stride;
            distances[at] = @floatCast(@abs(channels.within(x[at]) - mean) / deviation);
        }
    }
}

/// The least of the `count` largest distances, and how many as large as it are among them. Bits of numbers
/// that are not negative have the order of these; they are counted from the highest on.
fn leastOf(distances: []const f32, count: usize) struct { f32, usize } {
    const step = 8;
    var known: u32 = 0;
    var wanted = count;
    for (0..32 / step) |pass| {
        const shift: u5 = @intCast(32 - step * (pass + 1));
        var counts: [1 << step]u32 = @splat(0);
        for (distances) |distance| {
            const bits: u32 = @bitCast(distance);
            if (pass == 0 or (bits ^ known) >> shift >> step == 0) counts[bits >> shift & ((1 << step) - 1)] += 1;
        }
        var digit: u32 = (1 << step) - 1;
        while (counts[digit] < wanted) : (digit -= 1) wanted -= counts[digit];
        known |= digit << shift;
    }
    return .{ @bitCast(known), wanted };
}

test "the least of the largest" {
    const distances = [_]f32{ 0.5, 3, 0, 2, 2, 1e-30, 7, 2 };
    for ([_]struct { usize, f32, usize }{ .{ 1, 7, 1 }, .{ 2, 3, 1 }, .{ 3, 2, 1 }, .{ 4, 2, 2 }, .{ 7, 1e-30, 1 }, .{ 8, 0, 1 } }) |of| {
        const count, const least, const equal = of;
        try std.testing.expectEqual(.{ least, equal }, leastOf(&distances, count));
    }
}
