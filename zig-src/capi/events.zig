//! What happens to the pages of a pool, or of a session and its forks.

const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const cache = @import("../cache.zig");
const errors = @import("core/errors.zig");
const table = @import("core/table.zig");
const PoolObject = @import("core/pool_object.zig").PoolObject;
const SessionObject = @import("core/session_object.zig").SessionObject;

pub const functions = .{
    .{
        .name = "vitrine_events_start",
        .function = "start",
        .doc =
        \\Notes, from now on, what happens to the pages of the KV cache: of all sessions of the pool, or of the
        \\session and its forks. There is one reader of a pool at a time.
        ,
        .params = .{
            .{ "owner", "A session or a pool." },
            .{ "capacity", "Events to keep, the youngest; 0: no longer, which costs nothing." },
        },
    },
    .{
        .name = "vitrine_events_take",
        .function = "take",
        .doc = "Takes the oldest events out, as many as fit. Never waits, and may be called while requests run.",
        .params = .{
            .{ "owner", "A session or a pool that has started them." },
            .{ "events", "`count` times; the caller's, filled.", "KvEvent" },
            .{ "count", "How many fit." },
            .{ "out_count", "Gets how many were taken." },
            .{ "out_dropped", "Gets how many were lost since the last call." },
        },
    },
};

/// Whose events they are, and the number by which the pool knows who wants them.
const Owner = struct {
    pool: *cache.Pool,
    number: u32,

    fn of(object: *table.Object) errors.Error!Owner {
        switch (object.kind) {
            .pool => return .{ .pool = try PoolObject.of(object).ready(), .number = cache.events.nobody },
            .session => {
                const session = try SessionObject.of(object).ready();
                return .{ .pool = session.sequence.pool, .number = session.sequence.number };
            },
            .model, .snapshot => {
                object.diag.set("expected a session or a pool, found something else", .{});
                return error.InvalidHandle;
            },
        }
    }
};

pub fn start(handle: u32, capacity: u32) callconv(.c) i32 {
    const object = table.pin(handle, null) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    object.lock();
    defer object.unlock();
    object.diag.len = 0;
    return errors.finish(object, begin(object, capacity));
}

fn begin(object: *table.Object, capacity: u32) errors.Error!void {
    const owner: Owner = try .of(object);
    if (capacity == 0) return owner.pool.endEvents(owner.number);
    if (capacity > cache.events.capacity_max) {
        object.diag.set("expected at most {d} events to keep, found {d}", .{ cache.events.capacity_max, capacity });
        return error.InvalidArgument;
    }
    owner.pool.startEvents(capacity, owner.number) catch |err| {
        if (err == error.Busy) object.diag.set("expected pages whose events nobody reads, found that somebody does", .{});
        return err;
    };
}

pub fn take(
    handle: u32,
    events: ?[*]u8,
    count: u32,
    out_count: ?*align(1) u32,
    out_dropped: ?*align(1) f64,
) callconv(.c) i32 {
    const object = table.pin(handle, null) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    object.lock();
    defer object.unlock();
    object.diag.len = 0;
    return errors.finish(object, takeInto(object, events, count, out_count, out_dropped));
}

fn takeInto(
    object: *table.Object,
    events: ?[*]u8,
    count: u32,
    out_count: ?*align(1) u32,
    out_dropped: ?*align(1) f64,
) errors.Error!void {
    const diag = &object.diag;
    const owner: Owner = try .of(object);
    const taken = try buffers.required(out_count, "the number of events", diag);
    const dropped = try buffers.required(out_dropped, "the number of lost events", diag);
    const out: []align(1) abi.KvEvent = if (count == 0) &.{} else @as([*]align(1) abi.KvEvent, @ptrCast(try buffers.required(events, "the events", diag)))[0..count];
    const found = owner.pool.takeEvents(owner.number, out) orelse {
        diag.set("expected events that this one has started, found none", .{});
        return error.NotReady;
    };
    taken.* = @intCast(found.count);
    dropped.* = @floatFromInt(found.dropped);
}
