//! What follows a pass: logits of the rows that are wanted, tokens sampled from them, and records in the
//! sessions' rings. The members of the team share the sessions out among them, as each samples by
//! itself: tokens depend on nothing but a session's own logits, chain and numbers.

const std = @import("std");
const block = @import("../arch/block/block.zig");
const held = @import("held.zig");
const meter = @import("meter.zig");
const record = @import("record.zig");
const run_module = @import("run.zig");
const sampler = @import("../sampler.zig");
const wake = @import("wake.zig");
const Scheduler = @import("scheduler.zig").Scheduler;
const Session = @import("session.zig").Session;

/// Rows of one session among those whose logits are computed together: indices of `head_rows`.
pub const Part = struct { from: usize, to: usize };

pub const Outcome = struct {
    /// Nothing more is to be done for the segment's session in this pass.
    settled: bool = false,
    /// That was its end.
    reason: ?record.Reason = null,
};

/// Computes the logits that are wanted, hands them to their sessions, and samples.
pub fn deliver(scheduler: *Scheduler) void {
    const batch = &scheduler.batch;
    keepHidden(scheduler);
    var at: usize = 0;
    while (at < scheduler.wanted_len) {
        const end = @min(at + run_module.head_rows_max, scheduler.wanted_len);
        scheduler.head_rows = scheduler.wanted[at..end];
        at = end;
        if (leaveOut(scheduler, scheduler.head_rows)) continue;
        divide(scheduler);
        scheduler.board.clear();
        if (batch.metered) scheduler.counters.resumeAt(meter.now());
        scheduler.model.team.run(scheduler.model.threads, scheduler, headAndSample);
        if (scheduler.alone) for (scheduler.parts[0..scheduler.parts_len]) |part| deliverPart(scheduler, part);
    }
    if (batch.metered) keepCounts(scheduler);
    // A session that has ended may be gone: nothing is asked of it behind that.
    for (batch.segments[0..batch.segments_len], 0..) |segment, i| {
        if (segment.leads) settle(scheduler, i);
    }
    wake.signal();
}

/// Keeps the hidden states that searches compare.
fn keepHidden(scheduler: *Scheduler) void {
    const batch = &scheduler.batch;
    const width = scheduler.model.hyper.embd;
    for (batch.segments[0..batch.segments_len], scheduler.owners[0..batch.segments_len]) |segment, session| {
        const search = session.job.search orelse continue;
        for (segment.from..segment.from + segment.len) |row| {
            search.keep(scheduler.model, scheduler.buffers.x[row * width ..].ptr, batch.rows[row].position, segment.companion);
        }
    }
}

/// What is left to do for a segment's session when its logits have been dealt with.
fn settle(scheduler: *Scheduler, index: usize) void {
    const segment = scheduler.batch.segments[index];
    const session = scheduler.owners[index];
    const outcome = &scheduler.outcomes[index];
    if (!outcome.settled) {
        if (segment.incomplete) {
            // The request ends, as if this pass had not been; of a draft, what was checked stays.
            if (segment.guesses == 0 and session.job.search == null) session.logits_valid = false;
            return;
        }
        commit(session, segment.len);
        outcome.reason = advance(scheduler, session, &.{});
    }
    endPass(session, segment.guesses);
    if (outcome.reason) |reason| scheduler.finish(session, reason);
}

/// Before any session is told that the pass is over.
fn keepCounts(scheduler: *Scheduler) void {
    const batch = &scheduler.batch;
    for (batch.segments[0..batch.segments_len], scheduler.owners[0..batch.segments_len]) |segment, session| {
        if (!segment.leads) continue;
        if (session.meter) |*kept| kept.append(&scheduler.counters, batch.len, segment.len, batch.rows[segment.from].position);
    }
}

