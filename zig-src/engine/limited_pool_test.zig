//! Sessions of a pool with a limit: that sharing, taking away and waiting change no bit, that a request
//! that finds no page loses nothing, and that nobody waits for ever.

const std = @import("std");
const cache = @import("../cache.zig");
const probe = @import("../probe.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const limited_pool = @import("limited_pool.zig");
const session_module = @import("session.zig");
const Session = session_module.Session;
const session_test = @import("session_test.zig");
const Fixture = session_test.Fixture;

const gpa = std.testing.allocator;
const page_len = cache.page_len;
const vocab = 80;
const long = blk: {
    @setEvalBranchQuota(100_000);
    break :blk session_test.someTokens(400);
};

fn poolOf(fixture: *Fixture, pages: u32, when_full: cache.WhenFull) !*cache.Pool {
    var diag: Diagnostic = .{};
    return limited_pool.create(fixture.model, .{ .pages = pages, .when_full = when_full }, &diag);
}

fn sessionOf(fixture: *Fixture, pool: ?*cache.Pool) !*Session {
    var diag: Diagnostic = .{};
    return Session.create(fixture.model, .{ .context = 512, .pool = pool }, &diag);
}

fn read(session: *Session, tokens: []const u32) !void {
    var diag: Diagnostic = .{};
    try session.start(.{ .tokens = tokens }, &diag);
    session.wait();
}

fn generate(session: *Session, tokens: []const u32, count: u32) !void {
    var diag: Diagnostic = .{};
    try session.start(.{ .tokens = tokens, .max_tokens = count, .seed = 4, .ignore_eog = true }, &diag);
    session.wait();
}

const State = struct {
    tokens: []u32,
    logits: [vocab]f32,

    fn of(session: *Session) !State {
        var diag: Diagnostic = .{};
        var state: State = .{ .tokens = try gpa.alloc(u32, session.position()), .logits = undefined };
        errdefer gpa.free(state.tokens);
        try session.copyTokens(state.tokens, &diag);
        try session.copyLogits(&state.logits, &diag);
        return state;
    }

    fn deinit(state: State) void {
        gpa.free(state.tokens);
    }

    fn expect(state: State, session: *Session) !void {
        const found: State = try .of(session);
        defer found.deinit();
        try std.testing.expectEqualSlices(u32, state.tokens, found.tokens);
        try session_test.expectSameBits(&state.logits, &found.logits);
    }

    /// What a session with a cache of its own has after that.
    fn alone(fixture: *Fixture, prompt: []const u32, count: u32) !State {
        const session = try sessionOf(fixture, null);
        defer session.destroy();
        try generate(session, prompt, count);
        return .of(session);
    }
};

test "a session takes the pages of another one's prompt, to the bit" {
    var fixture = try Fixture.init(.{ .context = 512 }, .{ .threads = 2, .batch_rows = 100 });
    defer fixture.deinit();
    const pool = try poolOf(&fixture, 30, .fail);
    defer pool.release();
    const expected: State = try .alone(&fixture, long[0..300], 20);
    defer expected.deinit();
    const one = try sessionOf(&fixture, pool);
    try generate(one, long[0..300], 20);
    try expected.expect(one);
    try std.testing.expectEqual(0, one.stats.reused_tokens);
    const two = try sessionOf(&fixture, pool);
    defer two.destroy();
    try generate(two, long[0..300], 20);
    try expected.expect(two);
    try std.testing.expectEqual(4 * page_len, two.stats.reused_tokens);
    try std.testing.expectEqual(300 - 4 * page_len, two.stats.prefill_tokens);
    // Each has a last page of its own.
    try std.testing.expectEqual(6, pool.counts().used);
    one.destroy();
    try std.testing.expectEqual(5, pool.counts().used);
    var diag: Diagnostic = .{};
    // A beginning of it in two parts, another continuation; and what was free is found too.
    const three = try sessionOf(&fixture, pool);
    defer three.destroy();
    try read(three, long[0..70]);
    try std.testing.expectEqual(page_len, three.stats.reused_tokens);
    try read(three, long[70..200]);
    // The page was begun by itself, so it can't be taken whole; the next one can't either.
    try std.testing.expectEqual(0, three.stats.reused_tokens);
    try three.truncate(3 * page_len, &diag);
    try generate(three, long[3 * page_len .. 300], 20);
    try std.testing.expectEqual(page_len, three.stats.reused_tokens);
    try expected.expect(three);
}

test "log-probabilities and logits of all tokens are computed, hooks see all, and what they change is not shared" {
    var fixture = try Fixture.init(.{ .context = 512 }, .{ .threads = 2 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const pool = try poolOf(&fixture, 30, .fail);
    defer pool.release();
    const expected: State = try .alone(&fixture, long[0..200], 5);
    defer expected.deinit();

    const Zero = struct {
        fn wants(_: *anyopaque, point: probe.Point, layer: u32) bool {
            return point == .attn_out and layer == 0;
        }
        fn observe(context: *anyopaque, _: probe.Point, _: u32, _: u32, values: []f32, width: u32) void {
            const rows: *usize = @ptrCast(@alignCast(context));
            rows.* += values.len / width;
            @memset(values, 0);
        }
    };
    var rows: usize = 0;
    const changed = try sessionOf(&fixture, pool);
    defer changed.destroy();
    try changed.observe(.{ .context = &rows, .wants = Zero.wants, .observe = Zero.observe }, &diag);
    try read(changed, long[0..200]);
    try std.testing.expectEqual(200, rows);
    const plain = try sessionOf(&fixture, pool);
    defer plain.destroy();
    try generate(plain, long[0..200], 5);
    try std.testing.expectEqual(0, plain.stats.reused_tokens);
    try expected.expect(plain);
    // Its hook sees all rows again.
    try changed.truncate(0, &diag);
    try read(changed, long[0..200]);
    try std.testing.expectEqual(400, rows);
    try std.testing.expectEqual(0, changed.stats.reused_tokens);

    const all = try sessionOf(&fixture, pool);
    defer all.destroy();
    try all.start(.{ .tokens = long[0..200], .all_logits = true, .prompt_logprobs = true }, &diag);
    all.wait();
    try std.testing.expectEqual(200, all.allLogitsRows());
    try std.testing.expectEqual(0, all.stats.reused_tokens);
}

test "a full pool is an error that loses nothing" {
    var fixture = try Fixture.init(.{ .context = 512 }, .{ .threads = 1, .batch_rows = 50 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const pool = try poolOf(&fixture, 4, .fail);
    defer pool.release();
    const one = try sessionOf(&fixture, pool);
    defer one.destroy();
    try generate(one, long[0..100], 6);
    const before: State = try .of(one);
    defer before.deinit();
    const other = try sessionOf(&fixture, pool);
    // While it reads, it takes nothing.
    try read(other, long[100..400]);
    try std.testing.expect(other.pool_full);
    try std.testing.expect(std.mem.indexOf(u8, other.failure.text(), "4 pages") != null);
    try std.testing.expectEqual(0, other.position());
    try std.testing.expectEqual(2, pool.counts().used);
    try read(one, long[100..400]);
    try std.testing.expect(one.pool_full);
    try before.expect(one);
    // While it generates, what it has said stays.
    try read(other, long[100..200]);
    try generate(one, &.{}, 100);
    try std.testing.expect(one.pool_full);
    try std.testing.expectEqual(129, one.position());
    other.destroy();
    try generate(one, &.{}, 129 - 106);
    try std.testing.expect(!one.pool_full);
    const expected: State = try .alone(&fixture, long[0..100], 6);
    defer expected.deinit();
    try one.truncate(106, &diag);
    try read(one, &.{});
    var tokens: [106]u32 = undefined;
    try one.copyTokens(&tokens, &diag);
    try std.testing.expectEqualSlices(u32, expected.tokens, &tokens);
}

test "pages of the session that was idle longest are taken, and computed again to the bit" {
    var fixture = try Fixture.init(.{ .context = 512 }, .{ .threads = 2, .batch_rows = 64 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const pool = try poolOf(&fixture, 7, .evict);
    defer pool.release();
    var sessions: [3]*Session = undefined;
    for (&sessions, 0..) |*session, i| {
        session.* = try sessionOf(&fixture, pool);
        try generate(session.*, long[i .. i + 130], 10);
    }
    defer for (sessions) |session| session.destroy();
    // Three pages each: the first has lost two, its last ones.
    try std.testing.expectEqual(page_len, sessions[0].sequence.len);
    try std.testing.expectEqual(140, sessions[0].position());
    try std.testing.expectEqual(139, sessions[1].sequence.len);
    var key: [16 * 4]u8 align(4) = undefined;
    const part: @import("kv_view.zig").Part = .{ .side = .key, .view = .decoded, .layer = 0, .head = 0, .from = 0, .to = 1 };
    try std.testing.expectError(error.NotReady, @import("kv_view.zig").read(sessions[0], part, &key, &diag));
    try std.testing.expect(std.mem.indexOf(u8, diag.text(), "from 64 on") != null);
    for (sessions, 0..) |session, i| {
        const expected: State = try .alone(&fixture, long[i .. i + 130], 10);
        defer expected.deinit();
        // Those it was sampled from.
        try expected.expect(session);
    }
    // Going on computes them again; a truncated one, a fork, and one whose tokens are scored, too.
    for (sessions, 0..) |session, i| {
        const alone = try sessionOf(&fixture, null);
        defer alone.destroy();
        try generate(alone, long[i .. i + 130], 10);
        try generate(alone, long[200..210], 10);
        const expected: State = try .of(alone);
        defer expected.deinit();
        const lost = session.length - session.sequence.len;
        var forks: [1]*Session = undefined;
        if (i == 1) try session.fork(&forks, &diag);
        defer if (i == 1) forks[0].destroy();
        const going = if (i == 1) forks[0] else session;
        try generate(going, long[200..210], 10);
        try expected.expect(going);
        if (i == 0) try std.testing.expectEqual(75, going.stats.reevaluated_tokens);
        try std.testing.expectEqual(lost, going.stats.reevaluated_tokens + going.stats.reused_tokens);
    }
    const alone = try sessionOf(&fixture, null);
    defer alone.destroy();
    try read(alone, long[0..90]);
    try alone.start(.{ .tokens = long[90..120], .all_logits = true }, &diag);
    alone.wait();
    try sessions[0].truncate(90, &diag);
    sessions[0].lock();
    sessions[0].sequence.evictLast();
    sessions[0].sequence.evictLast();
    sessions[0].unlock();
    try sessions[0].start(.{ .tokens = long[90..120], .all_logits = true, .prompt_logprobs = true }, &diag);
    sessions[0].wait();
    try std.testing.expectEqual(30, sessions[0].allLogitsRows());
    for (0..30) |row| {
        var a: [vocab]f32 = undefined;
        var b: [vocab]f32 = undefined;
        try alone.copyAllLogits(@intCast(row), &a, &diag);
        try sessions[0].copyAllLogits(@intCast(row), &b, &diag);
        try session_test.expectSameBits(&a, &b);
    }
}

test "requests that run together share what there is, whatever a full pool does" {
    var fixture = try Fixture.init(.{ .context = 512 }, .{ .threads = 2, .batch_rows = 64 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    // Alone each needs five pages; together they have eight.
    const pool = try poolOf(&fixture, 8, .evict);
    defer pool.release();
    var sessions: [4]*Session = undefined;
    for (&sessions) |*session| session.* = try sessionOf(&fixture, pool);
    defer for (sessions) |session| session.destroy();
    for (sessions, 0..) |session, i| try session.start(.{ .tokens = long[i .. i + 200], .max_tokens = 100, .seed = 4, .ignore_eog = true }, &diag);
    for (sessions) |session| session.wait();
    var again: u64 = 0;
    for (sessions, 0..) |session, i| {
        try std.testing.expect(!session.pool_full);
        again += session.stats.reevaluated_tokens + session.stats.waits;
        const expected: State = try .alone(&fixture, long[i .. i + 200], 100);
        defer expected.deinit();
        try expected.expect(session);
    }
    try std.testing.expect(again != 0);
    // What alone doesn't fit is an error.
    const small = try poolOf(&fixture, 4, .evict);
    defer small.release();
    const large = try sessionOf(&fixture, small);
    defer large.destroy();
    try read(large, long[0..300]);
    try std.testing.expect(large.pool_full);
    try std.testing.expectEqual(0, large.position());
}

test "who waits goes on when pages come free, can be cancelled, and fails when they never can" {
    var fixture = try Fixture.init(.{ .context = 512 }, .{ .threads = 2, .batch_rows = 64 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const pool = try poolOf(&fixture, 4, .wait);
    defer pool.release();
    const holder = try sessionOf(&fixture, pool);
    try read(holder, long[100..300]);
    const waiter = try sessionOf(&fixture, pool);
    defer waiter.destroy();
    try waiter.start(.{ .tokens = long[0..100], .max_tokens = 3, .seed = 4, .ignore_eog = true }, &diag);
    while (blockedSince(waiter) == null) std.Thread.yield() catch {};
    try std.testing.expect(waiter.running.load(.acquire));
    waiter.cancel();
    waiter.wait();
    try waiter.truncate(0, &diag);
    try waiter.start(.{ .tokens = long[0..100], .max_tokens = 3, .seed = 4, .ignore_eog = true }, &diag);
    while (blockedSince(waiter) == null) std.Thread.yield() catch {};
    try holder.truncate(100, &diag);
    waiter.wait();
    try std.testing.expectEqual(1, waiter.stats.waits);
    const expected: State = try .alone(&fixture, long[0..100], 3);
    defer expected.deinit();
    try expected.expect(waiter);
    // Both want more than there is: the second one fails, and its pages serve the first.
    try holder.start(.{ .tokens = long[300..400], .max_tokens = 20, .ignore_eog = true }, &diag);
    while (blockedSince(holder) == null) std.Thread.yield() catch {};
    try waiter.start(.{ .tokens = long[200..300], .max_tokens = 20, .ignore_eog = true }, &diag);
    waiter.wait();
    try std.testing.expect(waiter.pool_full);
    try std.testing.expectEqual(103, waiter.position());
    try std.testing.expect(std.mem.indexOf(u8, waiter.failure.text(), "all who hold") != null);
    try std.testing.expect(holder.running.load(.acquire));
    try waiter.truncate(0, &diag);
    holder.wait();
    try std.testing.expect(!holder.pool_full);
    try std.testing.expectEqual(220, holder.position());
    holder.destroy();
    // Alone, and too long.
    try read(waiter, long[0..300]);
    try std.testing.expect(waiter.pool_full);
    try std.testing.expectEqual(0, waiter.position());
}

test "who waits gets the pages of a session that was in use for a moment" {
    var fixture = try Fixture.init(.{ .context = 512 }, .{ .threads = 2, .batch_rows = 64 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const pool = try poolOf(&fixture, 4, .evict);
    defer pool.release();
    const holder = try sessionOf(&fixture, pool);
    defer holder.destroy();
    try read(holder, long[100..300]);
    const waiter = try sessionOf(&fixture, pool);
    defer waiter.destroy();
    {
        // As a fork, a reader or a save has it.
        holder.lock();
        defer holder.unlock();
        try waiter.start(.{ .tokens = long[0..100], .max_tokens = 3, .seed = 4, .ignore_eog = true }, &diag);
        while (blockedSince(waiter) == null) std.Thread.yield() catch {};
    }
    const io = std.Io.Threaded.global_single_threaded.io();
    for (0..1000) |_| {
        if (!waiter.running.load(.acquire)) break;
        try io.sleep(.fromMilliseconds(10), .awake);
    }
    try std.testing.expect(!waiter.running.load(.acquire));
    const expected: State = try .alone(&fixture, long[0..100], 3);
    defer expected.deinit();
    try expected.expect(waiter);
}

fn blockedSince(session: *Session) ?i96 {
    const scheduler = &session.model.scheduler;
    const io = std.Io.Threaded.global_single_threaded.io();
    scheduler.mutex.lockUncancelable(io);
    defer scheduler.mutex.unlock(io);
    return session.blocked;
}

test "pools, sessions and forks from several threads" {
    var fixture = try Fixture.init(.{ .context = 512 }, .{ .threads = 2, .batch_rows = 64 });
    defer fixture.deinit();
    const pool = try poolOf(&fixture, 12, .evict);
    defer pool.release();
    const expected: State = try .alone(&fixture, long[0..150], 8);
    defer expected.deinit();
    const Worker = struct {
        fn run(of: *Fixture, from: *cache.Pool, wanted: *const State, failed: *std.atomic.Value(bool)) void {
            work(of, from, wanted) catch failed.store(true, .monotonic);
        }

        fn work(of: *Fixture, from: *cache.Pool, wanted: *const State) !void {
            var diag: Diagnostic = .{};
            for (0..6) |round| {
                const session = try sessionOf(of, from);
                defer session.destroy();
                try generate(session, long[0..150], 8);
                try wanted.expect(session);
                var forks: [1]*Session = undefined;
                try session.fork(&forks, &diag);
                defer forks[0].destroy();
                try generate(forks[0], long[round .. round + 40], 5);
                try session.truncate(140, &diag);
                try generate(session, long[140..150], 8);
                try wanted.expect(session);
            }
        }
    };
    var failed: std.atomic.Value(bool) = .init(false);
    var threads: [3]std.Thread = undefined;
    for (&threads) |*thread| thread.* = try std.Thread.spawn(.{}, Worker.run, .{ &fixture, pool, &expected, &failed });
    for (threads) |thread| thread.join();
    try std.testing.expect(!failed.load(.monotonic));
    try std.testing.expectEqual(0, pool.counts().used);
}

test "a pool is refused with the reason" {
    var fixture = try Fixture.init(.{}, .{ .threads = 1 });
    defer fixture.deinit();
    for ([_]limited_pool.Options{
        .{},
        .{ .bytes = 100 },
        .{ .bytes = std.math.nan(f64) },
        .{ .bytes = 1e300 },
        .{ .pages = 0xffff_ffff },
        .{ .pages = 1, .key_format = .q4_0 },
    }) |options| {
        var diag: Diagnostic = .{};
        try std.testing.expectError(error.BadOption, limited_pool.create(fixture.model, options, &diag));
        try std.testing.expect(std.mem.startsWith(u8, diag.text(), "expected"));
    }
    var diag: Diagnostic = .{};
    const pool = try limited_pool.create(fixture.model, .{ .bytes = 100_000 }, &diag);
    defer pool.release();
    // Two layers of two heads, 16 values of two bytes, both sides, 64 tokens.
    try std.testing.expectEqual(100_000 / (2 * 2 * 16 * 2 * 2 * 64), pool.pageCount());
    const own = try Session.create(fixture.model, .{}, &diag);
    defer own.destroy();
    const shared = try Session.create(fixture.model, .{ .pool = pool }, &diag);
    defer shared.destroy();
    try std.testing.expectError(error.Foreign, own.exchange(shared, &diag));
}
