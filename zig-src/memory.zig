//! Large memory straight from the system: panels of weights, KV caches, buffers between steps. It is
//! zero, and takes no memory before it is touched, so that what a short prompt doesn't need costs
//! nothing. `std.mem.Allocator` would touch all of it: in safe builds it fills what it hands out and
//! what it takes back, which took longer than packing the weights that went there.

const std = @import("std");
const builtin = @import("builtin");

/// A huge page of most systems. Panels of weights begin at such addresses.
pub const huge_bytes = 2 << 20;

pub const Size = enum {
    /// The system's small pages, for memory of which little may be used.
    small,
    /// Huge pages where the system has them, for memory that is filled and then read as a whole: with
    /// small ones, each 4 KiB are a fault when they are written and a search for the page when read.
    huge,
};

/// Pair with `free`. Aligned to `huge_bytes` if huge pages are asked for.
pub fn alloc(bytes: usize, size: Size) error{OutOfMemory}![]align(std.heap.page_size_min) u8 {
    const alignment: usize = if (size == .huge) huge_bytes else std.heap.page_size_min;
    if (bytes == 0) return &.{};
    const start = std.heap.page_allocator.rawAlloc(bytes, .fromByteUnits(alignment), @returnAddress()) orelse return error.OutOfMemory;
    const memory: []align(std.heap.page_size_min) u8 = @alignCast(start[0..bytes]);
    if (size == .huge and builtin.os.tag == .linux) {
        // Refused where huge pages are switched off: small ones do the same, slower.
        std.posix.madvise(memory.ptr, bytes, std.posix.MADV.HUGEPAGE) catch {};
    }
    return memory;
}

pub fn free(memory: []align(std.heap.page_size_min) u8) void {
    if (memory.len == 0) return;
    std.heap.page_allocator.rawFree(memory, .fromByteUnits(std.heap.page_size_min), @returnAddress());
}

/// Many pieces of memory that go together, each on small pages of its own.
pub const Arena = struct {
    last: ?*Piece = null,

    const Piece = struct {
        before: ?*Piece,
        bytes: usize,
    };

    /// Every piece begins at a cache line.
    pub const alignment = 64;

    pub fn alloc(arena: *Arena, comptime T: type, n: usize) error{OutOfMemory}![]align(alignment) T {
        comptime std.debug.assert(@sizeOf(Piece) <= alignment and @alignOf(T) <= alignment);
        const bytes = std.math.mul(usize, n, @sizeOf(T)) catch return error.OutOfMemory;
        const total = std.math.add(usize, bytes, alignment) catch return error.OutOfMemory;
        const memory = try @import("memory.zig").alloc(total, .small);
        const piece: *Piece = @ptrCast(memory.ptr);
        piece.* = .{ .before = arena.last, .bytes = total };
        arena.last = piece;
        const values: [*]align(alignment) T = @ptrCast(@alignCast(memory.ptr + alignment));
        return values[0..n];
    }

    pub fn deinit(arena: *Arena) void {
        while (arena.last) |piece| {
            arena.last = piece.before;
            const memory: [*]align(std.heap.page_size_min) u8 = @ptrCast(@alignCast(piece));
            free(memory[0..piece.bytes]);
        }
    }
};

test "memory is zero, and aligned as was asked" {
    for ([_]Size{ .small, .huge }) |size| {
        const memory = try alloc(3 * huge_bytes + 5, size);
        defer free(memory);
        try std.testing.expectEqual(3 * huge_bytes + 5, memory.len);
        try std.testing.expect(std.mem.allEqual(u8, memory, 0));
        if (size == .huge) try std.testing.expectEqual(0, @intFromPtr(memory.ptr) % huge_bytes);
        @memset(memory, 7);
    }
    free(try alloc(0, .huge));
    try std.testing.expectError(error.OutOfMemory, alloc(std.math.maxInt(usize) / 2, .small));
}

test "pieces of an arena" {
    var arena: Arena = .{};
    defer arena.deinit();
    const a = try arena.alloc(f32, 1000);
    const b = try arena.alloc(u64, 0);
    const c = try arena.alloc(u8, 70_000);
    @memset(a, 1);
    @memset(c, 2);
    try std.testing.expectEqual(0, b.len);
    for (a) |value| try std.testing.expectEqual(1, value);
    try std.testing.expectError(error.OutOfMemory, arena.alloc(u64, std.math.maxInt(usize) / 4));
}

test "untouched memory takes none" {
    const before = residentBytes() orelse return error.SkipZigTest;
    const memory = try alloc(256 << 20, .small);
    defer free(memory);
    try std.testing.expect(residentBytes().? < before + (16 << 20));
    @memset(memory[0 .. 64 << 20], 1);
    try std.testing.expect(residentBytes().? > before + (48 << 20));
}

/// Memory of this process that is in use, where the system tells.
pub fn residentBytes() ?u64 {
    if (builtin.os.tag != .linux) return null;
    var buffer: [128]u8 = undefined;
    const file = std.posix.openatZ(std.posix.AT.FDCWD, "/proc/self/statm", .{ .ACCMODE = .RDONLY }, 0) catch return null;
    defer _ = std.c.close(file);
    const len = std.posix.read(file, &buffer) catch return null;
    var words = std.mem.tokenizeScalar(u8, buffer[0..len], ' ');
    _ = words.next();
    const pages = std.fmt.parseInt(u64, words.next() orelse return null, 10) catch return null;
    return pages * std.heap.pageSize();
}
