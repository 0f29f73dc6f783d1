//! Caches that evict tokens, or whose pages belong to a pool with a limit, and keep the first and the last
//! tokens at full precision.

const std = @import("std");
const cache = @import("../cache.zig");
const evict = @import("../evict.zig");
const kernel = @import("../kernel.zig");
const kv_view = @import("kv_view.zig");
const limited_pool = @import("limited_pool.zig");
const tiny_model = @import("tiny_model.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const session_module = @import("session.zig");
const Session = session_module.Session;
const session_test = @import("session_test.zig");
const Fixture = session_test.Fixture;
const Window = cache.Layout.Window;

const gpa = std.testing.allocator;
const dim = 32;
const text: [330]u32 = blk: {
    @setEvalBranchQuota(100_000);
    break :blk session_test.someTokens(330);
};

const shape: tiny_model.Shape = .{ .head_dim = dim };
const sliding: tiny_model.Shape = .{ .head_dim = dim, .architecture = "gemma3", .layers = 7, .window = 33 };

const window: Window = .{ .sinks = 3, .recent = 40 };
const windows: [7]Window = blk: {
    var all: [7]Window = @splat(window);
    all[1] = .{ .recent = 9 };
    break :blk all;
};

const policies = [_]evict.Options{
    .{ .policy = .sliding_window, .budget = 60, .sinks = 4, .recent = 56, .every = 1, .cache_positions = true },
    .{ .policy = .sliding_window, .budget = 90, .sinks = 5, .recent = 85, .every = 50 },
    .{ .policy = .h2o, .budget = 60, .recent = 20, .every = 4 },
    .{ .policy = .tova, .budget = 90, .every = 30 },
    .{ .policy = .snap_kv, .budget = 50, .window = 16, .pooling = 5 },
};

fn narrow(of: tiny_model.Shape, policy: ?evict.Options) session_module.Options {
    return .{ .context = 400, .key_format = .q4_0, .value_format = .q5_1, .windows = windows[0..of.layers], .evict = policy };
}

fn read(session: *Session, tokens: []const u32) !void {
    var diag: Diagnostic = .{};
    try session.start(.{ .tokens = tokens }, &diag);
    session.wait();
}

fn rows(session: *Session, side: kernel.KvSide, out: []f32) !void {
    var diag: Diagnostic = .{};
    const part: kv_view.Part = .{ .side = side, .view = .decoded, .layer = 0, .head = 1, .from = 0, .to = session.sequence.len };
    try kv_view.read(session, part, std.mem.sliceAsBytes(out), &diag);
}

test "windows: of what stays, min(n, sinks + recent) tokens are at full precision after every step" {
    var fixture = try Fixture.init(shape, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    // Keys and values of the first layer follow from their tokens and places alone.
    var whole: [2][2][330 * dim]f32 = undefined;
    for (&whole, [_]session_module.Options{ .{ .context = 400 }, .{ .context = 400, .key_format = .q4_0, .value_format = .q5_1 } }) |*of, given| {
        const session = try Session.create(fixture.model, given, &diag);
        defer session.destroy();
        try read(session, &text);
        for (of, [_]kernel.KvSide{ .key, .value }) |*values, side| try rows(session, side, values);
    }
    for (policies) |policy| {
        errdefer std.debug.print("{t}\n", .{policy.policy});
        const session = try Session.create(fixture.model, narrow(shape, policy), &diag);
        defer session.destroy();
        var at: usize = 0;
        for ([_]usize{ 1, 30, 15, 60, 64, 1, 3, 1, 1, 90 }) |count| {
            try read(session, text[at..][0..count]);
            at += count;
            const n = session.sequence.len;
            const evictor = session.evictor.?;
            var full: u32 = 0;
            for ([_]kernel.KvSide{ .key, .value }, 0..) |side, s| {
                var found: [330 * dim]f32 = undefined;
                try rows(session, side, found[0 .. n * dim]);
                for (0..n) |slot| {
                    const place = evictor.places[slot];
                    // Sinks that are turned on have other keys than those of the text.
                    if (side == .key and evictor.rotationOf(@intCast(slot)) != place) continue;
                    const is_full = slot < window.sinks or slot + window.recent >= n;
                    const expected = whole[@intFromBool(!is_full)][s][place * dim ..][0..dim];
                    try session_test.expectSameBits(expected, found[slot * dim ..][0..dim]);
                    full += @intFromBool(is_full and side == .value);
                }
            }
            try std.testing.expectEqual(@min(n, window.sinks + window.recent), full);
        }
        try std.testing.expect(session.length < evicted(session));
    }
}

/// Tokens that the text has.
fn evicted(session: *const Session) u32 {
    return session.evictor.?.next;
}

test "windows: with eviction the same bits for all pieces and threads, and in forks" {
    for ([_]tiny_model.Shape{ shape, sliding }) |of| for (policies) |policy| {
        var expected: ?[]f32 = null;
        defer if (expected) |bits| gpa.free(bits);
        for ([_]u32{ 1, 2 }) |threads| {
            // A prompt's end is a place of its own for this one.
            if (policy.policy == .snap_kv and threads != 1) continue;
            var fixture = try Fixture.init(of, .{ .threads = threads });
            defer fixture.deinit();
            const piece: usize = if (threads == 1) 140 else 37;
            const found = try fixture.logits(narrow(of, policy), text[0..140], piece);
            if (expected) |bits| {
                defer gpa.free(found);
                try session_test.expectSameBits(bits, found);
            } else expected = found;
            if (threads != 1) continue;
            var diag: Diagnostic = .{};
            const session = try Session.create(fixture.model, narrow(of, policy), &diag);
            defer session.destroy();
            try read(session, text[0..110]);
            var forks: [1]*Session = undefined;
            try session.fork(&forks, &diag);
            defer forks[0].destroy();
            for ([_]*Session{ session, forks[0] }) |one| try read(one, text[110..140]);
            var logits: [2][80]f32 = undefined;
            for ([_]*Session{ session, forks[0] }, &logits) |one, *to| try one.copyLogits(to, &diag);
            try session_test.expectSameBits(&logits[0], &logits[1]);
        }
    };
}

test "windows: sinks that are turned on are at full precision" {
    // With one layer, what stays is as if nothing else had been there.
    const one_layer: tiny_model.Shape = .{ .layers = 1, .head_dim = dim };
    var fixture = try Fixture.init(one_layer, .{ .threads = 1, .precision = .float });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    var given = narrow(one_layer, policies[0]);
    given.exact_format = .f32;
    const session = try Session.create(fixture.model, given, &diag);
    defer session.destroy();
    try read(session, text[0..250]);
    var kept: [64]u32 = undefined;
    const count = session.position();
    try session.copyTokens(kept[0..count], &diag);
    given.evict = null;
    const fresh = try Session.create(fixture.model, given, &diag);
    defer fresh.destroy();
    try read(fresh, kept[0..count]);
    var found: [64 * dim]f32 = undefined;
    var expected: [64 * dim]f32 = undefined;
    for ([_]*Session{ session, fresh }, [_][]f32{ &found, &expected }) |of, to| {
        const part: kv_view.Part = .{ .side = .key, .view = .unrotated, .layer = 0, .head = 0, .from = 0, .to = count };
        try kv_view.read(of, part, std.mem.sliceAsBytes(to[0 .. count * dim]), &diag);
    }
    for (0..count * dim) |i| if (i < 3 * dim or i >= (count - 40) * dim) {
        try std.testing.expectApproxEqAbs(expected[i], found[i], 1e-5);
    };
}

test "windows: policies that leave no room for tokens at full precision are refused" {
    var fixture = try Fixture.init(shape, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const small = narrow(shape, .{ .policy = .tova, .budget = 42 });
    try std.testing.expectError(error.BadOption, Session.create(fixture.model, small, &diag));
    try std.testing.expect(std.mem.indexOf(u8, diag.text(), "found 42 for 3 sinks and 40 recent ones") != null);
    var grouped = narrow(shape, .{ .policy = .tova, .budget = 60 });
    grouped.key_format = .int4;
    var wide: [2]Window = @splat(.{ .recent = 40 });
    grouped.windows = &wide;
    diag.len = 0;
    try std.testing.expectError(error.BadOption, Session.create(fixture.model, grouped, &diag));
    try std.testing.expect(std.mem.indexOf(u8, diag.text(), "token by token") != null);
}

test "windows: a pool with a limit gives them their bits, and computes what it takes" {
    var fixture = try Fixture.init(shape, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const given = narrow(shape, null);
    const pool = try limited_pool.create(fixture.model, .{
        .pages = 6,
        .when_full = .evict,
        .key_format = given.key_format,
        .value_format = given.value_format,
        .windows = given.windows,
    }, &diag);
    defer pool.release();
    var logits: [3][80]f32 = undefined;
    const alone = try Session.create(fixture.model, given, &diag);
    defer alone.destroy();
    try read(alone, text[0..250]);
    try read(alone, text[250..300]);
    try alone.copyLogits(&logits[0], &diag);
    var sessions: [2]*Session = undefined;
    for (&sessions) |*session| session.* = try Session.create(fixture.model, .{ .context = 400, .pool = pool }, &diag);
    defer for (sessions) |session| session.destroy();
    for (sessions) |session| try read(session, text[0..250]);
    // Both have four pages of the six: one of them had to give pages up, and gets them back.
    try std.testing.expect(sessions[0].sequence.len < 250);
    for (sessions, logits[1..]) |session, *to| {
        try read(session, text[250..300]);
        try session.copyLogits(to, &diag);
        try session_test.expectSameBits(&logits[0], to);
        try std.testing.expectEqual(0, session.stats.reused_tokens);
    }
    // A request that finds the pool full leaves the session as it was.
    try sessions[0].truncate(0, &diag);
    pool.limit.?.when_full = .fail;
    try read(sessions[0], text[0..60]);
    const before = sessions[0].position();
    try read(sessions[0], text[60..320]);
    try std.testing.expect(sessions[0].pool_full);
    try std.testing.expectEqual(before, sessions[0].position());
    try sessions[1].truncate(0, &diag);
    try read(sessions[0], text[60..250]);
    try read(sessions[0], text[250..300]);
    try sessions[0].copyLogits(&logits[1], &diag);
    try session_test.expectSameBits(&logits[0], &logits[1]);
}
