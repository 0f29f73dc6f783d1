//! A byte ring between one producer (the scheduler) and one consumer (the host's thread). Records
//! are written and read whole; each begins with its size in a u32. It is sized when the session is
//! created, so streaming allocates nothing, and a slow consumer makes the producer wait instead of
//! losing anything.

const std = @import("std");

pub const Ring = struct {
    memory: []u8,
    /// Bytes ever written and ever read; the difference is what is in the ring.
    written: std.atomic.Value(u64) align(std.atomic.cache_line) = .init(0),
    read: std.atomic.Value(u64) align(std.atomic.cache_line) = .init(0),

    pub fn init(gpa: std.mem.Allocator, capacity: usize) error{OutOfMemory}!Ring {
        return .{ .memory = try gpa.alloc(u8, capacity) };
    }

    pub fn deinit(ring: *Ring, gpa: std.mem.Allocator) void {
        gpa.free(ring.memory);
        ring.* = undefined;
    }

    /// Producer: bytes that can be written now. Sequentially consistent with `take`: a producer that
    /// says that it waits and then finds no space, and a consumer that makes space and then asks
    /// whether anybody waits, can't miss each other.
    pub fn space(ring: *const Ring) usize {
        return ring.memory.len - @as(usize, @intCast(ring.written.load(.monotonic) - ring.read.load(.seq_cst)));
    }

    /// Producer: appends a record made of `parts`, which must fit and whose first four bytes are
    /// the total length.
    pub fn push(ring: *Ring, parts: []const []const u8) void {
        var total: usize = 0;
        for (parts) |part| total += part.len;
        std.debug.assert(total <= ring.space());
        std.debug.assert(std.mem.readInt(u32, parts[0][0..4], .little) == total);
        var at = ring.written.load(.monotonic);
        for (parts) |part| {
            ring.copyIn(at, part);
            at += part.len;
        }
        ring.written.store(at, .release);
    }

    /// Consumer: moves whole records into `out` and returns their bytes. `next` gets the length of
    /// the first record that is left, 0 when none is.
    pub fn take(ring: *Ring, out: []u8, next: *u32) usize {
        const end = ring.written.load(.acquire);
        var at = ring.read.load(.monotonic);
        var len: usize = 0;
        next.* = 0;
        while (at < end) {
            var size_bytes: [4]u8 = undefined;
            ring.copyOut(at, &size_bytes);
            const size = std.mem.readInt(u32, &size_bytes, .little);
            if (size > out.len - len) {
                next.* = size;
                break;
            }
            ring.copyOut(at, out[len..][0..size]);
            len += size;
            at += size;
        }
        ring.read.store(at, .seq_cst);
        return len;
    }

    pub fn isEmpty(ring: *const Ring) bool {
        return ring.written.load(.acquire) == ring.read.load(.acquire);
    }

    fn copyIn(ring: *Ring, at: u64, bytes: []const u8) void {
        const start: usize = @intCast(at % ring.memory.len);
        const first = @min(bytes.len, ring.memory.len - start);
        @memcpy(ring.memory[start..][0..first], bytes[0..first]);
        @memcpy(ring.memory[0 .. bytes.len - first], bytes[first..]);
    }

    fn copyOut(ring: *const Ring, at: u64, bytes: []u8) void {
        const start: usize = @intCast(at % ring.memory.len);
        const first = @min(bytes.len, ring.memory.len - start);
        @memcpy(bytes[0..first], ring.memory[start..][0..first]);
        @memcpy(bytes[first..], ring.memory[0 .. bytes.len - first]);
    }
};

test "records arrive whole and in order from another thread" {
    const gpa = std.testing.allocator;
    var ring = try Ring.init(gpa, 100);
    defer ring.deinit(gpa);
    const count = 5000;
    const Producer = struct {
        fn run(r: *Ring) void {
            for (0..count) |i| {
                var record: [40]u8 = undefined;
                const len = 8 + i % 32;
                std.mem.writeInt(u32, record[0..4], @intCast(len), .little);
                std.mem.writeInt(u32, record[4..8], @intCast(i), .little);
                @memset(record[8..], @truncate(i));
                while (r.space() < len) std.Thread.yield() catch {};
                r.push(&.{ record[0..6], record[6..len] });
            }
        }
    };
    const thread = try std.Thread.spawn(.{}, Producer.run, .{&ring});
    defer thread.join();
    var expected: u32 = 0;
    var next: u32 = 0;
    while (expected < count) {
        var out: [64]u8 = undefined;
        const len = ring.take(&out, &next);
        var at: usize = 0;
        while (at < len) {
            const size = std.mem.readInt(u32, out[at..][0..4], .little);
            try std.testing.expectEqual(expected, std.mem.readInt(u32, out[at + 4 ..][0..4], .little));
            for (out[at + 8 .. at + size]) |byte| try std.testing.expectEqual(@as(u8, @truncate(expected)), byte);
            at += size;
            expected += 1;
        }
    }
    // A buffer that is too small says what it needs, and loses nothing.
    ring.push(&.{&.{ 6, 0, 0, 0, 1, 2 }});
    var small: [5]u8 = undefined;
    try std.testing.expectEqual(0, ring.take(&small, &next));
    try std.testing.expectEqual(6, next);
    var enough: [6]u8 = undefined;
    try std.testing.expectEqual(6, ring.take(&enough, &next));
    try std.testing.expect(ring.isEmpty());
}
