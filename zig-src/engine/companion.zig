//! A further sequence that a request takes along in its batches. That of a guide gets each token that the
//! request samples, and its logits guide the choice (the stage `guidance`); those of a search get a
//! candidate each (`search.zig`).

const std = @import("std");
const cache = @import("../cache.zig");
const Angles = @import("angles.zig").Angles;
const session_module = @import("session.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Job = session_module.Job;
const Session = session_module.Session;

pub const Companion = struct {
    sequence: cache.Sequence,
    context: u32,
    logits: []f32, // [vocab], behind the last evaluated token
    /// A token of before the request that has to be evaluated first.
    lead: ?u32,
    /// The session's, which has room for the context.
    angles: ?*Angles,

    /// Goes on from where `session`, which is idle, stands; the session stays as it is.
    pub fn init(gpa: std.mem.Allocator, session: *const Session, diag: *Diagnostic) error{OutOfMemory}!Companion {
        var sequence = try session.sequence.fork(diag);
        errdefer sequence.deinit();
        const logits = try gpa.dupe(f32, session.logits);
        const lead = session.carry orelse if (session.logits_valid or sequence.len == 0) null else session.tokens[sequence.len - 1];
        if (session.carry == null and lead != null) sequence.truncate(sequence.len - 1);
        return .{ .sequence = sequence, .context = session.settings.context, .logits = logits, .lead = lead, .angles = session.angles };
    }

    pub fn deinit(companion: *Companion, gpa: std.mem.Allocator) void {
        gpa.free(companion.logits);
        companion.sequence.deinit();
    }

    /// The token of its next row, beside the last pending one of the job; null when it needs none.
    pub fn next(companion: *const Companion, job: *const Job) ?u32 {
        if (companion.lead) |token| return token;
        return if (job.generated == 0) null else job.pending[job.next];
    }

    pub fn isFull(companion: *const Companion) bool {
        return companion.sequence.len == companion.context;
    }

    /// Its row has been evaluated.
    pub fn advance(companion: *Companion, logits: []const f32) void {
        @memcpy(companion.logits, logits);
        companion.sequence.len += 1;
        companion.lead = null;
    }
};

/// Whether a session can guide others at once, without a row of its own before.
pub fn isReady(session: *const Session) bool {
    return session.carry == null and session.logits_valid;
}