/// Whether all `rows` belong to sessions that have been cancelled: many rows of logits of a large
/// vocabulary take long.
fn leaveOut(scheduler: *Scheduler, rows: []const u32) bool {
    const batch = &scheduler.batch;
    for (rows) |row| {
        if (!batch.segments[segmentOf(scheduler, row)].cancel.load(.monotonic)) return false;
    }
    for (rows) |row| {
        const session = scheduler.owners[segmentOf(scheduler, row)];
        for (batch.segments[0..batch.segments_len], scheduler.owners[0..batch.segments_len]) |*segment, owner| {
            if (owner == session) segment.incomplete = true;
        }
    }
    return true;
}

fn segmentOf(scheduler: *const Scheduler, row: u32) usize {
    const segments = scheduler.batch.segments[0..scheduler.batch.segments_len];
    for (segments, 0..) |*segment, i| {
        if (row >= segment.from and row < segment.from + segment.len) return i;
    }
    unreachable;
}

/// The rows of a session follow each other, those of its companions last.
fn divide(scheduler: *Scheduler) void {
    scheduler.parts_len = 0;
    scheduler.alone = false;
    var last: ?*Session = null;
    for (scheduler.head_rows, 0..) |row, i| {
        const session = scheduler.owners[segmentOf(scheduler, row)];
        if (session != last) {
            scheduler.parts[scheduler.parts_len] = .{ .from = i, .to = i };
            scheduler.parts_len += 1;
        }
        scheduler.parts[scheduler.parts_len - 1].to = i + 1;
        // Whoever waits for the host must not hold the team, which others of the process need.
        if (session.job.asks_host) scheduler.alone = true;
        last = session;
    }
}

fn headAndSample(scheduler: *Scheduler, member: u32) void {
    var run = scheduler.runOf(member);
    block.head(&run, scheduler.head_rows);
    run.sync();
    if (member == 0 and scheduler.batch.metered) scheduler.counters.leave(meter.now());
    if (scheduler.alone) return;
    var pieces = run.dealOut(.{ .total = scheduler.parts_len });
    while (pieces.next()) |piece| {
        for (scheduler.parts[piece.from..piece.to]) |part| deliverPart(scheduler, part);
    }
}

/// One session's rows, in their order: a token is sampled behind the last pending one and behind each
/// guess, up to the first that is another one than was guessed.
fn deliverPart(scheduler: *Scheduler, part: Part) void {
    const vocab = scheduler.model.vocab();
    for (scheduler.head_rows[part.from..part.to], part.from..) |row, index| {
        const logits = scheduler.buffers.logits[index * scheduler.model.logitsStride() ..][0..vocab];
        const which = segmentOf(scheduler, row);
        const segment = scheduler.batch.segments[which];
        const session = scheduler.owners[which];
        const job = &session.job;
        if (segment.incomplete) return;
        if (segment.companion != 0) {
            job.companions[segment.companion - 1].advance(logits);
            if (job.search) |search| {
                if (segment.companion == search.count) {
                    search.compare(session.sequence.len);
                    scheduler.outcomes[which + 1 - segment.companion] = .{ .settled = true, .reason = sampleNext(scheduler, session, session.logits) };
                }
            } else if (segment.companion == job.companions.len) {
                const own = which - segment.companion;
                const count = scheduler.batch.segments[own].len;
                scheduler.outcomes[own] = .{ .settled = true, .reason = advanceBy(scheduler, session, count, session.logits) };
            }
            continue;
        }
        const outcome = &scheduler.outcomes[which];
        if (outcome.settled) return;
        const own = segment.len - segment.guesses;
        const offset = row - segment.from;
        if (offset < own) keepRow(scheduler, session, logits, job.next + offset);
        if (offset + 1 < own) continue;
        const guessed = if (offset + 1 < segment.len) job.draft.tokens[offset + 1 - own] else null;
        if (segment.guesses == 0) {
            if (job.next + own < job.pending_len) continue;
            if (job.companionRows() != 0) {
                // Companions' rows come last.
                @memcpy(session.logits, logits);
                continue;
            }
            outcome.* = .{ .settled = true, .reason = advanceBy(scheduler, session, own, logits) };
            continue;
        }
        const reason = advanceBy(scheduler, session, 1, logits);
        const token = session.carry orelse job.pending[0];
        const agrees = reason != .failed and reason != .context_full and guessed != null and token == guessed.?;
        if (agrees) job.draft.accepted += 1;
        if (!agrees or reason != null) outcome.* = .{ .settled = true, .reason = reason };
    }
}

