//! What a session is asked for, and where a running request stands.

const std = @import("std");
const draft = @import("draft.zig");
const held = @import("held.zig");
const recorder = @import("recorder.zig");
const search_file = @import("search.zig");
const sampler = @import("../sampler.zig");
const tokenizer = @import("../tokenizer.zig");
const Companion = @import("companion.zig").Companion;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Session = @import("session.zig").Session;

pub const Request = struct {
    /// Appended to the sequence. May be empty when the sequence isn't.
    tokens: []const u32 = &.{},
    /// Tokens to generate; 0 only evaluates.
    max_tokens: u32 = 0,
    /// In order; empty: draw from the model's own distribution.
    stages: []const sampler.StageSpec = &.{},
    seed: u64 = 0,
    /// With every token, the most likely ones of the model's own distribution.
    top_logprobs: u32 = 0,
    /// Keep the logits of all evaluated positions for `allLogits`.
    all_logits: bool = false,
    /// Report the log-probability of every token in `tokens` that has a predecessor.
    prompt_logprobs: bool = false,
    /// Go on behind an end-of-generation token.
    ignore_eog: bool = false,
    entropy: bool = false, // of the model's own distribution, with every token
    record: recorder.Wanted = .{},
    /// Only compute again what the pool has taken; there are no tokens, and none is sampled.
    refill: bool = false,
    /// What is guessed ahead, to be checked several tokens at once.
    draft: draft.Settings = .{},
    /// An idle session of the same model, whose logits the stage `guidance` takes: a copy of it goes along.
    /// Read during `start` only.
    guide: ?*const Session = null,
    /// Strings that the generated text must not have, each a length (u32) and so many bytes. Read during
    /// `start` only.
    banned: []const u8 = &.{},
    /// Of banned strings: the case of ASCII letters does not count.
    banned_ignore_case: bool = false,
};

/// Of the last request.
pub const Stats = struct {
    prefill_tokens: u64 = 0,
    prefill_ns: u64 = 0,
    /// Tokens evaluated after the first generated one: one fewer than are generated.
    decode_tokens: u64 = 0,
    decode_ns: u64 = 0,
    /// From `start` to the first sampled token; 0 until there is one.
    first_token_ns: u64 = 0,
    /// Passes of the model that this session took part in.
    passes: u64 = 0,
    /// How often the context was shifted.
    shifts: u64 = 0,
    /// Tokens whose pages the pool had already, so that they were not computed.
    reused_tokens: u64 = 0,
    /// Tokens that were computed again, because the pool had taken their pages.
    reevaluated_tokens: u64 = 0,
    /// How often, and how long in all, the request waited for pages of the pool.
    waits: u64 = 0,
    wait_ns: u64 = 0,
    /// Tokens that were evicted from the cache.
    evicted_tokens: u64 = 0,
    /// Tokens that drafts guessed, and those of them that were what was sampled.
    drafted: u64 = 0,
    accepted: u64 = 0,
};

/// Where a running request stands; only the scheduler's thread touches it.
pub const Job = struct {
    request: Request,
    /// Tokens to evaluate: [next..len] are left. The first `again` of them are the session's, whose keys
    /// and values were given up.
    pending: []u32,
    pending_len: usize,
    next: usize = 0,
    again: usize = 0,
    /// Tokens of the request that were evaluated before the pending ones.
    before: usize = 0,
    /// The first token of the request's own is not one of its, but the sequence's last.
    lead: bool,
    /// What the session goes back to when there is no page for the prompt.
    start: Start,
    /// Requests have begun in this order.
    arrival: u64 = 0,
    generated: u32 = 0,
    chain: ?sampler.Chain,
    banned: ?held.Banned = null,
    draft: draft.Draft = .{},
    /// What goes along: a guide, or forks for the candidates of a search.
    companions: []Companion = &.{},
    search: ?*search_file.Search = null,
    /// A stage is a function of the host, for which the scheduler's thread waits alone.
    asks_host: bool = false,
    stream: tokenizer.Tokenizer.Stream,
    started_ns: i96,

    /// Logits or log-probabilities of the request's own tokens are wanted. Those of the sampled ones
    /// are not: they are in the records.
    pub fn wantsEveryRow(job: *const Job) bool {
        return job.generated == 0 and (job.request.all_logits or job.request.prompt_logprobs);
    }

    /// Index of a pending token among those of the request; it is none of the first `again`.
    pub fn own(job: *const Job, at: usize) usize {
        return at - job.again + job.before;
    }

    pub fn left(job: *const Job) usize {
        return job.pending_len - job.next;
    }

    pub fn deinit(job: *Job, gpa: std.mem.Allocator) void {
        if (job.banned) |*banned| banned.deinit(gpa);
        if (job.chain) |*chain| chain.deinit(gpa);
        gpa.free(job.pending);
        freeCompanions(gpa, job.companions);
        if (job.search) |search| search.destroy(gpa);
    }

    /// The token of the next row of a companion, which comes with the last pending token; null: none.
    pub fn companionToken(job: *const Job, index: usize) ?u32 {
        const search = job.search orelse return job.companions[index].next(job);
        return if (search.phase == .wanted and index < search.count) search.ids[index] else null;
    }

    pub fn companionRows(job: *const Job) u32 {
        var count: u32 = 0;
        for (0..job.companions.len) |index| count += @intFromBool(job.companionToken(index) != null);
        return count;
    }

    pub const Start = struct { length: u32, carry: ?u32, logits_valid: bool };

    /// Whether candidates wait to be evaluated, before the next token is chosen.
    pub fn looksAhead(job: *const Job) bool {
        return if (job.search) |search| search.phase == .wanted else false;
    }
};

