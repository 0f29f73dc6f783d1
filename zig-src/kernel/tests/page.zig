//! Pages of the cache: every byte belongs to one value or scale, and what is stored are the bytes of
//! the format's own encoder, which read as what they mean.

const std = @import("std");
const f8 = @import("../f8.zig");
const kernel = @import("../../kernel.zig");
const op = @import("../../op.zig");
const quant = @import("../../quant.zig");
const variants = @import("variants.zig");

const gpa = std.testing.allocator;
const formats = std.enums.values(kernel.KvFormat);
const sides = std.enums.values(kernel.KvSide);

test "every bit of a page has one meaning" {
    for (formats) |format| for (sides) |side| for ([_]usize{ 32, 96 }) |dim| {
        errdefer std.debug.print("{t} {t} {d}\n", .{ format, side, dim });
        // Those with other options are in channels.zig.
        const taken = try gpa.alloc(u8, kernel.page.bytes(format, side, dim, .{}));
        defer gpa.free(taken);
        @memset(taken, 0);
        for (0..kernel.page_len) |position| for (0..dim) |index| {
            if (format.grouped()) {
                try takeGrouped(taken, .{ .format = format, .side = side, .dim = dim, .options = .{} }, position, index);
                continue;
            }
            if (format.narrow()) {
                const at = kernel.page.codeAt(format, side, dim, position, index);
                try take(&taken[at.byte], if (at.half == 0) 0x0f else 0xf0);
                if (format.bits() == 5) try take(&taken[at.fifth_byte], @as(u8, 1) << at.fifth_bit);
            } else for (taken[kernel.page.valueAt(format, side, dim, position, index)..][0..format.bytes()]) |*byte| try take(byte, 0xff);
            if (!format.scaled() or index % (dim / kernel.page.scaleCount(format, dim)) != 0) continue;
            for (taken[kernel.page.scaleAt(format, side, dim, position, index)..][0..format.scaleBytes()]) |*byte| try take(byte, 0xff);
            if (!format.hasMinimum()) continue;
            for (taken[kernel.page.minimumAt(format, side, dim, position, index)..][0..2]) |*byte| try take(byte, 0xff);
        };
        for (taken) |bits| try std.testing.expectEqual(0xff, bits);
    };
}

/// Where scales belong to channels of keys, or to a part of the values of a position.
pub fn takeGrouped(taken: []u8, kind: kernel.channels.Kind, position: usize, index: usize) !void {
    const at, const bit = kind.codeAt(position, index);
    try take(&taken[at], ~@as(u8, 0) >> @intCast(8 - kind.format.bits()) << bit);
    if ((if (kind.side == .key) position else index) % kind.group() == 0) {
        for (taken[kind.scaleAt(position, index)..][0..2]) |*byte| try take(byte, 0xff);
        if (kind.hasMinimum()) for (taken[kind.minimumAt(position, index)..][0..2]) |*byte| try take(byte, 0xff);
    }
    if (index != 0 or kind.side == .key and position % kind.group() != 0) return;
    for (taken[kind.outliersOf(position)..][0 .. kind.capacity() * 4]) |*byte| try take(byte, 0xff);
}

/// Bits that nobody took before.
fn take(byte: *u8, bits: u8) !void {
    try std.testing.expectEqual(0, byte.* & bits);
    byte.* |= bits;
}

fn stores(table: *const kernel.Table, random: std.Random) !void {
    for (formats) |format| for (sides) |side| for ([_]usize{ 1, 7, 32, 33, 64, 160 }) |dim| {
        // Those have a test of their own, in channels.zig.
        if (format.grouped()) continue;
        if (format.scaled() and dim % kernel.page.unit != 0) continue;
        errdefer std.debug.print("{t} {t} {d}\n", .{ format, side, dim });
        try storesOf(table, random, format, side, dim);
    };
}

