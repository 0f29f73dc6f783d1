//! The scheduler of one model: a thread that gathers all sessions that have something to evaluate
//! into one batch, runs the batch through the model, samples, and leaves records in the sessions'
//! rings. Sequences that decode have one row each; prompts fill the rows that are left, in chunks
//! (continuous batching, Yu et al. 2022, "Orca"). Nothing is allocated here while it runs.

const std = @import("std");
const arch = @import("../arch.zig");
const block = @import("../arch/block/block.zig");
const cache = @import("../cache.zig");
const sampler = @import("../sampler.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Board = @import("deal.zig").Board;
const full_pool = @import("full_pool.zig");
const meter = @import("meter.zig");
const Model = @import("model.zig").Model;
const held = @import("held.zig");
const record = @import("record.zig");
const run_module = @import("run.zig");
const session_module = @import("session.zig");
const Session = session_module.Session;
const team_module = @import("team.zig");
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

    buffers: run_module.Buffers,
    batch: run_module.Batch,
    board: Board,
    counters: meter.Counters,
    /// Which session each segment of the batch belongs to.
    owners: []*Session,
    /// Rows whose logits are wanted.
    wanted: []u32,
    wanted_len: usize = 0,
    /// The part of `wanted` that `head` computes.
    head_rows: []const u32 = &.{},

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
            },
            .board = .init(try arena.alloc(Board.Counter, Board.counters(model.threads)), model.threads),
            .counters = try .init(arena, model.threads, model.hyper.layers),
            .owners = try arena.alloc(*Session, rows),
            .wanted = try arena.alloc(u32, rows),
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

    pub fn waitIdle(scheduler: *Scheduler, session: *Session) void {
        scheduler.mutex.lockUncancelable(io);
        defer scheduler.mutex.unlock(io);
        while (session.running.load(.acquire)) scheduler.idle.waitUncancelable(io, &scheduler.mutex);
    }

    pub fn now() i96 {
        return std.Io.Clock.awake.now(io).nanoseconds;
    }

    fn loop(scheduler: *Scheduler) void {
        team_module.flushDenormals();
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
            scheduler.deliver();
        }
    }

    /// Fills the batch, waiting until there is something; false when the scheduler shall end.
    fn gather(scheduler: *Scheduler) bool {
        scheduler.mutex.lockUncancelable(io);
        defer scheduler.mutex.unlock(io);
        while (true) {
            if (scheduler.stopping) return false;
            scheduler.nudged = false;
            scheduler.endCancelled();
            scheduler.sampleReady();
            if (scheduler.evictDue()) continue;
            full_pool.unblock(scheduler);
            scheduler.batch.clear();
            scheduler.wanted_len = 0;
            // Before anything is appended: a shift turns a sequence that decodes into one that reads.
            for (scheduler.running.items) |session| {
                if (session.job.left() != 0 and session.sequence.len == session.settings.context) shift(session);
            }
            const alone = scheduler.observedFirst();
            for (scheduler.running.items) |session| {
                if (session.job.left() == 1 and takesPart(session, alone)) scheduler.append(session, 1);
            }
            const decoding = scheduler.batch.len != 0;
            var room = scheduler.batch.rows.len - scheduler.batch.len;
            if (decoding) room = @min(room, prompt_rows_beside_decoding);
            for (scheduler.running.items) |session| {
                if (session.job.left() == 1 or !takesPart(session, alone)) continue;
                const before = scheduler.batch.len;
                scheduler.append(session, room);
                room -= scheduler.batch.len - before;
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
            if (session.job.left() == 0 and hasRoom(session)) break session;
        } else null) |session| {
            const nothing_wanted = session.job.request.max_tokens == 0;
            std.debug.assert(session.logits_valid or nothing_wanted);
            scheduler.mutex.unlock(io);
            const reason = if (nothing_wanted) .max_tokens else scheduler.sampleNext(session);
            wake.signal();
            scheduler.mutex.lockUncancelable(io);
            // Now it has a token to evaluate, or ends; others may have come.
            if (reason) |r| scheduler.finishLocked(session, r);
        }
    }

    /// Adds up to `room` rows of the session's pending tokens to the batch.
    fn append(scheduler: *Scheduler, session: *Session, room: usize) void {
        const job = &session.job;
        const batch = &scheduler.batch;
        if (room == 0 or batch.len == batch.rows.len) return;
        if (job.left() == 0 or !hasRoom(session)) return;
        full_pool.adopt(session);
        var len = @min(room, job.left(), session.settings.chunk, session.settings.context - session.sequence.len);
        if (session.evictor) |evictor| len = @min(len, evictor.room(session));
        if (job.request.prompt_logprobs) len = @min(len, recordsThatFit(session) - 1);
        std.debug.assert(len != 0);
        len = full_pool.reserve(scheduler, session, @intCast(session.sequence.len + len)) - session.sequence.len;
        if (len == 0) return;
        for (0..len) |i| batch.rows[batch.len + i] = .{
            .id = job.pending[job.next + i],
            .position = @intCast(session.sequence.len + i),
            .context = session.settings.context,
            .sequence = &session.sequence,
        };
        if (session.evictor) |evictor| {
            if (evictor.mass) |*mass| mass.begin();
            for (batch.rows[batch.len..][0..len], 0..) |*row, i| {
                row.ahead = evictor.ahead(session);
                if (evictor.counts(job, job.next + i, i + 1 == len)) row.mass = &evictor.mass.?;
            }
        }
        if (batch.len != 0) batch.rows[batch.len].shared = session.sequence.sharedWith(batch.rows[batch.len - 1].sequence);
        scheduler.appendSegment(session, @intCast(len));
        const every = job.wantsEveryRow();
        for (0..len) |i| {
            const wanted = every and job.next + i >= job.again;
            if (!wanted and !(i + 1 == len and len == job.left())) continue;
            scheduler.wanted[scheduler.wanted_len] = @intCast(batch.len + i);
            scheduler.wanted_len += 1;
        }
        batch.len += @intCast(len);
    }

    fn appendSegment(scheduler: *Scheduler, session: *Session, len: u32) void {
        const batch = &scheduler.batch;
        batch.segments[batch.segments_len] = .{
            .from = batch.len,
            .len = len,
            .cancel = &session.cancelled,
        };
        scheduler.owners[batch.segments_len] = session;
        batch.segments_len += 1;
        batch.observer = session.observer;
        if (session.meter != null) batch.metered = true;
    }

    fn forward(scheduler: *Scheduler, member: u32) void {
        var run = scheduler.runOf(member);
        scheduler.model.family.?.forward(&run);
    }

    fn headOf(scheduler: *Scheduler, member: u32) void {
        var run = scheduler.runOf(member);
        block.head(&run, scheduler.head_rows);
    }

    fn runOf(scheduler: *Scheduler, member: u32) run_module.Run {
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
            session.stats.passes += 1;
            if (session.job.generated == 0) {
                session.stats.prefill_tokens += segment.len;
                session.stats.prefill_ns += spent;
            } else {
                session.stats.decode_tokens += segment.len;
                session.stats.decode_ns += spent;
            }
        }
    }

    /// Computes the logits that are wanted, hands them to their sessions, and samples.
    fn deliver(scheduler: *Scheduler) void {
        const batch = &scheduler.batch;
        var at: usize = 0;
        while (at < scheduler.wanted_len) {
            const end = @min(at + run_module.head_rows_max, scheduler.wanted_len);
            scheduler.head_rows = scheduler.wanted[at..end];
            at = end;
            if (scheduler.leaveOut(scheduler.head_rows)) continue;
            scheduler.board.clear();
            scheduler.model.team.run(scheduler.model.threads, scheduler, headOf);
            for (scheduler.head_rows, 0..) |row, i| scheduler.deliverRow(row, i);
        }
        if (batch.metered) scheduler.keepCounts();
        for (batch.segments[0..batch.segments_len], scheduler.owners[0..batch.segments_len]) |segment, session| {
            const job = &session.job;
            if (segment.incomplete) {
                // The request ends, as if this pass had not been.
                session.logits_valid = false;
                continue;
            }
            session.append(job.pending[job.next..][0..segment.len]);
            session.stats.reevaluated_tokens += @min(job.again, job.next + segment.len) -| job.next;
            job.next += segment.len;
            if (job.request.all_logits and job.wantsEveryRow() and job.next > job.again) session.all_logits_rows = job.own(job.next);
            const reason = scheduler.advance(session);
            if (reason) |r| scheduler.finish(session, r);
        }
        wake.signal();
    }

    /// Before any session is told that the pass is over.
    fn keepCounts(scheduler: *Scheduler) void {
        scheduler.counters.leave(meter.now());
        const batch = &scheduler.batch;
        for (batch.segments[0..batch.segments_len], scheduler.owners[0..batch.segments_len]) |segment, session| {
            if (session.meter) |*kept| kept.append(&scheduler.counters, batch.len, segment.len, session.sequence.len);
        }
    }

    /// Whether all `rows` belong to sessions that have been cancelled: many rows of logits of a large
    /// vocabulary take long.
    fn leaveOut(scheduler: *Scheduler, rows: []const u32) bool {
        const segments = scheduler.batch.segments[0..scheduler.batch.segments_len];
        for (rows) |row| {
            if (!segmentOf(segments, row).cancel.load(.monotonic)) return false;
        }
        for (rows) |row| segmentOf(segments, row).incomplete = true;
        return true;
    }

    fn segmentOf(segments: []run_module.Segment, row: u32) *run_module.Segment {
        for (segments) |*segment| {
            if (row >= segment.from and row < segment.from + segment.len) return segment;
        }
        unreachable;
    }

    /// What follows when a session's rows have been evaluated; a reason when that was the end.
    fn advance(scheduler: *Scheduler, session: *Session) ?record.Reason {
        const job = &session.job;
        if (job.left() != 0) {
            // Logits that the session has are as good while only what was lost is computed again.
            if (job.next <= job.again) return null;
            session.logits_valid = false;
            push(session, .{ .kind = .prefill, .token = @intCast(job.own(job.next)), .position = @intCast(job.own(job.pending_len)) }, &.{}, "");
            return null;
        }
        session.logits_valid = true;
        if (job.request.max_tokens == 0) return .max_tokens;
        return scheduler.sampleNext(session);
    }

    fn deliverRow(scheduler: *Scheduler, row: u32, index: usize) void {
        const batch = &scheduler.batch;
        const vocab = scheduler.model.vocab();
        const logits = scheduler.buffers.logits[index * vocab ..][0..vocab];
        for (batch.segments[0..batch.segments_len], scheduler.owners[0..batch.segments_len]) |segment, session| {
            if (row < segment.from or row >= segment.from + segment.len) continue;
            const job = &session.job;
            const at = job.next + row - segment.from;
            const wanted = job.wantsEveryRow() and at >= job.again;
            if (job.request.prompt_logprobs and wanted) {
                // The first token's predecessor was evaluated by an earlier request.
                if (job.own(at) == 0 and !job.lead and session.logits_valid) {
                    scheduler.pushPromptToken(session, session.logits, at, job.start.length);
                }
                if (at + 1 < job.pending_len) {
                    const position = job.start.length + job.own(at) + 1;
                    scheduler.pushPromptToken(session, logits, at + 1, @intCast(position));
                }
            }
            if (job.request.all_logits and wanted) @memcpy(session.all_logits[job.own(at) * vocab ..][0..vocab], logits);
            if (at + 1 == job.pending_len) @memcpy(session.logits, logits);
            return;
        }
        unreachable;
    }

    fn pushPromptToken(scheduler: *const Scheduler, session: *Session, logits: []const f32, index: usize, position: u32) void {
        const job = &session.job;
        const token = job.pending[index];
        const top = session.top[0..job.request.top_logprobs];
        // The best is what a log-probability is told from.
        var best: [1]sampler.TokenLogprob = undefined;
        sampler.topLogprobs(scheduler.model.kernels.sampling, logits, if (top.len == 0) &best else top);
        const first = if (top.len == 0) best[0] else top[0];
        const wanted = job.request.entropy and first.token < logits.len;
        push(session, .{
            .kind = .prompt_token,
            .token = token,
            .position = position,
            .logprob = logprobOf(logits, token, first),
            .entropy = if (wanted) scheduler.entropyOf(logits, logits[first.token], -first.logprob) else std.math.nan(f32),
        }, top, "");
    }

    /// In nats, of the model's own distribution: ln Σ e^x less the mean of x, both from the maximum.
    fn entropyOf(scheduler: *const Scheduler, logits: []const f32, max: f32, log_mass: f64) f32 {
        const mean = scheduler.model.kernels.sampling.exponents(logits, max, 1) / @exp(log_mass);
        return @floatCast(@max(0, log_mass - mean));
    }

    /// Draws the next token; a reason when generation ends with it, or can't go on.
    fn sampleNext(scheduler: *Scheduler, session: *Session) ?record.Reason {
        const job = &session.job;
        const chain = &job.chain.?;
        const position = session.sequence.len;
        if (position == session.settings.context and !session.neverFull()) return .context_full;
        // Of the text: random numbers are not to come again when tokens are evicted.
        const place = if (session.evictor) |evictor| evictor.next else position;
        while (true) {
            if (job.banned) |*banned| chain.excluded = banned.excludedHere();
            const choice = chain.sample(session.logits, 0, place, &session.failure) catch return .failed;
            const top = session.top[0..job.request.top_logprobs];
            chain.topLogprobs(session.logits, top);
            const ends = scheduler.model.tokenizer.isEndOfGeneration(choice.token);
            const header: record.Header = .{
                .kind = .token,
                .token = choice.token,
                .position = position,
                .logprob = choice.logprob,
                .flags = if (ends) record.flag_end_of_generation else 0,
                .entropy = if (job.request.entropy) scheduler.entropyOf(session.logits, chain.row.max, chain.row.log_mass) else std.math.nan(f32),
            };
            if (job.generated == 0 and session.stats.first_token_ns == 0) session.stats.first_token_ns = @intCast(@max(0, now() - job.started_ns));
            switch (held.show(session, header, top, choice.accepted())) {
                .shown => {},
                .again => continue,
                .back => return null,
                .failed => return .failed,
            }
            chain.accept(choice.accepted());
            job.generated += 1;
            session.carry = choice.token;
            if (ends and !job.request.ignore_eog) return .end_of_generation;
            if (job.generated == job.request.max_tokens) return .max_tokens;
            // What is left to evaluate is now this token.
            session.carry = null;
            job.pending[0] = choice.token;
            job.pending_len = 1;
            job.next = 0;
            job.again = 0;
            return null;
        }
    }

    fn finish(scheduler: *Scheduler, session: *Session, reason: record.Reason) void {
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
        push(session, .{
            .kind = .end,
            .token = @backingInt(reason),
            .position = session.position(),
        }, &.{}, job.stream.flush(session.text));
        if (job.banned) |*banned| banned.deinit(session.gpa);
        if (job.chain) |*chain| chain.deinit(session.gpa);
        session.gpa.free(job.pending);
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

/// ln p of a token in the model's own distribution; NaN when the logits have no finite maximum.
fn logprobOf(logits: []const f32, token: u32, best: sampler.TokenLogprob) f32 {
    if (best.token >= logits.len) return std.math.nan(f32);
    // The best token's logit less its log-probability is the logarithm of the sum.
    return logits[token] - (logits[best.token] - best.logprob);
}

/// Records of the session's widest kind that the ring takes now, beside the one that ends a request.
fn recordsThatFit(session: *const Session) usize {
    const widest = record.bytesMax(session.job.request.top_logprobs, session.text.len);
    return (session.ring.space() -| record.bytesMax(0, session.text.len)) / widest;
}

/// Whether the ring takes what one more pass leaves; otherwise the consumer's `take` will nudge.
fn hasRoom(session: *Session) bool {
    // A row of a prompt leaves one record, and the first may leave two.
    const least = 2 + if (session.job.banned) |*banned| banned.held_len + 1 else 0;
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
    session.sequence.truncate(keep);
    if (!keeps_exact) full_pool.startAgain(session, 0);
    session.logits_valid = false;
    session.stats.shifts += 1;
}

pub fn push(session: *Session, header: record.Header, top: []const sampler.TokenLogprob, text: []const u8) void {
    var complete = header;
    const unpadded = @sizeOf(record.Header) + @sizeOf(sampler.TokenLogprob) * top.len + text.len;
    const padding = std.mem.alignForward(usize, unpadded, 4) - unpadded;
    complete.size = @intCast(unpadded + padding);
    complete.top_len = @intCast(top.len);
    complete.text_len = @intCast(text.len);
    const zeros: [4]u8 = @splat(0);
    session.ring.push(&.{ std.mem.asBytes(&complete), std.mem.sliceAsBytes(top), text, zeros[0..padding] });
}
