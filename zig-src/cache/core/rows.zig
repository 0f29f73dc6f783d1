//! Keys and values as rows: what `kernel/attention/page.zig` lays out for the kernels, position by position, and back. A
//! row is one position of one head, in the bytes that GGUF gives to a row of the tensor type of the same
//! name (f8 and int8 have none: a byte a value, and before those of int8 their scale; nvfp4 has blocks of
//! 64 values, of which the last is half a one in heads of an odd number of 32 values). So what leaves the process says nothing of how pages lie, and other
//! programs can read it. Nothing is rounded on the way.

const std = @import("std");
const kernel = @import("../../kernel.zig");
const page = kernel.page;

const KvFormat = kernel.KvFormat;
const Options = kernel.KvOptions;
const Side = kernel.KvSide;
const Way = enum { out, in };

/// Of one position of one head, scales included.
pub fn bytes(format: KvFormat, side: Side, dim: usize, options: Options) usize {
    return page.bytes(format, side, dim, options) / kernel.page_len;
}

/// Copies the first `count` positions of a page: [count][bytes].
pub fn read(format: KvFormat, side: Side, memory: [*]const u8, dim: usize, options: Options, count: usize, rows: [*]u8) void {
    copyAny(.out, format, side, @constCast(memory), dim, options, count, rows);
}

/// The way back. What the page holds of other positions stays, and is nobody's.
pub fn write(format: KvFormat, side: Side, memory: [*]u8, dim: usize, options: Options, count: usize, rows: [*]const u8) void {
    copyAny(.in, format, side, memory, dim, options, count, @constCast(rows));
}

/// Longest row of a head.
pub const bytes_max = 1 << 14;

/// Copies one position of a page over one of another, or of the same.
pub fn moveOne(format: KvFormat, side: Side, dim: usize, options: Options, to: [*]u8, to_position: usize, from: [*]u8, from_position: usize) void {
    var row: [bytes_max]u8 = undefined;
    std.debug.assert(bytes(format, side, dim, options) <= row.len);
    switch (format) {
        inline else => |tag| switch (side) {
            inline else => |of| {
                copyOne(.out, tag, of, from, dim, options, from_position, &row);
                copyOne(.in, tag, of, to, dim, options, to_position, &row);
            },
        },
    }
}

fn copyOne(comptime way: Way, comptime format: KvFormat, comptime side: Side, memory: [*]u8, dim: usize, options: Options, position: usize, row: [*]u8) void {
    const row_bytes = bytes(format, side, dim, options);
    if (comptime format.grouped()) {
        copyGrouped(way, .{ .format = format, .side = side, .dim = dim, .options = options }, memory, position, row);
    } else if (comptime format.narrow()) {
        copyBlocks(way, format, side, memory, dim, position, row);
    } else if (comptime format.scaled()) {
        const blocks = page.scaleCount(format, dim);
        const len = dim / blocks;
        for (0..blocks) |b| copyBlock(way, format, side, memory, dim, position, b * len, len, row + b * (row_bytes / blocks));
    } else if (comptime side == .value) {
        move(way, memory + position * row_bytes, row, row_bytes);
    } else {
        const size = comptime format.bytes();
        for (0..dim) |index| move(way, memory + page.valueAt(format, side, dim, position, index), row + index * size, size);
    }
}

fn copyAny(comptime way: Way, format: KvFormat, side: Side, memory: [*]u8, dim: usize, options: Options, count: usize, rows: [*]u8) void {
    std.debug.assert(count <= kernel.page_len);
    switch (format) {
        inline else => |tag| switch (side) {
            inline else => |of| copy(way, tag, of, memory, dim, options, count, rows),
        },
    }
}