fn storesOf(table: *const kernel.Table, random: std.Random, format: kernel.KvFormat, side: kernel.KvSide, dim: usize) !void {
    const page = try gpa.alloc(u8, kernel.page.bytes(format, side, dim, .{}) + 1);
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
    if (format.scaled()) x[6][3] = std.math.nan(f32);
    for (0..kernel.page_len) |position| {
        // The last first: a position must not touch another.
        const p = kernel.page_len - 1 - position;
        table.kv_store(@backingInt(format), @backingInt(side), &x[p], dim, page.ptr, p);
    }
    try std.testing.expectEqual(0xa5, page[page.len - 1]);
    var bytes: [4 * 192]u8 = undefined;
    var want: [160]f32 = undefined;
    var got: [160]f32 = undefined;
    var several: [kernel.page_len * 160]f32 = undefined;
    table.kv_read(@backingInt(format), @backingInt(side), page.ptr, dim, 0, kernel.page_len, &several);
    try expectRanges(table, format, side, page.ptr, dim, several[0 .. kernel.page_len * dim]);
    for (&x, 0..) |*row, position| {
        errdefer std.debug.print("position {d}\n", .{position});
        const encoded = try encode(format, row[0..dim], &bytes, want[0..dim]);
        kernel.page.read(format, side, page.ptr, position, got[0..dim], .{});
        try variants.expectSameBits(want[0..dim], got[0..dim]);
        try variants.expectSameBits(want[0..dim], several[position * dim ..][0..dim]);
        try expectStored(format, side, dim, page.ptr, position, encoded);
    }
}

/// The bytes of the format's own encoder, wherever they lie in a page.
fn expectStored(format: kernel.KvFormat, side: kernel.KvSide, dim: usize, page: [*]const u8, position: usize, encoded: []const u8) !void {
    var codes: [4 * 160]u8 = undefined;
    kernel.page.readCodes(format, side, page, dim, position, position + 1, &codes, .{});
    const size = kernel.page.codeBytes(format);
    if (!format.scaled()) return std.testing.expectEqualSlices(u8, encoded, codes[0 .. dim * size]);
    var terms: [2][2 * 10]u8 = undefined;
    kernel.page.readTerms(.scale, format, side, page, dim, position, position + 1, &terms[0], .{});
    if (format.hasMinimum()) kernel.page.readTerms(.minimum, format, side, page, dim, position, position + 1, &terms[1], .{});
    const shape: Blocks = .of(format, dim);
    const scale_bytes = format.scaleBytes();
    for (0..dim) |i| {
        const block = encoded[i / shape.len * shape.bytes ..][0..shape.bytes];
        // Scales of a block come first, each with its minimum.
        const scale = i % shape.len / shape.scale_len;
        const term = i / shape.scale_len * scale_bytes;
        const stored = block[scale * format.termBytes() ..][0..format.termBytes()];
        try std.testing.expectEqualSlices(u8, stored[0..scale_bytes], terms[0][term..][0..scale_bytes]);
        if (format.hasMinimum()) try std.testing.expectEqualSlices(u8, stored[scale_bytes..], terms[1][term..][0..scale_bytes]);
        try std.testing.expectEqual(codeOf(format, shape, block, i % shape.len), codes[i]);
    }
}

/// Of a row as GGUF has it; int8 has one block.
const Blocks = struct {
    len: usize,
    bytes: usize,
    scale_len: usize,

    fn of(format: kernel.KvFormat, dim: usize) Blocks {
        switch (format) {
            inline else => |tag| {
                if (comptime tag.Blocks() == null) return .{ .len = dim, .bytes = 2 + dim, .scale_len = dim };
                const Member = comptime tag.Blocks().?;
                return .{ .len = Member.block_len, .bytes = Member.block_bytes, .scale_len = Member.groups.len };
            },
        }
    }
};

