//! Attention against the reference for all cache formats, odd head sizes, groups and ranges; pages
//! that lie outside of the range are not touched.

const std = @import("std");
const kernel = @import("../../kernel.zig");
const op = @import("../../op.zig");
const quant = @import("../../quant.zig");
const variants = @import("variants.zig");

const gpa = std.testing.allocator;

const Shape = struct {
    group: u32,
    head_dim_k: u32,
    head_dim_v: u32,
    page_len: u32,
    from: u32,
    to: u32,
    softcap: f32 = 0,
};

const shapes = [_]Shape{
    .{ .group = 1, .head_dim_k = 64, .head_dim_v = 64, .page_len = 64, .from = 0, .to = 1 },
    .{ .group = 3, .head_dim_k = 64, .head_dim_v = 64, .page_len = 64, .from = 0, .to = 200 },
    .{ .group = 4, .head_dim_k = 256, .head_dim_v = 256, .page_len = 16, .from = 70, .to = 193, .softcap = 50 },
    .{ .group = 8, .head_dim_k = 80, .head_dim_v = 48, .page_len = 128, .from = 63, .to = 65 },
    .{ .group = 5, .head_dim_k = 7, .head_dim_v = 3, .page_len = 32, .from = 5, .to = 64, .softcap = 3 },
    .{ .group = 64, .head_dim_k = 33, .head_dim_v = 100, .page_len = 48, .from = 0, .to = 130 },
    .{ .group = 2, .head_dim_k = 512, .head_dim_v = 576, .page_len = 64, .from = 128, .to = 256 },
};

const Cache = struct {
    pages: [][*]const u8,
    bytes: []u8,
    decoded: []f32, // [positions, dim]

    /// Positions before `from` have no page at all.
    fn init(random: std.Random, format: quant.Format, shape: Shape, dim: usize) !Cache {
        const size = quant.info(format).block_bytes;
        const count = (shape.to + shape.page_len - 1) / shape.page_len;
        const page_bytes = shape.page_len * dim * size;
        const cache: Cache = .{
            .pages = try gpa.alloc([*]const u8, count),
            .bytes = try gpa.alloc(u8, count * page_bytes),
            .decoded = try gpa.alloc(f32, count * shape.page_len * dim),
        };
        variants.fill(random, cache.decoded);
        try quant.encodeRow(format, cache.decoded, cache.bytes);
        quant.decodeRow(format, cache.bytes, cache.decoded);
        for (cache.pages, 0..) |*page, i| {
            // An address that no process has: reading it ends the test.
            page.* = if (i < shape.from / shape.page_len) @ptrFromInt(8) else cache.bytes[i * page_bytes ..].ptr;
        }
        return cache;
    }

    fn deinit(cache: Cache) void {
        gpa.free(cache.pages);
        gpa.free(cache.bytes);
        gpa.free(cache.decoded);
    }
};

fn everyShape(table: *const kernel.Table, random: std.Random) !void {
    const formats = [_]quant.Format{ .f32, .f16, .bf16 };
    for (shapes) |shape| for (formats) |key| for (formats) |value| {
        errdefer std.debug.print("{} keys {t} values {t}\n", .{ shape, key, value });
        try compare(table, random, shape, key, value);
    };
}

fn compare(table: *const kernel.Table, random: std.Random, shape: Shape, key: quant.Format, value: quant.Format) !void {
    const keys: Cache = try .init(random, key, shape, shape.head_dim_k);
    defer keys.deinit();
    const values: Cache = try .init(random, value, shape, shape.head_dim_v);
    defer values.deinit();
    const q = try gpa.alloc(f32, shape.group * shape.head_dim_k);
    defer gpa.free(q);
    variants.fill(random, q);
    // A row between the heads must stay as it is.
    const stride = shape.head_dim_v + 1;
    const out = try gpa.alloc(f32, shape.group * stride);
    defer gpa.free(out);
    @memset(out, 777);
    const scale = 1 / @sqrt(@as(f32, @floatFromInt(shape.head_dim_k)));
    const args: kernel.AttentionArgs = .{
        .q = q.ptr,
        .q_stride = shape.head_dim_k,
        .group = shape.group,
        .head_dim_k = shape.head_dim_k,
        .head_dim_v = shape.head_dim_v,
        .key_format = @backingInt(key),
        .value_format = @backingInt(value),
        .key_pages = keys.pages.ptr,
        .value_pages = values.pages.ptr,
        .page_len = shape.page_len,
        .from = shape.from,
        .to = shape.to,
        .scale = scale,
        .softcap = shape.softcap,
        .out = out.ptr,
        .out_stride = stride,
    };
    table.attention(&args);

    const n = shape.to - shape.from;
    const weights = try gpa.alloc(f32, n);
    defer gpa.free(weights);
    const want = try gpa.alloc(f32, shape.head_dim_v);
    defer gpa.free(want);
    for (0..shape.group) |h| {
        const k = keys.decoded[shape.from * shape.head_dim_k ..][0 .. n * shape.head_dim_k];
        const v = values.decoded[shape.from * shape.head_dim_v ..][0 .. n * shape.head_dim_v];
        try op.attention.check(n, shape.head_dim_k, shape.head_dim_v, k.len, v.len);
        op.attention.reference(q[h * shape.head_dim_k ..][0..shape.head_dim_k], k, v, scale, shape.softcap, weights, want);
        var largest: f32 = 0;
        for (v) |x| largest = @max(largest, @abs(x));
        const got = out[h * stride ..][0..shape.head_dim_v];
        for (got, want, 0..) |g, w, i| {
            if (op.attention.tolerance.holds(g, w, largest)) continue;
            std.debug.print("head {d} value {d}: expected {e}, found {e}\n", .{ h, i, w, g });
            return error.OutOfTolerance;
        }
        try std.testing.expectEqual(777, out[h * stride + shape.head_dim_v]);
    }

    // A head alone, or in a smaller group, has the same bits.
    const alone = try gpa.alloc(f32, out.len);
    defer gpa.free(alone);
    @memset(alone, 777);
    for (0..shape.group) |h| {
        var one = args;
        one.group = 1;
        one.q = args.q + h * args.q_stride;
        one.out = alone[h * stride ..].ptr;
        table.attention(&one);
    }
    try variants.expectSameBits(alone, out);
}

test "attention" {
    try variants.each(everyShape);
}

fn oneLargeScore(table: *const kernel.Table, random: std.Random) !void {
    _ = random;
    // Scores far apart: all weight is on one position, and rescaling meets e^-large.
    const positions = 150;
    var keys: [positions]f32 = undefined;
    var values: [positions]f32 = undefined;
    for (0..positions) |large| {
        for (&keys, &values, 0..) |*k, *v, i| {
            k.* = if (i == large) 500 else -500;
            v.* = @floatFromInt(i + 1);
        }
        const key_page: [*]const u8 = @ptrCast(&keys);
        const value_page: [*]const u8 = @ptrCast(&values);
        var out: [1]f32 = undefined;
        table.attention(&.{
            .q = &.{1},
            .q_stride = 1,
            .group = 1,
            .head_dim_k = 1,
            .head_dim_v = 1,
            .key_format = 0,
            .value_format = 0,
            .key_pages = &.{key_page},
            .value_pages = &.{value_page},
            .page_len = 256,
            .from = 0,
            .to = positions,
            .scale = 1,
            .softcap = 0,
            .out = &out,
            .out_stride = 1,
        });
        try std.testing.expectEqual(values[large], out[0]);
    }
}

test "one score above all others" {
    try variants.each(oneLargeScore);
}
