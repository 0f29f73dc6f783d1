//! Attention against the reference for all cache formats, odd head sizes, groups, ranges and
//! windows. What lies outside of a range is not a number, or not even memory. And the promise that
//! makes sessions repeatable: a token or a head alone, or in parts, has the bits that it has among
//! others.

const std = @import("std");
const channels = @import("channels.zig");
const kernel = @import("../../kernel.zig");
const op = @import("../../op.zig");
const variants = @import("variants.zig");

const gpa = std.testing.allocator;
const KvFormat = kernel.KvFormat;
const page_len = kernel.page_len;

/// Addresses that no process has, and a length that ends within a line: nothing of it may be read.
const nowhere = [_]kernel.Later{ .{ .at = @ptrFromInt(8), .len = 1000 }, .{ .at = @ptrFromInt(1 << 20), .len = 0 }, .{ .at = @ptrFromInt(64), .len = 1 } };

const Shape = struct {
    tokens: u32 = 1,
    group: u32,
    head_dim_k: u32,
    head_dim_v: u32,
    from: u32 = 0,
    /// Of the first token.
    to: u32,
    window: u32 = 0,
    softcap: f32 = 0,
    part_len: u32 = 256,

    fn last(shape: Shape) u32 {
        return shape.to + shape.tokens - 1;
    }

    fn first(shape: Shape, token: u32) u32 {
        return if (shape.window == 0) shape.from else @max(shape.from, shape.to + token -| shape.window);
    }
};

const shapes = [_]Shape{
    .{ .group = 1, .head_dim_k = 64, .head_dim_v = 64, .to = 1 },
    .{ .group = 3, .head_dim_k = 64, .head_dim_v = 64, .to = 200, .part_len = 64 },
    .{ .group = 4, .head_dim_k = 256, .head_dim_v = 256, .from = 70, .to = 193, .softcap = 50 },
    .{ .group = 8, .head_dim_k = 96, .head_dim_v = 32, .from = 63, .to = 65 },
    .{ .group = 5, .head_dim_k = 7, .head_dim_v = 3, .from = 5, .to = 64, .softcap = 3 },
    .{ .group = 70, .head_dim_k = 33, .head_dim_v = 100, .to = 130 },
    .{ .group = 2, .head_dim_k = 512, .head_dim_v = 576, .from = 128, .to = 256 },
    .{ .group = 12, .head_dim_k = 1024, .head_dim_v = 1024, .to = 70, .tokens = 2 },
    .{ .tokens = 33, .group = 1, .head_dim_k = 128, .head_dim_v = 128, .to = 1 },
    .{ .tokens = 9, .group = 8, .head_dim_k = 64, .head_dim_v = 64, .to = 124, .part_len = 128 },
    .{ .tokens = 70, .group = 2, .head_dim_k = 80, .head_dim_v = 48, .to = 1, .window = 10 },
    .{ .tokens = 40, .group = 1, .head_dim_k = 32, .head_dim_v = 64, .to = 250, .window = 100, .part_len = 128 },
    .{ .tokens = 5, .group = 6, .head_dim_k = 160, .head_dim_v = 160, .to = 509, .window = 300 },
    .{ .tokens = 21, .group = 3, .head_dim_k = 64, .head_dim_v = 96, .from = 70, .to = 520, .part_len = 128 },
};

