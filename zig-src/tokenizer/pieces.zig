//! Byte strings with numbers, in one block of memory, and two hash tables over them: bytes to
//! number, and pair of numbers to merge. Both are open addressing with linear probing, sized once
//! for all that will be put in, so that loading a vocabulary of a quarter of a million tokens is
//! a handful of allocations and encoding never allocates.

const std = @import("std");
const Allocator = std.mem.Allocator;

/// "No such piece".
pub const none = std.math.maxInt(u32);

pub const Pieces = struct {
    bytes: std.ArrayList(u8) = .empty,
    /// Where each piece ends; it begins where the one before ends.
    ends: std.ArrayList(u32) = .empty,

    pub fn count(pieces: *const Pieces) u32 {
        return @intCast(pieces.ends.items.len);
    }

    pub inline fn get(pieces: *const Pieces, number: u32) []const u8 {
        const from = if (number == 0) 0 else pieces.ends.items[number - 1];
        return pieces.bytes.items[from..pieces.ends.items[number]];
    }

    pub fn reserve(pieces: *Pieces, arena: Allocator, count_max: usize, bytes_max: usize) !void {
        if (bytes_max > std.math.maxInt(u32)) return error.OutOfMemory;
        try pieces.bytes.ensureTotalCapacityPrecise(arena, bytes_max);
        try pieces.ends.ensureTotalCapacityPrecise(arena, count_max);
    }

    /// Ends the piece whose bytes were appended since the last one and returns its number.
    pub fn finish(pieces: *Pieces, arena: Allocator) !u32 {
        if (pieces.bytes.items.len > std.math.maxInt(u32)) return error.OutOfMemory;
        try pieces.ends.append(arena, @intCast(pieces.bytes.items.len));
        return pieces.count() - 1;
    }

    pub fn add(pieces: *Pieces, arena: Allocator, bytes: []const u8) !u32 {
        try pieces.bytes.appendSlice(arena, bytes);
        return pieces.finish(arena);
    }
};

/// A multiply-and-fold hash of short strings: eight bytes a step.
pub inline fn hashOf(bytes: []const u8) u64 {
    var hash: u64 = 0x9E3779B97F4A7C15 ^ @as(u64, bytes.len);
    var rest = bytes;
    while (rest.len >= 8) : (rest = rest[8..]) {
        hash = fold(hash ^ std.mem.readInt(u64, rest[0..8], .little));
    }
    if (rest.len >= 4) {
        const low: u64 = std.mem.readInt(u32, rest[0..4], .little);
        const high: u64 = std.mem.readInt(u32, rest[rest.len - 4 ..][0..4], .little);
        hash = fold(hash ^ low ^ high << 32);
    } else if (rest.len > 0) {
        const first: u64 = rest[0];
        const middle: u64 = rest[rest.len / 2];
        const last: u64 = rest[rest.len - 1];
        hash = fold(hash ^ first ^ middle << 8 ^ last << 16);
    }
    return hash;
}

inline fn fold(value: u64) u64 {
    const wide = @as(u128, value) * 0xD6E8FEB86659FD93;
    return @as(u64, @truncate(wide)) ^ @as(u64, @truncate(wide >> 64));
}

fn slotCount(entries: usize) error{OutOfMemory}!usize {
    // At most three quarters full, so that a probe ends soon.
    return std.math.ceilPowerOfTwo(usize, entries + entries / 3 + 2) catch error.OutOfMemory;
}

pub const ByteTable = struct {
    slots: []Slot,
    used: usize = 0,

    const Slot = struct { number: u32, tag: u32 };

    pub fn init(arena: Allocator, entries: usize) !ByteTable {
        const slots = try arena.alloc(Slot, try slotCount(entries));
        @memset(slots, .{ .number = none, .tag = 0 });
        return .{ .slots = slots };
    }

    pub inline fn find(table: *const ByteTable, pieces: *const Pieces, bytes: []const u8) ?u32 {
        const slot = table.probe(pieces, bytes, hashOf(bytes));
        return if (slot.number == none) null else slot.number;
    }

    /// Puts a piece in unless an equal one is there, which is then returned.
    pub fn put(table: *ByteTable, pieces: *const Pieces, number: u32) ?u32 {
        return table.putHashed(pieces, number, hashOf(pieces.get(number)));
    }

    /// Asks for the memory that `putHashed` will need. A vocabulary's table is larger than the
    /// near caches, so that waiting for one slot after the other is most of the time to load it.
    pub inline fn prefetch(table: *const ByteTable, hash: u64) void {
        @prefetch(&table.slots[@as(usize, @truncate(hash)) & (table.slots.len - 1)], .{ .rw = .write });
    }

    pub fn putHashed(table: *ByteTable, pieces: *const Pieces, number: u32, hash: u64) ?u32 {
        const bytes = pieces.get(number);
        const slot = table.probe(pieces, bytes, hash);
        if (slot.number != none) return slot.number;
        // Whoever puts in more than was said at first uses `putMore`.
        std.debug.assert(table.used + 1 < table.slots.len);
        slot.* = .{ .number = number, .tag = @truncate(hash >> 32) };
        table.used += 1;
        return null;
    }

    /// As `put`, making room where there is none.
    pub fn putMore(table: *ByteTable, arena: Allocator, pieces: *const Pieces, number: u32) !?u32 {
        if ((table.used + 1) * 4 > table.slots.len * 3) {
            var wider: ByteTable = try .init(arena, table.used * 2);
            for (table.slots) |slot| if (slot.number != none) {
                wider.probe(pieces, pieces.get(slot.number), hashOf(pieces.get(slot.number))).* = slot;
            };
            wider.used = table.used;
            table.* = wider;
        }
        return table.put(pieces, number);
    }

    inline fn probe(table: *const ByteTable, pieces: *const Pieces, bytes: []const u8, hash: u64) *Slot {
        const mask = table.slots.len - 1;
        const tag: u32 = @truncate(hash >> 32);
        var at = @as(usize, @truncate(hash)) & mask;
        while (true) : (at = (at + 1) & mask) {
            const slot = &table.slots[at];
            if (slot.number == none) return slot;
            if (slot.tag == tag and std.mem.eql(u8, pieces.get(slot.number), bytes)) return slot;
        }
    }
};