/// Code `i` of a block as GGUF has it: integers last, and the fifth bits before them; nibbles of as many
/// values as share a scale, first the low ones.
fn codeOf(format: kernel.KvFormat, shape: Blocks, block: []const u8, i: usize) u8 {
    if (!format.narrow()) return block[2 + i];
    const nibbles = block[block.len - shape.len / 2 ..];
    const half = shape.scale_len / 2;
    const byte = nibbles[i / shape.scale_len * half + i % half];
    const low = if (i % shape.scale_len < half) byte & 15 else byte >> 4;
    if (format.bits() == 4) return low;
    const fifths = std.mem.readInt(u32, block[block.len - 20 ..][0..4], .little);
    return low | @as(u8, @intCast(fifths >> @intCast(i) & 1)) << 4;
}

/// What the format's own encoder makes of a row, and what that decodes to.
fn encode(format: kernel.KvFormat, row: []const f32, buffer: []u8, decoded: []f32) ![]const u8 {
    switch (format) {
        inline .f8_e4m3, .f8_e5m2 => |tag| {
            const kind = comptime if (tag == .f8_e4m3) f8.Kind.e4m3 else f8.Kind.e5m2;
            for (row, buffer[0..row.len], decoded) |x, *code, *value| {
                code.* = f8.to(kind, 4, @splat(x))[0];
                value.* = f8.from(kind, 4, @splat(code.*))[0];
            }
            return buffer[0..row.len];
        },
        .int8 => return encodeHead(row, buffer, decoded),
        else => {
            const store = op.Member("kv_store");
            const stored: quant.Format = @fromBackingInt(@backingInt(format));
            // A head may end in the middle of a block.
            var whole: [192]f32 = @splat(0);
            @memcpy(whole[0..row.len], row);
            const len = std.mem.alignForward(usize, row.len, quant.info(stored).block_len);
            const encoded = buffer[0..@intCast(try quant.rowBytes(stored, len))];
            try store.check(stored, len, encoded.len);
            store.reference(stored, whole[0..len], encoded);
            quant.decodeRow(stored, encoded, whole[0..len]);
            @memcpy(decoded, whole[0..row.len]);
            return encoded;
        },
    }
}

/// q8_0 with the whole row as its group, value by value.
fn encodeHead(row: []const f32, buffer: []u8, decoded: []f32) []const u8 {
    var most: f32 = 0;
    for (row) |x| most = @max(most, if (std.math.isNan(x)) 0 else @min(@abs(x), 65504));
    const d = most / 127;
    const scale: f16 = @floatCast(d);
    buffer[0..2].* = @bitCast(scale);
    for (row, buffer[2..][0..row.len], decoded) |given, *byte, *value| {
        const x = if (std.math.isNan(given)) 0 else std.math.clamp(given, -65504, 65504);
        const share = if (std.math.isFinite(1 / d)) x * (1 / d) else 0;
        const code: i8 = @intFromFloat(std.math.clamp(@round(share), -127, 127));
        byte.* = @bitCast(code);
        value.* = @as(f32, @floatFromInt(code)) * scale;
    }
    return buffer[0 .. 2 + row.len];
}

/// Parts of a page read as the whole does, and nothing is written beside them.
fn expectRanges(table: *const kernel.Table, format: kernel.KvFormat, side: kernel.KvSide, page: [*]const u8, dim: usize, whole: []const f32) !void {
    var part: [kernel.page_len * 160 + 1]f32 = undefined;
    for ([_][2]usize{ .{ 0, 1 }, .{ 5, 5 }, .{ 3, 16 }, .{ 15, 33 }, .{ 16, 32 }, .{ 63, 64 } }) |range| {
        @memset(&part, 777);
        table.kv_read(@backingInt(format), @backingInt(side), page, dim, range[0], range[1], &part);
        const len = (range[1] - range[0]) * dim;
        try variants.expectSameBits(whole[range[0] * dim ..][0..len], part[0..len]);
        try std.testing.expectEqual(777, part[len]);
    }
}

test "stores are those of the format's encoder" {
    try variants.each(stores);
}