const Cache = struct {
    pages: [][*]const u8,
    bytes: []u8,
    decoded: []f32, // [positions, dim]
    options: kernel.KvOptions,

    /// Positions before the first page that is read have no memory at all.
    fn init(table: *const kernel.Table, random: std.Random, format: KvFormat, side: kernel.KvSide, shape: Shape, dim: usize, options: kernel.KvOptions) !Cache {
        const count = (shape.last() + page_len - 1) / page_len;
        const page_bytes = kernel.page.bytes(format, side, dim, options);
        const cache: Cache = .{
            .pages = try gpa.alloc([*]const u8, count),
            .bytes = try gpa.alloc(u8, count * page_bytes),
            .decoded = try gpa.alloc(f32, shape.last() * dim),
            .options = options,
        };
        // Not a number in every float format; scales among them.
        @memset(cache.bytes, 0xff);
        const row = try gpa.alloc(f32, dim);
        defer gpa.free(row);
        if (format.grouped() and side == .key) {
            try cache.fillGroups(table, random, format, shape, dim);
        } else for (shape.first(0)..shape.last()) |position| {
            variants.fill(random, row);
            const page = cache.bytes[position / page_len * page_bytes ..].ptr;
            table.kv_store(options.code(format), @backingInt(side), row.ptr, dim, page, position % page_len);
            kernel.page.read(format, side, page, position % page_len, cache.decoded[position * dim ..][0..dim], options);
        }
        for (cache.pages, 0..) |*page, i| {
            // An address that no process has: reading it ends the test.
            page.* = if (i < shape.first(0) / page_len) @ptrFromInt(8) else cache.bytes[i * page_bytes ..].ptr;
        }
        return cache;
    }

    /// Keys that are rounded in groups of positions.
    fn fillGroups(cache: Cache, table: *const kernel.Table, random: std.Random, format: KvFormat, shape: Shape, dim: usize) !void {
        const count = cache.options.groupLen();
        const rows = try gpa.alloc(f32, count * dim);
        defer gpa.free(rows);
        var first = shape.first(0) / count * count;
        while (first < shape.last()) : (first += count) {
            variants.fill(random, rows);
            const page = cache.bytes[first / page_len * kernel.page.bytes(format, .key, dim, cache.options) ..].ptr;
            table.kv_store(cache.options.code(format), @backingInt(kernel.KvSide.key), rows.ptr, rows.len, page, first % page_len);
            for (first..@min(first + count, shape.last())) |position| {
                kernel.page.read(format, .key, page, position % page_len, cache.decoded[position * dim ..][0..dim], cache.options);
            }
        }
    }

    /// Keys whose products with a query are those of the query that the kernel rounds for each group: times its
    /// scales, to 8 bits and an f32 scale for 32 values. The keys' own middle is not touched by it.
    fn forQuery(cache: Cache, format: KvFormat, q: []const f32, first: usize, count: usize, out: []f32) !void {
        const dim = q.len;
        const kind: kernel.channels.Kind = .{ .format = format, .side = .key, .dim = dim, .options = cache.options };
        const scaled = try gpa.alloc(f32, dim);
        defer gpa.free(scaled);
        for (first..first + count) |position| {
            const page = cache.pages[position / page_len];
            const place = position % page_len;
            if (position == first or position % kind.group() == 0) {
                for (scaled, q, 0..) |*to, x, i| to.* = x * scaleOf(kind, page, place, i);
                roundQuery(scaled);
            }
            for (q, scaled, 0..) |x, rounded, i| {
                const middle = kind.middle(page, place, i);
                const exact = cache.decoded[position * dim + i];
                const codes = (exact - middle) / scaleOf(kind, page, place, i);
                const is_code = kind.readCode(page, place, i) != @as(u8, 1) << @intCast(format.bits() - 1);
                out[(position - first) * dim + i] = if (is_code and x != 0) middle + codes * rounded / x else exact;
            }
        }
    }

    fn scaleOf(kind: kernel.channels.Kind, page: [*]const u8, position: usize, index: usize) f32 {
        return @as(f16, @bitCast(page[kind.scaleAt(position, index)..][0..2].*));
    }

    fn deinit(cache: Cache) void {
        gpa.free(cache.pages);
        gpa.free(cache.bytes);
        gpa.free(cache.decoded);
    }
};

