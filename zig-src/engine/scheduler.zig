//! The scheduler of one model: a thread that gathers all sessions that have something to evaluate
//! into one batch, runs the batch through the model, samples, and leaves records in the sessions'
//! rings. Sequences that decode have one row each; prompts fill the rows that are left, in chunks
//! (continuous batching, Yu et al. 2022, "Orca"). Nothing is allocated here while it runs.

const std = @import("std");
const cache = @import("../cache.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const deliver = @import("deliver.zig");
const Board = @import("deal.zig").Board;
const full_pool = @import("full_pool.zig");
const kernel = @import("../kernel.zig");
const meter = @import("meter.zig");
const Model = @import("model.zig").Model;
const held = @import("held.zig");
const record = @import("record.zig");
const run_module = @import("run.zig");
const session_module = @import("session.zig");
const Session = session_module.Session;
const wake = @import("wake.zig");

const io = std.Io.Threaded.global_single_threaded.io();

/// Rows that prompts may add to a batch in which another sequence decodes, so that a long prompt
/// doesn't hold back everybody's next token.
const prompt_rows_beside_decoding = 32;

pub const Scheduler = struct {
    model: *Model,
    thread: std.Thread,
    mutex: std.Io.Mutex = .init,
    /// Something to do, or a reason to look.
    work: std.Io.Condition = .init,
    /// A session became idle.
    idle: std.Io.Condition = .init,
    stopping: bool = false,
    nudged: bool = false,
    /// Sessions with a running request, in the order of their arrival; has room for all.
    running: std.ArrayList(*Session) = .empty,
    /// All of the model's.
    sessions: std.ArrayList(*Session) = .empty,
    /// Requests so far.
    arrivals: u64 = 0,
    /// Requests that were cancelled so far. Members of the team look at it all the time.
    cancels: std.atomic.Value(u32) align(std.atomic.cache_line) = .init(0),

    buffers: run_module.Buffers,
    batch: run_module.Batch,
    board: Board,
    counters: meter.Counters,
    /// Which session each segment of the batch belongs to.
    owners: []*Session,
    /// Rows whose logits are wanted.
    wanted: []u32,
    wanted_len: usize = 0,
    /// The part of `wanted` whose logits are computed together.
    head_rows: []const u32 = &.{},
    /// The same, by the sessions that the rows belong to.
    parts: [run_module.head_rows_max]deliver.Part = undefined,
    parts_len: usize = 0,
    /// Whether the scheduler's thread samples them, and not the team.
    alone: bool = false,
    /// What became of each segment's session in this pass.
    outcomes: []deliver.Outcome,
    /// Rows that drafts may add to a batch, so that every sequence that decodes finds its own.
    spare: usize = 0,

    pub fn init(scheduler: *Scheduler, model: *Model) (error{OutOfMemory} || std.Thread.SpawnError)!void {
        const arena = model.arena.allocator();
        const rows = model.options.batch_rows;
        const pages_max = session_module.context_max / cache.page_len;
        scheduler.* = .{
            .model = model,
            .thread = undefined,
            .buffers = try .init(&model.buffers, model, rows, model.threads, pages_max),
            .batch = .{
                .rows = try arena.alloc(run_module.Row, rows),
                .segments = try arena.alloc(run_module.Segment, rows),
                .cancels = &scheduler.cancels,
            },
            .board = .init(try arena.alloc(Board.Counter, Board.counters(model.threads)), model.threads),
            .counters = try .init(arena, model.threads, model.hyper.layers),
            .owners = try arena.alloc(*Session, rows),
            .wanted = try arena.alloc(u32, rows),
            .outcomes = try arena.alloc(deliver.Outcome, rows),
        };
        scheduler.thread = try std.Thread.spawn(.{}, loop, .{scheduler});
    }

    /// No session may exist any more.
    pub fn deinit(scheduler: *Scheduler) void {
        scheduler.mutex.lockUncancelable(io);
        scheduler.stopping = true;
        scheduler.work.broadcast(io);
        scheduler.mutex.unlock(io);
        scheduler.thread.join();
        scheduler.running.deinit(scheduler.model.gpa);
        scheduler.sessions.deinit(scheduler.model.gpa);
    }

    /// Makes room for one more running session.
    pub fn enlist(scheduler: *Scheduler, session: *Session) error{OutOfMemory}!void {
        scheduler.mutex.lockUncancelable(io);
        defer scheduler.mutex.unlock(io);
        try scheduler.running.ensureTotalCapacity(scheduler.model.gpa, scheduler.sessions.items.len + 1);
        try scheduler.sessions.append(scheduler.model.gpa, session);
    }

    pub fn discharge(scheduler: *Scheduler, session: *Session) void {
        scheduler.mutex.lockUncancelable(io);
        defer scheduler.mutex.unlock(io);
        const at = std.mem.indexOfScalar(*Session, scheduler.sessions.items, session).?;
        _ = scheduler.sessions.swapRemove(at);
    }

    /// Begins to run the session's job.
    pub fn submit(scheduler: *Scheduler, session: *Session) void {
        scheduler.mutex.lockUncancelable(io);
        defer scheduler.mutex.unlock(io);
        session.running.store(true, .release);
        session.blocked = null;
        session.job.arrival = scheduler.arrivals;
        scheduler.arrivals += 1;
        // Beside its family, whose pages are read together.
        var at = scheduler.running.items.len;
        while (at > 0 and scheduler.running.items[at - 1].sequence.pool != session.sequence.pool) at -= 1;
        scheduler.running.insertAssumeCapacity(if (at == 0) scheduler.running.items.len else at, session);
        scheduler.nudged = true;
        scheduler.work.signal(io);
    }

    /// Makes the scheduler look at its sessions again.
    pub fn nudge(scheduler: *Scheduler) void {
        scheduler.mutex.lockUncancelable(io);
        defer scheduler.mutex.unlock(io);
        scheduler.nudged = true;
        scheduler.work.signal(io);
    }

    /// Takes the draft that a session's request waits for, as far as it may have that many tokens.
    pub fn propose(scheduler: *Scheduler, session: *Session, tokens: []const u32, diag: *Diagnostic) error{BadOption}!void {
        scheduler.mutex.lockUncancelable(io);
        defer scheduler.mutex.unlock(io);
        // It may have been cancelled while the draft was made.
        if (!session.running.load(.acquire)) return;
        const draft = &session.job.draft;
        if (!draft.waits()) {
            diag.set("expected a request that waits for a draft, found one that doesn't", .{});
            return error.BadOption;
        }
        draft.len = @intCast(@min(tokens.len, draft.room()));
        @memcpy(draft.tokens[0..draft.len], tokens[0..draft.len]);
        draft.phase.store(.ready, .release);
        scheduler.nudged = true;
        scheduler.work.signal(io);
    }

    pub fn waitIdle(scheduler: *Scheduler, session: *Session) void {
        scheduler.mutex.lockUncancelable(io);
        defer scheduler.mutex.unlock(io);
        while (session.running.load(.acquire)) scheduler.idle.waitUncancelable(io, &scheduler.mutex);
    }

    pub fn now() i96 {
        return std.Io.Clock.awake.now(io).nanoseconds;
    }

    fn loop(scheduler: *Scheduler) void {
        _ = kernel.denormals.flush();
        while (scheduler.gather()) {
            const began = now();
            scheduler.board.clear();
            if (scheduler.batch.metered) scheduler.counters.begin(meter.now());
            scheduler.model.team.run(scheduler.model.threads, scheduler, forward);
            if (scheduler.batch.metered) scheduler.counters.leave(meter.now());
            // Members may have left something out since the last layer's poll.
            scheduler.batch.poll();
            if (scheduler.batch.abandoned) continue;
            scheduler.account(began);
            deliver.deliver(scheduler);
        }
    }

    /// Fills the batch, waiting until there is something; false when the scheduler shall end.
    fn gather(scheduler: *Scheduler) bool {
        scheduler.mutex.lockUncancelable(io);
        defer scheduler.mutex.unlock(io);
        while (true) {
            if (scheduler.stopping) return false;
            scheduler.nudged = false;
            const cancels = scheduler.cancels.load(.seq_cst);
            scheduler.endCancelled();
            scheduler.sampleReady();
            if (scheduler.evictDue()) continue;
            full_pool.unblock(scheduler);
            scheduler.batch.clear();
            scheduler.batch.cancels_before = cancels;
            scheduler.wanted_len = 0;
            // Before anything is appended: a shift turns a sequence that decodes into one that reads.
            for (scheduler.running.items) |session| {
                if (session.job.left() != 0 and session.sequence.len == session.settings.context) shift(session);
            }
            scheduler.spare = scheduler.batch.rows.len -| scheduler.running.items.len;
            const alone = scheduler.observedFirst();
            for (scheduler.running.items) |session| {
                const decodes = session.job.left() == 1 or session.job.looksAhead();
                if (decodes and takesPart(session, alone)) scheduler.append(session, 1);
            }
            const decoding = scheduler.batch.len != 0;
            var room = scheduler.batch.rows.len - scheduler.batch.len;
            if (decoding) room = @min(room, prompt_rows_beside_decoding);
            for (scheduler.running.items) |session| {
                if (session.job.left() <= 1 or !takesPart(session, alone)) continue;
                const before = scheduler.batch.len;
                scheduler.append(session, room);
                room -|= scheduler.batch.len - before;
            }
            const resolved = full_pool.resolve(scheduler);
            if (scheduler.batch.len != 0) {
                // Whoever comes late in the list is not last for ever.
                std.mem.rotate(*Session, scheduler.running.items, 1);
                return true;
            }
            if (!scheduler.nudged and !resolved) scheduler.work.waitUncancelable(io, &scheduler.mutex);
        }
    }

    /// Lets tokens of a session go that holds too many, without the mutex: its host may be asked which. True:
    /// look again.
    fn evictDue(scheduler: *Scheduler) bool {
        for (scheduler.running.items) |session| {
            const evictor = session.evictor orelse continue;
            if (session.job.left() == 0 or !evictor.due(session)) continue;
            scheduler.mutex.unlock(io);
            defer scheduler.mutex.lockUncancelable(io);
            // A cancelled request is ended next.
            _ = evictor.run(session) catch |err| {
                session.pool_full = err == error.PoolFull;
                session.failure.set("expected a free page to move tokens to, found the pool's pages in use", .{});
                scheduler.finish(session, .failed);
            };
            return true;
        }
        return false;
    }

    /// The session whose turn it is, if its activations are observed: it gets a batch of its own, so that
    /// no other one's end makes rows pass twice.
    fn observedFirst(scheduler: *Scheduler) ?*Session {
        for (scheduler.running.items) |session| {
            if (session.job.left() == 0 or session.blocked != null or !hasRoom(session)) continue;
            return if (session.observer != null) session else null;
        }
        return null;
    }

    fn takesPart(session: *const Session, alone: ?*const Session) bool {
        if (session.blocked != null) return false;
        if (session.job.draft.waits()) return false;
        return if (alone) |one| session == one else session.observer == null;
    }

    fn endCancelled(scheduler: *Scheduler) void {
        var i: usize = 0;
        while (i < scheduler.running.items.len) {
            const session = scheduler.running.items[i];
            if (session.cancelled.load(.seq_cst)) {
                scheduler.finishLocked(session, .cancelled);
            } else i += 1;
        }
    }

    /// Requests that begin with nothing to evaluate sample from the logits that are there. Without the mutex: a
    /// stage may wait for its host, whose thread may need the mutex first, to start another request.
    fn sampleReady(scheduler: *Scheduler) void {
        while (for (scheduler.running.items) |session| {
            if (session.job.left() == 0 and !session.job.looksAhead() and hasRoom(session)) break session;
        } else null) |session| {
            const nothing_wanted = session.job.request.max_tokens == 0;
            std.debug.assert(session.logits_valid or nothing_wanted);
            scheduler.mutex.unlock(io);
            const reason = if (nothing_wanted) .max_tokens else deliver.sampleFirst(scheduler, session);
            wake.signal();
            scheduler.mutex.lockUncancelable(io);
            // Now it has a token to evaluate, or ends; others may have come.
            if (reason) |r| scheduler.finishLocked(session, r);
        }
    }

    /// Adds up to `room` rows of the session's pending tokens to the batch, and what stands behind the last
    /// of them: the guesses of a draft, or the rows of companions.
    fn append(scheduler: *Scheduler, session: *Session, room: usize) void {
        const job = &session.job;
        const batch = &scheduler.batch;
        const companions = job.companionRows();
        const least = companions + @intFromBool(job.left() != 0);
        if (least == 0 or room == 0 or batch.len + least > batch.rows.len or !hasRoom(session)) return;
        if (job.left() != 0 and !scheduler.appendPending(session, room, companions)) return;
        for (job.companions, 0..) |*companion, i| {
            const token = job.companionToken(i) orelse continue;
            if (job.search != null) companion.sequence.follow(&session.sequence);
            // Its pool has no limit.
            _ = companion.sequence.reserve(companion.sequence.len + 1);
            if (companion.angles) |angles| angles.fill(companion.sequence.len + 1);
            scheduler.appendRows(session, &companion.sequence, companion.context, @intCast(i + 1), &.{token}, &.{});
            scheduler.want(batch.len);
            batch.len += 1;
        }
    }

    /// Its own rows; whether the last pending one is among them.
    fn appendPending(scheduler: *Scheduler, session: *Session, room: usize, companions: usize) bool {
        const job = &session.job;
        const batch = &scheduler.batch;
        full_pool.adopt(session);
        var len = @min(room, batch.rows.len - batch.len - companions, job.left(), session.settings.chunk, session.settings.context - session.sequence.len);
        if (session.evictor) |evictor| len = @min(len, evictor.room(session));
        if (job.request.prompt_logprobs) len = @min(len, recordsThatFit(session) - 2);
        std.debug.assert(len != 0);
        var guesses = scheduler.guess(session);
        const reached = full_pool.reserve(scheduler, session, @intCast(session.sequence.len + len + guesses.len)) - session.sequence.len;
        if (reached == 0) return false;
        len = @min(len, reached);
        guesses = guesses[0 .. reached - len];
        const from = batch.len;
        session.prepareAngles(@intCast(len + guesses.len));
        scheduler.appendRows(session, &session.sequence, session.settings.context, 0, job.pending[job.next..][0..len], guesses);
        batch.len += @intCast(len + guesses.len);
        if (session.evictor) |evictor| {
            if (evictor.mass) |*mass| mass.begin();
            for (batch.rows[from..][0..len], 0..) |*row, i| {
                row.ahead = evictor.ahead(session);
                if (evictor.counts(job, job.next + i, i + 1 == len)) row.mass = &evictor.mass.?;
            }
        }
        const every = job.wantsEveryRow();
        for (0..len) |i| {
            const wanted = every and job.next + i >= job.again;
            if (wanted or (i + 1 == len and len == job.left())) scheduler.want(from + i);
        }
        for (len..len + guesses.len) |i| scheduler.want(from + i);
        return len == job.left();
    }

    /// The guesses behind the session's one pending token.
    fn guess(scheduler: *Scheduler, session: *Session) []const u32 {
        const job = &session.job;
        const draft = &job.draft;
        if (!draft.isOn() or job.generated == 0 or job.left() != 1) return &.{};
        draft.prepare(session.tokens[0..session.sequence.len], job.pending[job.next]);
        const limits = [_]usize{
            scheduler.spare,
            // Rows of companions are not among those that are spared.
            scheduler.batch.rows.len - scheduler.batch.len - 1,
            session.settings.chunk - 1,
            session.settings.context - session.sequence.len - 1,
            job.request.max_tokens - job.generated - 1,
            // One record a row, and one of the draft.
            recordsThatFit(session) - 2,
        };
        draft.len = @intCast(@min(draft.len, std.mem.min(usize, &limits)));
        scheduler.spare -= draft.len;
        return draft.tokens[0..draft.len];
    }

    /// Rows of one sequence, whose pages are there, as a segment behind those of the batch.
    fn appendRows(
        scheduler: *Scheduler,
        session: *Session,
        sequence: *cache.Sequence,
        context: u32,
        companion: u32,
        pending: []const u32,
        guesses: []const u32,
    ) void {
        const batch = &scheduler.batch;
        const rows = batch.rows[batch.len..][0 .. pending.len + guesses.len];
        for (rows, 0..) |*row, i| row.* = .{
            .id = if (i < pending.len) pending[i] else guesses[i - pending.len],
            .position = @intCast(sequence.len + i),
            .context = context,
            .sequence = sequence,
        };
        if (batch.len != 0) rows[0].shared = sequence.sharedWith(batch.rows[batch.len - 1].sequence);
        batch.segments[batch.segments_len] = .{
            .from = batch.len,
            .len = @intCast(rows.len),
            .companion = companion,
            .leads = companion == 0 or (companion == 1 and session.job.search != null),
            .guesses = @intCast(guesses.len),
            .cancel = &session.cancelled,
        };
        scheduler.owners[batch.segments_len] = session;
        scheduler.outcomes[batch.segments_len] = .{};
        batch.segments_len += 1;
        batch.observer = session.observer;
        if (session.meter != null) batch.metered = true;
    }

    fn want(scheduler: *Scheduler, row: usize) void {
        scheduler.wanted[scheduler.wanted_len] = @intCast(row);
        scheduler.wanted_len += 1;
    }

    fn forward(scheduler: *Scheduler, member: u32) void {
        var run = scheduler.runOf(member);
        scheduler.model.family.?.forward(&run);
    }

    pub fn runOf(scheduler: *Scheduler, member: u32) run_module.Run {
        return .{
            .model = scheduler.model,
            .buffers = &scheduler.buffers,
            .batch = &scheduler.batch,
            .team = scheduler.model.team,
            .member = member,
            .members = scheduler.model.threads,
            .board = &scheduler.board,
            .counters = if (scheduler.batch.metered) &scheduler.counters else null,
            .place = scheduler.model.hyper.layers,
        };
    }

    /// Adds the batch's time to the sessions that took part.
    fn account(scheduler: *Scheduler, began: i96) void {
        const spent: u64 = @intCast(@max(0, now() - began));
        for (scheduler.batch.segments[0..scheduler.batch.segments_len], scheduler.owners[0..scheduler.batch.segments_len]) |segment, session| {
            if (!segment.leads) continue;
            session.stats.passes += 1;
            const to = if (session.job.generated == 0) &session.stats.prefill_ns else &session.stats.decode_ns;
            to.* += spent;
        }
    }

    pub fn finish(scheduler: *Scheduler, session: *Session, reason: record.Reason) void {
        scheduler.mutex.lockUncancelable(io);
        defer scheduler.mutex.unlock(io);
        scheduler.finishLocked(session, reason);
    }

    pub fn finishLocked(scheduler: *Scheduler, session: *Session, reason: record.Reason) void {
        const job = &session.job;
        // A sampled token that was not evaluated stays in the sequence.
        if (job.generated != 0 and job.left() != 0 and session.carry == null) session.carry = job.pending[job.pending_len - 1];
        // So does an earlier request's, when this one ended before its first pass.
        if (job.generated == 0 and job.lead and job.next <= job.again) session.carry = job.pending[job.again];
        if (job.banned) |*banned| held.release(session, banned.held_len);
        deliver.push(session, .{
            .kind = .end,
            .token = @backingInt(reason),
            .position = session.position(),
        }, &.{}, job.stream.flush(session.text));
        job.deinit(session.gpa);
        for (scheduler.running.items, 0..) |other, i| {
            if (other == session) {
                _ = scheduler.running.orderedRemove(i);
                break;
            }
        }
        session.blocked = null;
        session.used = scheduler.arrivals;
        session.running.store(false, .release);
        scheduler.idle.broadcast(io);
        wake.signal();
    }
};

/// Records of the session's widest kind that the ring takes now, beside the one that ends a request.
fn recordsThatFit(session: *const Session) usize {
    const widest = record.bytesMax(session.job.request.top_logprobs, session.text.len);
    return (session.ring.space() -| record.bytesMax(0, session.text.len)) / widest;
}

/// Whether the ring takes what one more pass leaves; otherwise the consumer's `take` will nudge.
fn hasRoom(session: *Session) bool {
    // A row leaves one record, a prompt's first may leave two, and a draft leaves one more; or a row lets go
    // what was held back.
    const least = 3 + if (session.job.banned) |*banned| banned.held_len else 0;
    if (recordsThatFit(session) < least) {
        // `take` looks at the flag after it has made room, so one of the two sides sees the other.
        session.stalled.store(true, .seq_cst);
        if (recordsThatFit(session) < least) return false;
    }
    session.stalled.store(false, .seq_cst);
    return true;
}

/// Drops the older half of the tokens behind the kept ones; the younger half is evaluated again.
fn shift(session: *Session) void {
    const keep = session.settings.shift_keep.?;
    const keeps_exact = session.sequence.canTruncate(keep);
    const dropped = (session.sequence.len - keep + 1) / 2;
    full_pool.startAgain(session, keep + dropped);
    // They are at other positions now.
    std.mem.copyForwards(u32, session.tokens[keep..], session.tokens[keep + dropped .. session.length]);
    session.length -= dropped;
    session.shifted += dropped;
    session.sequence.truncate(keep);
    if (!keeps_exact) full_pool.startAgain(session, 0);
    session.logits_valid = false;
    session.stats.shifts += 1;
}
