//! Memory of which a step may need little: pages that nobody writes to are never made. An allocator's own
//! functions write to all of them where the build checks for memory that is read before it is written,
//! which takes longer than drawing a token does.

const std = @import("std");

pub fn alloc(comptime T: type, gpa: std.mem.Allocator, len: usize) error{OutOfMemory}![]T {
    const bytes = std.math.mul(usize, len, @sizeOf(T)) catch return error.OutOfMemory;
    if (bytes == 0) return &.{};
    const memory = gpa.rawAlloc(bytes, .of(T), @returnAddress()) orelse return error.OutOfMemory;
    const items: [*]T = @ptrCast(@alignCast(memory));
    return items[0..len];
}

pub fn free(gpa: std.mem.Allocator, items: anytype) void {
    const T = std.meta.Elem(@TypeOf(items));
    if (items.len > 0) gpa.rawFree(std.mem.sliceAsBytes(items), .of(T), @returnAddress());
}

test "memory comes and goes" {
    const items = try alloc(u64, std.testing.allocator, 1000);
    defer free(std.testing.allocator, items);
    for (items, 0..) |*item, i| item.* = i;
    try std.testing.expectEqual(999, items[999]);
    try std.testing.expectEqual(0, (try alloc(u32, std.testing.allocator, 0)).len);
    try std.testing.expectError(error.OutOfMemory, alloc(u64, std.testing.allocator, std.math.maxInt(usize)));
}
