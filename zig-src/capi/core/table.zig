//! Handles: 32-bit numbers that name models and sessions for a host that can't keep a pointer
//! safely. The lower bits are an index, the upper ones a generation, so that a handle of something
//! that was destroyed is recognised, and never read through.
//!
//! An object lives as long as somebody has it pinned: a running call, a child (a session pins its
//! model), a loader thread, and the handle itself. Destroying gives the handle's pin back. So
//! models and sessions may be destroyed in any order, and the last one who leaves frees.

const std = @import("std");
const abi = @import("abi.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;

pub const io = std.Io.Threaded.global_single_threaded.io();

/// Of all models, sessions, snapshots and pools.
pub var gpa: std.mem.Allocator = std.heap.c_allocator;

const index_bits = 12;
pub const handles_max = (1 << index_bits) - 1;
const generation_max = (1 << (32 - index_bits)) - 1;

pub const Kind = enum { model, session, snapshot, pool };

/// What every object begins with.
pub const Object = struct {
    kind: Kind,
    /// Guarded by the table's mutex.
    pins: u32,
    /// Called without any lock when the last pin is gone.
    free: *const fn (object: *Object) void,
    /// One caller at a time in everything that isn't said to be callable from other threads.
    mutex: std.Io.Mutex = .init,
    /// Why the last call failed. Guarded by `mutex`.
    diag: Diagnostic = .{},

    pub fn lock(object: *Object) void {
        object.mutex.lockUncancelable(io);
    }

    pub fn unlock(object: *Object) void {
        object.mutex.unlock(io);
    }
};

const Slot = struct {
    generation: u32 = 1,
    object: ?*Object = null,
};

var mutex: std.Io.Mutex = .init;
var slots: [handles_max]Slot = @splat(.{});
/// Where the search for a free slot goes on: a slot rests as long as possible before it is used
/// again, so that its generations last.
var next: u32 = 0;

/// Names an object; the handle takes over one pin.
pub fn add(object: *Object) error{TooManyHandles}!u32 {
    mutex.lockUncancelable(io);
    defer mutex.unlock(io);
    for (0..handles_max) |_| {
        const index = next;
        next = (next + 1) % handles_max;
        const slot = &slots[index];
        if (slot.object != null) continue;
        slot.object = object;
        return slot.generation << index_bits | (index + 1);
    }
    return error.TooManyHandles;
}

/// The object of a handle, pinned; null for a handle that is not of this kind or not valid any
/// more.
pub fn pin(handle: u32, kind: ?Kind) ?*Object {
    mutex.lockUncancelable(io);
    defer mutex.unlock(io);
    const slot = find(handle) orelse return null;
    const object = slot.object.?;
    if (kind) |k| if (object.kind != k) return null;
    object.pins += 1;
    return object;
}

/// One more reason to live.
pub fn retain(object: *Object) void {
    mutex.lockUncancelable(io);
    defer mutex.unlock(io);
    object.pins += 1;
}

/// One reason less; the last one frees.
pub fn unpin(object: *Object) void {
    mutex.lockUncancelable(io);
    object.pins -= 1;
    const last = object.pins == 0;
    mutex.unlock(io);
    if (last) object.free(object);
}

/// Ends a handle and returns its object, whose pin is now the caller's.
pub fn remove(handle: u32, kind: Kind) ?*Object {
    mutex.lockUncancelable(io);
    defer mutex.unlock(io);
    const slot = find(handle) orelse return null;
    const object = slot.object.?;
    if (object.kind != kind) return null;
    slot.object = null;
    slot.generation = if (slot.generation == generation_max) 1 else slot.generation + 1;
    return object;
}

/// Handles in use.
pub fn count() u32 {
    mutex.lockUncancelable(io);
    defer mutex.unlock(io);
    var result: u32 = 0;
    for (slots) |slot| result += @intFromBool(slot.object != null);
    return result;
}

fn find(handle: u32) ?*Slot {
    const index = handle & handles_max;
    if (index == 0) return null;
    const slot = &slots[index - 1];
    if (slot.object == null or slot.generation != handle >> index_bits) return null;
    return slot;
}

test "a stale handle is recognised, and its slot rests" {
    const Freed = struct {
        var times: u32 = 0;
        fn free(_: *Object) void {
            times += 1;
        }
    };
    var object: Object = .{ .kind = .model, .pins = 1, .free = Freed.free };
    const handle = try add(&object);
    try std.testing.expectEqual(null, pin(handle, .session));
    try std.testing.expectEqual(&object, pin(handle, .model).?);
    try std.testing.expectEqual(null, remove(handle, .session));
    const removed = remove(handle, .model).?;
    try std.testing.expectEqual(null, remove(handle, .model));
    try std.testing.expectEqual(null, pin(handle, null));
    unpin(removed);
    try std.testing.expectEqual(0, Freed.times);
    unpin(&object);
    try std.testing.expectEqual(1, Freed.times);
    object.pins = 1;
    const other = try add(&object);
    defer _ = remove(other, .model);
    try std.testing.expect(other & handles_max != handle & handles_max);
    for ([_]u32{ 0, 1, handles_max, 0xffff_ffff, handle, other ^ 1 << index_bits }) |wrong| {
        try std.testing.expectEqual(null, pin(wrong, null));
    }
}
