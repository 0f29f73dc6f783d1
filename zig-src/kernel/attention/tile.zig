//! Rows, one query head of one token each, that pass over the keys and values of a block together,
//! so that these are read and converted once for all of them. The tiles are what the registers of
//! the variant hold; which tile a row falls into doesn't change its result.

const std = @import("std");
const builtin = @import("builtin");
const table = @import("../table.zig");
const vector = @import("../vector.zig");

const registers = if (vector.lanes == 16 or builtin.cpu.arch == .aarch64) 32 else 16;

/// Vectors of sums that stay in registers, beside those of keys, values and weights.
pub const sums_max = registers / 2;

/// Rows of a tile: the largest that is left is taken.
pub const sizes = if (vector.lanes == 16) .{ 8, 4, 2, 1 } else if (registers == 32) .{ 4, 2, 1 } else .{ 4, 2, 1 };

pub const rows_max = table.attention_rows;

/// Values of all rows together: a run with long heads has fewer rows.
pub const floats_max = 8192;

/// Calls `body(context, rows, first)` for each tile of `count` rows.
pub inline fn each(count: usize, context: anytype, comptime body: anytype) void {
    var first: usize = 0;
    inline for (sizes) |rows| {
        while (count - first >= rows) : (first += rows) body(context, rows, first);
    }
}

/// Memory that the step after this one reads, asked for line by line while this one computes: pages
/// lie far apart, so that the processor's own prefetching starts anew with each. Asking for what
/// isn't mapped does nothing.
pub const Ahead = struct {
    at: [*]const u8,
    end: [*]const u8,

    const line = 64;

    pub fn of(memory: [*]const u8, len: usize) Ahead {
        return .{ .at = memory, .end = memory + len };
    }

    pub inline fn lines(ahead: *Ahead, comptime count: usize) void {
        // Into the second cache: the first has too few lines under way for a page that comes from memory.
        inline for (0..count) |i| @prefetch(ahead.at + i * line, .{ .locality = 2 });
        const next = ahead.at + count * line;
        ahead.at = if (@intFromPtr(next) < @intFromPtr(ahead.end)) next else ahead.at;
    }
};

/// to[i * rows + r] = from[r][i], for i below `len`.
pub fn interlace(comptime rows: usize, from: *const [rows][*]const f32, len: usize, to: [*]f32) void {
    const lanes = vector.lanes;
    var i: usize = 0;
    while (i + lanes <= len) : (i += lanes) {
        var parts: [rows]vector.Vf = undefined;
        inline for (&parts, from) |*part, row| part.* = row[i..][0..lanes].*;
        to[i * rows ..][0 .. rows * lanes].* = std.simd.interlace(parts);
    }
    while (i < len) : (i += 1) {
        for (from, 0..) |row, r| to[i * rows + r] = row[i];
    }
}