fn copy(comptime way: Way, comptime format: KvFormat, comptime side: Side, memory: [*]u8, dim: usize, options: Options, count: usize, rows: [*]u8) void {
    const row_bytes = bytes(format, side, dim, options);
    if (comptime format.grouped()) {
        const kind: kernel.channels.Kind = .{ .format = format, .side = side, .dim = dim, .options = options };
        for (0..count) |position| copyGrouped(way, kind, memory, position, rows + position * row_bytes);
    } else if (comptime format.narrow()) {
        for (0..count) |position| copyBlocks(way, format, side, memory, dim, position, rows + position * row_bytes);
    } else if (comptime format.scaled()) {
        const blocks = page.scaleCount(format, dim);
        const len = dim / blocks;
        for (0..count) |position| for (0..blocks) |b| {
            const block = rows + position * row_bytes + b * (row_bytes / blocks);
            copyBlock(way, format, side, memory, dim, position, b * len, len, block);
        };
    } else if (comptime side == .value) {
        // They lie so.
        move(way, memory, rows, count * row_bytes);
    } else {
        const size = comptime format.bytes();
        for (0..count) |position| for (0..dim) |index| {
            move(way, memory + page.valueAt(format, side, dim, position, index), rows + position * row_bytes + index * size, size);
        };
    }
}

/// The blocks of the tensor type; the last one ends with the head.
fn copyBlocks(comptime way: Way, comptime format: KvFormat, comptime side: Side, memory: [*]u8, dim: usize, position: usize, row: [*]u8) void {
    var index: usize = 0;
    var block = row;
    while (index < dim) {
        const len = @min(format.Blocks().?.block_len, dim - index);
        switch (way) {
            .out => page.readBlock(format, side, dim, memory, position, index, block, len),
            .in => page.writeBlock(format, side, dim, block, .{ .len = len, .wanted = len }, memory, position, index),
        }
        const parts = page.blockParts(format, len);
        block += parts.terms + parts.codes;
        index += len;
    }
}

/// The codes of a position, then a part of the scales and minimums, one after the other, then a part of the
/// outliers: of values its own, of keys an equal part of those of its group.
fn copyGrouped(comptime way: Way, kind: kernel.channels.Kind, memory: [*]u8, position: usize, row: [*]u8) void {
    const bits = kind.format.bits();
    const group = kind.group();
    const mask = ~@as(u8, 0) >> @intCast(8 - bits);
    for (0..kind.dim) |index| {
        const shift: u3 = @intCast(index * bits % 8);
        const byte = &row[index * bits / 8];
        switch (way) {
            .out => {
                if (shift == 0) byte.* = 0;
                byte.* |= kind.readCode(memory, position, index) << shift;
            },
            .in => kind.writeCode(memory, position, index, byte.* >> shift & mask),
        }
    }
    var at = row + kind.dim * bits / 8;
    for (0..kind.dim / group) |i| {
        const index = if (kind.side == .value) i * group else position % group * (kind.dim / group) + i;
        const first = if (kind.side == .value) position else position / group * group;
        move(way, memory + kind.scaleAt(first, index), at, 2);
        at += 2;
        if (!kind.hasMinimum()) continue;
        move(way, memory + kind.minimumAt(first, index), at, 2);
        at += 2;
    }
    const shared = if (kind.side == .key) group else 1;
    const part = kind.capacity() * kernel.outliers.entry_bytes / shared;
    move(way, memory + kind.outliersOf(position) + position % shared * part, at, part);
}

/// A scale, then the integers.
fn copyBlock(
    comptime way: Way,
    comptime format: KvFormat,
    comptime side: Side,
    memory: [*]u8,
    dim: usize,
    position: usize,
    first: usize,
    len: usize,
    block: [*]u8,
) void {
    const scale_bytes = @sizeOf(f16);
    move(way, memory + page.scaleAt(format, side, dim, position, first), block, scale_bytes);
    var i: usize = 0;
    while (i < len) : (i += page.word) {
        move(way, memory + page.valueAt(format, side, dim, position, first + i), block + scale_bytes + i, page.word);
    }
}

