//! Rows, one query head of one token each, that pass over the keys and values of a block together,
//! so that these are read and converted once for all of them. The tiles are what the registers of
//! the variant hold; which tile a row falls into doesn't change its result.

const std = @import("std");
const builtin = @import("builtin");
const table = @import("../table.zig");
const vector = @import("../vector.zig");

const registers = if (vector.lanes == 16 or builtin.cpu.arch == .aarch64) 32 else 16;

/// Vectors of sums that stay in registers, beside those of keys, values and weights. Two multiply-adds of four
/// cycles a cycle keep eight sums waiting; some more keep them busy.
pub const sums_max = if (vector.lanes == 8) 12 else registers / 2;

/// Rows of a tile: the largest that is left is taken. Three query heads that share a head are common, and
/// two tiles would read the keys and values of a sequence that goes alone twice.
pub const sizes = switch (vector.lanes) {
    16 => .{ 8, 4, 3, 2, 1 },
    8 => .{ 6, 4, 3, 2, 1 },
    else => .{ 4, 3, 2, 1 },
};

comptime {
    for (sizes) |rows| std.debug.assert(rows <= table.attention_tile);
}

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
/// lie far apart, so that the processor's own prefetching starts anew with each. Where the step has more
/// lines to compute with than the next has to read, what the caller reads later follows. Asking for what
/// isn't mapped does nothing.
pub const Ahead = struct {
    at: [*]const u8,
    end: usize,
    /// All bits, or none when there is nothing left to ask for.
    moves: usize,
    later: []const table.Later,
    /// Of the later memory that was last begun.
    rest: table.Later,
    in_later: bool,
    /// Whether steps find what they read in a cache. Then only later memory is asked for, a step's computing
    /// through and not as fast as it can be: that makes computing wait.
    near: bool,
    /// As in `table.Reading`.
    pages_into: u32,

    const line = 64;

    pub fn start(ahead: *Ahead, later: []const table.Later, near: bool, reading: table.Reading) void {
        ahead.* = .{
            .at = undefined,
            .end = undefined,
            .moves = undefined,
            .later = later,
            .rest = .{ .at = undefined, .len = 0 },
            .in_later = false,
            .near = near,
            .pages_into = reading.pages_into,
        };
        ahead.turn();
        if (!near) ahead.leave();
    }

    /// A step begins, and the next one reads this.
    pub fn begin(ahead: *Ahead, memory: [*]const u8, len: usize) void {
        if (ahead.near) return;
        ahead.leave();
        ahead.set(memory, len);
    }

    /// A step begins, and there is no next one.
    pub fn last(ahead: *Ahead) void {
        if (ahead.near) return;
        ahead.leave();
        ahead.turn();
    }

    pub inline fn lines(ahead: *Ahead, comptime count: usize) void {
        const few = comptime (count + 1) / 2;
        ahead.ask(0, few);
        if (few == count or ahead.near) {
            ahead.at += few * line & ahead.moves;
        } else {
            ahead.ask(few, count);
            ahead.at += count * line & ahead.moves;
        }
        if (@intFromPtr(ahead.at) >= ahead.end) ahead.turn();
    }

    /// Into the second cache where the first has too few lines under way for a page that comes from memory.
    inline fn ask(ahead: *const Ahead, comptime from: usize, comptime to: usize) void {
        if (ahead.pages_into == 1) {
            inline for (from..to) |i| @prefetch(ahead.at + i * line, .{ .locality = 3 });
        } else inline for (from..to) |i| @prefetch(ahead.at + i * line, .{ .locality = 2 });
    }

    fn leave(ahead: *Ahead) void {
        if (ahead.in_later) ahead.rest = .{ .at = ahead.at, .len = ahead.end -| @intFromPtr(ahead.at) };
        ahead.in_later = false;
    }

    fn set(ahead: *Ahead, memory: [*]const u8, len: usize) void {
        ahead.at = memory;
        ahead.end = @intFromPtr(memory) + len;
        ahead.moves = std.math.maxInt(usize);
    }

    fn turn(ahead: *Ahead) void {
        @branchHint(.cold);
        if (!ahead.in_later and ahead.rest.len != 0) {
            ahead.set(ahead.rest.at, ahead.rest.len);
            ahead.rest.len = 0;
            ahead.in_later = true;
            return;
        }
        ahead.in_later = false;
        while (ahead.later.len != 0) {
            const next = ahead.later[0];
            ahead.later = ahead.later[1..];
            if (next.len == 0) continue;
            ahead.set(next.at, next.len);
            ahead.in_later = true;
            return;
        }
        // What is in the first cache, asking for which takes nothing.
        ahead.at = @ptrCast(ahead);
        ahead.moves = 0;
        ahead.end = std.math.maxInt(usize);
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

test "of what is near only later memory is asked for, at half of the pace" {
    const memory: [512]u8 = @splat(0);
    const read: [*]const u8 = memory[256..];
    const later = [_]table.Later{ .{ .at = &memory, .len = 0 }, .{ .at = &memory, .len = 192 } };
    var ahead: Ahead = undefined;
    ahead.start(&later, false, .abreast);
    ahead.begin(read, 128);
    try std.testing.expectEqual(read, ahead.at);
    ahead.lines(2);
    try std.testing.expectEqual(@as([*]const u8, &memory), ahead.at);
    ahead.start(&later, true, .abreast);
    ahead.begin(read, 128);
    ahead.lines(2);
    ahead.last();
    try std.testing.expectEqual(memory[64..].ptr, ahead.at);
    ahead.lines(1);
    try std.testing.expectEqual(memory[128..].ptr, ahead.at);
    ahead.lines(4);
    // There is nothing left.
    const parked = ahead.at;
    ahead.lines(2);
    try std.testing.expectEqual(parked, ahead.at);
}
