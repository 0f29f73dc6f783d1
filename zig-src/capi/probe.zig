//! Hooks: activations of a session's requests that are shown, and may be replaced, while the engine waits.

const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const errors = @import("core/errors.zig");
const table = @import("core/table.zig");
const withSession = @import("session.zig").withSession;
const SessionObject = @import("core/session_object.zig").SessionObject;

pub const functions = .{
    .{
        .name = "vitrine_hooks_set",
        .function = "set",
        .doc =
        \\Chooses the points at which the engine waits during the following requests, until
        \\vitrine_hooks_proceed is called or the request is cancelled. Whoever waits is woken at each
        \\(vitrine_wake_register). None costs nothing.
        ,
        .params = .{
            .{ "session", "An idle session." },
            .{ "points", "[layers]: sums of 1 << `HookPoint`; those without a layer belong to the first. Read during the call only; null: none." },
            .{ "count", "The model's layers; 0: none." },
        },
    },
    .{
        .name = "vitrine_hooks_current",
        .function = "current",
        .doc = "What the engine shows now. Never waits.",
        .params = .{
            .{ "session", "The session." },
            .{ "out", "The caller's; filled as far as it reaches.", "HookOffer" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_hooks_read",
        .function = "read",
        .doc = "Copies what the engine shows now: [rows][width].",
        .params = .{
            .{ "session", "A session whose engine waits at a hook." },
            .{ "values", "The caller's; filled." },
            .{ "count", "Rows times width." },
        },
    },
    .{
        .name = "vitrine_hooks_ids",
        .function = "ids",
        .doc = "Copies which tokens the candidates are that the engine shows to a sampler stage now.",
        .params = .{
            .{ "session", "A session whose engine waits at a stage that is a function." },
            .{ "ids", "The caller's; filled, in ascending order." },
            .{ "count", "The offer's width." },
        },
    },
    .{
        .name = "vitrine_hooks_history",
        .function = "history",
        .doc = "Copies the text so far that the engine shows to a sampler stage now: what stages that look back see.",
        .params = .{
            .{ "session", "A session whose engine waits at a stage that is a function." },
            .{ "tokens", "The caller's; filled, oldest first." },
            .{ "count", "The offer's history." },
        },
    },
    .{
        .name = "vitrine_hooks_write",
        .function = "write",
        .doc = "Replaces what the engine shows now, and goes on with: [rows][width].",
        .params = .{
            .{ "session", "A session whose engine waits at a hook." },
            .{ "values", "Read during the call only." },
            .{ "count", "Rows times width." },
        },
    },
    .{
        .name = "vitrine_hooks_proceed",
        .function = "proceed",
        .doc = "Lets the engine go on; harmless when it doesn't wait.",
        .params = .{.{ "session", "The session." }},
    },
};

pub fn set(handle: u32, points: ?[*]align(1) const u32, count: u32) callconv(.c) i32 {
    return withSession(handle, .{ points, count }, setPoints);
}

fn setPoints(self: *SessionObject, points: ?[*]align(1) const u32, count: u32) errors.Error!void {
    const diag = &self.object.diag;
    const given = try buffers.slice(u32, points, count, "the hook points", diag);
    const copied = try table.gpa.alloc(u32, given.len);
    defer table.gpa.free(copied);
    for (given, copied) |from, *to| to.* = from;
    try self.session.?.openGate(copied, diag);
}

pub fn current(handle: u32, out: ?[*]u8, length: u32) callconv(.c) i32 {
    return withSession(handle, .{ out, length }, fill);
}

fn fill(self: *SessionObject, out: ?[*]u8, length: u32) errors.Error!void {
    var shown: abi.HookOffer = .{};
    if (self.session.?.gate.current()) |offer| shown = .{
        .waiting = 1,
        .point = @backingInt(offer.point),
        .layer = offer.layer,
        .position = offer.position,
        .rows = offer.rows,
        .width = offer.width,
        .stage = offer.stage,
        .history = offer.history,
    };
    try buffers.fill(shown, out, length, &self.object.diag);
}

pub fn read(handle: u32, values: ?[*]align(1) f32, count: u32) callconv(.c) i32 {
    return withSession(handle, .{ values, count }, readValues);
}

fn readValues(self: *SessionObject, values: ?[*]align(1) f32, count: u32) errors.Error!void {
    const out = try buffers.required(values, "the values", &self.object.diag);
    if (!self.session.?.gate.read(out[0..count])) return refuse(self, count);
}

pub fn ids(handle: u32, out: ?[*]align(1) u32, count: u32) callconv(.c) i32 {
    return withSession(handle, .{ out, count }, readIds);
}

fn readIds(self: *SessionObject, out: ?[*]align(1) u32, count: u32) errors.Error!void {
    const to = try buffers.required(out, "the ids", &self.object.diag);
    if (!self.session.?.gate.readIds(to[0..count])) return refuse(self, count);
}

pub fn history(handle: u32, out: ?[*]align(1) u32, count: u32) callconv(.c) i32 {
    return withSession(handle, .{ out, count }, readHistory);
}

fn readHistory(self: *SessionObject, out: ?[*]align(1) u32, count: u32) errors.Error!void {
    if (count == 0) return;
    const to = try buffers.required(out, "the tokens", &self.object.diag);
    if (!self.session.?.gate.readHistory(to[0..count])) return refuse(self, count);
}

pub fn write(handle: u32, values: ?[*]align(1) const f32, count: u32) callconv(.c) i32 {
    return withSession(handle, .{ values, count }, writeValues);
}

fn writeValues(self: *SessionObject, values: ?[*]align(1) const f32, count: u32) errors.Error!void {
    const given = try buffers.slice(f32, values, count, "the values", &self.object.diag);
    if (!self.session.?.gate.write(given)) return refuse(self, count);
}

fn refuse(self: *SessionObject, count: u32) errors.Error {
    const offer = self.session.?.gate.current() orelse {
        self.object.diag.set("expected a session whose engine waits at a hook, found one that doesn't", .{});
        return error.NotReady;
    };
    self.object.diag.set("expected {d} rows of {d} values, found {d} values", .{ offer.rows, offer.width, count });
    return error.InvalidArgument;
}

pub fn proceed(handle: u32) callconv(.c) i32 {
    return withSession(handle, .{}, goOn);
}

fn goOn(self: *SessionObject) errors.Error!void {
    self.session.?.gate.proceed();
}
