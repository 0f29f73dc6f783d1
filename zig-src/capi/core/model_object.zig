//! A model behind its handle: the engine's model, and the thread that loads it.

const std = @import("std");
const abi = @import("abi.zig");
const engine = @import("../../engine.zig");
const errors = @import("errors.zig");
const table = @import("table.zig");
const Error = errors.Error;

pub const ModelObject = struct {
    object: table.Object,
    path: []const u8,
    /// Its path of packed weights is the object's.
    options: engine.ModelOptions,
    progress: engine.Progress = .{},
    /// `abi.ModelPhase`; stored last by the loader, so that what it wrote before is seen.
    phase: std.atomic.Value(u32) = .init(@backingInt(abi.ModelPhase.loading)),
    status: abi.Status = .ok,
    /// Set before the phase becomes ready.
    model: ?*engine.Model = null,
    /// Waited for by `wait`.
    loaded: std.Io.Event = .unset,

    /// The object has one pin, for the handle that the caller makes of it.
    pub fn create(path: []const u8, options: engine.ModelOptions) error{OutOfMemory}!*ModelObject {
        const self = try table.gpa.create(ModelObject);
        errdefer table.gpa.destroy(self);
        const own_path = try table.gpa.dupe(u8, path);
        errdefer table.gpa.free(own_path);
        var own_options = options;
        own_options.packed_path = try table.gpa.dupe(u8, options.packed_path);
        self.* = .{ .object = .{ .kind = .model, .pins = 1, .free = free }, .path = own_path, .options = own_options };
        return self;
    }

    pub fn of(object: *table.Object) *ModelObject {
        return @fieldParentPtr("object", object);
    }

    /// Starts the loader thread, which has a pin of its own: a model that is destroyed while it
    /// loads goes when the loader notices.
    pub fn start(self: *ModelObject) std.Thread.SpawnError!void {
        table.retain(&self.object);
        errdefer table.unpin(&self.object);
        const thread = try std.Thread.spawn(.{}, loadAndWake, .{self});
        thread.detach();
    }

    /// A load that can't even begin.
    pub fn fail(self: *ModelObject, err: Error) void {
        self.finish(.failed, errors.statusOf(err));
    }

    pub fn phaseNow(self: *const ModelObject) abi.ModelPhase {
        return @fromBackingInt(self.phase.load(.acquire));
    }

    /// The engine's model; an error while there is none.
    pub fn ready(self: *ModelObject) error{NotReady}!*engine.Model {
        if (self.phaseNow() == .ready) return self.model.?;
        self.object.diag.set("expected a loaded model, found one that is {s}", .{switch (self.phaseNow()) {
            .loading => "still loading",
            .failed => "not loaded because of an error",
            .cancelled => "not loaded because that was cancelled",
            .ready => unreachable,
        }});
        return error.NotReady;
    }

    fn loadAndWake(self: *ModelObject) void {
        self.load();
        engine.wake.signal();
        table.unpin(&self.object);
    }

    fn load(self: *ModelObject) void {
        var diag: @TypeOf(self.object.diag) = .{};
        const model = engine.Model.load(table.gpa, self.path, self.options, &self.progress, &diag) catch |err| {
            if (diag.text().len == 0) diag.set("loading failed: {s}", .{@errorName(err)});
            self.object.lock();
            self.object.diag = diag;
            self.object.unlock();
            return self.finish(if (err == error.Cancelled) .cancelled else .failed, errors.statusOf(err));
        };
        self.model = model;
        self.finish(.ready, .ok);
    }

    fn finish(self: *ModelObject, phase: abi.ModelPhase, status: abi.Status) void {
        self.status = status;
        self.phase.store(@backingInt(phase), .release);
        self.loaded.set(table.io);
    }

    fn free(object: *table.Object) void {
        const self = of(object);
        // Sessions pin their model, so none exists here.
        if (self.model) |model| model.destroy() catch unreachable;
        table.gpa.free(self.options.packed_path);
        table.gpa.free(self.path);
        table.gpa.destroy(self);
    }
};
