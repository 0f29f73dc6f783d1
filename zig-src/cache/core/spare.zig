//! The memory of pages that nobody holds any more, kept for whoever wants about as much next: forks come
//! and go with each call of `sampleMany`, and the system clears every page that it gives, which took 4 %
//! of such a call's time. There is one such piece in a process. The system is told that it may take it
//! (MADV_FREE): it counts as the process's until others need memory.

const std = @import("std");
const builtin = @import("builtin");
const memory = @import("../../memory.zig");

const io = std.Io.Threaded.global_single_threaded.io();

pub const Memory = []align(std.heap.page_size_min) u8;

const bytes_max = 1 << 30;

var mutex: std.Io.Mutex = .init;
var kept: Memory = &.{};

/// Memory for so many bytes, at most four times as much: it need not be zero. Pair with `free`.
pub fn alloc(bytes: usize) error{OutOfMemory}!Memory {
    mutex.lockUncancelable(io);
    const fits = kept.len >= bytes and kept.len / 4 <= bytes;
    const found = kept;
    if (fits) kept = &.{};
    mutex.unlock(io);
    return if (fits and bytes != 0) found else memory.alloc(bytes, .huge);
}

/// Takes what `alloc` gave, whole, and keeps the larger piece.
pub fn free(given: Memory) void {
    memory.free(if (mayKeep(given)) exchange(given, .if_larger) else given);
}

/// Gives back what is kept.
pub fn drop() void {
    memory.free(exchange(&.{}, .always));
}

fn exchange(given: Memory, when: enum { if_larger, always }) Memory {
    mutex.lockUncancelable(io);
    defer mutex.unlock(io);
    if (when == .if_larger and given.len <= kept.len) return given;
    defer kept = given;
    return kept;
}

/// The system can be told, and the piece is worth a place.
fn mayKeep(given: Memory) bool {
    if (builtin.os.tag != .linux or given.len < memory.huge_bytes or given.len > bytes_max) return false;
    std.posix.madvise(given.ptr, given.len, std.posix.MADV.FREE) catch return false;
    return true;
}

test "what is given back is had again by who wants as much" {
    if (builtin.os.tag != .linux) return error.SkipZigTest;
    drop();
    defer drop();
    const bytes = 8 * memory.huge_bytes;
    const first = try alloc(bytes);
    @memset(first, 1);
    free(first);
    const small = try alloc(bytes / 8);
    try std.testing.expect(small.ptr != first.ptr);
    const large = try alloc(bytes + 1);
    defer memory.free(large);
    try std.testing.expect(large.ptr != first.ptr);
    // The larger one stays.
    free(small);
    const second = try alloc(bytes / 4);
    try std.testing.expectEqual(first.ptr, second.ptr);
    try std.testing.expectEqual(first.len, second.len);
    @memset(second, 2);
    try std.testing.expect(std.mem.allEqual(u8, second, 2));
    free(second);
    try std.testing.expectEqual(second.ptr, kept.ptr);
    drop();
    try std.testing.expectEqual(0, kept.len);
}