const Case = struct {
    table: *const kernel.Table,
    shape: Shape,
    keys: Cache,
    values: Cache,
    q: []f32, // [tokens][group][head_dim_k]
    out: []f32, // [tokens][group][stride]
    /// A value between the heads must stay as it is.
    stride: usize,
    args: kernel.AttentionArgs,

    fn init(table: *const kernel.Table, random: std.Random, shape: Shape, key: KvFormat, value: KvFormat, options: [2]kernel.KvOptions) !Case {
        const stride = shape.head_dim_v + 1;
        var case: Case = .{
            .table = table,
            .shape = shape,
            .keys = try .init(table, random, key, .key, shape, shape.head_dim_k, options[0]),
            .values = try .init(table, random, value, .value, shape, shape.head_dim_v, options[1]),
            .q = try gpa.alloc(f32, shape.tokens * shape.group * shape.head_dim_k),
            .out = try gpa.alloc(f32, shape.tokens * shape.group * stride),
            .stride = stride,
            .args = undefined,
        };
        variants.fill(random, case.q);
        @memset(case.out, 777);
        case.args = .{
            .q = case.q.ptr,
            .q_token_stride = shape.group * shape.head_dim_k,
            .q_stride = shape.head_dim_k,
            .tokens = shape.tokens,
            .group = shape.group,
            .head_dim_k = shape.head_dim_k,
            .head_dim_v = shape.head_dim_v,
            .key_format = options[0].code(key),
            .value_format = options[1].code(value),
            .key_pages = case.keys.pages.ptr,
            .value_pages = case.values.pages.ptr,
            .later = &nowhere,
            .later_len = nowhere.len,
            .reading = .abreast,
            .precision = @backingInt(kernel.Precision.float),
            .from = shape.from,
            .to = shape.to,
            .step = 1,
            .window = shape.window,
            .part_len = shape.part_len,
            .scale = 1 / @sqrt(@as(f32, @floatFromInt(shape.head_dim_k))),
            .softcap = shape.softcap,
            .out = case.out.ptr,
            .out_token_stride = shape.group * stride,
            .out_stride = stride,
            .before = null,
            .sums = null,
            .sums_token_stride = shape.group,
        };
        return case;
    }

    fn deinit(case: Case) void {
        case.keys.deinit();
        case.values.deinit();
        gpa.free(case.q);
        gpa.free(case.out);
    }

    fn expectReference(case: Case) !void {
        const shape = case.shape;
        const weights = try gpa.alloc(f32, shape.last());
        defer gpa.free(weights);
        const rounded = try gpa.alloc(f32, shape.last() * shape.head_dim_k);
        defer gpa.free(rounded);
        const key: KvFormat = @fromBackingInt(case.args.key_format & 0xffff);
        const value: KvFormat = @fromBackingInt(case.args.value_format & 0xffff);
        const rounds = roundsWeights(value, @fromBackingInt(case.args.precision));
        const tolerance = if (rounds) op.attention.tolerance_rounded else op.attention.tolerance;
        const want = try gpa.alloc(f32, shape.head_dim_v);
        defer gpa.free(want);
        for (0..shape.tokens * shape.group) |r| {
            const token: u32 = @intCast(r / shape.group);
            const from = shape.first(token);
            const n = shape.to + token - from;
            const q = case.q[r * shape.head_dim_k ..][0..shape.head_dim_k];
            if (key.scaled()) roundQuery(q);
            if (key.grouped()) try case.keys.forQuery(key, q, from, n, rounded);
            const decoded = if (key.grouped()) rounded else case.keys.decoded[from * shape.head_dim_k ..];
            const k = decoded[0 .. n * shape.head_dim_k];
            const v = case.values.decoded[from * shape.head_dim_v ..][0 .. n * shape.head_dim_v];
            try op.attention.check(n, shape.head_dim_k, shape.head_dim_v, k.len, v.len);
            op.attention.reference(q, k, v, case.args.scale, shape.softcap, weights[0..n], want);
            var largest: f32 = 0;
            for (v) |x| largest = @max(largest, @abs(x));
            const got = case.out[r * case.stride ..][0..shape.head_dim_v];
            for (got, want, 0..) |g, w, i| {
                if (tolerance.holds(g, w, largest)) continue;
                std.debug.print("row {d} value {d}: expected {e}, found {e}\n", .{ r, i, w, g });
                return error.OutOfTolerance;
            }
            try std.testing.expectEqual(777, case.out[r * case.stride + shape.head_dim_v]);
        }
    }

    /// Each head of each token in a call of its own.
    fn expectAlone(case: Case) !void {
        const alone = try gpa.alloc(f32, case.out.len);
        defer gpa.free(alone);
        @memset(alone, 777);
        for (0..case.shape.tokens) |token| for (0..case.shape.group) |head| {
            var args = case.one(@intCast(token), head);
            args.out = alone[(token * case.shape.group + head) * case.stride ..].ptr;
            case.table.attention(&args);
        };
        try variants.expectSameBits(alone, case.out);
    }

    fn one(case: Case, token: u32, head: usize) kernel.AttentionArgs {
        var args = case.args;
        args.tokens = 1;
        args.group = 1;
        args.q = case.q[(token * case.shape.group + head) * case.shape.head_dim_k ..].ptr;
        args.from = case.shape.first(token);
        args.to = case.shape.to + token;
        args.window = 0;
        args.reading = .single;
        return args;
    }

    /// The parts of each token in calls of their own, the last first, and joined.
    fn expectParts(case: Case) !void {
        const shape = case.shape;
        const dim = shape.head_dim_v;
        const parts = try gpa.alloc(f32, kernel.parts_max * dim);
        defer gpa.free(parts);
        var sums: [kernel.parts_max]kernel.PartSums = undefined;
        const joined = try gpa.alloc(f32, case.out.len);
        defer gpa.free(joined);
        @memset(joined, 777);
        for (0..shape.tokens) |token| for (0..shape.group) |head| {
            const whole = case.one(@intCast(token), head);
            const first = whole.from / shape.part_len;
            const count = (whole.to - 1) / shape.part_len + 1 - first;
            for (0..count) |back| {
                const i = count - 1 - back;
                var part = whole;
                const at = (first + @as(u32, @intCast(i))) * shape.part_len;
                part.from = @max(whole.from, at);
                part.to = @min(whole.to, at + shape.part_len);
                part.out = parts[i * dim ..].ptr;
                part.sums = sums[i..].ptr;
                case.table.attention(&part);
            }
            case.table.attention_merge(&.{
                .parts = parts.ptr,
                .parts_stride = dim,
                .sums = &sums,
                .sums_stride = 1,
                .count = count,
                .head_dim_v = dim,
                .out = joined[(token * shape.group + head) * case.stride ..].ptr,
            });
        };
        try variants.expectSameBits(joined, case.out);
    }

    /// All tokens over the parts that they have in common, and each by itself from there on.
    fn expectShared(case: Case) !void {
        const shape = case.shape;
        // Tokens of a window begin at different positions.
        if (shape.window != 0 and shape.tokens > 1) return;
        const border = (shape.to - 1) / shape.part_len * shape.part_len;
        if (border <= shape.from) return;
        const out = try gpa.alloc(f32, case.out.len);
        defer gpa.free(out);
        @memset(out, 777);
        const sums = try gpa.alloc(kernel.PartSums, shape.tokens * (shape.group + 1));
        defer gpa.free(sums);
        var args = case.args;
        args.to = border;
        args.step = 0;
        args.out = out.ptr;
        args.sums = sums.ptr;
        args.sums_token_stride = shape.group + 1;
        case.table.attention(&args);
        for (0..shape.tokens) |token| {
            var rest = case.args;
            rest.q += token * rest.q_token_stride;
            rest.tokens = 1;
            rest.from = border;
            rest.to += @intCast(token);
            rest.out = out.ptr + token * rest.out_token_stride;
            rest.before = sums.ptr + token * (shape.group + 1);
            case.table.attention(&rest);
        }
        try variants.expectSameBits(out, case.out);
    }
};

