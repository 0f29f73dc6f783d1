//! A table from name to position for names that come from a file. It holds positions only: the
//! names stay where they are, and a place costs five bytes.
//!
//! The hash is SipHash with a random key, so that nobody can make a file whose names all fall
//! into one bucket and so turn the search for duplicates quadratic.

const std = @import("std");

const Hash = std.crypto.auth.siphash.SipHash64(1, 3);

/// Keeps the table's own power-of-two size within 32 bits.
pub const count_max = 1 << 30;

pub const Table = struct {
    map: Map = .empty,
    key: [Hash.key_length]u8,

    const Map = std.HashMapUnmanaged(u32, void, NoContext, 80);

    pub const Added = enum { added, duplicate };

    /// Makes room for `n` names, so that `add` cannot fail.
    pub fn init(gpa: std.mem.Allocator, n: usize) error{OutOfMemory}!Table {
        std.debug.assert(n <= count_max);
        var table: Table = .{ .key = undefined };
        std.Io.Threaded.global_single_threaded.io().random(&table.key);
        try table.map.ensureTotalCapacityContext(gpa, @intCast(n), .{});
        return table;
    }

    pub fn deinit(table: *Table, gpa: std.mem.Allocator) void {
        table.map.deinit(gpa);
        table.* = undefined;
    }

    /// `owner.nameAt(i: u32)` gives the name at a position.
    pub fn add(table: *Table, owner: anytype, i: u32) Added {
        const lookup: Lookup(@TypeOf(owner)) = .{ .key = &table.key, .owner = owner };
        const slot = table.map.getOrPutAssumeCapacityAdapted(owner.nameAt(i), lookup);
        if (slot.found_existing) return .duplicate;
        slot.key_ptr.* = i;
        return .added;
    }

    pub fn find(table: *const Table, owner: anytype, name: []const u8) ?u32 {
        const lookup: Lookup(@TypeOf(owner)) = .{ .key = &table.key, .owner = owner };
        return table.map.getKeyAdapted(name, lookup);
    }

    fn Lookup(comptime Owner: type) type {
        return struct {
            key: *const [Hash.key_length]u8,
            owner: Owner,

            pub fn hash(l: @This(), name: []const u8) u64 {
                return Hash.toInt(name, l.key);
            }

            pub fn eql(l: @This(), name: []const u8, i: u32) bool {
                return std.mem.eql(u8, name, l.owner.nameAt(i));
            }
        };
    }

    /// The table never grows after `init`, so a position is never hashed again.
    const NoContext = struct {
        pub fn hash(_: NoContext, _: u32) u64 {
            unreachable;
        }

        pub fn eql(_: NoContext, _: u32, _: u32) bool {
            unreachable;
        }
    };
};

test "finds what was added, and refuses the second of a name" {
    const Owner = struct {
        list: []const []const u8,

        pub fn nameAt(o: @This(), i: u32) []const u8 {
            return o.list[i];
        }
    };
    const owner: Owner = .{ .list = &.{ "a", "b", "", "b", "c" } };
    var table: Table = try .init(std.testing.allocator, owner.list.len);
    defer table.deinit(std.testing.allocator);
    try std.testing.expectEqual(.added, table.add(owner, 0));
    try std.testing.expectEqual(.added, table.add(owner, 1));
    try std.testing.expectEqual(.added, table.add(owner, 2));
    try std.testing.expectEqual(.duplicate, table.add(owner, 3));
    try std.testing.expectEqual(.added, table.add(owner, 4));
    try std.testing.expectEqual(1, table.find(owner, "b"));
    try std.testing.expectEqual(2, table.find(owner, ""));
    try std.testing.expectEqual(null, table.find(owner, "d"));
}
