//! Groups of keys along channels and of values along a position, with all their options: what is stored is what a
//! plain encoder, here in f64, makes of the group, in every variant; and a group touches no other.

const std = @import("std");
const kernel = @import("../../kernel.zig");
const variants = @import("variants.zig");
const takeGrouped = @import("page.zig").takeGrouped;

const gpa = std.testing.allocator;
const page_len = kernel.page_len;
const Kind = kernel.channels.Kind;

/// Each option by itself, and together.
pub const options = [_]kernel.KvOptions{
    .{},
    .{ .symmetric = true },
    .{ .group = 1 },
    .{ .outliers = 20 },
    .{ .symmetric = true, .group = 1, .outliers = 5 },
    .{ .group = 2, .outliers = 100 },
};
pub const formats = [_]kernel.KvFormat{ .int8_channel, .int4, .int2 };

pub fn fits(side: kernel.KvSide, dim: usize, of: kernel.KvOptions) bool {
    return dim % of.groupLen() == 0 and (side == .value or of.group < 2);
}

test "every bit of a page has one meaning" {
    for (formats) |format| for ([_]kernel.KvSide{ .key, .value }) |side| for (options) |of| for ([_]usize{ 32, 64, 128 }) |dim| {
        if (!fits(side, dim, of)) continue;
        const kind: Kind = .{ .format = format, .side = side, .dim = dim, .options = of };
        const taken = try gpa.alloc(u8, kernel.page.bytes(format, side, dim, of));
        defer gpa.free(taken);
        @memset(taken, 0);
        for (0..page_len) |position| for (0..dim) |index| try takeGrouped(taken, kind, position, index);
        for (taken) |bits| try std.testing.expectEqual(0xff, bits);
    };
}

/// The code of a value of a group, and its terms.
const Expected = struct {
    low: f64,
    step: f16,
    least: f64,
    most: f64,
    /// Of the code that stands for `low`.
    zero: f64,

    fn of(kind: Kind, values: []const f32, out: []const bool) Expected {
        const most: f64 = @floatFromInt((@as(u16, 1) << @intCast(kind.format.bits())) - 1);
        const zero = (most + 1) / 2;
        var low: f64 = 65504;
        var high: f64 = -65504;
        var any = false;
        for (values, out) |x, is_outlier| {
            if (is_outlier) continue;
            any = true;
            low = @min(low, clamped(x));
            high = @max(high, clamped(x));
        }
        if (!any) low, high = .{ 0, 0 };
        // The difference and the quotient are f32.
        const range: f32 = @as(f32, @floatCast(high)) - @as(f32, @floatCast(low));
        const largest: f32 = @floatCast(@max(@abs(low), @abs(high)));
        if (kind.options.symmetric) return .{
            .low = 0,
            .step = @floatCast(largest / @as(f32, @floatCast(zero - 1))),
            .least = 1,
            .most = most,
            .zero = zero,
        };
        return .{ .low = @as(f16, @floatCast(low)), .step = @floatCast(range / @as(f32, @floatCast(most))), .least = 0, .most = most, .zero = 0 };
    }

    /// Whether a code is a nearest one: two are where a value lies in the middle.
    fn fits(expected: Expected, x: f32, code: u8) bool {
        if (expected.step == 0) return @as(f64, @floatFromInt(code)) == expected.zero;
        const place = std.math.clamp((clamped(x) - expected.low) / expected.step + expected.zero, expected.least, expected.most);
        return @abs(place - @as(f64, @floatFromInt(code))) <= 0.5 + 1e-6 * expected.most;
    }

    fn value(expected: Expected, code: u8) f64 {
        return (@as(f64, @floatFromInt(code)) - expected.zero) * expected.step + expected.low;
    }
};

fn clamped(x: f32) f64 {
    return if (std.math.isNan(x)) 0 else std.math.clamp(x, -65504, 65504);
}

fn groups(table: *const kernel.Table, random: std.Random) !void {
    for (formats) |format| for ([_]kernel.KvSide{ .key, .value }) |side| for (options) |of| for ([_]usize{ 32, 96, 128, 160 }) |dim| {
        if (!fits(side, dim, of)) continue;
        errdefer std.debug.print("{t} {t} {d} {}\n", .{ format, side, dim, of });
        const kind: Kind = .{ .format = format, .side = side, .dim = dim, .options = of };
        var x: [page_len * 160]f32 = undefined;
        variants.fill(random, x[0 .. page_len * dim]);
        x[0] = std.math.nan(f32);
        x[1] = 1e9;
        for (0..kind.group()) |i| if (side == .key) {
            x[i * dim + 2] = 0.25;
        };
        @memset(x[3 * dim ..][0..dim], -7);
        const page = try gpa.alloc(u8, kind.bytes() + 1);
        defer gpa.free(page);
        @memset(page, 0xa5);
        const at_once: usize = if (side == .key) kind.group() else 1;
        var position: usize = page_len;
        while (position > 0) {
            position -= at_once;
            table.kv_store(of.code(format), @backingInt(side), x[position * dim ..].ptr, at_once * dim, page.ptr, position);
        }
        try std.testing.expectEqual(0xa5, page[page.len - 1]);
        try expectGroups(table, kind, page.ptr, x[0 .. page_len * dim]);
    };
}

