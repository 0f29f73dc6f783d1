//! A pool of pages behind its handle: the engine's pool, and the model that it keeps alive.

const cache = @import("../../cache.zig");
const table = @import("table.zig");
const ModelObject = @import("model_object.zig").ModelObject;

pub const PoolObject = struct {
    object: table.Object,
    /// Pinned until the pool is freed; null for a creation that failed.
    model: ?*ModelObject = null,
    pool: ?*cache.Pool = null,

    /// The object has one pin, for the handle that the caller makes of it.
    pub fn create() error{OutOfMemory}!*PoolObject {
        const self = try table.gpa.create(PoolObject);
        self.* = .{ .object = .{ .kind = .pool, .pins = 1, .free = free } };
        return self;
    }

    pub fn of(object: *table.Object) *PoolObject {
        return @fieldParentPtr("object", object);
    }

    /// The engine's pool; an error for a creation that failed.
    pub fn ready(self: *PoolObject) error{NotReady}!*cache.Pool {
        if (self.pool) |pool| return pool;
        self.object.diag.set("expected a pool, found one that couldn't be created", .{});
        return error.NotReady;
    }

    fn free(object: *table.Object) void {
        const self = of(object);
        if (self.pool) |pool| {
            pool.endEvents(cache.events.nobody);
            pool.release();
        }
        if (self.model) |model| table.unpin(&model.object);
        table.gpa.destroy(self);
    }
};
