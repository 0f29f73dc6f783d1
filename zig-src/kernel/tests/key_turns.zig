//! Keys that attention rotates when it reads them: the bits are those of attention over keys in f32 that
//! were decoded and rotated before, in every format, for both pairings, rotations of a part of a head, and
//! keys behind a Hadamard rotation.

const std = @import("std");
const kernel = @import("../../kernel.zig");
const variants = @import("variants.zig");

const KvFormat = kernel.KvFormat;
const page_len = kernel.page_len;
const group = 3;
const positions = 200;
const pages = (positions + page_len - 1) / page_len;
const dim_max = 96;

const Case = struct { dim: usize, rot_dim: usize, style: kernel.RopeStyle, hadamard: bool, from: u32, to: u32, tokens: u32, window: u32 };

const cases = [_]Case{
    .{ .dim = 64, .rot_dim = 64, .style = .norm, .hadamard = true, .from = 0, .to = 200, .tokens = 1, .window = 0 },
    .{ .dim = 96, .rot_dim = 32, .style = .neox, .hadamard = false, .from = 69, .to = 197, .tokens = 4, .window = 0 },
    .{ .dim = 32, .rot_dim = 32, .style = .neox, .hadamard = true, .from = 0, .to = 90, .tokens = 20, .window = 40 },
};

const options = [_]kernel.KvOptions{ .{}, .{ .symmetric = true, .outliers = 20 }, .{ .group = 1, .outliers = 5 } };

fn everyFormat(table: *const kernel.Table, random: std.Random) !void {
    for (cases) |case| for (std.enums.values(KvFormat)) |format| {
        for (options) |of| {
            if (of != kernel.KvOptions{} and (!format.grouped() or case.dim % of.groupLen() != 0)) continue;
            errdefer std.debug.print("{} {t} {}\n", .{ case, format, of });
            try sameBits(table, random, case, of.code(format));
        }
    };
}

fn sameBits(table: *const kernel.Table, random: std.Random, case: Case, code: u32) !void {
    const dim = case.dim;
    const format = kernel.formatOf(code);
    const stored_as: kernel.KvOptions = .of(code);
    const page_bytes = kernel.page.bytes(format, .key, dim, stored_as);
    // What no token has written is not a number.
    var stored: [pages * page_len * dim_max * 4]u8 align(64) = @splat(0xff);
    var turned: [pages][page_len * dim_max]f32 align(64) = undefined;
    var values: [pages][page_len * dim_max]f32 align(64) = undefined;
    var angles: [pages][page_len * dim_max]f32 = undefined;
    var key_pages: [2][pages][*]const u8 = undefined;
    var value_pages: [pages][*]const u8 = undefined;
    var angle_pages: [pages][*]const f32 = undefined;
    for (0..pages) |i| {
        key_pages[0][i] = stored[i * page_bytes ..].ptr;
        key_pages[1][i] = @ptrCast(&turned[i]);
        value_pages[i] = @ptrCast(&values[i]);
        angle_pages[i] = &angles[i];
        variants.fill(random, &angles[i]);
        @memset(&turned[i], std.math.nan(f32));
    }
    var rows: [page_len * dim_max]f32 = undefined;
    const count: usize = if (format.grouped()) stored_as.groupLen() else 1;
    const last = case.to + case.tokens - 1;
    var first: usize = case.from / count * count;
    while (first < last) : (first += count) {
        variants.fill(random, rows[0 .. count * dim]);
        table.kv_store(code, 0, &rows, count * dim, stored[first / page_len * page_bytes ..].ptr, first % page_len);
    }
    for (case.from..last) |p| {
        const at = p % page_len;
        const row = rows[0..dim];
        table.kv_read(code, 0, key_pages[0][p / page_len], dim, at, at + 1, row.ptr);
        if (case.hadamard) table.hadamard(row.ptr, 1, dim);
        table.rope(row.ptr, 1, dim, case.rot_dim, @backingInt(case.style), angle_pages[p / page_len] + at * case.rot_dim);
        table.kv_store(@backingInt(KvFormat.f32), 0, row.ptr, dim, @ptrCast(&turned[p / page_len]), at);
        variants.fill(random, row);
        table.kv_store(@backingInt(KvFormat.f32), 1, row.ptr, dim, @ptrCast(&values[p / page_len]), at);
    }
    try expectSame(table, random, case, code, .{ &key_pages, &value_pages, &angle_pages });
}

const Pages = struct { *const [2][pages][*]const u8, *const [pages][*]const u8, *const [pages][*]const f32 };

/// Attention over what is stored, turned, and over what was turned before.
fn expectSame(table: *const kernel.Table, random: std.Random, case: Case, code: u32, of_case: Pages) !void {
    const key_pages, const value_pages, const angle_pages = of_case;
    const dim = case.dim;
    var q: [20 * group * dim_max]f32 = undefined;
    variants.fill(random, &q);
    var room: [2 * page_len * dim_max]f32 align(64) = @splat(std.math.nan(f32));
    const turns: kernel.KeyTurns = .{
        .angles = angle_pages,
        .rot_dim = case.rot_dim,
        .style = @backingInt(case.style),
        .hadamard = @intFromBool(case.hadamard),
        .room = &room,
    };
    var out: [2][20 * group * dim_max]f32 = undefined;
    for (&out, [_]u32{ code, @backingInt(KvFormat.f32) }, key_pages, 0..) |*to, key_format, *of, i| {
        @memset(to, 777);
        table.attention(&.{
            .q = &q,
            .q_token_stride = group * dim,
            .q_stride = dim,
            .tokens = case.tokens,
            .group = group,
            .head_dim_k = @intCast(dim),
            .head_dim_v = @intCast(dim),
            .key_format = key_format,
            .value_format = @backingInt(KvFormat.f32),
            .key_pages = of,
            .value_pages = value_pages,
            .later = &.{},
            .later_len = 0,
            .reading = .abreast,
            .precision = @backingInt(kernel.Precision.float),
            .from = case.from,
            .to = case.to,
            .step = 1,
            .window = case.window,
            .part_len = 64,
            .scale = 0.1,
            .softcap = 0,
            .out = to,
            .out_token_stride = group * dim,
            .out_stride = dim,
            .before = null,
            .sums = null,
            .sums_token_stride = group,
            .turns = if (i == 0) &turns else null,
        });
    }
    try variants.expectSameBits(&out[1], &out[0]);
    for (out[0][0 .. case.tokens * group * dim]) |value| try std.testing.expect(std.math.isFinite(value) and value != 777);
}

test "keys before their rotary embedding are rotated when they are read" {
    try variants.each(everyFormat);
}