fn advanceBy(scheduler: *Scheduler, session: *Session, count: u32, logits: []const f32) ?record.Reason {
    commit(session, count);
    return advance(scheduler, session, logits);
}

/// The next pending tokens have keys and values now.
fn commit(session: *Session, count: u32) void {
    const job = &session.job;
    session.append(job.pending[job.next..][0..count]);
    session.stats.reevaluated_tokens += @min(job.again, job.next + count) -| job.next;
    job.next += count;
    // Logits that the session has are as good while only what was lost is computed again.
    if (job.next > job.again) session.logits_valid = false;
    const counted = if (job.generated == 0) &session.stats.prefill_tokens else &session.stats.decode_tokens;
    counted.* += count;
    if (job.request.all_logits and job.wantsEveryRow() and job.next > job.again) session.all_logits_rows = job.own(job.next);
}

/// What follows when a session's rows have been evaluated, and `logits` are those behind the last one; a
/// reason when that was the end. The session gets a copy then: nobody can ask for those between.
fn advance(scheduler: *Scheduler, session: *Session, logits: []const f32) ?record.Reason {
    const job = &session.job;
    if (job.left() != 0) {
        if (job.next <= job.again) return null;
        push(session, .{ .kind = .prefill, .token = @intCast(job.own(job.next)), .position = @intCast(job.own(job.pending_len)) }, &.{}, "");
        return null;
    }
    const reason = if (job.request.max_tokens == 0) .max_tokens else sampleNext(scheduler, session, logits);
    if (reason == null) return null;
    if (logits.ptr != session.logits.ptr) @memcpy(session.logits, logits);
    session.logits_valid = true;
    return reason;
}

/// What a request wants to keep of a row of its prompt.
fn keepRow(scheduler: *Scheduler, session: *Session, logits: []const f32, at: usize) void {
    const job = &session.job;
    if (!job.wantsEveryRow() or at < job.again) return;
    const own = job.own(at);
    if (job.request.prompt_logprobs) {
        // The first token's predecessor was evaluated by an earlier request.
        if (own == 0 and !job.lead and session.logits_valid) {
            pushPromptToken(scheduler, session, session.logits, at, job.start.length);
        }
        if (at + 1 < job.pending_len) pushPromptToken(scheduler, session, logits, at + 1, @intCast(job.start.length + own + 1));
    }
    if (job.request.all_logits) @memcpy(session.all_logits[own * logits.len ..][0..logits.len], logits);
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
        .entropy = if (wanted) entropyOf(scheduler, logits, logits[first.token], -first.logprob) else std.math.nan(f32),
    }, top, "");
}

/// In nats, of the model's own distribution: ln Σ e^x less the mean of x, both from the maximum.
fn entropyOf(scheduler: *const Scheduler, logits: []const f32, max: f32, log_mass: f64) f32 {
    const mean = scheduler.model.kernels.sampling.exponents(logits, max, 1) / @exp(log_mass);
    return @floatCast(@max(0, log_mass - mean));
}

/// ln p of a token in the model's own distribution; NaN when the logits have no finite maximum.
fn logprobOf(logits: []const f32, token: u32, best: sampler.TokenLogprob) f32 {
    if (best.token >= logits.len) return std.math.nan(f32);
    // The best token's logit less its log-probability is the logarithm of the sum.
    return logits[token] - (logits[best.token] - best.logprob);
}

/// The same for a request that begins with logits that are there.
pub fn sampleFirst(scheduler: *Scheduler, session: *Session) ?record.Reason {
    const reason = sampleNext(scheduler, session, session.logits);
    endPass(session, 0);
    return reason;
}

