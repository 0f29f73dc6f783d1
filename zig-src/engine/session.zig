//! A session: one sequence of tokens with its KV cache, and the request that is running on it.
//! Requests are asynchronous: `start`, then `take` the records as they come, or `cancel`. The
//! forward passes and the sampling happen on the scheduler's thread; every public function here may
//! be called from one other thread at a time.
//!
//! The token that was sampled last belongs to the sequence but has no keys and values yet; it is
//! evaluated with the next request. So `position` counts it, and nothing is evaluated in vain.

const std = @import("std");
const cache = @import("../cache.zig");
const evict = @import("../evict.zig");
const evictor_file = @import("evictor.zig");
const held = @import("held.zig");
const layouts = @import("layouts.zig");
const probe = @import("../probe.zig");
const sampler = @import("../sampler.zig");
const token_file = @import("session_tokens.zig");
const tokenizer = @import("../tokenizer.zig");
const Angles = @import("angles.zig").Angles;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Meter = @import("meter.zig").Meter;
const Model = @import("model.zig").Model;
const Ring = @import("ring.zig").Ring;
const Scheduler = @import("scheduler.zig").Scheduler;
const read_logits = @import("read_logits.zig");
const record = @import("record.zig");
const recorder = @import("recorder.zig");
const sampling = @import("sampling.zig");
const search_file = @import("search.zig");
const companion = @import("companion.zig");
const job_file = @import("job.zig");
const wake = @import("wake.zig");

const io = std.Io.Threaded.global_single_threaded.io();
pub const Job = job_file.Job;
pub const Request = job_file.Request;
pub const Stats = job_file.Stats;

pub const context_max = 1 << 20;
pub const top_logprobs_max = 1024;
/// Of the logits of all positions of one request.
pub const all_logits_bytes_max = 4 << 30;
/// Least size of the ring; it always takes several of the longest records.
const ring_bytes_min = 128 << 10;
/// Longest text that one token may leave. The longest pieces of published vocabularies have some
/// hundred bytes.
const text_bytes_max = 1 << 20;

pub const Options = struct {
    /// Positions that the cache can hold; 0: the model's training context, at most 4096.
    context: u32 = 0,
    key_format: cache.Format = .f16,
    value_format: cache.Format = .f16,
    /// [layers][KV heads] where heads are to be stored differently; empty: as above everywhere. Read
    /// during `create` only.
    head_formats: []const cache.Layout.Pair = &.{},
    /// One with a limit, for sessions of this model; it has formats of its own, and those above don't count.
    pool: ?*cache.Pool = null,
    /// [layers]: tokens that are kept at full precision too; empty: none. Read during `create` only.
    windows: []const cache.Layout.Window = &.{},
    exact_format: cache.Format = .f16,
    /// Most tokens of one sequence in one batch; 0: as many as a batch has rows.
    chunk: u32 = 0,
    /// What happens when the context is full. Negative: an error. Otherwise the first `shift_keep`
    /// tokens stay, the older half of the others is dropped, and the rest is evaluated anew at its
    /// new positions, so that the session is in the state of a fresh one with these tokens.
    shift_keep: i32 = -1,
    /// Which tokens go when the cache holds more than a budget; null: none.
    evict: ?evict.Options = null,
};

pub const Error = cache.Error || sampler.Error || error{
    Busy,
    BadOption,
    TokenOutOfRange,
    ContextFull,
    EmptySequence,
    NoLogits,
    BufferTooSmall,
    VocabularyOnly,
    OutOfRange,
    Foreign,
    PoolFull,
    NotReady,
};

pub const TakeResult = struct {
    bytes: usize,
    /// Length of the next record when `out` was too small for it, else 0.
    next: u32,
    /// Nothing more will come until the next `start`.
    done: bool,
};

/// Checked options, as far as they last.
pub const Settings = struct {
    context: u32,
    chunk: u32,
    shift_keep: ?u32,
    evict: ?evict.Options = null,
};

/// What a session holds beside keys and values. Read during the call only.
pub const State = struct {
    /// Those with keys and values; the last ones may have lost theirs to the pool.
    tokens: []const u32,
    carry: ?u32,
    /// Behind the last evaluated token: [vocab].
    logits: ?[]const f32,
};

