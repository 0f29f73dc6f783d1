//! Sixteen rows of blocks at once, for packing: a member that declares `quads` has its integers
//! read as vectors in which each 32-bit lane belongs to one row, instead of one block after the
//! other through `decodeGroups`. Both give the same integers; `kernel/tests/pack.zig` compares them.
//!
//! A member's declarations for this:
//!
//!     quads(rows, part) Units(n)   the integers of units part * n to part * n + n - 1, where a unit is
//!                                  32 values: q, unsigned by adding half of the range if it is signed
//!     codes(rows) Codes(n, m)      for formats of two levels: the integers of the scales
//!
//! Vectors are plain Zig, so each CPU variant has its own instructions for them.

const std = @import("std");

pub const rows_max = 16;

/// A word of each row.
pub const Words = @Vector(rows_max, u32);
/// A byte of each row.
pub const Bytes = @Vector(rows_max, u8);

/// Four consecutive values of each row, eight times: 32 values.
pub const Quads = [8]Words;

pub fn Units(comptime n: usize) type {
    return [n]Quads;
}

/// Scale and offset of every group are these integers times the block's `d` and `dmin`.
pub fn Codes(comptime scales: usize, comptime offsets: usize) type {
    return struct { scales: [scales]Bytes, offsets: [offsets]Bytes };
}

/// The same block of sixteen rows. Reads no byte outside of the blocks.
pub const Rows = struct {
    at: [*]const u8,
    /// Bytes from a row to the next.
    stride: usize,

    /// Sixteen bytes of each row, from `offset` on.
    pub inline fn four(rows: Rows, comptime offset: usize) [4]Words {
        // Rows r, r + 4, r + 8 and r + 12 lie side by side, so that exchanging the words of four
        // vectors within lanes of 128 bits leaves all rows in order.
        var wide: [4]Words = undefined;
        inline for (&wide, 0..) |*to, r| {
            const low = @shuffle(u32, rows.sixteenBytes(r, offset), rows.sixteenBytes(r + 4, offset), joined8);
            const high = @shuffle(u32, rows.sixteenBytes(r + 8, offset), rows.sixteenBytes(r + 12, offset), joined8);
            to.* = @shuffle(u32, low, high, joined16);
        }
        const a = @shuffle(u32, wide[0], wide[1], first_words);
        const b = @shuffle(u32, wide[0], wide[1], second_words);
        const c = @shuffle(u32, wide[2], wide[3], first_words);
        const d = @shuffle(u32, wide[2], wide[3], second_words);
        return .{
            @shuffle(u32, a, c, first_pairs),
            @shuffle(u32, a, c, second_pairs),
            @shuffle(u32, b, d, first_pairs),
            @shuffle(u32, b, d, second_pairs),
        };
    }

    /// 32 bytes of each row.
    pub inline fn eight(rows: Rows, comptime offset: usize) Quads {
        return rows.four(offset) ++ rows.four(offset + 16);
    }

    /// Four bytes of each row.
    pub inline fn word(rows: Rows, comptime offset: usize) Words {
        return rows.gather(u32, offset);
    }

    /// Two bytes of each row.
    pub inline fn half(rows: Rows, comptime offset: usize) @Vector(rows_max, u16) {
        return rows.gather(u16, offset);
    }

    inline fn gather(rows: Rows, comptime T: type, comptime offset: usize) @Vector(rows_max, T) {
        var out: [rows_max]T = undefined;
        inline for (&out, 0..) |*to, r| to.* = @as(*align(1) const T, @ptrCast(rows.at + r * rows.stride + offset)).*;
        return out;
    }

    inline fn sixteenBytes(rows: Rows, comptime r: usize, comptime offset: usize) @Vector(4, u32) {
        return @as(*align(1) const @Vector(4, u32), @ptrCast(rows.at + r * rows.stride + offset)).*;
    }
};

// Masks for @shuffle, where a negative number is an element of the second vector.
const joined8: @Vector(8, i32) = .{ 0, 1, 2, 3, -1, -2, -3, -4 };
const joined16: @Vector(16, i32) = .{ 0, 1, 2, 3, 4, 5, 6, 7, -1, -2, -3, -4, -5, -6, -7, -8 };
const first_words = inLanes(.{ 0, -1, 1, -2 });
const second_words = inLanes(.{ 2, -3, 3, -4 });
const first_pairs = inLanes(.{ 0, 1, -1, -2 });
const second_pairs = inLanes(.{ 2, 3, -3, -4 });

/// A mask that does in each four lanes what `mask` does in the first.
fn inLanes(comptime mask: [4]i32) @Vector(16, i32) {
    var out: [16]i32 = undefined;
    for (&out, 0..) |*to, i| {
        const base: i32 = @intCast(i / 4 * 4);
        const from = mask[i % 4];
        to.* = if (from >= 0) from + base else from - base;
    }
    return out;
}

pub inline fn splat(comptime word: u32) Words {
    return @splat(word);
}

/// The low nibbles of eight words' bytes.
pub inline fn lowNibbles(comptime n: usize, words: [n]Words) [n]Words {
    var out: [n]Words = undefined;
    inline for (&out, words) |*to, from| to.* = from & splat(0x0f0f0f0f);
    return out;
}

pub inline fn highNibbles(comptime n: usize, words: [n]Words) [n]Words {
    var out: [n]Words = undefined;
    inline for (&out, words) |*to, from| to.* = from >> splat(4) & splat(0x0f0f0f0f);
    return out;
}

/// 32 values in 16 bytes, low nibbles first.
pub inline fn nibbles(rows: Rows, comptime offset: usize) Quads {
    const words = rows.four(offset);
    return lowNibbles(4, words) ++ highNibbles(4, words);
}

/// The same with a fifth bit from a word: bit i belongs to value i.
pub inline fn fives(rows: Rows, comptime low: usize, comptime high: usize) Quads {
    var out = nibbles(rows, low);
    const fifth = rows.word(high);
    inline for (&out, 0..) |*quad, j| {
        const bits = fifth >> splat(4 * j);
        // Bit b of four goes to bit 4 of byte b.
        inline for (0..4) |b| quad.* |= bits << splat(4 + 7 * b) & splat(0x10 << 8 * b);
    }
    return out;
}

/// Byte `index` of each word.
pub inline fn byte(words: Words, comptime index: u5) Bytes {
    return @truncate(words >> splat(8 * @as(u32, index)));
}

test "words of sixteen rows" {
    var bytes: [16 * 37 + 16]u8 = undefined;
    for (&bytes, 0..) |*to, i| to.* = @truncate(i * 7 + i / 256);
    const rows: Rows = .{ .at = bytes[1..], .stride = 37 };
    const got = rows.four(3);
    for (got, 0..) |words, j| {
        const lanes: [16]u32 = words;
        for (lanes, 0..) |lane, r| {
            try std.testing.expectEqual(std.mem.readInt(u32, bytes[1 + 37 * r + 3 + 4 * j ..][0..4], .little), lane);
        }
    }
}
