//! Sessions that go on from where another one stands.

const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const session_module = @import("session.zig");
const Error = session_module.Error;
const Session = session_module.Session;

/// Makes sessions that go on from here, each by itself: the same options, tokens and logits, and
/// the same pages of the cache, of which one is copied when it is written to. All or none.
pub fn fork(session: *Session, forks: []*Session, diag: *Diagnostic) Error!void {
    session.lock();
    defer session.unlock();
    try session.expectIdle(diag);
    errdefer if (diag.text().len == 0) {
        diag.set("expected memory for {d} forks of a session, found that the system has not that much", .{forks.len});
    };
    const pool = session.sequence.pool;
    try pool.prepare(session.sequence.table.len * forks.len, diag);
    errdefer pool.trim();
    var made: usize = 0;
    errdefer for (forks[0..made]) |other| other.destroy();
    while (made < forks.len) : (made += 1) forks[made] = try one(session, diag);
}

fn one(session: *const Session, diag: *Diagnostic) Error!*Session {
    var sequence = try session.sequence.fork(diag);
    errdefer sequence.deinit();
    const other = try Session.open(session.model, session.settings, sequence, session.state(), diag);
    if (other.evictor) |evictor| evictor.copyFrom(session.evictor.?, other);
    return other;
}
