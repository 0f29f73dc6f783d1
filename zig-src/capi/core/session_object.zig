//! A session behind its handle: the engine's session, and the model that it keeps alive.

const engine = @import("../../engine.zig");
const table = @import("table.zig");
const ModelObject = @import("model_object.zig").ModelObject;

pub const SessionObject = struct {
    object: table.Object,
    /// Pinned until the session is freed; null for a creation that failed.
    model: ?*ModelObject = null,
    session: ?*engine.Session = null,

    /// The object has one pin, for the handle that the caller makes of it.
    pub fn create() error{OutOfMemory}!*SessionObject {
        const self = try table.gpa.create(SessionObject);
        self.* = .{ .object = .{ .kind = .session, .pins = 1, .free = free } };
        return self;
    }

    pub fn of(object: *table.Object) *SessionObject {
        return @fieldParentPtr("object", object);
    }

    /// The engine's session; an error for a creation that failed.
    pub fn ready(self: *SessionObject) error{NotReady}!*engine.Session {
        if (self.session) |session| return session;
        self.object.diag.set("expected a session, found one that couldn't be created", .{});
        return error.NotReady;
    }

    fn free(object: *table.Object) void {
        const self = of(object);
        if (self.session) |session| session.destroy();
        if (self.model) |model| table.unpin(&model.object);
        table.gpa.destroy(self);
    }
};