/// What the kernel does to a query before it meets keys that are integers: 8 bits and an f32 scale for
/// 32 values, rounded to nearest even. With that the tolerance of float keys holds for them too.
fn roundQuery(q: []f32) void {
    for (0..q.len / 32) |u| {
        const values = q[u * 32 ..][0..32];
        var largest: f32 = 0;
        for (values) |x| largest = @max(largest, @abs(x));
        if (largest < std.math.floatMin(f32) * 127) {
            @memset(values, 0);
            continue;
        }
        const inverse = 127 / largest;
        for (values) |*x| x.* = ((x.* * inverse + 12582912) - 12582912) * (largest / 127);
    }
}

fn everyShape(table: *const kernel.Table, random: std.Random) !void {
    const formats = std.enums.values(KvFormat);
    for (shapes) |shape| for (formats) |key| for (formats) |value| {
        // Keys and values pass one after the other: a format is tried beside itself and beside f16.
        if (key != value and key != .f16 and value != .f16) continue;
        if ((key.scaled() or key.grouped()) and shape.head_dim_k % kernel.page.unit != 0) continue;
        if ((value.scaled() or value.grouped()) and shape.head_dim_v % kernel.page.unit != 0) continue;
        try expectCase(table, random, shape, key, value, .{ .{}, .{} });
    };
    // Options, in turns.
    for (shapes, 0..) |shape, i| for (channels.formats, 0..) |format, j| {
        const key = channels.options[(i + j) % channels.options.len];
        const value = channels.options[(i + 2 * j + 1) % channels.options.len];
        if (shape.head_dim_k % 32 != 0 or shape.head_dim_v % 32 != 0) continue;
        if (!channels.fits(.key, shape.head_dim_k, key) or !channels.fits(.value, shape.head_dim_v, value)) continue;
        try expectCase(table, random, shape, format, format, .{ key, value });
    };
}

