//! Pages of the cache: every byte belongs to one value or scale, and what is stored are the bytes of
//! the format's own encoder, which read as what they mean.

const std = @import("std");
const kernel = @import("../../kernel.zig");
const op = @import("../../op.zig");
const quant = @import("../../quant.zig");
const variants = @import("variants.zig");

const gpa = std.testing.allocator;
const formats = std.enums.values(kernel.KvFormat);
const sides = std.enums.values(kernel.KvSide);

test "every byte of a page has one meaning" {
    for (formats) |format| for (sides) |side| for ([_]usize{ 32, 96 }) |dim| {
        errdefer std.debug.print("{t} {t} {d}\n", .{ format, side, dim });
        const taken = try gpa.alloc(u8, kernel.page.bytes(format, dim));
        defer gpa.free(taken);
        @memset(taken, 0);
        for (0..kernel.page_len) |position| for (0..dim) |index| {
            for (taken[kernel.page.valueAt(format, side, dim, position, index)..][0..format.bytes()]) |*byte| byte.* += 1;
            if (format != .q8_0 or index % kernel.page.unit != 0) continue;
            for (taken[kernel.page.scaleAt(side, dim, position, index)..][0..2]) |*byte| byte.* += 1;
        };
        for (taken) |count| try std.testing.expectEqual(1, count);
    };
}

fn stores(table: *const kernel.Table, random: std.Random) !void {
    for (formats) |format| for (sides) |side| for ([_]usize{ 1, 7, 32, 33, 64, 160 }) |dim| {
        if (format == .q8_0 and dim % kernel.page.unit != 0) continue;
        errdefer std.debug.print("{t} {t} {d}\n", .{ format, side, dim });
        try storesOf(table, random, format, side, dim);
    };
}

fn storesOf(table: *const kernel.Table, random: std.Random, format: kernel.KvFormat, side: kernel.KvSide, dim: usize) !void {
    const store = op.Member("kv_store");
    const page = try gpa.alloc(u8, kernel.page.bytes(format, dim) + 1);
    defer gpa.free(page);
    @memset(page, 0xa5);
    var x: [kernel.page_len][160]f32 = undefined;
    for (&x) |*row| variants.fill(random, row);
    // Large, infinite, tiny, subnormal, halves, a whole block of zeros, not a number.
    @memcpy(x[0][0..1], &[_]f32{1e9});
    @memcpy(x[1][0..1], &[_]f32{-std.math.inf(f32)});
    @memset(x[2][0..32], 1e-9);
    @memset(x[3][0..32], 1e-40);
    for (x[4][0..32], 0..) |*value, i| value.* = @as(f32, @floatFromInt(i)) - 15.5;
    x[4][0] = -127;
    @memset(x[5][0..32], 0);
    if (format == .q8_0) x[6][3] = std.math.nan(f32);
    for (0..kernel.page_len) |position| {
        // The last first: a position must not touch another.
        const p = kernel.page_len - 1 - position;
        table.kv_store(@backingInt(format), @backingInt(side), &x[p], dim, page.ptr, p);
    }
    try std.testing.expectEqual(0xa5, page[page.len - 1]);
    const stored: quant.Format = @fromBackingInt(@backingInt(format));
    var bytes: [4 * 160]u8 = undefined;
    var want: [160]f32 = undefined;
    var got: [160]f32 = undefined;
    for (&x, 0..) |*row, position| {
        errdefer std.debug.print("position {d}\n", .{position});
        const encoded = bytes[0..@intCast(try quant.rowBytes(stored, dim))];
        try store.check(stored, dim, encoded.len);
        store.reference(stored, row[0..dim], encoded);
        quant.decodeRow(stored, encoded, want[0..dim]);
        kernel.page.read(format, side, page.ptr, position, got[0..dim]);
        for (want[0..dim], got[0..dim]) |w, g| try std.testing.expectEqual(@as(u32, @bitCast(w)), @as(u32, @bitCast(g)));
        for (0..dim) |index| {
            const size = format.bytes();
            const place = if (format == .q8_0) index / 32 * 34 + 2 + index % 32 else index * size;
            const at = kernel.page.valueAt(format, side, dim, position, index);
            try std.testing.expectEqualSlices(u8, encoded[place..][0..size], page[at..][0..size]);
            if (format != .q8_0) continue;
            const scale = kernel.page.scaleAt(side, dim, position, index);
            try std.testing.expectEqualSlices(u8, encoded[index / 32 * 34 ..][0..2], page[scale..][0..2]);
        }
    }
}

test "stores are those of the format's encoder" {
    try variants.each(stores);
}
