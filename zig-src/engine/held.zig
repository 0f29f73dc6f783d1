//! Between sessions and banned strings: tokens that are held back, let go, and taken back with their keys
//! and values.

const banned_file = @import("banned.zig");
const record = @import("record.zig");
const sampler = @import("../sampler.zig");
pub const Banned = banned_file.Banned;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const push = @import("deliver.zig").push;
const Request = @import("session.zig").Request;
const Ring = @import("ring.zig").Ring;
const Session = @import("session.zig").Session;

/// Null without banned strings. The ring becomes as large as what may be let go at once.
pub fn bannedFor(
    session: *Session,
    request: Request,
    chain: ?*const sampler.Chain,
    diag: *Diagnostic,
) (banned_file.Error || error{BadOption})!?Banned {
    const from = chain orelse return null;
    if (request.banned.len == 0) return null;
    if (session.settings.shift_keep != null or session.evictor != null) {
        diag.set("expected a session without context shift and eviction for banned strings, found one with", .{});
        return error.BadOption;
    }
    const gpa = session.gpa;
    const bytes_max = session.model.tokenizer.bytesMax();
    var made = try Banned.init(gpa, request.banned, request.banned_ignore_case, from, request.top_logprobs, bytes_max, diag);
    errdefer made.deinit(gpa);
    const least = (made.held.len + 4) * record.bytesMax(request.top_logprobs, session.text.len);
    if (session.ring.memory.len < least) {
        const larger = try Ring.init(gpa, least);
        session.ring.deinit(gpa);
        session.ring = larger;
    }
    return made;
}

/// Gives a token to the consumer, or holds it back while it could become part of a banned string.
pub fn show(
    session: *Session,
    header: record.Header,
    top: []const sampler.TokenLogprob,
    accepted: sampler.Accepted,
) enum { shown, again, back, failed } {
    const job = &session.job;
    const banned = if (job.banned) |*one| one else {
        push(session, header, top, job.stream.push(header.token, session.text));
        return .shown;
    };
    const before = banned.held_len;
    const bytes = session.model.tokenizer.bytesOf(header.token, false);
    switch (banned.add(.{ .header = header, .accepted = accepted, .bytes = 0 }, top, bytes)) {
        .release => |count| release(session, count),
        .full => {
            session.failure.set("expected at most {d} tokens to be held back and excluded for banned strings, found more", .{banned.held.len});
            return .failed;
        },
        .back => |kept| {
            const taken: u32 = @intCast(before - kept);
            if (session.recorder) |kept_steps| kept_steps.takeBack(taken + 1);
            // The logits of the place are still here.
            if (taken == 0) return .again;
            goBack(session, taken);
            return .back;
        },
    }
    return .shown;
}

/// Gives the first `count` tokens that were held back to the consumer.
pub fn release(session: *Session, count: usize) void {
    const banned = &session.job.banned.?;
    for (banned.held[0..count], 0..) |token, index| {
        push(session, token.header, banned.topOf(index), session.job.stream.push(token.header.token, session.text));
    }
    banned.let(count);
}

/// Takes the last `count` tokens back, all of which have been evaluated. The token before them is evaluated
/// once more, for its logits.
fn goBack(session: *Session, count: u32) void {
    const job = &session.job;
    job.banned.?.follow(&job.chain.?);
    const last = session.sequence.len - count - 1;
    job.pending[0] = session.tokens[last];
    job.pending_len = 1;
    job.next = 0;
    job.again = 0;
    job.lead = true;
    job.generated -= count;
    // The rows of the prompt have been reported.
    job.request.all_logits = false;
    job.request.prompt_logprobs = false;
    session.sequence.truncate(last);
    session.length = last;
    session.logits_valid = false;
}