fn expectCase(table: *const kernel.Table, random: std.Random, shape: Shape, key: KvFormat, value: KvFormat, options: [2]kernel.KvOptions) !void {
    errdefer std.debug.print("{} keys {t} values {t}, {any}\n", .{ shape, key, value, options });
    var case: Case = try .init(table, random, shape, key, value, options);
    defer case.deinit();
    for ([_]kernel.Precision{ .float, .int8 }) |precision| {
        if (precision == .int8 and !roundsWeights(value, .int8)) continue;
        case.args.precision = @backingInt(precision);
        table.attention(&case.args);
        try case.expectAlone();
        try case.expectParts();
        try case.expectShared();
        try case.expectReference();
    }
}

/// Whether the weights of values in a format may be rounded to 16 bits.
fn roundsWeights(value: KvFormat, precision: kernel.Precision) bool {
    return precision == .int8 and (value == .q8_0 or value == .int8);
}

test "attention" {
    try variants.each(everyShape);
}

/// A query that is not a number is seen in its own result, and in no other.
fn oneNotANumber(table: *const kernel.Table, random: std.Random) !void {
    const shape: Shape = .{ .group = 9, .head_dim_k = 64, .head_dim_v = 96, .from = 3, .to = 90 };
    for (std.enums.values(KvFormat)) |format| for ([_]kernel.Precision{ .float, .int8 }) |precision| {
        errdefer std.debug.print("keys and values {t}, precision {t}\n", .{ format, precision });
        var case: Case = try .init(table, random, shape, format, format, .{ .{}, .{} });
        defer case.deinit();
        case.args.precision = @backingInt(precision);
        table.attention(&case.args);
        const want = try gpa.dupe(f32, case.out);
        defer gpa.free(want);
        for (0..shape.group) |head| {
            const q = &case.q[head * shape.head_dim_k + 7];
            const was = q.*;
            defer q.* = was;
            q.* = std.math.nan(f32);
            table.attention(&case.args);
            const first = head * case.stride;
            for (case.out[first..][0..shape.head_dim_v]) |value| try std.testing.expect(std.math.isNan(value));
            @memcpy(case.out[first..][0..shape.head_dim_v], want[first..][0..shape.head_dim_v]);
            try variants.expectSameBits(want, case.out);
        }
    };
}

test "what is not a number is seen" {
    try variants.each(oneNotANumber);
}

fn oneLargeScore(table: *const kernel.Table, random: std.Random) !void {
    _ = random;
    // Scores far apart: all weight is on one position, and rescaling meets e^-large.
    const positions = 150;
    var keys: [3][page_len]f32 = @splat(@splat(0));
    var values: [3][page_len]f32 = @splat(@splat(0));
    const key_pages = [_][*]const u8{ @ptrCast(&keys[0]), @ptrCast(&keys[1]), @ptrCast(&keys[2]) };
    const value_pages = [_][*]const u8{ @ptrCast(&values[0]), @ptrCast(&values[1]), @ptrCast(&values[2]) };
    for (0..positions) |large| {
        for (0..positions) |i| {
            const key: f32 = if (i == large) 500 else -500;
            const value: f32 = @floatFromInt(i + 1);
            table.kv_store(0, 0, &.{key}, 1, @ptrCast(&keys[i / page_len]), i % page_len);
            table.kv_store(0, 1, &.{value}, 1, @ptrCast(&values[i / page_len]), i % page_len);
        }
        var out: [1]f32 = undefined;
        table.attention(&.{
            .q = &.{1},
            .q_token_stride = 1,
            .q_stride = 1,
            .tokens = 1,
            .group = 1,
            .head_dim_k = 1,
            .head_dim_v = 1,
            .key_format = 0,
            .value_format = 0,
            .key_pages = &key_pages,
            .value_pages = &value_pages,
            .later = &nowhere,
            .later_len = 0,
            .reading = .abreast,
            .precision = @backingInt(kernel.Precision.float),
            .from = 0,
            .to = positions,
            .step = 1,
            .window = 0,
            .part_len = page_len,
            .scale = 1,
            .softcap = 0,
            .out = &out,
            .out_token_stride = 1,
            .out_stride = 1,
            .before = null,
            .sums = null,
            .sums_token_stride = 1,
        });
        try std.testing.expectEqual(@as(f32, @floatFromInt(large + 1)), out[0]);
    }
}

test "one score above all others" {
    try variants.each(oneLargeScore);
}

test "parts follow from positions" {
    try std.testing.expectEqual(256, kernel.partLen(1));
    try std.testing.expectEqual(256, kernel.partLen(8192));
    try std.testing.expectEqual(512, kernel.partLen(8193));
    try std.testing.expectEqual(32768, kernel.partLen(1 << 20));
}