/// Draws the next token; a reason when generation ends with it, or can't go on.
fn sampleNext(scheduler: *Scheduler, session: *Session, logits: []const f32) ?record.Reason {
    const job = &session.job;
    const position = session.sequence.len;
    if (position == session.settings.context and !session.neverFull()) return .context_full;
    // A search's forks are as long as the sequence will be.
    if (job.search == null) for (job.companions) |*companion| if (companion.isFull()) return .context_full;
    // Of the text: random numbers are not to come again when tokens are evicted.
    const place = if (session.evictor) |evictor| evictor.next else position;
    const chain = &job.chain.?;
    const choice = while (true) {
        if (job.banned) |*banned| chain.excluded = banned.excludedHere();
        const choice = chain.sample(logits, 0, place, &session.failure) catch |err| {
            if (err != error.LookAhead) return .failed;
            // The same logits again, when the candidates have been evaluated.
            if (logits.ptr != session.logits.ptr) @memcpy(session.logits, logits);
            session.logits_valid = true;
            return null;
        };
        const top = session.top[0..job.request.top_logprobs];
        chain.topLogprobs(logits, top);
        if (job.generated == 0 and session.stats.first_token_ns == 0) {
            session.stats.first_token_ns = @intCast(@max(0, Scheduler.now() - job.started_ns));
        }
        switch (held.show(session, headerOf(scheduler, session, choice, logits), top, choice.accepted())) {
            .shown => break choice,
            .again => {},
            .back => return null,
            .failed => return .failed,
        }
    };
    const ends = scheduler.model.tokenizer.isEndOfGeneration(choice.token);
    chain.accept(choice.accepted());
    job.generated += 1;
    if (job.search) |search| if (search.phase == .seen) return takeAhead(scheduler, session, choice.token, ends);
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

/// The record of a token that was drawn from `logits`, behind the sequence as it is.
fn headerOf(scheduler: *const Scheduler, session: *const Session, choice: sampler.Choice, logits: []const f32) record.Header {
    const job = &session.job;
    const row = &job.chain.?.row;
    const ends = scheduler.model.tokenizer.isEndOfGeneration(choice.token);
    return .{
        .kind = .token,
        .token = choice.token,
        .position = session.sequence.len,
        .logprob = choice.logprob,
        .flags = if (ends) record.flag_end_of_generation else 0,
        .entropy = if (job.request.entropy) entropyOf(scheduler, logits, row.max, row.log_mass) else std.math.nan(f32),
    };
}

/// The fork in which the chosen token has been evaluated becomes the sequence, and the next token is looked
/// for behind it.
fn takeAhead(scheduler: *Scheduler, session: *Session, token: u32, ends: bool) ?record.Reason {
    const job = &session.job;
    const position = session.sequence.len;
    const chosen = &job.companions[job.search.?.take(token, position)];
    session.sequence.exchange(&chosen.sequence);
    session.sequence.len = position;
    session.append(&.{token});
    @memcpy(session.logits, chosen.logits);
    session.logits_valid = true;
    session.stats.decode_tokens += 1;
    job.next = 0;
    job.pending_len = 0;
    if (ends and !job.request.ignore_eog) return .end_of_generation;
    if (job.generated == job.request.max_tokens) return .max_tokens;
    return sampleNext(scheduler, session, session.logits);
}

/// Says what came of a draft, and what the next one may be.
fn endPass(session: *Session, drafted: u32) void {
    const draft = &session.job.draft;
    // While tokens are evaluated again, nothing was sampled.
    if (!draft.isOn() or session.job.generated == 0 or session.job.left() > 1) return;
    const accepted = draft.accepted;
    draft.len = drafted;
    session.stats.drafted += drafted;
    session.stats.accepted += accepted;
    draft.settle();
    const asks = draft.waits();
    if (drafted == 0 and !asks) return;
    push(session, .{
        .kind = .draft,
        .token = drafted,
        .position = session.position() + @as(u32, @intCast(session.job.left())),
        .flags = accepted,
        .wanted = if (asks) draft.room() else 0,
    }, &.{}, "");
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