inline fn move(comptime way: Way, in_page: [*]u8, in_row: [*]u8, count: usize) void {
    switch (way) {
        .out => @memcpy(in_row[0..count], in_page[0..count]),
        .in => @memcpy(in_page[0..count], in_row[0..count]),
    }
}

test "a page becomes rows, and rows the page" {
    var random: std.Random.DefaultPrng = .init(5);
    const dim = 96;
    const given: Options = .{ .symmetric = true, .outliers = 15 };
    inline for (comptime std.enums.values(KvFormat)) |format| for ([_]Side{ .key, .value }) |side| for ([_]Options{ .{}, given }) |options| {
        if (options != Options{} and !format.grouped()) continue;
        var memory: [kernel.page_len * dim * 4]u8 = undefined;
        random.random().bytes(&memory);
        const used = memory[0..page.bytes(format, side, dim, options)];
        var rows: [kernel.page_len * dim * 4]u8 = @splat(0xa5);
        const row_bytes = bytes(format, side, dim, options);
        for ([_]usize{ 0, 1, 17, kernel.page_len }) |count| {
            read(format, side, used.ptr, dim, options, count, &rows);
            try std.testing.expect(std.mem.allEqual(u8, rows[count * row_bytes ..], 0xa5));
        }
        // Rows hold what a position holds, and every byte of a page is in one of them.
        var back: [memory.len]u8 = @splat(0);
        write(format, side, &back, dim, options, kernel.page_len, &rows);
        try std.testing.expectEqualSlices(u8, used, back[0..used.len]);
        const dims = [_]usize{ 0, 1, 31, 32, 95 };
        for ([_]usize{ 0, 15, 16, 63 }) |position| if (comptime format.grouped()) {
            if (options == Options{}) try expectGroupedRow(format, side, used, dim, position, rows[position * row_bytes ..][0..row_bytes]);
        } else if (comptime format.narrow()) {
            try expectBlocks(format, side, used, dim, position, rows[position * row_bytes ..][0..row_bytes]);
        } else for (dims) |index| {
            const stored = used[page.valueAt(format, side, dim, position, index)..][0..format.bytes()];
            const len = dim / page.scaleCount(format, dim);
            const at = if (format.scaled()) index / len * (2 + len) + 2 + index % len else index * format.bytes();
            try std.testing.expectEqualSlices(u8, stored, rows[position * row_bytes + at ..][0..stored.len]);
        };
        // A part leaves the rest of the page alone.
        var part: [memory.len]u8 = @splat(0);
        write(format, side, &part, dim, options, 20, &rows);
        var again: [memory.len]u8 = @splat(0);
        read(format, side, &part, dim, options, kernel.page_len, &again);
        try std.testing.expectEqualSlices(u8, rows[0 .. 20 * row_bytes], again[0 .. 20 * row_bytes]);
        try std.testing.expect(std.mem.allEqual(u8, again[20 * row_bytes ..], 0));
    };
}

test "windows: a position that moves is what it was, and others stay" {
    var random: std.Random.DefaultPrng = .init(6);
    const dim = 96;
    inline for (comptime std.enums.values(KvFormat)) |format| if (comptime !format.grouped()) for ([_]Side{ .key, .value }) |side| {
        var pages: [2][kernel.page_len * dim * 4]u8 = undefined;
        random.random().bytes(std.mem.asBytes(&pages));
        const row_bytes = bytes(format, side, dim, .{});
        var rows: [2][kernel.page_len * dim * 4]u8 = undefined;
        for (&pages, &rows) |*memory, *of| read(format, side, memory, dim, .{}, kernel.page_len, of);
        // Also within a page, where the two share bytes.
        for ([_][4]usize{ .{ 0, 3, 1, 63 }, .{ 0, 17, 0, 16 }, .{ 1, 40, 1, 41 }, .{ 1, 0, 0, 31 }, .{ 0, 5, 0, 5 } }) |move_of| {
            const to_page, const to, const from_page, const from = move_of;
            moveOne(format, side, dim, .{}, &pages[to_page], to, &pages[from_page], from);
            std.mem.copyForwards(u8, rows[to_page][to * row_bytes ..][0..row_bytes], rows[from_page][from * row_bytes ..][0..row_bytes]);
            for (&pages, &rows) |*memory, *of| {
                var found: [kernel.page_len * dim * 4]u8 = undefined;
                read(format, side, memory, dim, .{}, kernel.page_len, &found);
                errdefer std.debug.print("{t} {t} {any}\n", .{ format, side, move_of });
                try std.testing.expectEqualSlices(u8, of[0 .. kernel.page_len * row_bytes], found[0 .. kernel.page_len * row_bytes]);
            }
        }
    };
}

