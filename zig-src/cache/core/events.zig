//! What happens to the pages of a pool, in the order in which it happens: a ring of a fixed number of
//! events. When its reader is slow the oldest are lost, and counted. A pool without a ring pays one branch.

const std = @import("std");

const io = std.Io.Threaded.global_single_threaded.io();

pub const Kind = enum(u32) {
    /// A sequence got a page that nobody held.
    taken = 0,
    /// A sequence holds a page that another one holds too.
    shared = 1,
    /// A sequence got a page of its own instead of one that it shared, with the same content.
    copied = 2,
    /// A sequence let go of a page that others still hold.
    released = 3,
    /// Its last holder let go of a page.
    freed = 4,
    /// What a page held was given up: a free page that was kept for its content, or a page of an idle
    /// sequence that the pool takes away, which lets go of it next.
    evicted = 5,
    /// A sequence got a page that nobody held, for what it still contains.
    reused = 6,
};

/// It crosses the C ABI as it is.
pub const Event = extern struct {
    /// Since the events were started.
    seconds: f64,
    /// `Kind`.
    kind: u32,
    /// Number of the page in its pool.
    page: u32,
    /// Number of the sequence in its pool; `nobody` where a free page was evicted.
    sequence: u32,
    /// Positions that the page is for: from inclusive, to exclusive.
    from: u32,
    to: u32,
    reserved: u32 = 0,
};

pub const nobody = 0xffff_ffff;
pub const capacity_max = 1 << 20;

/// Whoever calls holds the pool's mutex.
pub const Events = struct {
    ring: []Event,
    /// The sequence whose session started them.
    owner: u32,
    began: i96,
    /// So far; the youngest `held` of them are in the ring.
    written: u64 = 0,
    held: usize = 0,
    /// Lost since the last `take`.
    dropped: u64 = 0,

    pub fn init(gpa: std.mem.Allocator, capacity: usize, owner: u32) error{OutOfMemory}!Events {
        return .{ .ring = try gpa.alloc(Event, capacity), .owner = owner, .began = now() };
    }

    pub fn deinit(events: *Events, gpa: std.mem.Allocator) void {
        gpa.free(events.ring);
    }

    pub fn append(events: *Events, event: Event) void {
        var timed = event;
        timed.seconds = @as(f64, @floatFromInt(@max(0, now() - events.began))) / std.time.ns_per_s;
        events.ring[@intCast(events.written % events.ring.len)] = timed;
        events.written += 1;
        if (events.held == events.ring.len) events.dropped += 1 else events.held += 1;
    }

    /// Moves the oldest events out, as many as fit.
    pub fn take(events: *Events, out: []align(1) Event) usize {
        const count = @min(out.len, events.held);
        for (out[0..count], events.written - events.held..) |*to, at| to.* = events.ring[@intCast(at % events.ring.len)];
        events.held -= count;
        return count;
    }

    fn now() i96 {
        return std.Io.Clock.awake.now(io).nanoseconds;
    }
};

test "the youngest events are kept, and the lost ones counted" {
    const gpa = std.testing.allocator;
    var events: Events = try .init(gpa, 3, 0);
    defer events.deinit(gpa);
    for (0..5) |i| events.append(.{ .seconds = 0, .kind = @backingInt(Kind.taken), .page = @intCast(i), .sequence = 9, .from = 0, .to = 64 });
    try std.testing.expectEqual(2, events.dropped);
    var out: [2]Event = undefined;
    try std.testing.expectEqual(2, events.take(&out));
    try std.testing.expectEqual(2, out[0].page);
    try std.testing.expectEqual(3, out[1].page);
    try std.testing.expect(out[0].seconds <= out[1].seconds);
    events.append(.{ .seconds = 0, .kind = @backingInt(Kind.freed), .page = 7, .sequence = nobody, .from = 0, .to = 64 });
    try std.testing.expectEqual(2, events.take(&out));
    try std.testing.expectEqual(@backingInt(Kind.freed), out[1].kind);
    try std.testing.expectEqual(0, events.take(&out));
}
