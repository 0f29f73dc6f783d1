//! Drafts: tokens that are guessed to follow, so that one pass of the model checks several of them
//! (speculative decoding: Leviathan et al. 2023, "Fast Inference from Transformers via Speculative
//! Decoding"; Chen et al. 2023, "Accelerating Large Language Model Decoding with Speculative Sampling").
//!
//! Those papers accept a guess with such a probability that the distribution is kept. Here more is
//! kept: random numbers are keyed by position and logits don't depend on the batch, so each token is
//! sampled from the model's own logits with the chain and the number that it has anyway, and a guess
//! counts as long as it is what was sampled. The text is the one without drafts, token for token.
//!
//! Guesses come from the text itself, where its last tokens stood before (prompt lookup: Saxena 2023),
//! or from the host, which may ask another model; one that draws with the same numbers agrees often.

const std = @import("std");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

/// Tokens of one draft, at most.
pub const length_max = 32;
/// Tokens that a place in the text is known by, at most.
pub const ngram_max = 16;
/// Passes without a draft, at most, after drafts that were all wrong.
const pause_max = 32;
/// Tokens of the first draft.
const first_length = 4;

/// Who guesses. The numbers are part of the C ABI.
pub const Source = enum(u32) { none = 0, ngram = 1, host = 2 };

pub const Settings = struct {
    source: Source = .none,
    /// Most tokens of a draft.
    length: u32 = 8,
    /// Of `ngram`: how many tokens must be the same, and how many are looked at to prefer one place.
    ngram_min: u32 = 2,
    ngram: u32 = 4,

    pub fn check(settings: Settings, diag: *Diagnostic) error{BadOption}!void {
        if (settings.source == .none) return;
        if (settings.length == 0 or settings.length > length_max) {
            diag.set("expected drafts of 1 to {d} tokens, found {d}", .{ length_max, settings.length });
            return error.BadOption;
        }
        if (settings.source != .ngram) return;
        if (settings.ngram == 0 or settings.ngram > ngram_max) {
            diag.set("expected n-grams of 1 to {d} tokens, found {d}", .{ ngram_max, settings.ngram });
            return error.BadOption;
        }
        if (settings.ngram_min == 0 or settings.ngram_min > settings.ngram) {
            diag.set("expected the shortest n-gram to have 1 to {d} tokens, found {d}", .{ settings.ngram, settings.ngram_min });
            return error.BadOption;
        }
    }
};

/// Where a job's draft stands. `asked`: the host has been told, and the job waits.
pub const Phase = enum(u8) { due, asked, ready };

/// Of one job. The scheduler's thread owns it; while it is `asked`, whoever holds the scheduler's mutex.
pub const Draft = struct {
    settings: Settings = .{},
    phase: std.atomic.Value(Phase) = .init(.due),
    /// Guesses for the pass that is to come; [0..len].
    tokens: [length_max]u32 = undefined,
    len: u32 = 0,
    /// Those of the last pass that were what was sampled.
    accepted: u32 = 0,
    /// Most tokens of the next draft: it follows what was accepted, so that text which can't be
    /// foreseen costs little.
    allowance: u32 = first_length,
    /// Drafts that were all wrong since the last that wasn't.
    failures: u32 = 0,
    /// Passes that go without a draft.
    pause: u32 = 0,

    pub fn isOn(draft: *const Draft) bool {
        return draft.settings.source != .none;
    }

    /// Tokens that the next draft may have.
    pub fn room(draft: *const Draft) u32 {
        return if (draft.pause != 0) 0 else @min(draft.allowance, draft.settings.length);
    }

    pub fn waits(draft: *const Draft) bool {
        return draft.phase.load(.acquire) == .asked;
    }

    /// Looks for a guess where it is due: `text` and `last` are the sequence.
    pub fn prepare(draft: *Draft, text: []const u32, last: u32) void {
        if (draft.phase.load(.acquire) != .due) return;
        if (draft.settings.source == .ngram and draft.room() != 0) {
            draft.len = lookUp(text, last, draft.settings, draft.tokens[0..draft.room()]);
        }
        draft.phase.store(.ready, .release);
    }

    /// The pass is over, and `accepted` says what came of the draft.
    pub fn settle(draft: *Draft) void {
        if (draft.len == 0) {
            draft.pause -|= 1;
        } else if (draft.accepted == 0) {
            draft.failures += 1;
            draft.allowance = 1;
            draft.pause = if (draft.failures < 2) 0 else @min(pause_max, @as(u32, 1) << @intCast(@min(draft.failures - 1, 31)));
        } else {
            draft.failures = 0;
            draft.allowance = if (draft.accepted == draft.len) @min(2 * draft.len + 1, draft.settings.length) else draft.accepted;
        }
        draft.len = 0;
        draft.accepted = 0;
        draft.phase.store(if (draft.settings.source == .host and draft.room() != 0) .asked else .due, .release);
    }
};

