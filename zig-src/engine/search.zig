//! Looking ahead for the stage `contrastive_search`: the candidates of a step are evaluated in forks of the
//! sequence, all in one batch, and told by how much their hidden states repeat those of the text. The
//! fork of the chosen one becomes the sequence; nothing is evaluated twice.

const std = @import("std");
const sampler = @import("../sampler.zig");
const Companion = @import("companion.zig").Companion;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Model = @import("model.zig").Model;
const Request = @import("job.zig").Request;
const Session = @import("session.zig").Session;

pub const Search = struct {
    /// Of the sequence's tokens, of length 1: [context, embd].
    hidden: []f32,
    width: usize,
    /// Of the candidates, in the order of `ids`: [k, embd].
    ahead: []f32,
    ids: [sampler.ahead_max]u32 = undefined,
    count: u32 = 0,
    penalties: [sampler.ahead_max]f32 = undefined,
    /// Whether candidates wait to be evaluated, or have been.
    phase: enum { idle, wanted, seen } = .idle,

    pub fn create(gpa: std.mem.Allocator, session: *const Session, k: u32) error{OutOfMemory}!*Search {
        const width: usize = session.model.hyper.embd;
        const search = try gpa.create(Search);
        errdefer gpa.destroy(search);
        const hidden = try gpa.alloc(f32, session.settings.context * width);
        errdefer gpa.free(hidden);
        search.* = .{ .hidden = hidden, .width = width, .ahead = try gpa.alloc(f32, k * width) };
        return search;
    }

    pub fn destroy(search: *Search, gpa: std.mem.Allocator) void {
        gpa.free(search.ahead);
        gpa.free(search.hidden);
        gpa.destroy(search);
    }

    pub fn host(search: *Search) sampler.Ahead {
        return .{ .context = search, .ask = ask };
    }

    fn ask(context: *anyopaque, ids: []const u32) ?[]const f32 {
        const search: *Search = @ptrCast(@alignCast(context));
        if (search.phase == .seen and std.mem.eql(u32, ids, search.ids[0..search.count])) return search.penalties[0..search.count];
        @memcpy(search.ids[0..ids.len], ids);
        search.count = @intCast(ids.len);
        search.phase = .wanted;
        return null;
    }

    fn row(search: *const Search, from: []f32, index: usize) []f32 {
        return from[index * search.width ..][0..search.width];
    }

    /// Keeps the hidden state of the token at `position`, of the sequence (0) or a candidate (from 1).
    pub fn keep(search: *Search, model: *const Model, x: [*]const f32, position: usize, companion: u32) void {
        const to = if (companion == 0) search.row(search.hidden, position) else search.row(search.ahead, companion - 1);
        model.kernels.rms_norm(x, model.output_norm.ptr, search.width, model.hyper.norm_eps, to.ptr);
        const length = @sqrt(dot(to, to));
        if (length > 0) for (to) |*value| {
            value.* /= length;
        };
    }

    /// The candidates have been evaluated behind `len` tokens.
    pub fn compare(search: *Search, len: usize) void {
        for (search.penalties[0..search.count], 0..) |*penalty, i| {
            const own = search.row(search.ahead, i);
            penalty.* = -1;
            for (0..len) |j| penalty.* = @max(penalty.*, dot(own, search.row(search.hidden, j)));
        }
        search.phase = .seen;
    }

    /// The candidate of this token becomes the token at `position` of the sequence. Returns its number.
    pub fn take(search: *Search, token: u32, position: usize) usize {
        const index = std.mem.findScalar(u32, search.ids[0..search.count], token).?;
        @memcpy(search.row(search.hidden, position), search.row(search.ahead, index));
        search.phase = .idle;
        return index;
    }
};

/// Refuses what can't go with looking ahead.
pub fn check(session: *const Session, request: Request, k: u32, diag: *Diagnostic) error{BadOption}!void {
    if (session.position() != 0) {
        diag.set("expected an empty session for contrastive_search, which needs hidden states of the whole text, found one of {d} tokens; " ++
            "truncate it and give its tokens as the prompt", .{session.position()});
        return error.BadOption;
    }
    const refused: ?[]const u8 = if (request.draft.source != .none)
        "one with drafts"
    else if (request.guide != null)
        "one with guidance"
    else if (request.banned.len != 0)
        "one with banned strings"
    else if (request.prompt_logprobs or request.all_logits)
        "one that keeps prompt_logprobs or all_logits"
    else if (session.settings.shift_keep != null)
        "a session with shift_keep"
    else if (session.observer != null)
        "a session with hooks"
    else if (session.evictor != null)
        "a session that evicts tokens"
    else if (session.sequence.exact != null)
        "a session that keeps tokens at full precision"
    else if (session.sequence.pool.limit != null or session.sequence.pool.content != null)
        "a session of a pool that is shared"
    else if (session.model.options.batch_rows < k)
        "a model whose batches have fewer rows than there are candidates"
    else
        null;
    const found = refused orelse return;
    diag.set("expected a request that contrastive_search can look ahead in, found {s}", .{found});
    return error.BadOption;
}

/// Forks for `k` candidates.
pub fn companionsOf(gpa: std.mem.Allocator, session: *const Session, k: u32, diag: *Diagnostic) error{OutOfMemory}![]Companion {
    const companions = try gpa.alloc(Companion, k);
    errdefer gpa.free(companions);
    var made: usize = 0;
    errdefer for (companions[0..made]) |*companion| companion.deinit(gpa);
    while (made < k) : (made += 1) {
        companions[made] = try .init(gpa, session, diag);
        companions[made].sequence.truncate(0);
        companions[made].lead = null;
    }
    return companions;
}

fn dot(a: []const f32, b: []const f32) f32 {
    const lanes = 16;
    var sums: @Vector(lanes, f32) = @splat(0);
    var i: usize = 0;
    while (i + lanes <= a.len) : (i += lanes) {
        sums += @as(@Vector(lanes, f32), a[i..][0..lanes].*) * @as(@Vector(lanes, f32), b[i..][0..lanes].*);
    }
    var sum = @reduce(.Add, sums);
    while (i < a.len) : (i += 1) sum += a[i] * b[i];
    return sum;
}
