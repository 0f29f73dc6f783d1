//! Generations with drafts on a small model: the records are those without drafts, bit for bit, whoever
//! guesses and however well. That is the proof that drafts keep the distribution.

const std = @import("std");
const cache = @import("../cache.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const draft = @import("draft.zig");
const record = @import("record.zig");
const sampler = @import("../sampler.zig");
const session_module = @import("session.zig");
const Request = session_module.Request;
const Session = session_module.Session;
const Fixture = @import("session_test.zig").Fixture;
const someTokens = @import("session_test.zig").someTokens;

const gpa = std.testing.allocator;
const vocab = 80;

/// What a generation left.
const Found = struct {
    tokens: std.ArrayList(u32) = .empty,
    logprobs: std.ArrayList(f32) = .empty,
    tops: std.ArrayList(u32) = .empty,
    reason: record.Reason = .failed,
    drafted: u32 = 0,
    accepted: u32 = 0,

    fn deinit(found: *Found) void {
        found.tokens.deinit(gpa);
        found.logprobs.deinit(gpa);
        found.tops.deinit(gpa);
    }
};

/// Guesses for tests: of `known`, which is what will be generated, so many of a hundred tokens are right.
const Guesser = struct {
    known: []const u32,
    right: u32,
    random: std.Random.DefaultPrng,

    fn propose(guesser: *Guesser, generated: usize, out: []u32) usize {
        const random = guesser.random.random();
        const len = random.uintAtMost(usize, out.len);
        for (out[0..len], generated..) |*token, at| {
            const known = if (at < guesser.known.len) guesser.known[at] else 7;
            token.* = if (random.uintLessThan(u32, 100) < guesser.right) known else (known + 1) % vocab;
        }
        return len;
    }
};

/// Runs a request to its end, or to a cancellation behind so many tokens.
fn run(session: *Session, request: Request, guesser: ?*Guesser, cancel_behind: usize) !Found {
    var found: Found = .{};
    errdefer found.deinit();
    var diag: Diagnostic = .{};
    session.start(request, &diag) catch |err| {
        std.debug.print("{s}\n", .{diag.text()});
        return err;
    };
    var buffer: [8 << 10]u8 align(4) = undefined;
    while (true) {
        const result = session.take(&buffer);
        var at: usize = 0;
        while (at < result.bytes) {
            const header: *const record.Header = @ptrCast(@alignCast(&buffer[at]));
            switch (header.kind) {
                .token => {
                    try found.tokens.append(gpa, header.token);
                    try found.logprobs.append(gpa, header.logprob);
                    try found.logprobs.append(gpa, header.entropy);
                    const top: []align(4) const u8 = @alignCast(buffer[at + @sizeOf(record.Header) ..][0 .. 8 * header.top_len]);
                    try found.tops.appendSlice(gpa, std.mem.bytesAsSlice(u32, top));
                    if (found.tokens.items.len == cancel_behind) session.cancel();
                },
                .draft => {
                    found.drafted += header.token;
                    found.accepted += header.flags;
                    if (header.wanted != 0) {
                        var guess: [draft.length_max]u32 = undefined;
                        const len = guesser.?.propose(found.tokens.items.len, guess[0..header.wanted]);
                        try session.propose(guess[0..len], &diag);
                    }
                },
                .end => {
                    found.reason = std.enums.fromInt(record.Reason, header.token).?;
                    session.wait();
                    try std.testing.expectEqual(found.drafted, session.stats.drafted);
                    try std.testing.expectEqual(found.accepted, session.stats.accepted);
                    return found;
                },
                .prefill, .prompt_token => {},
            }
            at += header.size;
        }
        if (result.bytes == 0) std.Thread.yield() catch {};
    }
}

fn expectSame(expected: *const Found, found: *const Found) !void {
    try std.testing.expectEqualSlices(u32, expected.tokens.items, found.tokens.items);
    try std.testing.expectEqualSlices(u32, @ptrCast(expected.logprobs.items), @ptrCast(found.logprobs.items));
    try std.testing.expectEqualSlices(u32, expected.tops.items, found.tops.items);
    try std.testing.expectEqual(expected.reason, found.reason);
}

/// Tokens, logits and position of both are the same.
fn expectSameState(expected: *Session, found: *Session) !void {
    try std.testing.expectEqual(expected.position(), found.position());
    try std.testing.expectEqual(expected.carry, found.carry);
    try std.testing.expectEqualSlices(u32, expected.tokens[0..expected.sequence.len], found.tokens[0..found.sequence.len]);
    try std.testing.expectEqual(expected.logits_valid, found.logits_valid);
    if (expected.logits_valid) try std.testing.expectEqualSlices(u32, @ptrCast(expected.logits), @ptrCast(found.logits));
}

const chains = [_][]const sampler.StageSpec{
    &.{},
    &.{sampler.spec("greedy", .{})},
    &.{ sampler.spec("temperature", .{0.3}), sampler.spec("top_p", .{0.9}) },
    &.{ sampler.spec("xtc", .{ 0.5, 0.05 }), sampler.spec("min_p", .{0.02}) },
    // Stages that follow the text, and what was drawn.
    &.{ sampler.spec("repetition_penalty", .{ 1.5, 100 }), sampler.spec("frequency_penalty", .{ 0.3, 20 }) },
    &.{ sampler.spec("no_repeat_ngram", .{2}), sampler.spec("mirostat_v2", .{ 3, 0.5, 6 }) },
    &.{sampler.spec("adaptive_p", .{ 0.3, 0.9 })},
};

/// The same generation without drafts, and with all kinds of them.
fn expectNoDifference(fixture: *Fixture, options: session_module.Options, request: Request) !void {
    var diag: Diagnostic = .{};
    const plain = try Session.create(fixture.model, options, &diag);
    defer plain.destroy();
    var expected = try run(plain, request, null, 0);
    defer expected.deinit();
    const kinds = [_]struct { right: u32, settings: draft.Settings }{
        .{ .right = 100, .settings = .{ .source = .host, .length = 20 } },
        .{ .right = 80, .settings = .{ .source = .host, .length = 6 } },
        .{ .right = 0, .settings = .{ .source = .host, .length = 3 } },
        .{ .right = 0, .settings = .{ .source = .ngram, .length = 8, .ngram = 3, .ngram_min = 1 } },
        .{ .right = 0, .settings = .{ .source = .ngram, .length = 32, .ngram = 1, .ngram_min = 1 } },
    };
    for (kinds) |kind| {
        if (kind.settings.source == .host and options.shift_keep >= 0) continue;
        const session = try Session.create(fixture.model, options, &diag);
        defer session.destroy();
        var with = request;
        with.draft = kind.settings;
        var guesser: Guesser = .{ .known = expected.tokens.items, .right = kind.right, .random = .init(request.seed) };
        var found = try run(session, with, &guesser, 0);
        defer found.deinit();
        errdefer std.debug.print("{any} {any} {any}\n", .{ kind, options, session.stats });
        try expectSame(&expected, &found);
        try expectSameState(plain, session);
        try std.testing.expectEqual(plain.stats.prefill_tokens, session.stats.prefill_tokens);
        try std.testing.expectEqual(plain.stats.decode_tokens, session.stats.decode_tokens);
        if (kind.right == 0 and kind.settings.source == .host) try std.testing.expectEqual(0, found.accepted);
        if (kind.right == 100 and found.reason == .max_tokens) try std.testing.expectEqual(found.drafted, found.accepted);
        if (kind.right == 100 and expected.tokens.items.len > 20) {
            try std.testing.expect(session.stats.passes < plain.stats.passes);
        }
        try std.testing.expectEqual(plain.stats.passes <= 1, session.stats.passes <= 1);
    }
}

test "drafts of any quality leave every record as it is" {
    const prompt = someTokens(60);
    for ([_]u32{ 1, 2 }) |threads| {
        var fixture = try Fixture.init(.{ .window = if (threads == 2) 20 else 0 }, .{ .threads = threads, .batch_rows = 40 });
        defer fixture.deinit();
        for (chains, 0..) |stages, c| for (0..4) |seed| {
            const len = 1 + (17 * seed + 23 * c) % 60;
            try expectNoDifference(&fixture, .{ .chunk = if (seed == 3) 3 else 0 }, .{
                .tokens = prompt[0..len],
                .max_tokens = 40,
                .stages = stages,
                .seed = seed,
                .top_logprobs = @intCast(seed),
                .entropy = seed == 1,
                .prompt_logprobs = seed == 2,
                .ignore_eog = seed != 0,
            });
        };
    }
}

test "texts end inside a draft as without it: at their end, at the end of the context, across shifts" {
    const prompt = someTokens(40);
    var fixture = try Fixture.init(.{}, .{ .threads = 2 });
    defer fixture.deinit();
    // Hot enough that one in eighty tokens ends the text.
    const hot = [_]sampler.StageSpec{sampler.spec("temperature", .{30})};
    for (0..12) |seed| {
        try expectNoDifference(&fixture, .{ .context = 512 }, .{ .tokens = &prompt, .max_tokens = 300, .stages = &hot, .seed = seed });
    }
    for ([_]u32{ 41, 42, 43, 50, 64 }) |context| {
        const request: Request = .{ .tokens = &prompt, .max_tokens = 100, .seed = context, .ignore_eog = true };
        try expectNoDifference(&fixture, .{ .context = context }, request);
        try expectNoDifference(&fixture, .{ .context = context, .shift_keep = 5 }, request);
        try expectNoDifference(&fixture, .{ .context = context }, .{ .tokens = &prompt, .max_tokens = 3, .stages = chains[1], .ignore_eog = true });
    }
}

test "guesses leave recent tokens at full precision, and keys rounded in groups of them, as they are" {
    const prompt = someTokens(50);
    var fixture = try Fixture.init(.{ .head_dim = 32 }, .{ .threads = 2 });
    defer fixture.deinit();
    const windows: [8]cache.Layout.Window = @splat(.{ .sinks = 4, .recent = 32 });
    const formats = [_]cache.Format{ .int4, .q4_0 };
    for (formats) |format| try expectNoDifference(&fixture, .{
        .context = 400,
        .key_format = format,
        .value_format = format,
        .windows = windows[0..fixture.model.hyper.layers],
    }, .{ .tokens = &prompt, .max_tokens = 150, .stages = chains[2], .seed = 5, .ignore_eog = true });
}

test "a text that repeats itself takes few passes" {
    var fixture = try Fixture.init(.{}, .{ .threads = 2 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const session = try Session.create(fixture.model, .{}, &diag);
    defer session.destroy();
    const request: Request = .{
        .tokens = &someTokens(20),
        .max_tokens = 300,
        .stages = chains[1],
        .ignore_eog = true,
        .draft = .{ .source = .ngram, .length = 16, .ngram = 3, .ngram_min = 1 },
    };
    var found = try run(session, request, null, 0);
    defer found.deinit();
    // Greedy text of a random model soon runs in a circle.
    try std.testing.expect(session.stats.passes < 80);
    try std.testing.expect(found.accepted > 200);
}

test "a request with drafts that is cancelled goes on where it stands" {
    const prompt = someTokens(30);
    var fixture = try Fixture.init(.{}, .{ .threads = 2 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    // So many alternatives fill the ring long before the end.
    const request: Request = .{ .tokens = &prompt, .max_tokens = 400, .seed = 3, .top_logprobs = 80, .ignore_eog = true };
    const plain = try Session.create(fixture.model, .{}, &diag);
    defer plain.destroy();
    var whole = try run(plain, request, null, 0);
    defer whole.deinit();
    for ([_]draft.Source{ .host, .ngram }) |source| for ([_]usize{ 1, 2, 9, 33 }) |behind| {
        const session = try Session.create(fixture.model, .{}, &diag);
        defer session.destroy();
        var with = request;
        with.draft = .{ .source = source, .length = 10, .ngram = 2, .ngram_min = 1 };
        var guesser: Guesser = .{ .known = whole.tokens.items, .right = 90, .random = .init(behind) };
        var first = try run(session, with, &guesser, behind);
        defer first.deinit();
        try std.testing.expectEqual(record.Reason.cancelled, first.reason);
        const done = first.tokens.items.len;
        try std.testing.expectEqual(prompt.len + done, session.position());
        with.tokens = &.{};
        with.max_tokens = @intCast(400 - done);
        guesser.known = whole.tokens.items[done..];
        var rest = try run(session, with, &guesser, 0);
        defer rest.deinit();
        try first.tokens.appendSlice(gpa, rest.tokens.items);
        try std.testing.expectEqualSlices(u32, whole.tokens.items, first.tokens.items);
    };
}

test "sessions with drafts beside others get the tokens that they get alone" {
    const prompt = someTokens(50);
    var fixture = try Fixture.init(.{}, .{ .threads = 2, .batch_rows = 12 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    var sessions: [9]*Session = undefined;
    for (&sessions) |*session| session.* = try Session.create(fixture.model, .{}, &diag);
    defer for (sessions) |session| session.destroy();
    for (0..2) |round| {
        for (sessions, 0..) |session, i| {
            session.wait();
            try session.truncate(0, &diag);
            try session.start(.{
                .tokens = prompt[0 .. 5 * (i + 1)],
                .max_tokens = 60,
                .stages = chains[i % 3],
                .seed = i,
                .ignore_eog = true,
                .draft = if (round == 0) .{} else .{ .source = .ngram, .length = 8, .ngram = 2, .ngram_min = 1 },
            }, &diag);
        }
        for (sessions, 0..) |session, i| {
            session.wait();
            var all: [5 * 9 + 60]u32 = undefined;
            try session.copyTokens(&all, &diag);
            const held = expected_texts[i][0..session.position()];
            if (round == 0) @memcpy(held, all[0..held.len]) else try std.testing.expectEqualSlices(u32, held, all[0..held.len]);
        }
    }
}

var expected_texts: [9][5 * 9 + 60]u32 = undefined;

test "drafts where they can't be are refused" {
    var fixture = try Fixture.init(.{}, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const session = try Session.create(fixture.model, .{ .shift_keep = 4 }, &diag);
    defer session.destroy();
    try std.testing.expectError(error.BadOption, session.start(.{ .tokens = &.{3}, .max_tokens = 2, .draft = .{ .source = .host } }, &diag));
    try std.testing.expectError(error.BadOption, session.start(.{ .tokens = &.{3}, .max_tokens = 2, .draft = .{ .source = .ngram, .length = 40 } }, &diag));
    try session.propose(&.{4}, &diag);
    try std.testing.expectError(error.TokenOutOfRange, session.propose(&.{vocab}, &diag));
    try std.testing.expectError(error.BadOption, session.start(.{
        .tokens = &.{3},
        .max_tokens = 2,
        .draft = .{ .source = .ngram },
        .banned = "\x01\x00\x00\x00a",
    }, &diag));
    try session.openGate(&.{ 2, 2 }, &diag);
    try std.testing.expectError(error.BadOption, session.start(.{ .tokens = &.{3}, .max_tokens = 2, .draft = .{ .source = .ngram } }, &diag));
    try std.testing.expectEqualStrings("expected a session without hooks for drafts, whose wrong guesses hooks would see too, found one with hooks", diag.text());
    try session.openGate(&.{}, &diag);
    try session.start(.{ .tokens = &.{3}, .max_tokens = 200, .draft = .{ .source = .ngram }, .ignore_eog = true }, &diag);
    session.propose(&.{4}, &diag) catch |err| try std.testing.expectEqual(error.BadOption, err);
    session.cancel();
    session.wait();
}
