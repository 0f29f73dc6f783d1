//! What was found out of the rows of a tape, so that another draw needs no pass over a whole row to find where
//! its highest logits are: the maximum of each row and of its blocks, 1/128 of the logits.
//!
//! An index is memory of whoever draws, who may lose it, or bring it with other rows: each entry is checked
//! by a hash over itself and the beginning of its row, and one that is not of the row is made anew.

const std = @import("std");
const sampler = @import("../sampler.zig");
const sweep = @import("../sampler/core/sweep.zig");
const tape = @import("tape.zig");
const assert = std.debug.assert;

/// Of an entry: the hash of what follows, in two words, and the row's maximum; then the blocks'.
const Head = extern struct { hash: [2]u32, max: f32 };

/// Bytes of the index of a row. Rows with few logits have none: 0.
pub fn entryBytes(kind: tape.Kind, count: usize) usize {
    return if (kind == .top) 0 else @sizeOf(Head) + @sizeOf(f32) * sweep.blockCount(count);
}

/// Of one row. All bytes 0: nothing is known yet.
pub const Entry = struct {
    bytes: []align(4) u8,

    pub fn init(bytes: []align(4) u8) Entry {
        assert(bytes.len >= @sizeOf(Head));
        assert(bytes.len % @sizeOf(f32) == 0);
        return .{ .bytes = bytes };
    }

    pub fn blockMax(entry: Entry) []f32 {
        return std.mem.bytesAsSlice(f32, entry.bytes[@sizeOf(Head)..]);
    }

    fn head(entry: Entry) *Head {
        return @ptrCast(entry.bytes.ptr);
    }

    /// What is known of this row, if this is its entry.
    pub fn known(entry: Entry, row: []const u8) ?sampler.Known {
        const hash = entry.hashFor(row);
        if (!std.mem.eql(u32, &entry.head().hash, &hash)) return null;
        return .{ .max = entry.head().max, .block_max = entry.blockMax() };
    }

    /// Takes what a scan of the row found, which has filled the maxima of the blocks. Null where a logit is
    /// no number or none is above -inf.
    pub fn learn(entry: Entry, row: []const u8, found: sweep.Scan) ?sampler.Known {
        entry.head().hash = .{ 0, 0 };
        if (found.nan or !std.math.isFinite(found.max)) return null;
        entry.head().max = found.max;
        entry.head().hash = entry.hashFor(row);
        return .{ .max = found.max, .block_max = entry.blockMax() };
    }

    fn hashFor(entry: Entry, row: []const u8) [2]u32 {
        const of_row = std.hash.Wyhash.hash(0, row[0..@min(row.len, 64)]);
        // No entry of zeros is one.
        const hash = std.hash.Wyhash.hash(of_row, entry.bytes[@offsetOf(Head, "max")..]) | 1;
        return .{ @truncate(hash), @truncate(hash >> 32) };
    }
};

test "an entry is known for its row only, and only as it was made" {
    var row: [100]u8 = @splat(7);
    var memory: [3 + 2]u32 = @splat(0);
    const entry: Entry = .init(std.mem.sliceAsBytes(&memory));
    try std.testing.expectEqual(entry.bytes.len, entryBytes(.f32, 200));
    try std.testing.expectEqual(0, entryBytes(.top, 200));
    try std.testing.expectEqual(null, entry.known(&row));
    entry.blockMax()[0..2].* = .{ 3, -std.math.inf(f32) };
    try std.testing.expectEqual(null, entry.learn(&row, .{ .max = 3, .nan = true }));
    try std.testing.expectEqual(null, entry.learn(&row, .{ .max = std.math.inf(f32), .nan = false }));
    try std.testing.expectEqual(null, entry.known(&row));
    try std.testing.expectEqual(3, entry.learn(&row, .{ .max = 3, .nan = false }).?.max);
    const known = entry.known(&row).?;
    try std.testing.expectEqual(3, known.max);
    try std.testing.expectEqualSlices(f32, &.{ 3, -std.math.inf(f32) }, known.block_max);
    for (&memory) |*word| {
        word.* ^= 0x100;
        try std.testing.expectEqual(null, entry.known(&row));
        word.* ^= 0x100;
    }
    row[5] = 8;
    try std.testing.expectEqual(null, entry.known(&row));
}
