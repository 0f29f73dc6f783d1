//! Groups of keys along channels and of values along a position: what is stored is what a plain encoder, here
//! in f64, makes of the group, in every variant; and a group touches no other.

const std = @import("std");
const kernel = @import("../../kernel.zig");
const variants = @import("variants.zig");

const gpa = std.testing.allocator;
const group = kernel.channels.group;
const page_len = kernel.page_len;

/// The code of a value of a group, and its terms.
const Expected = struct {
    low: f16,
    step: f16,
    most: f64,

    fn of(values: []const f32, most: f64) Expected {
        var low: f64 = 65504;
        var high: f64 = -65504;
        for (values) |x| {
            const number: f64 = if (std.math.isNan(x)) 0 else std.math.clamp(x, -65504, 65504);
            low = @min(low, number);
            high = @max(high, number);
        }
        // The difference and the quotient are f32.
        const range: f32 = @as(f32, @floatCast(high)) - @as(f32, @floatCast(low));
        return .{ .low = @floatCast(low), .step = @floatCast(range / @as(f32, @floatCast(most))), .most = most };
    }

    /// Whether a code is a nearest one: two are where a value lies in the middle.
    fn fits(expected: Expected, x: f32, code: u8) bool {
        const number: f64 = if (std.math.isNan(x)) 0 else std.math.clamp(x, -65504, 65504);
        if (expected.step == 0) return code == 0;
        const place = std.math.clamp((number - expected.low) / expected.step, 0, expected.most);
        return @abs(place - @as(f64, @floatFromInt(code))) <= 0.5 + 1e-6 * expected.most;
    }
};

fn groups(table: *const kernel.Table, random: std.Random) !void {
    for ([_]kernel.KvFormat{ .int4, .int2 }) |format| for ([_]kernel.KvSide{ .key, .value }) |side| for ([_]usize{ 32, 96, 160 }) |dim| {
        errdefer std.debug.print("{t} {t} {d}\n", .{ format, side, dim });
        var x: [page_len * 160]f32 = undefined;
        variants.fill(random, x[0 .. page_len * dim]);
        x[0] = std.math.nan(f32);
        x[1] = 1e9;
        for (0..group) |i| x[i * dim + 2] = 0.25;
        @memset(x[3 * dim ..][0..dim], -7);
        const page = try gpa.alloc(u8, kernel.page.bytes(format, dim) + 1);
        defer gpa.free(page);
        @memset(page, 0xa5);
        const at_once: usize = if (side == .key) group else 1;
        var position: usize = page_len;
        while (position > 0) {
            position -= at_once;
            table.kv_store(@backingInt(format), @backingInt(side), x[position * dim ..].ptr, at_once * dim, page.ptr, position);
        }
        try std.testing.expectEqual(0xa5, page[page.len - 1]);
        try expectGroups(table, format, side, dim, page.ptr, x[0 .. page_len * dim]);
    };
}

fn expectGroups(table: *const kernel.Table, format: kernel.KvFormat, side: kernel.KvSide, dim: usize, page: [*]const u8, x: []const f32) !void {
    const most: f64 = if (format == .int4) 15 else 3;
    const codes = try gpa.alloc(u8, x.len);
    defer gpa.free(codes);
    const decoded = try gpa.alloc(f32, x.len);
    defer gpa.free(decoded);
    var scales: [page_len * 160 / group]f16 = undefined;
    var minimums: [page_len * 160 / group]f16 = undefined;
    kernel.page.readCodes(format, side, page, dim, 0, page_len, codes.ptr);
    kernel.page.readTerms(.scale, format, side, page, dim, 0, page_len, @ptrCast(&scales));
    kernel.page.readTerms(.minimum, format, side, page, dim, 0, page_len, @ptrCast(&minimums));
    table.kv_read(@backingInt(format), @backingInt(side), page, dim, 0, page_len, decoded.ptr);
    for (0..x.len / group) |g| {
        // Groups in the order of their terms.
        var places: [group]usize = undefined;
        for (&places, 0..) |*place, i| place.* = if (side == .key) (g / dim * group + i) * dim + g % dim else g * group + i;
        var values: [group]f32 = undefined;
        for (places, &values) |place, *value| value.* = x[place];
        const expected: Expected = .of(&values, most);
        try std.testing.expectEqual(expected.step, scales[g]);
        try std.testing.expectEqual(expected.low, minimums[g]);
        for (places) |place| {
            try std.testing.expect(expected.fits(x[place], codes[place]));
            const exact = @as(f64, @floatFromInt(codes[place])) * expected.step + expected.low;
            // Rounded once or twice, as the variant multiplies and adds.
            try std.testing.expectApproxEqAbs(exact, decoded[place], 1e-6 * (@abs(@as(f64, expected.low)) + most * expected.step));
        }
    }
}

test "groups of channels" {
    try variants.each(groups);
}
