//! The tokens of a session: reading them, forgetting the last ones, and what the engine adds.

const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const session_module = @import("session.zig");
const Error = session_module.Error;
const Session = session_module.Session;

/// Copies the tokens of the sequence.
pub fn copyTokens(session: *const Session, out: []u32, diag: *Diagnostic) Error!void {
    try session.expectIdle(diag);
    if (out.len < session.position()) {
        diag.set("expected room for {d} tokens, found {d}", .{ session.position(), out.len });
        return error.BufferTooSmall;
    }
    if (session.evictor) |evictor| {
        for (evictor.order(session.length), out[0..session.length]) |slot, *token| token.* = session.tokens[slot];
    } else @memcpy(out[0..session.length], session.tokens[0..session.length]);
    if (session.carry) |token| out[session.length] = token;
}

/// Forgets the tokens from `len` on. Their pages are free at once.
pub fn truncate(session: *Session, len: u32, diag: *Diagnostic) Error!void {
    session.lock();
    defer session.unlock();
    try session.expectIdle(diag);
    if (len > session.position()) {
        diag.set("expected a length up to the position {d}, found {d}", .{ session.position(), len });
        return error.OutOfRange;
    }
    if (len == session.position()) return;
    if (len < session.sequence.len and !session.sequence.canTruncate(len)) {
        const exact = &session.sequence.exact.?;
        diag.set("expected a length whose last tokens are still there at full precision, from {d} on or 0, found {d}; " ++
            "fork the session where it is to go on from", .{ exact.begin + exact.recent, len });
        return error.OutOfRange;
    }
    session.carry = null;
    if (len == session.length) return;
    if (session.evictor) |evictor| try evictor.truncate(session, len);
    session.length = len;
    session.sequence.truncate(@min(len, session.sequence.len));
    session.logits_valid = false;
    // Somebody may wait for the pages.
    session.model.scheduler.nudge();
}

/// Tokens that have just been evaluated; their keys and values are there.
pub fn append(session: *Session, tokens: []const u32) void {
    const sequence = &session.sequence;
    const from = sequence.len;
    @memcpy(session.tokens[from..][0..tokens.len], tokens);
    sequence.len += @intCast(tokens.len);
    session.length = @max(session.length, sequence.len);
    if (session.evictor) |evictor| return evictor.appended(session, from, session.job.left() != tokens.len);
    if (session.observer != null or sequence.plain != from) return;
    sequence.plain = sequence.len;
    sequence.announce(from, session.tokens[0..sequence.len]);
}
