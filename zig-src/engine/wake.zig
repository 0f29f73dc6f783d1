//! Wakes whoever waits for the engine. Any engine thread calls `signal`, which is an atomic
//! instruction or two; each registration has a notifier thread of its own, which calls the
//! registered callback. Many signals that come while a callback runs make one further call: the
//! callback carries nothing, and its receiver looks at the rings.
//!
//! Why a thread of its own: a host may block the calling thread until its own main thread has run
//! the callback (Deno does), and the engine must not wait for that. It follows that `unregister`
//! only asks the notifier to end, and that `join`, which blocks, must not be called by the thread
//! that runs the callbacks while it can be blocked in one (Deno joins from another thread, Bun's
//! callbacks don't block and it joins directly). After `join` the callback is never called again.

const std = @import("std");

const io = std.Io.Threaded.global_single_threaded.io();

pub const Callback = *const fn () callconv(.c) void;

/// One for each host thread that waits: the main thread and workers.
pub const slots_max = 64;

pub const Error = error{ TooManyCallbacks, ThreadQuotaExceeded, UnknownCallback } || std.Thread.SpawnError;

const bit_signal = 1;
const bit_stop = 2;

const State = enum { free, running, stopping, joining };

const Slot = struct {
    /// What the notifier waits for; "stop" is in the same word as "signal", so that neither can be
    /// missed.
    word: std.atomic.Value(u32) align(std.atomic.cache_line) = .init(0),
    /// Calls of the callback since the registration.
    calls: std.atomic.Value(u64) = .init(0),
    callback: Callback = undefined,
    thread: std.Thread = undefined,
    state: State = .free,
    /// Tells registrations in the same slot apart.
    generation: u32 = 0,
};

var slots: [slots_max]Slot = @splat(.{});
/// Bit i: slot i listens. Read without the mutex by `signal`.
var listening: std.atomic.Value(u64) = .init(0);
var signals: std.atomic.Value(u64) = .init(0);
/// Of everything in the slots but the atomic values.
var mutex: std.Io.Mutex = .init;

/// There is news in some ring. Never blocks; cheap when nobody listens or a wake-up is on its way.
pub fn signal() void {
    _ = signals.fetchAdd(1, .monotonic);
    var mask = listening.load(.seq_cst);
    while (mask != 0) : (mask &= mask - 1) {
        const slot = &slots[@ctz(mask)];
        // Release: what was written before the signal is seen by whoever is woken.
        if (slot.word.fetchOr(bit_signal, .seq_cst) & bit_signal != 0) continue;
        io.futexWake(u32, &slot.word.raw, 1);
    }
}

/// Starts a notifier that calls `callback` after signals. The result names the registration.
pub fn register(callback: Callback) Error!u32 {
    mutex.lockUncancelable(io);
    defer mutex.unlock(io);
    const index = for (&slots, 0..) |*slot, i| {
        if (slot.state == .free) break i;
    } else return error.TooManyCallbacks;
    const slot = &slots[index];
    slot.word.store(0, .seq_cst);
    slot.calls.store(0, .monotonic);
    slot.callback = callback;
    slot.generation = (slot.generation + 1) & 0xff_ffff;
    slot.thread = try std.Thread.spawn(.{ .stack_size = 512 << 10 }, notify, .{slot});
    slot.state = .running;
    _ = listening.fetchOr(@as(u64, 1) << @intCast(index), .seq_cst);
    return @as(u32, @intCast(index)) | slot.generation << 8;
}

/// Asks the notifier to end. Returns at once; a call of the callback may still be on its way, and
/// `join` must follow. Again is harmless.
pub fn unregister(id: u32) Error!void {
    mutex.lockUncancelable(io);
    defer mutex.unlock(io);
    const slot = find(id) orelse return error.UnknownCallback;
    if (slot.state != .running) return;
    slot.state = .stopping;
    _ = listening.fetchAnd(~(@as(u64, 1) << @intCast(id & 0xff)), .seq_cst);
    _ = slot.word.fetchOr(bit_stop, .seq_cst);
    io.futexWake(u32, &slot.word.raw, 1);
}