pub fn checkTokens(tokens: []const u32, vocab: u32, diag: *Diagnostic) error{TokenOutOfRange}!void {
    for (tokens, 0..) |token, i| if (token >= vocab) {
        diag.set("expected tokens under {d}, found {d} at index {d}", .{ vocab, token, i });
        return error.TokenOutOfRange;
    };
}

/// Whether parts of a request go together, and with the session.
pub fn check(session: *const Session, request: Request, diag: *Diagnostic) error{ BadOption, Busy, Foreign }!void {
    const shifts = session.settings.shift_keep != null;
    if ((request.prompt_logprobs or request.all_logits) and shifts) {
        diag.set("expected a session without context shift for prompt_logprobs and all_logits, found one with shift_keep", .{});
        return error.BadOption;
    }
    try request.draft.check(diag);
    if (request.draft.source != .none) {
        if (session.observer != null) {
            diag.set("expected a session without hooks for drafts, whose wrong guesses hooks would see too, found one with hooks", .{});
            return error.BadOption;
        }
        if (session.evictor != null) {
            diag.set("expected a session that evicts no tokens for drafts, found one with an eviction policy", .{});
            return error.BadOption;
        }
        if (request.banned.len != 0) {
            diag.set("expected a request without banned strings for drafts, because tokens that are taken back would be guessed on from, found one with", .{});
            return error.BadOption;
        }
        if (request.draft.source == .host and shifts) {
            diag.set("expected a session without context shift for drafts of the host, found one with shift_keep", .{});
            return error.BadOption;
        }
    }
    const guide = request.guide orelse return;
    try guide.expectIdle(diag);
    if (guide.model != session.model) {
        diag.set("expected a guide of the same model, found one of another", .{});
        return error.Foreign;
    }
    if (guide == session or guide.position() == 0) {
        diag.set("expected another session with at least one token as guide, found {s}", .{
            if (guide == session) "the session itself" else "an empty one",
        });
        return error.BadOption;
    }
    const refused: ?[]const u8 = if (request.max_tokens == 0)
        "one that generates nothing"
    else if (request.draft.source != .none)
        "one with drafts"
    else if (request.banned.len != 0)
        "one with banned strings"
    else if (shifts)
        "a session with shift_keep"
    else if (session.observer != null)
        "a session with hooks"
    else if (session.evictor != null or guide.evictor != null)
        "a session that evicts tokens"
    else if (session.sequence.pool.limit != null or guide.sequence.pool.limit != null)
        "a session of a pool with a limit"
    else if (session.model.options.batch_rows < 2)
        "a model whose batches have one row"
    else
        null;
    const found = refused orelse return;
    diag.set("expected a request that can be guided, found {s}", .{found});
    return error.BadOption;
}

/// What goes along with a request.
pub fn companionsOf(gpa: std.mem.Allocator, session: *const Session, request: Request, ahead: u32, diag: *Diagnostic) error{OutOfMemory}![]Companion {
    if (ahead > 1) return search_file.companionsOf(gpa, session, ahead, diag);
    const guide = request.guide orelse return &.{};
    const companions = try gpa.alloc(Companion, 1);
    errdefer gpa.free(companions);
    companions[0] = try .init(gpa, guide, diag);
    return companions;
}

pub fn freeCompanions(gpa: std.mem.Allocator, companions: []Companion) void {
    for (companions) |*companion| companion.deinit(gpa);
    gpa.free(companions);
}