fn expectGroups(table: *const kernel.Table, kind: Kind, page: [*]const u8, x: []const f32) !void {
    const dim = kind.dim;
    const group = kind.group();
    const codes = try gpa.alloc(u8, x.len);
    defer gpa.free(codes);
    const decoded = try gpa.alloc(f32, x.len);
    defer gpa.free(decoded);
    const is_outlier = try gpa.alloc(bool, x.len);
    defer gpa.free(is_outlier);
    var scales: [page_len * 160 / 32]f16 = undefined;
    var minimums: [page_len * 160 / 32]f16 = undefined;
    kernel.page.readCodes(kind.format, kind.side, page, dim, 0, page_len, codes.ptr, kind.options);
    kernel.page.readTerms(.scale, kind.format, kind.side, page, dim, 0, page_len, @ptrCast(&scales), kind.options);
    if (kind.hasMinimum()) kernel.page.readTerms(.minimum, kind.format, kind.side, page, dim, 0, page_len, @ptrCast(&minimums), kind.options);
    table.kv_read(kind.options.code(kind.format), @backingInt(kind.side), page, dim, 0, page_len, decoded.ptr);
    try expectOutliers(kind, page, x, is_outlier);
    for (0..x.len / group) |g| {
        // Groups in the order of their terms.
        var places: [kernel.group_max]usize = undefined;
        for (places[0..group], 0..) |*place, i| place.* = if (kind.side == .key) (g / dim * group + i) * dim + g % dim else g * group + i;
        var values: [kernel.group_max]f32 = undefined;
        var out: [kernel.group_max]bool = undefined;
        for (places[0..group], values[0..group], out[0..group]) |place, *value, *is| value.*, is.* = .{ x[place], is_outlier[place] };
        const expected: Expected = .of(kind, values[0..group], out[0..group]);
        try std.testing.expectEqual(expected.step, scales[g]);
        if (kind.hasMinimum()) try std.testing.expectEqual(expected.low, minimums[g]);
        for (places[0..group]) |place| {
            if (is_outlier[place]) {
                try std.testing.expectEqual(@as(f16, @floatCast(clamped(x[place]))), @as(f16, @floatCast(decoded[place])));
                continue;
            }
            try std.testing.expect(expected.fits(x[place], codes[place]));
            // Rounded once or twice, as the variant multiplies and adds.
            const bound = 1e-6 * (@abs(expected.low) + expected.most * @as(f64, expected.step));
            try std.testing.expectApproxEqAbs(expected.value(codes[place]), decoded[place], bound);
        }
    }
    // A part reads as the whole does.
    var part: [11 * 160]f32 = undefined;
    table.kv_read(kind.options.code(kind.format), @backingInt(kind.side), page, dim, 27, 38, &part);
    try variants.expectSameBits(decoded[27 * dim .. 38 * dim], part[0 .. 11 * dim]);
}

/// As many as there is room for, in their order, none nearer to its mean than one that is no outlier.
fn expectOutliers(kind: Kind, page: [*]const u8, x: []const f32, is_outlier: []bool) !void {
    @memset(is_outlier, false);
    if (kind.options.outliers == 0) return;
    const positions = if (kind.side == .key) kind.group() else 1;
    try std.testing.expect(kind.capacity() * 1000 >= positions * kind.dim * kind.options.outliers);
    var first: usize = 0;
    while (first < page_len) : (first += positions) {
        const entries = page[kind.outliersOf(first)..][0 .. kind.capacity() * 4];
        var last: ?u16 = null;
        for (0..kind.capacity()) |i| {
            const place = std.mem.readInt(u16, entries[4 * i ..][0..2], .little);
            try std.testing.expect(last == null or place > last.?);
            last = place;
            is_outlier[first * kind.dim + place] = true;
        }
        var nearest: f64 = std.math.inf(f64);
        var furthest: f64 = 0;
        for (0..positions * kind.dim) |i| {
            const distance = distanceOf(kind, x, first * kind.dim + i);
            if (is_outlier[first * kind.dim + i]) nearest = @min(nearest, distance) else furthest = @max(furthest, distance);
        }
        try std.testing.expect(nearest >= furthest * (1 - 1e-6));
    }
}

fn distanceOf(kind: Kind, x: []const f32, at: usize) f64 {
    const position = at / kind.dim;
    const index = at % kind.dim;
    const len = kind.group();
    var sum: f64 = 0;
    var square: f64 = 0;
    for (0..2) |pass| for (0..len) |i| {
        const of = if (kind.side == .key) (position / len * len + i) * kind.dim + index else position * kind.dim + index / len * len + i;
        const mean = sum / @as(f64, @floatFromInt(len));
        if (pass == 0) sum += clamped(x[of]) else square += std.math.pow(f64, clamped(x[of]) - mean, 2);
    };
    const count: f64 = @floatFromInt(len);
    const deviation = @sqrt(square / count);
    return @abs(clamped(x[at]) - sum / count) / if (deviation == 0) 1 else deviation;
}

test "groups of channels" {
    try variants.each(groups);
}
