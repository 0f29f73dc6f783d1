//! Logits of an idle session.

const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const session_module = @import("session.zig");
const Error = session_module.Error;
const Session = session_module.Session;

/// Copies the logits behind the last evaluated token: [vocab].
pub fn copyLogits(session: *const Session, out: []f32, diag: *Diagnostic) Error!void {
    try session.expectIdle(diag);
    if (!session.logits_valid) {
        diag.set("expected an evaluated sequence, found no logits; evaluate a token first", .{});
        return error.NoLogits;
    }
    try expectLen(out.len, session.logits.len, diag);
    @memcpy(out, session.logits);
}

/// Rows that `copyAllLogits` has: those that the last request with `all_logits` evaluated.
pub fn allLogitsRows(session: *const Session) usize {
    return session.all_logits_rows;
}

/// Copies one row of the logits of all positions: [vocab].
pub fn copyAllLogits(session: *const Session, row: u32, out: []f32, diag: *Diagnostic) Error!void {
    try session.expectIdle(diag);
    const vocab = session.model.vocab();
    if (row >= session.allLogitsRows()) {
        diag.set("expected a row under {d}, found {d}", .{ session.allLogitsRows(), row });
        return error.OutOfRange;
    }
    try expectLen(out.len, vocab, diag);
    @memcpy(out, session.all_logits[@as(usize, row) * vocab ..][0..vocab]);
}

fn expectLen(found: usize, expected: usize, diag: *Diagnostic) Error!void {
    if (found == expected) return;
    diag.set("expected a buffer for {d} values, found {d}", .{ expected, found });
    return error.BufferTooSmall;
}