/// Codes first, and in the rows of a group its terms.
fn expectGroupedRow(comptime format: KvFormat, side: Side, memory: []const u8, dim: usize, position: usize, row: []const u8) !void {
    var codes: [96]u8 = undefined;
    page.readCodes(format, side, memory.ptr, dim, position, position + 1, &codes, .{});
    const in_byte = 8 / format.bits();
    const mask: u8 = comptime ~@as(u8, 0) >> (8 - format.bits());
    for (codes[0..dim], 0..) |code, i| {
        const byte = row[i / in_byte] >> @as(u3, @intCast(i % in_byte * format.bits()));
        try std.testing.expectEqual(code, byte & mask);
    }
    const kind: kernel.channels.Kind = .{ .format = format, .side = side, .dim = dim, .options = .{} };
    const index = if (side == .value) 32 else position % 32 * 3 + 1;
    const first = if (side == .value) position else position / 32 * 32;
    const terms = row[dim * format.bits() / 8 + 4 ..];
    try std.testing.expectEqualSlices(u8, memory[kind.scaleAt(first, index)..][0..2], terms[0..2]);
    try std.testing.expectEqualSlices(u8, memory[kind.minimumAt(first, index)..][0..2], terms[2..4]);
}

/// A row of blocks has the codes, scales and minimums of its position, where GGUF has them.
fn expectBlocks(comptime format: KvFormat, side: Side, memory: []const u8, dim: usize, position: usize, row: []const u8) !void {
    var codes: [96]u8 = undefined;
    var scales: [2 * 3]u8 = undefined;
    var minimums: [2 * 3]u8 = undefined;
    page.readCodes(format, side, memory.ptr, dim, position, position + 1, &codes, .{});
    page.readTerms(.scale, format, side, memory.ptr, dim, position, position + 1, &scales, .{});
    if (format.hasMinimum()) page.readTerms(.minimum, format, side, memory.ptr, dim, position, position + 1, &minimums, .{});
    const half = comptime format.scaleLen() / 2;
    var index: usize = 0;
    var at: usize = 0;
    var term: usize = 0;
    while (index < dim) {
        const len = @min(format.Blocks().?.block_len, dim - index);
        for (0..len / format.scaleLen()) |_| {
            const size = comptime format.scaleBytes();
            try std.testing.expectEqualSlices(u8, scales[term..][0..size], row[at..][0..size]);
            at += size;
            if (format.hasMinimum()) {
                try std.testing.expectEqualSlices(u8, minimums[term..][0..size], row[at..][0..size]);
                at += size;
            }
            term += size;
        }
        const fifths = row[at..][0 .. len / 8];
        if (format.bits() == 5) at += fifths.len;
        for (codes[index..][0..len], 0..) |code, i| {
            const byte = row[at + i / (2 * half) * half + i % half];
            try std.testing.expectEqual(code & 15, if (i / half % 2 == 0) byte & 15 else byte >> 4);
            if (format.bits() == 5) try std.testing.expectEqual(code >> 4, fifths[i / 8] >> @intCast(i % 8) & 1);
        }
        at += len / 2;
        index += len;
    }
    try std.testing.expectEqual(row.len, at);
}