pub const Session = struct {
    gpa: std.mem.Allocator,
    model: *Model,
    settings: Settings,
    sequence: cache.Sequence,
    tokens: []u32, // [context]
    /// Tokens that have, or had, keys and values: the pool may have taken those behind the sequence's length.
    length: u32 = 0,
    /// Tokens that shifts of the context have dropped.
    shifted: u64 = 0,
    /// Sampled, not yet evaluated.
    carry: ?u32 = null,
    logits: []f32, // [vocab], behind the last evaluated token
    logits_valid: bool = false,
    all_logits: []f32 = &.{}, // [rows, vocab]
    /// Rows of `all_logits` that have been evaluated.
    all_logits_rows: usize = 0,
    top: []sampler.TokenLogprob, // [top_logprobs_max]
    /// The text of one record.
    text: []u8,
    ring: Ring,
    evictor: ?*evictor_file.Evictor = null,
    /// Where keys are stored before their rotary embedding: the model's, or its own where tokens are evicted.
    angles: ?*Angles = null,
    observer: ?probe.Observer = null,
    /// What its passes read and compute, while somebody wants to know.
    meter: ?Meter = null,
    recorder: ?*recorder.Recorder = null,
    /// Where the engine waits for another thread to look.
    gate: probe.Gate,
    running: std.atomic.Value(bool) = .init(false),
    /// Whoever uses the pages of the idle session holds it, so that the pool doesn't take them meanwhile.
    access: std.Io.Mutex = .init,
    /// Somebody waits for pages and found `access` held; told when it is let go of.
    wanted: std.atomic.Value(bool) = .init(false),
    /// When it was last used, in requests of the model.
    used: u64 = 0,
    /// The running request waits for pages, since then.
    blocked: ?i96 = null,
    /// The last request found the pool full.
    pool_full: bool = false,
    stalled: std.atomic.Value(bool) = .init(false),
    cancelled: std.atomic.Value(bool) = .init(false),
    job: Job = undefined,
    stats: Stats = .{},
    /// Why the last request failed.
    failure: Diagnostic = .{},

    pub fn create(model: *Model, options: Options, diag: *Diagnostic) Error!*Session {
        if (model.family == null) {
            diag.set("expected a model with weights, found a vocabulary only", .{});
            return error.VocabularyOnly;
        }
        const context = if (options.context != 0) options.context else defaultContext(model, options.evict);
        if (context > context_max) {
            diag.set("expected a context of at most {d} tokens, found {d}", .{ context_max, context });
            return error.BadOption;
        }
        if (options.shift_keep >= 0 and @as(i64, options.shift_keep) + 2 > context) {
            diag.set("expected shift_keep to leave at least two of {d} positions, found {d}", .{ context, options.shift_keep });
            return error.BadOption;
        }
        if (options.evict != null and options.shift_keep >= 0) {
            diag.set("expected either an eviction policy or a context shift, found both", .{});
            return error.BadOption;
        }
        // Allocations that fail say nothing themselves.
        errdefer if (diag.text().len == 0) {
            diag.set("expected memory for a session of {d} positions, found that the system has not that much", .{context});
        };
        const chunk = if (options.chunk == 0) model.options.batch_rows else @min(options.chunk, model.options.batch_rows);
        var layout = model.cacheLayout(options.key_format, options.value_format);
        layout.formats = options.head_formats;
        layout.windows = options.windows;
        layout.exact_format = options.exact_format;
        // What moves to other pages takes these before it leaves its own.
        layout.chunk = if (options.evict != null) @max(chunk, cache.Exact.chunk_evicting) else chunk;
        if (options.pool) |pool| layout = pool.layout;
        try layouts.check(layout, diag);
        if (options.evict) |given| try evictor_file.check(model, given, context, layout, diag);
        if (options.evict) |given| if (given.cache_positions and layout.rotatesTurned()) {
            diag.set("expected keys without a Hadamard rotation, or stored before their rotary embedding, for an eviction with " ++
                "positions of the cache, found some with it", .{});
            return error.BadOption;
        };
        const pages = std.math.divCeil(u32, context, cache.page_len) catch unreachable;
        const pool = options.pool orelse try cache.Pool.create(model.gpa, layout);
        // Its sequences hold the pool.
        defer if (options.pool == null) pool.release();
        var sequence = try cache.Sequence.init(pool, pages, diag);
        errdefer sequence.deinit();
        sequence.root = @intFromBool(model.rotatesLong(context));
        return try make(model, .{
            .context = context,
            .chunk = chunk,
            .shift_keep = if (options.shift_keep < 0) null else @intCast(options.shift_keep),
            .evict = options.evict,
        }, sequence, diag);
    }

    /// What the model was trained with, within limits; as little as it takes where it never gets full.
    fn defaultContext(model: *const Model, policy: ?evict.Options) u32 {
        if (policy) |given| if (given.bounded()) return given.budget +| given.every +| 1;
        return @min(model.hyper.context_train, 4096);
    }

    /// Whether there is room for any number of tokens.
    pub fn neverFull(session: *const Session) bool {
        if (session.settings.evict) |given| return given.bounded();
        return session.settings.shift_keep != null;
    }

    pub const fork = @import("fork.zig").fork;

    /// Valid as long as the session stays as it is.
    pub fn state(session: *const Session) State {
        return .{
            .tokens = session.tokens[0..session.length],
            .carry = session.carry,
            .logits = if (session.logits_valid) session.logits else null,
        };
    }

    /// A session that goes on from a state. Takes over the sequence if it succeeds.
    pub fn open(model: *Model, settings: Settings, sequence: cache.Sequence, from: State, diag: *Diagnostic) Error!*Session {
        const session = try make(model, settings, sequence, diag);
        @memcpy(session.tokens[0..from.tokens.len], from.tokens);
        session.length = @intCast(from.tokens.len);
        session.carry = from.carry;
        session.logits_valid = from.logits != null;
        if (from.logits) |logits| @memcpy(session.logits, logits);
        return session;
    }

    pub const exchange = @import("exchange.zig").exchange;

    /// Takes over the sequence if it succeeds.
    fn make(model: *Model, settings: Settings, sequence: cache.Sequence, diag: *Diagnostic) Error!*Session {
        const gpa = model.gpa;
        const session = try gpa.create(Session);
        errdefer gpa.destroy(session);
        const tokens = try gpa.alloc(u32, settings.context);
        errdefer gpa.free(tokens);
        const logits = try gpa.alloc(f32, model.vocab());
        errdefer gpa.free(logits);
        const top = try gpa.alloc(sampler.TokenLogprob, top_logprobs_max);
        errdefer gpa.free(top);
        const stream: tokenizer.Tokenizer.Stream = .init(model.tokenizer, .{});
        const text_bytes = stream.outMax();
        if (text_bytes > text_bytes_max) {
            diag.set("expected tokens whose text takes up to {d} bytes, found one that may take {d}", .{ text_bytes_max, text_bytes });
            return error.BadOption;
        }
        const text = try gpa.alloc(u8, text_bytes);
        errdefer gpa.free(text);
        var ring = try Ring.init(gpa, @max(ring_bytes_min, 4 * record.bytesMax(top_logprobs_max, text_bytes)));
        errdefer ring.deinit(gpa);
        const evictor = if (settings.evict) |given| try evictor_file.Evictor.create(model, given, settings.context) else null;
        errdefer if (evictor) |made| made.destroy();
        const angles = try anglesFor(model, settings, &sequence.pool.layout);
        errdefer if (evictor != null) if (angles) |own| own.destroy(gpa);
        session.* = .{
            .gpa = gpa,
            .model = model,
            .settings = settings,
            .sequence = sequence,
            .evictor = evictor,
            .angles = angles,
            .tokens = tokens,
            .logits = logits,
            .top = top,
            .text = text,
            .ring = ring,
            .gate = .{ .cancelled = &session.cancelled, .signal = wake.signal },
        };
        session.nameAngles();
        try model.scheduler.enlist(session);
        _ = model.sessions.fetchAdd(1, .acq_rel);
        return session;
    }

    fn anglesFor(model: *Model, settings: Settings, layout: *const cache.Layout) error{OutOfMemory}!?*Angles {
        if (!layout.anyEarly()) return null;
        const long = model.rotatesLong(settings.context);
        if (settings.evict == null) return try model.angles.take(model.gpa, &model.frequencies, long, settings.context, context_max);
        const pages = std.math.divCeil(u32, settings.context, cache.page_len) catch unreachable;
        const own = try Angles.create(model.gpa, &model.frequencies, settings.context, pages);
        errdefer own.destroy(model.gpa);
        try own.grow(pages);
        return own;
    }

    /// The sequence finds the angles of this session.
    pub fn nameAngles(session: *Session) void {
        session.sequence.angles = if (session.angles) |angles| angles.table() else null;
    }

    /// Before a pass that writes the next `count` positions, on the scheduler's thread.
    pub fn prepareAngles(session: *Session, count: u32) void {
        const angles = session.angles orelse return;
        const from = session.sequence.len;
        const evictor = session.evictor orelse return angles.fill(from + count);
        for (from..from + count) |slot| angles.put(@intCast(slot), @intCast(slot + evictor.ahead(session)));
    }

    /// Cancels a running request, waits for it, and gives everything back.
    pub fn destroy(session: *Session) void {
        session.cancel();
        session.wait();
        const gpa = session.gpa;
        const model = session.model;
        gpa.free(session.gate.wanted);
        if (session.meter) |*kept| kept.deinit(gpa);
        if (session.recorder) |kept| kept.destroy();
        if (session.evictor) |evictor| {
            evictor.destroy();
            if (session.angles) |own| own.destroy(gpa);
        }
        model.scheduler.discharge(session);
        session.sequence.deinit();
        model.scheduler.nudge();
        session.ring.deinit(gpa);
        gpa.free(session.all_logits);
        gpa.free(session.tokens);
        gpa.free(session.logits);
        gpa.free(session.top);
        gpa.free(session.text);
        gpa.destroy(session);
        _ = model.sessions.fetchSub(1, .acq_rel);
    }

    /// Begins a request. Records of an earlier one that were not taken are dropped.
    pub fn start(session: *Session, request: Request, diag: *Diagnostic) Error!void {
        session.lock();
        defer session.unlock();
        try session.expectIdle(diag);
        const vocab = session.model.vocab();
        try job_file.checkTokens(request.tokens, vocab, diag);
        if (request.top_logprobs > @min(top_logprobs_max, vocab)) {
            diag.set("expected top_logprobs up to {d}, found {d}", .{ @min(top_logprobs_max, vocab), request.top_logprobs });
            return error.BadOption;
        }
        try job_file.check(session, request, diag);
        const lead = try session.prepareLead(request, diag);
        const room = session.settings.context - (session.length - @intFromBool(lead != null and session.carry == null));
        const total = request.tokens.len + @intFromBool(lead != null);
        if (total > room and !session.neverFull()) {
            diag.set("expected at most {d} more tokens in a context of {d}, found {d}; " ++
                "create the session with a larger context, truncate it, or let it shift", .{ room, session.settings.context, total });
            return error.ContextFull;
        }
        try session.begin(request, lead, diag);
    }

    /// The token that is evaluated before the request's own: the carried one or, when the request
    /// needs logits that are gone, the last token once more.
    fn prepareLead(session: *Session, request: Request, diag: *Diagnostic) Error!?u32 {
        if (request.refill) {
            if (request.tokens.len == 0 and request.max_tokens == 0) return null;
            diag.set("expected no tokens and none to generate with what is computed again, found {d} and {d}", .{ request.tokens.len, request.max_tokens });
            return error.BadOption;
        }
        if (session.carry) |token| return token;
        const guided = if (request.guide) |guide| companion.isReady(guide) else true;
        if (request.tokens.len != 0 or (session.logits_valid and guided) or session.length != session.sequence.len) return null;
        if (session.length == 0) {
            diag.set("expected at least one token in an empty sequence, found none", .{});
            return error.EmptySequence;
        }
        const evictor = session.evictor orelse return session.tokens[session.length - 1];
        return session.tokens[evictor.order(session.length)[session.length - 1]];
    }

    fn begin(session: *Session, request: Request, lead: ?u32, diag: *Diagnostic) Error!void {
        errdefer if (diag.text().len == 0) {
            diag.set("expected memory for a request of {d} tokens, found that the system has not that much", .{request.tokens.len});
        };
        const gpa = session.gpa;
        const own = request.tokens.len + @intFromBool(lead != null);
        const lost = session.tokens[session.sequence.len..session.length];
        const total = lost.len + own;
        // A shift, and a pool that takes pages, put tokens in front again; one more place is for a sampled token.
        const grows = session.settings.shift_keep != null or session.sequence.pool.limit != null;
        const capacity = total + 1 + if (grows) session.settings.context else 0;
        const pending = try gpa.alloc(u32, capacity);
        errdefer gpa.free(pending);
        @memcpy(pending[0..lost.len], lost);
        if (lead) |token| pending[lost.len] = token;
        @memcpy(pending[total - request.tokens.len ..][0..request.tokens.len], request.tokens);
        var chain = if (request.max_tokens == 0) null else try sampling.chainFor(session, request, diag);
        errdefer if (chain) |*c| c.deinit(gpa);
        const ahead = if (chain) |*c| c.looksAhead() else 0;
        if (ahead != 0) try search_file.check(session, request, ahead, diag);
        const companions = try job_file.companionsOf(gpa, session, request, ahead, diag);
        errdefer job_file.freeCompanions(gpa, companions);
        if (request.guide != null) chain.?.guide = companions[0].logits;
        const search: ?*search_file.Search = if (ahead != 0) try .create(gpa, session, ahead) else null;
        errdefer if (search) |made| made.destroy(gpa);
        if (search) |made| chain.?.ahead = made.host();
        var banned = try held.bannedFor(session, request, if (chain) |*c| c else null, diag);
        errdefer if (banned) |*b| b.deinit(gpa);
        try recorder.attach(&session.recorder, if (chain) |*c| c else null, session, request, diag);
        try session.makeAllLogits(if (request.all_logits) own else 0, diag);
        session.ring.read.store(session.ring.written.load(.monotonic), .monotonic);
        if (session.evictor) |evictor| {
            if (lead != null and session.carry == null) try evictor.truncate(session, session.length - 1);
            evictor.begin();
        }
        // Only here, where nothing can fail any more: the last token is about to be evaluated again.
        const before: Job.Start = .{ .length = session.length, .carry = session.carry, .logits_valid = session.logits_valid };
        if (lead != null and session.carry == null and session.evictor == null) {
            session.sequence.truncate(session.sequence.len - 1);
            session.length -= 1;
        }
        if (!request.refill) session.carry = null;
        session.job = .{
            .request = request,
            .pending = pending,
            .pending_len = total,
            .again = lost.len,
            .lead = lead != null,
            .start = before,
            .chain = chain,
            .banned = banned,
            .draft = .{ .settings = request.draft },
            .companions = companions,
            .search = search,
            .asks_host = if (chain) |*c| c.asksHost() else false,
            .stream = .init(session.model.tokenizer, .{}),
            .started_ns = Scheduler.now(),
        };
        session.job.request.tokens = &.{};
        session.job.request.stages = &.{};
        session.job.request.banned = &.{};
        session.job.request.guide = null;
        session.stats = .{};
        session.failure.len = 0;
        session.pool_full = false;
        session.cancelled.store(false, .monotonic);
        session.stalled.store(false, .monotonic);
        session.model.scheduler.submit(session);
    }

    /// Room for the logits of so many positions, in place of those of the last request.
    fn makeAllLogits(session: *Session, rows: usize, diag: *Diagnostic) Error!void {
        session.gpa.free(session.all_logits);
        session.all_logits = &.{};
        session.all_logits_rows = 0;
        const bytes = @as(u64, rows) * session.model.vocab() * @sizeOf(f32);
        if (bytes > all_logits_bytes_max) {
            diag.set("expected logits of all positions to take at most {d} bytes, found {d}; evaluate in smaller parts", .{
                @as(u64, all_logits_bytes_max), bytes,
            });
            return error.BadOption;
        }
        session.all_logits = try session.gpa.alloc(f32, rows * session.model.vocab());
    }

    /// Moves finished records into `out`. Never blocks.
    pub fn take(session: *Session, out: []u8) TakeResult {
        const idle = !session.running.load(.acquire);
        var next: u32 = 0;
        const bytes = session.ring.take(out, &next);
        if (bytes != 0 and session.stalled.load(.seq_cst)) session.model.scheduler.nudge();
        return .{ .bytes = bytes, .next = next, .done = idle and next == 0 };
    }

    /// Ends the running request at the next layer of the model; harmless when none runs.
    pub fn cancel(session: *Session) void {
        session.cancelled.store(true, .seq_cst);
        _ = session.model.scheduler.cancels.fetchAdd(1, .seq_cst);
        session.gate.poke();
        session.model.scheduler.nudge();
    }

    /// The draft for the pass that a request with drafts of the host waits for; harmless when none runs.
    pub fn propose(session: *Session, tokens: []const u32, diag: *Diagnostic) Error!void {
        try job_file.checkTokens(tokens, session.model.vocab(), diag);
        try session.model.scheduler.propose(session, tokens, diag);
    }

    /// Blocks until no request runs. Records stay for `take`; a request that fills the ring waits
    /// for the consumer, and so would this.
    pub fn wait(session: *Session) void {
        session.model.scheduler.waitIdle(session);
    }

    /// Tokens of the sequence, the last sampled one included.
    pub fn position(session: *const Session) u32 {
        return session.length + @intFromBool(session.carry != null);
    }

    pub const copyTokens = token_file.copyTokens;
    pub const truncate = token_file.truncate;
    pub const append = token_file.append;

    pub const copyLogits = read_logits.copyLogits;
    pub const allLogitsRows = read_logits.allLogitsRows;
    pub const copyAllLogits = read_logits.copyAllLogits;

    /// Shows activations to `observer` during the following requests; null ends it.
    pub fn observe(session: *Session, observer: ?probe.Observer, diag: *Diagnostic) Error!void {
        try session.expectIdle(diag);
        session.observer = observer;
    }

    pub const openGate = @import("open_gate.zig").openGate;

    /// Bytes that keys and values of the whole context take. What others have in common with this
    /// session counts for each.
    pub fn kvBytes(session: *const Session) u64 {
        return session.sequence.pool.layout.bytes(session.settings.context);
    }

    pub fn lock(session: *Session) void {
        session.access.lockUncancelable(io);
    }

    /// Not under the scheduler's mutex.
    pub fn unlock(session: *Session) void {
        session.access.unlock(io);
        if (session.wanted.swap(false, .seq_cst)) session.model.scheduler.nudge();
    }

    /// For the scheduler: whether nobody uses the pages, and then it has them. Otherwise it will be told.
    pub fn tryClaim(session: *Session) bool {
        if (session.access.tryLock()) return true;
        session.wanted.store(true, .seq_cst);
        // Whoever had them may have let go before they could see that.
        return session.access.tryLock();
    }

    pub fn unclaim(session: *Session) void {
        session.access.unlock(io);
    }

    /// For those who need every token to be where it was in the text.
    pub fn expectUnevicted(session: *const Session, diag: *Diagnostic) error{BadOption}!void {
        const evictor = session.evictor orelse return;
        if (evictor.next == session.length) return;
        diag.set("expected a session that has evicted no tokens, found one that holds {d} of {d}", .{ session.length, evictor.next });
        return error.BadOption;
    }

    /// For those who read keys and values.
    pub fn expectWhole(session: *const Session, diag: *Diagnostic) error{NotReady}!void {
        if (session.length == session.sequence.len) return;
        diag.set("expected keys and values of {d} tokens, found that the pool has taken those from {d} on; " ++
            "the next request computes them again, a prefill without tokens too", .{ session.length, session.sequence.len });
        return error.NotReady;
    }

    pub fn expectIdle(session: *const Session, diag: *Diagnostic) error{Busy}!void {
        if (!session.running.load(.acquire)) return;
        diag.set("expected an idle session, found a request that is still running", .{});
        return error.Busy;
    }
};