/// Blocks until the notifier has ended; unregisters it first where that was forgotten.
pub fn join(id: u32) Error!void {
    try unregister(id);
    const thread = blk: {
        mutex.lockUncancelable(io);
        defer mutex.unlock(io);
        const slot = find(id) orelse return error.UnknownCallback;
        if (slot.state != .stopping) return error.UnknownCallback;
        slot.state = .joining;
        break :blk slot.thread;
    };
    thread.join();
    mutex.lockUncancelable(io);
    defer mutex.unlock(io);
    slots[id & 0xff].state = .free;
}

pub const Stats = struct {
    /// Since the library was loaded.
    signals: u64,
    /// Of the registration's callback.
    calls: u64,
};

pub fn stats(id: u32) Error!Stats {
    mutex.lockUncancelable(io);
    defer mutex.unlock(io);
    const slot = find(id) orelse return error.UnknownCallback;
    return .{ .signals = signals.load(.monotonic), .calls = slot.calls.load(.monotonic) };
}

fn find(id: u32) ?*Slot {
    const index = id & 0xff;
    if (index >= slots_max) return null;
    const slot = &slots[index];
    if (slot.state == .free or slot.generation != id >> 8) return null;
    return slot;
}

fn notify(slot: *Slot) void {
    while (true) {
        const word = slot.word.fetchAnd(~@as(u32, bit_signal), .seq_cst);
        if (word & bit_stop != 0) return;
        if (word & bit_signal == 0) {
            io.futexWaitUncancelable(u32, &slot.word.raw, 0);
            continue;
        }
        _ = slot.calls.fetchAdd(1, .monotonic);
        slot.callback();
    }
}

const Counter = struct {
    var count: std.atomic.Value(u32) = .init(0);

    fn call() callconv(.c) void {
        _ = count.fetchAdd(1, .seq_cst);
        io.futexWake(u32, &count.raw, 1);
    }

    fn waitFor(target: u32) void {
        while (true) {
            const now = count.load(.seq_cst);
            if (now >= target) return;
            io.futexWaitUncancelable(u32, &count.raw, now);
        }
    }
};

test "a signal that was given before the callback ended is not lost" {
    Counter.count.store(0, .seq_cst);
    const id = try register(Counter.call);
    for (1..2000) |i| {
        const before = Counter.count.load(.seq_cst);
        signal();
        Counter.waitFor(before + 1);
        try std.testing.expect((try stats(id)).calls <= i);
    }
    try join(id);
    const after = Counter.count.load(.seq_cst);
    signal();
    try std.testing.expectEqual(after, Counter.count.load(.seq_cst));
    try std.testing.expectError(error.UnknownCallback, stats(id));
    try std.testing.expectError(error.UnknownCallback, unregister(id));
    try std.testing.expectError(error.UnknownCallback, join(id));
}

test "a hundred starts and stops while another thread signals" {
    Counter.count.store(0, .seq_cst);
    const Noise = struct {
        var stop: std.atomic.Value(bool) = .init(false);
        fn run() void {
            while (!stop.load(.monotonic)) signal();
        }
    };
    Noise.stop.store(false, .monotonic);
    const thread = try std.Thread.spawn(.{}, Noise.run, .{});
    for (0..100) |_| {
        const first = try register(Counter.call);
        const second = try register(Counter.call);
        Counter.waitFor(Counter.count.load(.seq_cst) + 1);
        try unregister(first);
        try unregister(first);
        try join(second);
        try join(first);
    }
    Noise.stop.store(true, .monotonic);
    thread.join();
    for (slots) |slot| try std.testing.expectEqual(State.free, slot.state);
}

test "more callbacks than slots are refused" {
    var ids: [slots_max]u32 = undefined;
    for (&ids) |*id| id.* = try register(Counter.call);
    try std.testing.expectError(error.TooManyCallbacks, register(Counter.call));
    for (ids) |id| try join(id);
}
