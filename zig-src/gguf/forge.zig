//! For tests: puts GGUF files together field by field with no check at all, so that any lie can
//! be told; and an allocator that counts, so that a test can hold the reader to its word about
//! memory.

const std = @import("std");
const reader = @import("reader.zig");
const value = @import("value.zig");
const Allocator = std.mem.Allocator;

/// A file being put together. Fields are appended in the order of the calls.
pub const Forge = struct {
    bytes: std.ArrayList(u8) = .empty,
    gpa: Allocator,
    endian: std.lang.Endian = .little,

    pub fn deinit(f: *Forge) void {
        f.bytes.deinit(f.gpa);
    }

    pub fn header(f: *Forge, tensors: u64, entries: u64) !void {
        try f.raw(reader.magic);
        try f.int(u32, 3);
        try f.int(u64, tensors);
        try f.int(u64, entries);
    }

    pub fn raw(f: *Forge, bytes: []const u8) !void {
        try f.bytes.appendSlice(f.gpa, bytes);
    }

    pub fn int(f: *Forge, comptime T: type, v: T) !void {
        var stored: [@divExact(@bitSizeOf(T), 8)]u8 = undefined;
        std.mem.writeInt(T, &stored, v, f.endian);
        try f.raw(&stored);
    }

    pub fn string(f: *Forge, text: []const u8) !void {
        try f.int(u64, text.len);
        try f.raw(text);
    }

    /// A key and the type of the value that follows.
    pub fn key(f: *Forge, name: []const u8, t: value.Type) !void {
        try f.string(name);
        try f.int(u32, @backingInt(t));
    }

    pub fn keyUint(f: *Forge, name: []const u8, v: u32) !void {
        try f.key(name, .uint32);
        try f.int(u32, v);
    }

    /// What begins an array, after its key or within another.
    pub fn arrayOf(f: *Forge, element: value.Type, len: u64) !void {
        try f.int(u32, @backingInt(element));
        try f.int(u64, len);
    }

    pub fn tensor(f: *Forge, name: []const u8, dims: []const u64, type_id: u32, offset: u64) !void {
        try f.string(name);
        try f.int(u32, @intCast(dims.len));
        for (dims) |dim| try f.int(u64, dim);
        try f.int(u32, type_id);
        try f.int(u64, offset);
    }

    /// Padding to the alignment, then so many bytes of data.
    pub fn data(f: *Forge, alignment: usize, len: usize) !void {
        const start = std.mem.alignForward(usize, f.bytes.items.len, alignment);
        try f.bytes.appendNTimes(f.gpa, 0, start - f.bytes.items.len);
        try f.bytes.appendNTimes(f.gpa, 0x5a, len);
    }
};

/// Counts live bytes and refuses to go beyond a limit.
pub const Budget = struct {
    inner: Allocator,
    limit: usize,
    live: usize = 0,
    peak: usize = 0,
    refused: bool = false,

    /// What the reader promises: a small multiple of the file, the converted copy of a foreign
    /// file's data, and a constant for the file's own structures.
    pub fn forFile(inner: Allocator, len: usize) Budget {
        return .{ .inner = inner, .limit = (reader.heap_per_byte_max + 1) * len + 2048 };
    }

    pub fn allocator(b: *Budget) Allocator {
        return .{ .ptr = b, .vtable = &.{ .alloc = alloc, .resize = resize, .remap = remap, .free = free } };
    }

    fn alloc(context: *anyopaque, len: usize, alignment: std.mem.Alignment, ra: usize) ?[*]u8 {
        const b: *Budget = @ptrCast(@alignCast(context));
        if (!b.admit(len)) return null;
        const result = b.inner.rawAlloc(len, alignment, ra) orelse return null;
        b.count(0, len);
        return result;
    }

    fn resize(context: *anyopaque, memory: []u8, alignment: std.mem.Alignment, len: usize, ra: usize) bool {
        const b: *Budget = @ptrCast(@alignCast(context));
        if (!b.admit(len -| memory.len)) return false;
        if (!b.inner.rawResize(memory, alignment, len, ra)) return false;
        b.count(memory.len, len);
        return true;
    }

    fn remap(context: *anyopaque, memory: []u8, alignment: std.mem.Alignment, len: usize, ra: usize) ?[*]u8 {
        const b: *Budget = @ptrCast(@alignCast(context));
        if (!b.admit(len -| memory.len)) return null;
        const result = b.inner.rawRemap(memory, alignment, len, ra) orelse return null;
        b.count(memory.len, len);
        return result;
    }

    fn free(context: *anyopaque, memory: []u8, alignment: std.mem.Alignment, ra: usize) void {
        const b: *Budget = @ptrCast(@alignCast(context));
        b.inner.rawFree(memory, alignment, ra);
        b.count(memory.len, 0);
    }

    fn admit(b: *Budget, more: usize) bool {
        if (more <= b.limit -| b.live) return true;
        b.refused = true;
        return false;
    }

    fn count(b: *Budget, before: usize, after: usize) void {
        b.live = b.live - before + after;
        b.peak = @max(b.peak, b.live);
    }
};
