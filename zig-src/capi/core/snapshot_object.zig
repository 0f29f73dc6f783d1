//! A save or a restore behind its handle: the thread that does it, and the sessions that come of it.

const std = @import("std");
const abi = @import("abi.zig");
const engine = @import("../../engine.zig");
const errors = @import("errors.zig");
const table = @import("table.zig");
const ModelObject = @import("model_object.zig").ModelObject;
const Error = errors.Error;

pub const SnapshotObject = struct {
    object: table.Object,
    path: []const u8,
    /// Pinned; null for one that could not begin.
    model: ?*ModelObject = null,
    work: Work = .none,
    progress: engine.Progress = .{},
    /// `abi.SnapshotPhase`; stored last by the thread, so that what it wrote before is seen.
    phase: std.atomic.Value(u32) = .init(@backingInt(abi.SnapshotPhase.running)),
    status: abi.Status = .ok,
    /// Set before the phase becomes ready.
    restored: ?engine.Restored = null,
    /// Waited for by `wait`.
    finished: std.Io.Event = .unset,

    pub const Work = union(enum) { none, save: engine.Save, restore: engine.RestoreOptions };

    /// The object has one pin, for the handle that the caller makes of it.
    pub fn create(path: []const u8) error{OutOfMemory}!*SnapshotObject {
        const self = try table.gpa.create(SnapshotObject);
        errdefer table.gpa.destroy(self);
        self.* = .{
            .object = .{ .kind = .snapshot, .pins = 1, .free = free },
            .path = try table.gpa.dupe(u8, path),
        };
        return self;
    }

    pub fn of(object: *table.Object) *SnapshotObject {
        return @fieldParentPtr("object", object);
    }

    /// Starts the thread, which has a pin of its own.
    pub fn start(self: *SnapshotObject) std.Thread.SpawnError!void {
        table.retain(&self.object);
        errdefer table.unpin(&self.object);
        const thread = try std.Thread.spawn(.{}, run, .{self});
        thread.detach();
    }

    /// One that can't even begin. The object is locked.
    pub fn fail(self: *SnapshotObject, err: Error) void {
        self.finish(.failed, errors.statusOf(err));
    }

    pub fn phaseNow(self: *const SnapshotObject) abi.SnapshotPhase {
        return @fromBackingInt(self.phase.load(.acquire));
    }

    fn run(self: *SnapshotObject) void {
        var diag: @TypeOf(self.object.diag) = .{};
        if (self.perform(&diag)) {
            self.finish(.ready, .ok);
        } else |err| {
            self.object.lock();
            self.object.diag = diag;
            self.object.unlock();
            self.finish(if (err == error.Cancelled) .cancelled else .failed, errors.statusOf(err));
        }
        engine.wake.signal();
        table.unpin(&self.object);
    }

    fn perform(self: *SnapshotObject, diag: anytype) Error!void {
        switch (self.work) {
            .none => unreachable,
            .save => |*save| {
                // Pages are let go at once, not when somebody gives the handle back.
                defer self.endSave();
                try save.write(self.path, &self.progress, diag);
            },
            .restore => |options| self.restored = try engine.restore(self.model.?.model.?, self.path, options, &self.progress, diag),
        }
    }

    fn endSave(self: *SnapshotObject) void {
        self.work.save.deinit();
        self.work = .none;
    }

    fn finish(self: *SnapshotObject, phase: abi.SnapshotPhase, status: abi.Status) void {
        self.status = status;
        self.phase.store(@backingInt(phase), .release);
        self.finished.set(table.io);
    }

    fn free(object: *table.Object) void {
        const self = of(object);
        if (self.work == .save) self.endSave();
        if (self.restored) |*restored| restored.deinit();
        if (self.model) |model| table.unpin(&model.object);
        table.gpa.free(self.path);
        table.gpa.destroy(self);
    }
};
