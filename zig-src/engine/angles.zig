//! Cosine and sine of the positions of keys that are stored before their rotary embedding, which are rotated
//! whenever attention reads them. They are what `embed` computes for the rows of a pass, kept: for positions
//! of the text, which all sessions of a model share, or for the slots of a session that evicts tokens.
//! Memory is there when a session begins; angles are computed when a position is written for the first time.

const std = @import("std");
const cache = @import("../cache.zig");
const memory = @import("../memory.zig");
const Frequencies = @import("../arch/block/rope.zig").Frequencies;

const io = std.Io.Threaded.global_single_threaded.io();
const page_len = cache.page_len;

pub const Angles = struct {
    /// Of global and of sliding layers.
    frequencies: *const [2]Frequencies,
    /// Chooses among the frequencies (LongRoPE).
    context: u32,
    arena: memory.Arena = .{},
    /// Of both kinds, by page: [page_len][pairs][2]
    pages: [2][][*]f32, // [pages_max]
    /// Pages that have memory.
    made: usize = 0,
    /// Positions from the first one on whose angles are there; of shared ones.
    filled: u32 = 0,

    pub fn create(gpa: std.mem.Allocator, frequencies: *const [2]Frequencies, context: u32, pages_max: usize) error{OutOfMemory}!*Angles {
        const angles = try gpa.create(Angles);
        errdefer gpa.destroy(angles);
        angles.* = .{ .frequencies = frequencies, .context = context, .pages = undefined };
        errdefer angles.arena.deinit();
        for (&angles.pages) |*pages| pages.* = try angles.arena.alloc([*]f32, pages_max);
        return angles;
    }

    pub fn destroy(angles: *Angles, gpa: std.mem.Allocator) void {
        angles.arena.deinit();
        gpa.destroy(angles);
    }

    /// Makes room for so many pages.
    pub fn grow(angles: *Angles, count: usize) error{OutOfMemory}!void {
        if (count <= angles.made) return;
        var rows: [2][]f32 = undefined;
        for (&rows, angles.frequencies) |*row, *frequencies| {
            row.* = try angles.arena.alloc(f32, (count - angles.made) * page_len * 2 * frequencies.short.len);
        }
        for (rows, angles.frequencies, angles.pages) |row, *frequencies, pages| {
            for (pages[angles.made..count], 0..) |*page, i| page.* = row.ptr + i * page_len * 2 * frequencies.short.len;
        }
        angles.made = count;
    }

    /// The angles of a position become those of a slot.
    pub fn put(angles: *Angles, slot: u32, position: u32) void {
        for (angles.frequencies, 0..) |*frequencies, kind| frequencies.at(position, angles.context, angles.of(kind, slot));
    }

    /// Those of a slot become those of another one.
    pub fn copy(angles: *Angles, to: u32, from: u32) void {
        for (0..2) |kind| @memcpy(angles.of(kind, to), angles.of(kind, from));
    }

    /// Angles of positions under `len`, each at its own place.
    pub fn fill(angles: *Angles, len: u32) void {
        while (angles.filled < len) : (angles.filled += 1) angles.put(angles.filled, angles.filled);
    }

    fn of(angles: *const Angles, kind: usize, slot: u32) [][2]f32 {
        const pairs = angles.frequencies[kind].short.len;
        const page: [*][2]f32 = @ptrCast(angles.pages[kind][slot / page_len]);
        return page[slot % page_len * pairs ..][0..pairs];
    }

    /// As sequences name them.
    pub fn table(angles: *const Angles) [2][*]const [*]const f32 {
        return .{ angles.pages[0].ptr, angles.pages[1].ptr };
    }
};

/// Those of a model's sessions: for contexts within the original one, and beyond.
pub const Shared = struct {
    mutex: std.Io.Mutex = .init,
    all: [2]?*Angles = .{ null, null },

    /// Room for a session of so many positions. The scheduler's thread alone fills it.
    pub fn take(
        shared: *Shared,
        gpa: std.mem.Allocator,
        frequencies: *const [2]Frequencies,
        long: bool,
        context: u32,
        context_max: u32,
    ) error{OutOfMemory}!*Angles {
        shared.mutex.lockUncancelable(io);
        defer shared.mutex.unlock(io);
        const entry = &shared.all[@intFromBool(long)];
        const pages_max = context_max / page_len;
        if (entry.* == null) entry.* = try .create(gpa, frequencies, context, pages_max);
        try entry.*.?.grow(std.math.divCeil(usize, context, page_len) catch unreachable);
        return entry.*.?;
    }

    pub fn deinit(shared: *Shared, gpa: std.mem.Allocator) void {
        for (shared.all) |entry| if (entry) |angles| angles.destroy(gpa);
    }
};

test "angles of the rotary embedding are those of their positions, also where memory grows and slots move" {
    const gpa = std.testing.allocator;
    var arena: std.heap.ArenaAllocator = .init(gpa);
    defer arena.deinit();
    const frequencies: [2]Frequencies = .{
        try .init(arena.allocator(), .{ .style = .halves, .dim = 8, .base = 100 }, null, null),
        try .init(arena.allocator(), .{ .style = .adjacent, .dim = 4, .base = 10 }, null, null),
    };
    var shared: Shared = .{};
    defer shared.deinit(gpa);
    const angles = try shared.take(gpa, &frequencies, false, 70, 1024);
    angles.fill(70);
    const first = angles.table()[0][0];
    try std.testing.expectEqual(angles, try shared.take(gpa, &frequencies, false, 1000, 1024));
    try std.testing.expect(angles != try shared.take(gpa, &frequencies, true, 10, 1024));
    try std.testing.expectEqual(first, angles.table()[0][0]);
    angles.fill(900);
    angles.put(3, 5000);
    angles.copy(899, 3);
    for ([_][2]u32{ .{ 0, 0 }, .{ 69, 69 }, .{ 200, 200 }, .{ 899, 5000 }, .{ 3, 5000 } }) |case| for (&frequencies, 0..) |*rotation, kind| {
        var expected: [4][2]f32 = undefined;
        rotation.at(case[1], 70, expected[0..rotation.short.len]);
        try std.testing.expectEqualSlices([2]f32, expected[0..rotation.short.len], angles.of(kind, case[0]));
    };
}
