//! Saving sessions to a file and restoring them, on a thread of the library. docs/snapshot.md describes
//! the file.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const table = @import("core/table.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const ModelObject = @import("core/model_object.zig").ModelObject;
const SessionObject = @import("core/session_object.zig").SessionObject;
const SnapshotObject = @import("core/snapshot_object.zig").SnapshotObject;
const Error = errors.Error;

pub const functions = .{
    .{
        .name = "vitrine_snapshot_save",
        .function = "save",
        .doc =
        \\Begins to save sessions into one file and returns at once; vitrine_snapshot_state says when it is
        \\done. What is saved is what they are now: they may go on meanwhile. The file gets its name when it
        \\is whole. The handle is the caller's, also after an error, and is given back with
        \\vitrine_snapshot_destroy.
        ,
        .params = .{
            .{ "sessions", "Idle sessions of one model and one cache policy; read during the call only." },
            .{ "session_count", "How many, from 1." },
            .{ "path", "UTF-8; read during the call only." },
            .{ "path_length", "In bytes." },
            .{ "out_snapshot", "Gets the handle; 0 when there is none." },
        },
    },
    .{
        .name = "vitrine_snapshot_restore",
        .function = "restore",
        .doc =
        \\Begins to make sessions of a file and returns at once; vitrine_snapshot_state says when it is done.
        \\A file that is damaged, or of another model, is refused. The handle is the caller's, also after an
        \\error, and is given back with vitrine_snapshot_destroy.
        ,
        .params = .{
            .{ "model", "A loaded model; it stays alive as long as the sessions." },
            .{ "path", "UTF-8; read during the call only." },
            .{ "path_length", "In bytes." },
            .{ "context", "Tokens that the sessions can hold; 0: as many as when they were saved." },
            .{ "out_snapshot", "Gets the handle; 0 when there is none." },
        },
    },
    .{
        .name = "vitrine_snapshot_state",
        .function = "state",
        .doc = "How far it has come. Never blocks.",
        .params = .{
            .{ "snapshot", "The save or restore." },
            .{ "out", "The caller's; filled as far as it reaches.", "SnapshotState" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_snapshot_wait",
        .function = "wait",
        .doc = "Blocks until it is done, or has failed, and returns its status.",
        .params = .{.{ "snapshot", "The save or restore." }},
    },
    .{
        .name = "vitrine_snapshot_header",
        .function = "header",
        .doc = "The JSON of the file that was restored: options, policy and positions of its sessions.",
        .params = .{
            .{ "snapshot", "A restore that is done." },
            .{ "buffer", "The caller's; filled with UTF-8." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "out_length", "Gets the length of the text, also when the buffer is too small." },
        },
    },
    .{
        .name = "vitrine_snapshot_sessions",
        .function = "sessions",
        .doc =
        \\Hands the restored sessions over, in the order in which they were saved: all or none, and once. The
        \\handles are given back one by one with vitrine_session_destroy.
        ,
        .params = .{
            .{ "snapshot", "A restore that is done." },
            .{ "out_sessions", "Gets the handles; 0 after an error." },
            .{ "count", "How many there are, exactly: `sessions` of the state." },
        },
    },
    .{
        .name = "vitrine_snapshot_cancel",
        .function = "cancel",
        .doc = "Asks it to stop. Returns at once; harmless when it is done.",
        .params = .{.{ "snapshot", "The save or restore." }},
    },
    .{
        .name = "vitrine_snapshot_destroy",
        .function = "destroy",
        .doc = "Cancels what runs, and ends the handle; again is harmless. Sessions that were not handed over go.",
        .params = .{.{ "snapshot", "The save or restore." }},
    },
};

pub fn save(
    session_handles: ?[*]align(1) const u32,
    session_count: u32,
    path: ?[*]align(1) const u8,
    path_length: u32,
    out_snapshot: ?*align(1) u32,
) callconv(.c) i32 {
    return begin(path, path_length, out_snapshot, beginSave, .{ session_handles, session_count });
}

pub fn restore(model_handle: u32, path: ?[*]align(1) const u8, path_length: u32, context: u32, out_snapshot: ?*align(1) u32) callconv(.c) i32 {
    return begin(path, path_length, out_snapshot, beginRestore, .{ model_handle, context });
}

/// Makes the handle, lets `prepare` say what is to be done, and starts the thread.
fn begin(
    path: ?[*]align(1) const u8,
    path_length: u32,
    out_snapshot: ?*align(1) u32,
    comptime prepare: anytype,
    arguments: anytype,
) i32 {
    var diag: Diagnostic = .{};
    const out = buffers.required(out_snapshot, "the handle", &diag) catch |err| return errors.code(err);
    out.* = 0;
    const given = checkPath(path, path_length, &diag);
    const self = SnapshotObject.create(given catch "") catch |err| return errors.code(err);
    out.* = table.add(&self.object) catch |err| {
        table.unpin(&self.object);
        return errors.code(err);
    };
    self.object.lock();
    defer self.object.unlock();
    self.object.diag = diag;
    const result: Error!void = if (given) |_| @call(.auto, prepare, .{self} ++ arguments) else |err| err;
    if (result) {
        self.start() catch |err| {
            self.object.diag.set("expected the system to start a thread, found {s}", .{@errorName(err)});
            self.fail(err);
            return errors.code(err);
        };
        return 0;
    } else |err| {
        self.fail(err);
        return errors.finish(&self.object, err);
    }
}

fn checkPath(path: ?[*]align(1) const u8, length: u32, diag: *Diagnostic) Error![]const u8 {
    const given = try buffers.slice(u8, path, length, "a path", diag);
    if (given.len == 0 or std.mem.indexOfScalar(u8, given, 0) != null) {
        diag.set("expected a path without zero bytes, found {d} bytes", .{given.len});
        return error.InvalidArgument;
    }
    return given;
}

fn beginSave(self: *SnapshotObject, handles: ?[*]align(1) const u32, count: u32) Error!void {
    const diag = &self.object.diag;
    if (count == 0 or count > table.handles_max) {
        diag.set("expected from 1 to {d} sessions, found {d}", .{ table.handles_max, count });
        return error.InvalidArgument;
    }
    for (try buffers.slice(u32, handles, count, "the sessions", diag)) |handle| {
        const object = table.pin(handle, .session) orelse {
            diag.set("expected sessions, found a handle that names none", .{});
            return error.InvalidHandle;
        };
        defer table.unpin(object);
        object.lock();
        defer object.unlock();
        const other = SessionObject.of(object);
        const session = other.session orelse {
            diag.set("expected a session, found one that couldn't be created", .{});
            return error.NotReady;
        };
        if (self.model == null) {
            table.retain(&other.model.?.object);
            self.model = other.model;
            self.work = .{ .save = .init(session.model) };
        }
        try self.work.save.add(session, diag);
    }
}

fn beginRestore(self: *SnapshotObject, model_handle: u32, context: u32) Error!void {
    const diag = &self.object.diag;
    const parent = table.pin(model_handle, .model) orelse {
        diag.set("expected a model, found a handle that names none", .{});
        return error.InvalidHandle;
    };
    self.model = ModelObject.of(parent);
    if (self.model.?.phaseNow() != .ready) {
        diag.set("expected a loaded model, found one that isn't", .{});
        return error.NotReady;
    }
    self.work = .{ .restore = .{ .context = context } };
}

pub fn state(handle: u32, out: ?[*]u8, length: u32) callconv(.c) i32 {
    const object = table.pin(handle, .snapshot) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    const self = SnapshotObject.of(object);
    var diag: Diagnostic = .{};
    const phase = self.phaseNow();
    return errors.code(buffers.fill(abi.SnapshotState{
        .phase = @backingInt(phase),
        .status = if (phase == .running) 0 else @backingInt(self.status),
        .done = @floatFromInt(self.progress.bytes_done.load(.monotonic)),
        .total = @floatFromInt(self.progress.bytes_total.load(.monotonic)),
        .sessions = if (phase != .ready) 0 else if (self.restored) |restored| @intCast(restored.sessions.len) else 0,
    }, out, length, &diag));
}

pub fn wait(handle: u32) callconv(.c) i32 {
    const object = table.pin(handle, .snapshot) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    const self = SnapshotObject.of(object);
    self.finished.waitUncancelable(table.io);
    return @backingInt(self.status);
}

/// Runs `body` on a restore that is done.
fn withRestored(handle: u32, arguments: anytype, comptime body: anytype) i32 {
    const object = table.pin(handle, .snapshot) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    object.lock();
    defer object.unlock();
    const self = SnapshotObject.of(object);
    object.diag.len = 0;
    const is_ready = self.phaseNow() == .ready and self.restored != null;
    if (!is_ready) object.diag.set("expected a restore that is done, found none", .{});
    return errors.finish(object, if (is_ready) @call(.auto, body, .{ self, &self.restored.? } ++ arguments) else error.NotReady);
}

pub fn header(handle: u32, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) callconv(.c) i32 {
    return withRestored(handle, .{ buffer, length, out_length }, copyHeader);
}

fn copyHeader(self: *SnapshotObject, restored: *engine.Restored, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) Error!void {
    try buffers.copyOut(&.{restored.header}, buffer, length, out_length, &self.object.diag);
}

pub fn sessions(handle: u32, out_sessions: ?[*]align(1) u32, count: u32) callconv(.c) i32 {
    return withRestored(handle, .{ out_sessions, count }, handOver);
}

fn handOver(self: *SnapshotObject, restored: *engine.Restored, out_sessions: ?[*]align(1) u32, count: u32) Error!void {
    const diag = &self.object.diag;
    if (count != restored.sessions.len or count == 0) {
        diag.set("expected room for {d} sessions, found {d}", .{ restored.sessions.len, count });
        return error.BufferTooSmall;
    }
    const out = try buffers.required(out_sessions, "the handles", diag);
    for (0..count) |i| out[i] = 0;
    const objects = try table.gpa.alloc(*SessionObject, count);
    defer table.gpa.free(objects);
    var made: usize = 0;
    errdefer for (objects[0..made], 0..) |other, i| {
        if (out[i] != 0) _ = table.remove(out[i], .session);
        out[i] = 0;
        table.unpin(&other.object);
    };
    while (made < count) : (made += 1) {
        objects[made] = try .create();
        errdefer table.unpin(&objects[made].object);
        out[made] = try table.add(&objects[made].object);
    }
    for (objects, restored.sessions) |other, session| {
        table.retain(&self.model.?.object);
        other.object.lock();
        defer other.object.unlock();
        other.model = self.model;
        other.session = session;
    }
    restored.sessions = &.{};
}

pub fn cancel(handle: u32) callconv(.c) i32 {
    const object = table.pin(handle, .snapshot) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    SnapshotObject.of(object).progress.cancel.store(true, .seq_cst);
    return 0;
}

pub fn destroy(handle: u32) callconv(.c) i32 {
    const object = table.remove(handle, .snapshot) orelse return 0;
    SnapshotObject.of(object).progress.cancel.store(true, .seq_cst);
    table.unpin(object);
    return 0;
}
