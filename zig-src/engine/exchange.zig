//! Sessions that change places: what a restored file holds becomes what a session goes on from.

const std = @import("std");
const layouts = @import("layouts.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const session_module = @import("session.zig");
const Error = session_module.Error;
const Session = session_module.Session;

/// Two sessions of one shape change places: each goes on from where the other one stood. What their
/// last requests left is dropped; options and hooks stay where they are.
pub fn exchange(session: *Session, other: *Session, diag: *Diagnostic) Error!void {
    if (session == other) return;
    // In one order, whoever exchanges them.
    const first, const second = if (@intFromPtr(session) < @intFromPtr(other)) .{ session, other } else .{ other, session };
    for ([_]*Session{ first, second }) |one| one.lock();
    defer for ([_]*Session{ first, second }) |one| one.unlock();
    for ([_]*const Session{ session, other }) |one| try one.expectIdle(diag);
    try expectShape(session, other, diag);
    // Another one has no use for tokens that stay because others went.
    for ([_]*Session{ session, other }) |one| if (one.evictor) |evictor| {
        if (evictor.next == one.length) continue;
        one.sequence.truncate(0);
        one.length = 0;
        one.carry = null;
        one.logits_valid = false;
    };
    inline for (.{ "sequence", "tokens", "length", "carry", "logits", "logits_valid" }) |field| {
        std.mem.swap(@FieldType(Session, field), &@field(session, field), &@field(other, field));
    }
    for ([_]*Session{ session, other }) |one| {
        one.nameAngles();
        if (one.evictor) |evictor| evictor.reset(one, one.length);
        one.gpa.free(one.all_logits);
        one.all_logits = &.{};
        one.all_logits_rows = 0;
        one.ring.read.store(one.ring.written.load(.monotonic), .monotonic);
        one.stats = .{};
        one.failure.len = 0;
    }
}

/// Whether another session's sequence can be this one's.
fn expectShape(session: *const Session, other: *const Session, diag: *Diagnostic) Error!void {
    for ([_]*const Session{ session, other }) |one| if (one.sequence.pool.limit != null) {
        diag.set("expected sessions with caches of their own, found one whose pages belong to a pool", .{});
        return error.Foreign;
    };
    if (session.model != other.model) {
        diag.set("expected two sessions of one model, found them of two", .{});
        return error.Foreign;
    }
    if (session.settings.context != other.settings.context) {
        diag.set("expected a session with a context of {d}, found {d}", .{ session.settings.context, other.settings.context });
        return error.Foreign;
    }
    return layouts.expectSame(session.sequence.pool.layout, other.sequence.pool.layout, diag);
}
