//! What a session's passes read from memory and compute.

const buffers = @import("core/buffers.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const withSession = @import("session.zig").withSession;
const SessionObject = @import("core/session_object.zig").SessionObject;

pub const functions = .{
    .{
        .name = "vitrine_session_meter",
        .function = "meter",
        .doc =
        \\Keeps, from now on, what each pass that the session takes part in reads and computes, layer by
        \\layer. What was kept before is forgotten.
        ,
        .params = .{
            .{ "session", "An idle session." },
            .{ "passes", "How many to keep, the youngest; 0: no longer, which costs nothing." },
        },
    },
    .{
        .name = "vitrine_session_metered",
        .function = "metered",
        .doc =
        \\Takes the oldest passes that are kept out, as many as fit: [passes][4 + (layers + 1) * 5]. First
        \\come the pass's number, its rows, the session's own rows and the position of their first. Then, for
        \\each layer, and last for embeddings and output head: bytes of weights, keys and values, floating-point
        \\operations, seconds.
        ,
        .params = .{
            .{ "session", "An idle session with a meter." },
            .{ "values", "The caller's; filled." },
            .{ "count", "Of them; 0 only counts passes." },
            .{ "out_passes", "Gets how many were taken; with a `count` of 0, how many there are." },
        },
    },
};

pub fn meter(handle: u32, passes: u32) callconv(.c) i32 {
    return withSession(handle, .{passes}, start);
}

fn start(self: *SessionObject, passes: u32) errors.Error!void {
    try engine.meter.start(self.session.?, passes, &self.object.diag);
}

pub fn metered(handle: u32, values: ?[*]align(1) f64, count: u32, out_passes: ?*align(1) u32) callconv(.c) i32 {
    return withSession(handle, .{ values, count, out_passes }, take);
}

fn take(self: *SessionObject, values: ?[*]align(1) f64, count: u32, out_passes: ?*align(1) u32) errors.Error!void {
    const diag = &self.object.diag;
    const passes = try buffers.required(out_passes, "the number of passes", diag);
    const kept = try engine.meter.of(self.session.?, diag);
    if (count == 0) {
        passes.* = @intCast(kept.held);
        return;
    }
    const out = try buffers.required(values, "the values", diag);
    passes.* = @intCast(kept.take(out[0..count]));
}
