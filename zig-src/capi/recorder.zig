//! What a session's last request recorded of its sampling: columns of a trace, rows of a tape.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const withSession = @import("session.zig").withSession;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const SessionObject = @import("core/session_object.zig").SessionObject;

pub const functions = .{
    .{
        .name = "vitrine_session_recorded",
        .function = "recorded",
        .doc = "How much the last request recorded; it stays until the next one begins.",
        .params = .{
            .{ "session", "An idle session." },
            .{ "out", "The caller's; filled as far as it reaches.", "Recorded" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_session_column",
        .function = "column",
        .doc =
        \\Copies a column of the trace: a number of 32 bits for each step; for each step of each place, the
        \\places one behind the other; or for each candidate of each of those.
        ,
        .params = .{
            .{ "session", "An idle session." },
            .{ "column", "`TraceColumn`." },
            .{ "values", "The caller's; filled." },
            .{ "count", "Of them, exactly." },
        },
    },
    .{
        .name = "vitrine_session_tape",
        .function = "tape",
        .doc =
        \\Copies the rows of the tape: position, token, its log-probability and the logarithm of the sum of
        \\exponentials of the logits that are left out; then the logits, or ids and then logits.
        ,
        .params = .{
            .{ "session", "An idle session." },
            .{ "bytes", "The caller's; filled." },
            .{ "length", "Of them, exactly: rows times `row_bytes`." },
        },
    },
};

/// What a request asks to be recorded.
pub fn wanted(request: abi.Request, diag: *Diagnostic) errors.Error!engine.recorder.Wanted {
    return .{
        .trace_steps = request.trace_steps,
        .trace_candidates = request.trace_candidates,
        .tape_steps = request.tape_steps,
        .tape_kind = try kindOf(request.tape_kind, diag),
        .tape_top = request.tape_top,
    };
}

pub fn kindOf(number: u32, diag: *Diagnostic) errors.Error!abi.TapeKind {
    for (std.enums.values(abi.TapeKind)) |kind| if (@backingInt(kind) == number) return kind;
    diag.set("expected a kind of tape (0 to 2), found {d}", .{number});
    return error.InvalidArgument;
}

pub fn recorded(handle: u32, out: ?[*]u8, length: u32) callconv(.c) i32 {
    return withSession(handle, .{ out, length }, fill);
}

fn fill(self: *SessionObject, out: ?[*]u8, length: u32) errors.Error!void {
    const diag = &self.object.diag;
    try self.session.?.expectIdle(diag);
    var shown: abi.Recorded = .{};
    if (self.session.?.recorder) |kept| {
        if (kept.trace) |*trace| {
            shown.trace_steps = trace.steps;
            shown.trace_dropped = trace.dropped;
            shown.places = @intCast(trace.places);
            shown.candidates = @intCast(trace.depth);
        }
        if (kept.tape) |*rows| {
            shown.tape_rows = rows.rows;
            shown.tape_dropped = rows.dropped;
            shown.row_bytes = @intCast(rows.row_bytes);
            const hash = engine.identity.of(self.session.?.model.file);
            shown.model_low = @truncate(hash);
            shown.model_high = @intCast(hash >> 32);
        }
    }
    try buffers.fill(shown, out, length, diag);
}

pub fn column(handle: u32, number: u32, values: ?[*]align(1) u32, count: u32) callconv(.c) i32 {
    return withSession(handle, .{ number, values, count }, copyColumn);
}

fn copyColumn(self: *SessionObject, number: u32, values: ?[*]align(1) u32, count: u32) errors.Error!void {
    const diag = &self.object.diag;
    try self.session.?.expectIdle(diag);
    const wants: abi.TraceColumn = for (std.enums.values(abi.TraceColumn)) |one| {
        if (@backingInt(one) == number) break one;
    } else {
        diag.set("expected a column of a trace, found number {d}", .{number});
        return error.InvalidArgument;
    };
    const trace = if (self.session.?.recorder) |kept| (if (kept.trace) |*trace| trace else null) else null;
    const expected = if (trace) |kept| kept.values(wants).len else 0;
    try expectLength(count, expected, "values", diag);
    if (count == 0) return;
    const out = try buffers.required(values, "the values", diag);
    trace.?.copy(wants, out[0..count]);
}

pub fn tape(handle: u32, bytes: ?[*]u8, length: u32) callconv(.c) i32 {
    return withSession(handle, .{ bytes, length }, copyRows);
}

fn copyRows(self: *SessionObject, bytes: ?[*]u8, length: u32) errors.Error!void {
    const diag = &self.object.diag;
    try self.session.?.expectIdle(diag);
    const from: []const u8 = if (self.session.?.recorder) |kept| (if (kept.tape) |*rows| rows.recorded() else &.{}) else &.{};
    try expectLength(length, from.len, "bytes", diag);
    if (length == 0) return;
    const out = try buffers.required(bytes, "the rows", diag);
    @memcpy(out[0..length], from);
}

fn expectLength(found: u32, expected: usize, what: []const u8, diag: *Diagnostic) errors.Error!void {
    if (found == expected) return;
    diag.set("expected a buffer for {d} {s}, found {d}", .{ expected, what, found });
    return error.BufferTooSmall;
}