/// Fills `out` with what followed where the last tokens stood before: the youngest place at which the
/// most of them, up to `ngram`, are the same. What follows may run into the end and on into the guess
/// itself, as in text that repeats a period. Returns how many tokens there are: all, or none.
fn lookUp(text: []const u32, last: u32, settings: Settings, out: []u32) u32 {
    var best: usize = 0;
    var best_at: usize = 0;
    var end = text.len;
    while (std.mem.findScalarLast(u32, text[0..end], last)) |at| : (end = at) {
        const same = sameBefore(text, at, settings.ngram);
        if (same <= best) continue;
        best = same;
        best_at = at;
        if (best == settings.ngram) break;
    }
    if (best < settings.ngram_min) return 0;
    for (out, best_at + 1..) |*token, from| {
        token.* = if (from < text.len) text[from] else if (from == text.len) last else out[from - text.len - 1];
    }
    return @intCast(out.len);
}

/// How many tokens up to `at` are those up to the end, which the last one follows; that one counts.
fn sameBefore(text: []const u32, at: usize, most: usize) usize {
    var same: usize = 1;
    while (same < most and same <= at and text[at - same] == text[text.len - same]) same += 1;
    return same;
}

fn expectGuess(expected: []const u32, text: []const u32, last: u32, settings: Settings) !void {
    var out: [5]u32 = undefined;
    const len = lookUp(text, last, settings, &out);
    try std.testing.expectEqualSlices(u32, expected, out[0..len]);
}

test "the youngest of the longest places is gone on from, through the end and around" {
    const one: Settings = .{ .source = .ngram, .ngram_min = 1, .ngram = 1 };
    const three: Settings = .{ .source = .ngram, .ngram_min = 2, .ngram = 3 };
    // Of single tokens the youngest place counts, of three the one with more behind it.
    const text = [_]u32{ 9, 1, 2, 3, 4, 5, 6, 7, 8, 2, 3, 7, 1, 1, 2 };
    try expectGuess(&.{ 7, 1, 1, 2, 3 }, &text, 3, one);
    try expectGuess(&.{ 4, 5, 6, 7, 8 }, &text, 3, three);
    try expectGuess(&.{}, &text, 10, one);
    try expectGuess(&.{}, &text, 9, three);
    try expectGuess(&.{}, &.{}, 9, one);
    // A period of two, and of one.
    try expectGuess(&.{ 5, 4, 5, 4, 5 }, &.{ 7, 4, 5 }, 4, one);
    try expectGuess(&.{ 6, 6, 6, 6, 6 }, &.{ 6, 6 }, 6, three);
}

test "drafts grow while they are right, and rest while they are wrong" {
    var draft: Draft = .{ .settings = .{ .source = .ngram, .length = 20, .ngram_min = 1 } };
    const text: [40]u32 = @splat(5);
    for ([_]u32{ 4, 9, 19, 20, 20 }) |len| {
        draft.prepare(&text, 5);
        try std.testing.expectEqual(len, draft.len);
        draft.accepted = draft.len;
        draft.settle();
    }
    draft.prepare(&text, 5);
    draft.accepted = 3;
    draft.settle();
    try std.testing.expectEqual(3, draft.room());
    // In a thousand passes in which nothing is ever right some thirty cost one row more.
    var drafted: u32 = 0;
    for (0..1000) |_| {
        draft.prepare(&text, 5);
        drafted += draft.len;
        draft.settle();
    }
    try std.testing.expect(drafted < 40);
    try std.testing.expect(drafted > 20);
}

test "what can't be is refused" {
    var diag: Diagnostic = .{};
    try (Settings{ .length = 0 }).check(&diag);
    try (Settings{ .source = .host, .ngram = 0 }).check(&diag);
    for ([_]Settings{
        .{ .source = .host, .length = 0 },
        .{ .source = .ngram, .length = length_max + 1 },
        .{ .source = .ngram, .ngram = ngram_max + 1 },
        .{ .source = .ngram, .ngram_min = 0 },
        .{ .source = .ngram, .ngram_min = 5 },
    }) |settings| try std.testing.expectError(error.BadOption, settings.check(&diag));
    try std.testing.expectEqualStrings("expected the shortest n-gram to have 1 to 4 tokens, found 5", diag.text());
}
