//! What the scheduler does when a pool with a limit has no page left for a request: it fails, waits, or
//! gets the pages of an idle session. Nobody waits for ever: when all who hold pages of a pool wait for
//! more, the one that came last fails or, where pages may be taken, starts again when the others are done.
//!
//! Everything here happens under the scheduler's mutex, on its thread.

const std = @import("std");
const cache = @import("../cache.zig");
const Scheduler = @import("scheduler.zig").Scheduler;
const Session = @import("session.zig").Session;

/// Takes the pages that the pool has of the pending tokens, instead of computing them. One token is left,
/// because its logits are wanted; so are all of those whose own are.
pub fn adopt(session: *Session) void {
    const job = &session.job;
    const sequence = &session.sequence;
    if (sequence.pool.content == null or session.observer != null or session.evictor != null) return;
    const last = job.pending_len - 1;
    const end = if (job.wantsEveryRow()) @min(job.again, last) else last;
    while (job.next + cache.page_len <= end and sequence.len + cache.page_len <= session.settings.context) {
        const tokens = job.pending[job.next..][0..cache.page_len];
        const from = sequence.len;
        if (!sequence.adopt(tokens)) return;
        @memcpy(session.tokens[from..][0..tokens.len], tokens);
        session.length = @max(session.length, sequence.len);
        job.next += tokens.len;
        session.stats.reused_tokens += tokens.len;
        if (job.next > job.again) session.logits_valid = false;
    }
}

/// Up to which position the session can be written, `len` if there are pages for so many. A session that
/// gets none is blocked, or has found its pool full.
pub fn reserve(scheduler: *Scheduler, session: *Session, len: u32) u32 {
    const sequence = &session.sequence;
    const limit = sequence.pool.limit orelse return sequence.reserve(len);
    if (!sequence.needsPage(len)) return sequence.reserve(len);
    var reached = sequence.len;
    if (!outranked(scheduler, session)) {
        reached = sequence.reserve(len);
        while (reached == sequence.len and limit.when_full == .evict and evictIdle(scheduler, sequence.pool)) {
            reached = sequence.reserve(len);
        }
    }
    if (reached != sequence.len) return reached;
    if (limit.when_full == .fail) {
        session.pool_full = true;
    } else {
        session.blocked = Scheduler.now();
        session.stats.waits += 1;
    }
    return sequence.len;
}

/// Whether another one that came earlier waits for pages of the same pool: it shall get the next ones.
fn outranked(scheduler: *const Scheduler, session: *const Session) bool {
    for (scheduler.running.items) |other| {
        if (other.blocked != null and other.sequence.pool == session.sequence.pool and other.job.arrival < session.job.arrival) return true;
    }
    return false;
}

/// Takes pages of the idle session that was used longest ago, the last ones first, until one is free. Only
/// of sessions whose tokens alone say what their pages hold: they can be computed again, to the bit.
fn evictIdle(scheduler: *Scheduler, pool: *cache.Pool) bool {
    while (true) {
        var oldest: ?*Session = null;
        for (scheduler.sessions.items) |session| {
            if (session.running.load(.acquire) or (oldest != null and oldest.?.used <= session.used)) continue;
            // Who is in use is not idle; it counts when it is let go of.
            if (!session.tryClaim()) continue;
            const sequence = &session.sequence;
            if (sequence.pool != pool or sequence.pages == 0 or sequence.plain != sequence.len) {
                session.unclaim();
                continue;
            }
            if (oldest) |other| other.unclaim();
            oldest = session;
        }
        const session = oldest orelse return false;
        defer session.unclaim();
        while (session.sequence.pages != 0) {
            session.sequence.evictLast();
            if (pool.hasFree()) return true;
        }
    }
}

/// Sessions that wait get another try where there are pages, in the order in which they came.
pub fn unblock(scheduler: *Scheduler) void {
    for (scheduler.running.items) |session| {
        const since = session.blocked orelse continue;
        if (outranked(scheduler, session)) continue;
        const pool = session.sequence.pool;
        if (!pool.hasFree() and (pool.limit.?.when_full != .evict or !evictIdle(scheduler, pool))) continue;
        session.blocked = null;
        session.stats.wait_ns += @intCast(@max(0, Scheduler.now() - since));
    }
}

/// Ends requests that found their pool full, and one of each pool in which all wait; true: the batch may be
/// filled with others now.
pub fn resolve(scheduler: *Scheduler) bool {
    var changed = false;
    var i: usize = 0;
    while (i < scheduler.running.items.len) {
        const session = scheduler.running.items[i];
        if (session.pool_full) {
            fail(scheduler, session, "expected a free page for the request, found the pool's {d} pages in use");
            changed = true;
        } else i += 1;
    }
    for (scheduler.running.items) |session| {
        if (session.blocked == null) continue;
        const stuck = Stuck.of(scheduler, session.sequence.pool) orelse continue;
        const victim = stuck.youngest;
        const may_wait = stuck.count > 1 and session.sequence.pool.limit.?.when_full == .evict;
        if (may_wait and victim.sequence.plain == victim.sequence.len and victim.observer == null) {
            startAgain(victim, 0);
        } else {
            victim.pool_full = true;
            fail(scheduler, victim, "expected pages for the request to come free, found that all who hold the pool's {d} pages wait for more");
        }
        return true;
    }
    return changed;
}

/// A pool in which all who hold pages wait.
const Stuck = struct {
    youngest: *Session,
    count: usize,

    fn of(scheduler: *const Scheduler, pool: *cache.Pool) ?Stuck {
        var youngest: ?*Session = null;
        var count: usize = 0;
        for (scheduler.running.items) |session| {
            if (session.sequence.pool != pool or session.blocked == null or session.sequence.pages == 0) continue;
            count += 1;
            if (youngest == null or youngest.?.job.arrival < session.job.arrival) youngest = session;
        }
        return if (count != 0 and count == pool.tableCount()) .{ .youngest = youngest.?, .count = count } else null;
    }
};

/// The request ends; while it read its prompt, the session goes back to where it was.
fn fail(scheduler: *Scheduler, session: *Session, comptime message: []const u8) void {
    const job = &session.job;
    session.failure.set(message ++ "; dispose of sessions, truncate them, or make the pool larger", .{session.sequence.pool.limit.?.pages});
    if (session.evictor) |evictor| {
        if (job.generated == 0) evictor.rollBack(session);
    } else if (job.generated == 0 and session.stats.shifts == 0) {
        const len = @min(session.sequence.len, job.start.length);
        // Otherwise they are computed again with the next request.
        session.sequence.truncate(if (session.sequence.canTruncate(len)) len else 0);
        session.length = job.start.length;
        session.carry = job.start.carry;
        session.logits_valid = job.start.logits_valid;
        job.lead = false;
    }
    scheduler.finishLocked(session, .failed);
}

/// The tokens from `from` on are evaluated again, before those that are pending.
pub fn startAgain(session: *Session, from: u32) void {
    const job = &session.job;
    const tokens = session.tokens[from..session.sequence.len];
    const left = job.left();
    std.mem.copyForwards(u32, job.pending[0..left], job.pending[job.next..job.pending_len]);
    std.mem.copyBackwards(u32, job.pending[tokens.len..][0..left], job.pending[0..left]);
    @memcpy(job.pending[0..tokens.len], tokens);
    // The token that led is one of the session's once it was evaluated.
    if (job.next > job.again) job.lead = false;
    job.before += job.next -| job.again;
    job.again = tokens.len + (job.again -| job.next);
    job.next = 0;
    job.pending_len = tokens.len + left;
    session.sequence.truncate(from);
}