/// What a pair of adjacent symbols may become. The lower rank merges first.
pub const Merge = struct { rank: u32, product: u32 };

pub const PairTable = struct {
    slots: []Slot,

    const Slot = struct { left: u32, right: u32, merge: Merge };

    pub fn init(arena: Allocator, entries: usize) !PairTable {
        const slots = try arena.alloc(Slot, try slotCount(entries));
        @memset(slots, .{ .left = none, .right = none, .merge = .{ .rank = none, .product = none } });
        return .{ .slots = slots };
    }

    pub inline fn find(table: *const PairTable, left: u32, right: u32) ?Merge {
        const slot = table.probe(left, right);
        return if (slot.left == none) null else slot.merge;
    }

    /// Asks for the memory that `put` will need.
    pub inline fn prefetch(table: *const PairTable, left: u32, right: u32) void {
        const at = @as(usize, @truncate(fold(@as(u64, left) << 32 | right))) & (table.slots.len - 1);
        @prefetch(&table.slots[at], .{ .rw = .write });
    }

    /// The first merge of a pair stays.
    pub fn put(table: *PairTable, left: u32, right: u32, merge: Merge) void {
        const slot = table.probe(left, right);
        if (slot.left == none) slot.* = .{ .left = left, .right = right, .merge = merge };
    }

    inline fn probe(table: *const PairTable, left: u32, right: u32) *Slot {
        const mask = table.slots.len - 1;
        var at = @as(usize, @truncate(fold(@as(u64, left) << 32 | right))) & mask;
        while (true) : (at = (at + 1) & mask) {
            const slot = &table.slots[at];
            if (slot.left == none or (slot.left == left and slot.right == right)) return slot;
        }
    }
};

const testing = std.testing;

test "pieces are found by their bytes" {
    var state: std.heap.ArenaAllocator = .init(testing.allocator);
    defer state.deinit();
    const arena = state.allocator();
    var pieces: Pieces = .{};
    const words = [_][]const u8{ "", "a", "ab", "abc", "abcd", "abcdefgh", "abcdefghi", "ba", "\xff\x00" };
    for (words) |word| _ = try pieces.add(arena, word);
    var table: ByteTable = try .init(arena, words.len);
    for (0..words.len) |i| try testing.expectEqual(null, table.put(&pieces, @intCast(i)));
    for (words, 0..) |word, i| try testing.expectEqual(@as(u32, @intCast(i)), table.find(&pieces, word).?);
    try testing.expectEqual(null, table.find(&pieces, "abd"));
    try testing.expectEqual(null, table.find(&pieces, "\xff"));
    const again = try pieces.add(arena, "abc");
    try testing.expectEqual(3, table.put(&pieces, again).?);
    for (0..100) |i| {
        const more = try pieces.add(arena, &.{ 'x', @intCast(i) });
        try testing.expectEqual(null, try table.putMore(arena, &pieces, more));
    }
    for (0..100) |i| try testing.expect(table.find(&pieces, &.{ 'x', @intCast(i) }) != null);
    for (words, 0..) |word, i| try testing.expectEqual(@as(u32, @intCast(i)), table.find(&pieces, word).?);
}

test "the first merge of a pair stays" {
    var state: std.heap.ArenaAllocator = .init(testing.allocator);
    defer state.deinit();
    var table: PairTable = try .init(state.allocator(), 300);
    for (0..300) |i| table.put(@intCast(i % 17), @intCast(i), .{ .rank = @intCast(i), .product = 7 });
    table.put(3, 20, .{ .rank = 999, .product = 8 });
    try testing.expectEqual(Merge{ .rank = 20, .product = 7 }, table.find(3, 20).?);
    try testing.expectEqual(null, table.find(20, 3));
}
