//! Sessions that evict: against windows of the attention kernels, against fresh sessions with only the tokens
//! that stay, and that pieces, threads, batches and forks change no bit.

const std = @import("std");
const cache = @import("../cache.zig");
const evict = @import("../evict.zig");
const kv_view = @import("kv_view.zig");
const limited_pool = @import("limited_pool.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const session_module = @import("session.zig");
const Session = session_module.Session;
const session_test = @import("session_test.zig");
const Fixture = session_test.Fixture;
const tiny_model = @import("tiny_model.zig");

const gpa = std.testing.allocator;
const vocab = 80;
const text = blk: {
    @setEvalBranchQuota(100_000);
    break :blk session_test.someTokens(300);
};

const full: session_module.Options = .{ .key_format = .f32, .value_format = .f32 };

fn options(policy: evict.Options) session_module.Options {
    var result = full;
    result.evict = policy;
    return result;
}

fn window(sinks: u32, recent: u32, every: u32) evict.Options {
    return .{ .policy = .sliding_window, .budget = sinks + recent, .every = every, .sinks = sinks, .recent = recent, .cache_positions = true };
}

fn read(session: *Session, tokens: []const u32) !void {
    var diag: Diagnostic = .{};
    try session.start(.{ .tokens = tokens }, &diag);
    session.wait();
    try std.testing.expect(session.logits_valid);
}

fn logitsOf(session: *Session) ![vocab]f32 {
    var diag: Diagnostic = .{};
    var logits: [vocab]f32 = undefined;
    try session.copyLogits(&logits, &diag);
    return logits;
}

fn expectNear(expected: []const f32, found: []const f32, tolerance: f32) !void {
    for (expected, found) |a, b| try std.testing.expectApproxEqAbs(a, b, tolerance);
}

fn expectPositions(session: *Session, expected: []const u32) !void {
    const evictor = session.evictor.?;
    var found: [512]u32 = undefined;
    for (evictor.order(session.length), found[0..session.length]) |slot, *position| position.* = evictor.places[slot];
    try std.testing.expectEqualSlices(u32, expected, found[0..session.length]);
}

test "a window of the cache is the window of the attention kernel" {
    const few = text[0..170];
    // All five layers slide; with the wide window they never reach its end.
    const shape: tiny_model.Shape = .{ .architecture = "gemma3", .layers = 5, .window = 70, .head_dim = 32, .context = 512 };
    var wide_shape = shape;
    wide_shape.window = 500;
    var narrow = try Fixture.init(shape, .{ .threads = 2, .precision = .float });
    defer narrow.deinit();
    var wide = try Fixture.init(wide_shape, .{ .threads = 2, .precision = .float });
    defer wide.deinit();
    const expected = try narrow.logits(full, few, few.len);
    defer gpa.free(expected);
    const whole = try wide.logits(full, few, few.len);
    defer gpa.free(whole);
    for ([_]bool{ true, false }) |cache_positions| {
        var policy = window(0, 69, 1);
        policy.cache_positions = cache_positions;
        const found = try wide.logits(options(policy), few, 37);
        defer gpa.free(found);
        var largest: f32 = 0;
        for (whole, expected) |a, b| largest = @max(largest, @abs(a - b));
        try std.testing.expect(largest > 0.05);
        try expectNear(expected, found, 2e-4);
    }
}

test "with one layer, what stays is as if nothing else had been there" {
    // Keys and values of the first layer follow from their tokens alone.
    var fixture = try Fixture.init(.{ .layers = 1, .head_dim = 32 }, .{ .threads = 2, .precision = .float });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    for ([_]u32{ 1, 7, 64 }) |every| for ([_]u32{ 90, 150, 299 }) |len| {
        const session = try Session.create(fixture.model, options(window(4, 60, every)), &diag);
        defer session.destroy();
        try read(session, text[0..len]);
        // The last token has seen what stayed before it came.
        var kept: [256]u32 = undefined;
        var tokens: [256]u32 = undefined;
        const count = session.position();
        try session.copyTokens(tokens[0..count], &diag);
        const recent = count - 4;
        @memcpy(kept[0..4], text[0..4]);
        @memcpy(kept[4..][0..recent], text[len - recent .. len]);
        try std.testing.expectEqualSlices(u32, kept[0..count], tokens[0..count]);
        try std.testing.expectEqual(len - count, session.stats.evicted_tokens);
        const fresh = try Session.create(fixture.model, full, &diag);
        defer fresh.destroy();
        try read(fresh, kept[0..count]);
        try expectNear(&try logitsOf(fresh), &try logitsOf(session), 2e-5);
        // Read back as if it had never been turned, in the order of the text.
        var a: [256 * 32 * 4]u8 align(4) = undefined;
        var b: [256 * 32 * 4]u8 align(4) = undefined;
        const part: kv_view.Part = .{ .side = .key, .view = .unrotated, .layer = 0, .head = 1, .from = 0, .to = count };
        try kv_view.read(session, part, a[0 .. count * 32 * 4], &diag);
        try kv_view.read(fresh, part, b[0 .. count * 32 * 4], &diag);
        try expectNear(@ptrCast(b[0 .. count * 32 * 4]), @ptrCast(a[0 .. count * 32 * 4]), 2e-5);
        // Forgetting the last ones, and going on, too.
        try session.truncate(40, &diag);
        try fresh.truncate(40, &diag);
        for ([_]*Session{ session, fresh }) |one| try read(one, text[0..9]);
        try expectNear(&try logitsOf(fresh), &try logitsOf(session), 2e-5);
        try session.truncate(2, &diag);
        try fresh.truncate(2, &diag);
        for ([_]*Session{ session, fresh }) |one| try read(one, text[20..30]);
        try expectNear(&try logitsOf(fresh), &try logitsOf(session), 2e-5);
        try session.truncate(1, &diag);
        try fresh.truncate(1, &diag);
        for ([_]*Session{ session, fresh }) |one| try read(one, &.{});
        try expectNear(&try logitsOf(fresh), &try logitsOf(session), 2e-5);
    };
}

const policies = [_]evict.Options{
    window(3, 30, 1),
    window(3, 90, 16),
    .{ .policy = .sliding_window, .budget = 40, .sinks = 4, .recent = 36, .every = 3 },
    .{ .policy = .h2o, .budget = 40, .recent = 20, .every = 4 },
    .{ .policy = .tova, .budget = 70, .every = 1 },
    .{ .policy = .snap_kv, .budget = 40, .window = 16, .pooling = 5 },
};

test "pieces, threads, and who is in the batch change no bit" {
    for (policies) |policy| {
        var expected: ?[vocab]f32 = null;
        var positions: std.ArrayList(u32) = .empty;
        defer positions.deinit(gpa);
        // More threads than there may be cores take long, so they get one of the pieces.
        for ([_][2]u32{ .{ 1, 256 }, .{ 1, 5 }, .{ 2, 5 } }) |pair| {
            const threads, const chunk = pair;
            var fixture = try Fixture.init(.{ .context = 512 }, .{ .threads = threads });
            defer fixture.deinit();
            var diag: Diagnostic = .{};
            var given = options(policy);
            given.key_format = .q8_0;
            given.key_format = .f16;
            given.chunk = chunk;
            given.context = 400;
            const session = try Session.create(fixture.model, given, &diag);
            defer session.destroy();
            const other = try Session.create(fixture.model, full, &diag);
            defer other.destroy();
            if (chunk == 5) try other.start(.{ .tokens = text[7..100], .max_tokens = 40, .ignore_eog = true }, &diag);
            try session.start(.{ .tokens = text[0..130], .max_tokens = 30, .seed = 3, .ignore_eog = true }, &diag);
            session.wait();
            other.wait();
            const logits = try logitsOf(session);
            const evictor = session.evictor.?;
            if (expected) |bits| {
                try session_test.expectSameBits(&bits, &logits);
                for (evictor.order(session.length), positions.items) |slot, position| try std.testing.expectEqual(position, evictor.places[slot]);
            } else {
                expected = logits;
                for (evictor.order(session.length)) |slot| try positions.append(gpa, evictor.places[slot]);
                try std.testing.expect(session.length < 110);
            }
        }
    }
}

test "forks, and pages that forks hold, stay what they are" {
    var fixture = try Fixture.init(.{ .context = 512 }, .{ .threads = 2 });
    defer fixture.deinit();
    for (policies) |policy| {
        var diag: Diagnostic = .{};
        var given = options(policy);
        given.context = 400;
        const session = try Session.create(fixture.model, given, &diag);
        defer session.destroy();
        try read(session, text[0..180]);
        var forks: [2]*Session = undefined;
        try session.fork(&forks, &diag);
        defer for (forks) |other| other.destroy();
        try read(forks[0], text[180..260]);
        const first = try logitsOf(forks[0]);
        try read(session, text[200..220]);
        try read(forks[1], text[180..260]);
        try session_test.expectSameBits(&first, &try logitsOf(forks[1]));
    }
}

test "random numbers follow the text, and generation has no end" {
    var fixture = try Fixture.init(.{ .context = 512 }, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const session = try Session.create(fixture.model, options(window(2, 20, 1)), &diag);
    defer session.destroy();
    try std.testing.expectEqual(24, session.settings.context);
    const before = session.sequence.pool.pageCount();
    try session.start(.{ .tokens = text[0..10], .max_tokens = 700, .seed = 1, .ignore_eog = true }, &diag);
    var records: [64 << 10]u8 = undefined;
    while (!session.take(&records).done) std.Thread.yield() catch {};
    // The last one is not evaluated yet, and nothing has gone for it.
    try std.testing.expectEqual(24, session.position());
    try std.testing.expectEqual(10 + 699 - 23, session.stats.evicted_tokens);
    try std.testing.expectEqual(before, session.sequence.pool.pageCount());
    var seen: [vocab]bool = @splat(false);
    var tokens: [24]u32 = undefined;
    try session.copyTokens(&tokens, &diag);
    for (tokens) |token| seen[token] = true;
    var different: usize = 0;
    for (seen) |is| different += @intFromBool(is);
    // One uniform number for every draw would give a few tokens only.
    try std.testing.expect(different > 8);
}

test "scores are those of attention that is computed by itself" {
    // With one head, one layer, and the last query, by hand.
    var fixture = try Fixture.init(.{ .layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 64 }, .{ .threads = 1, .precision = .float });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    var given = options(.{ .policy = .h2o, .budget = 200, .recent = 10 });
    given.context = 256;
    const session = try Session.create(fixture.model, given, &diag);
    defer session.destroy();
    try read(session, text[0..150]);
    const mass = session.evictor.?.mass.?.mass;
    var total: f64 = 0;
    for (mass[0..150]) |value| total += value;
    // Each query's attention adds up to one.
    try std.testing.expectApproxEqAbs(150, total, 1e-4);
    try std.testing.expectEqual(0, mass[150]);
    // The first token is all that the first query can look at.
    try std.testing.expect(mass[0] > 1);
}

test "a full pool loses nothing of a session that evicts" {
    var fixture = try Fixture.init(.{}, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const pool = try limited_pool.create(fixture.model, .{ .pages = 2, .when_full = .fail }, &diag);
    defer pool.release();
    const other = try Session.create(fixture.model, .{ .pool = pool }, &diag);
    try read(other, text[0..60]);
    const session = try Session.create(fixture.model, .{ .pool = pool, .evict = .{ .policy = .tova, .budget = 80 } }, &diag);
    defer session.destroy();
    const alone = try Session.create(fixture.model, .{ .evict = .{ .policy = .tova, .budget = 80 } }, &diag);
    defer alone.destroy();
    for ([_]*Session{ session, alone }) |one| {
        try one.start(.{ .tokens = text[0..50], .max_tokens = 4, .seed = 2, .ignore_eog = true }, &diag);
        one.wait();
    }
    const before = try logitsOf(session);
    try session.start(.{ .tokens = text[100..200] }, &diag);
    session.wait();
    try std.testing.expect(session.pool_full);
    try std.testing.expectEqual(54, session.position());
    try std.testing.expectEqual(53, session.evictor.?.next);
    try session_test.expectSameBits(&before, &try logitsOf(session));
    other.destroy();
    for ([_]*Session{ session, alone }) |one| try read(one, text[100..200]);
    try session_test.expectSameBits(&try logitsOf(alone), &try logitsOf(session));
}

test "misuse is refused with the reason" {
    var fixture = try Fixture.init(.{}, .{ .threads = 1 });
    defer fixture.deinit();
    for ([_]evict.Options{
        .{ .policy = .h2o, .budget = 0 },
        .{ .policy = .h2o, .budget = 10, .every = 0 },
        .{ .policy = .h2o, .budget = 10, .recent = 11 },
        .{ .policy = .sliding_window, .budget = 10, .recent = 6, .sinks = 5 },
        .{ .policy = .snap_kv, .budget = 10, .window = 12 },
        .{ .policy = .tova, .budget = 0xffff_ffff, .every = 0xffff_ffff },
        .{ .policy = .snap_kv, .budget = 10, .window = 2, .pooling = 0 },
        .{ .policy = .snap_kv, .budget = 10, .window = 2, .pooling = 1 << 20 },
    }) |wrong| {
        var diag: Diagnostic = .{};
        try std.testing.expectError(error.BadOption, Session.create(fixture.model, options(wrong), &diag));
        try std.testing.expect(std.mem.startsWith(u8, diag.text(), "expected"));
    }
    var diag: Diagnostic = .{};
    var both = options(window(1, 10, 1));
    both.shift_keep = 2;
    try std.testing.expectError(error.BadOption, Session.create(fixture.model, both, &diag));
    const session = try Session.create(fixture.model, options(window(1, 10, 1)), &diag);
    defer session.destroy();
    try read(session, text[0..30]);
    var save: @import("snapshot_save.zig").Save = .init(fixture.model);
    defer save.deinit();
    diag.len = 0;
    try std.testing.expectError(error.BadOption, save.add(session, &diag));
    try std.testing.expect(std.mem.indexOf(u8, diag.text(), "holds 12 of 30") != null or std.mem.indexOf(u8, diag.text(), "holds 11 of 30") != null);
    // Another state takes the place of this one.
    var plain = full;
    plain.context = 13;
    const other = try Session.create(fixture.model, plain, &diag);
    defer other.destroy();
    try read(other, text[50..60]);
    try session.exchange(other, &diag);
    try std.testing.expectEqual(0, other.position());
    try std.testing.expectEqual(10, session.position());
    try read(session, text[60..90]);
    var expected: [12]u32 = undefined;
    for (&expected, 0..) |*position, i| position.* = if (i == 0) 0 else @intCast(40 - 12 + i);
    try expectPositions(session, expected[0..session.length]);
}

test "memory that runs out leaves no session" {
    const Attempt = struct {
        fn create(allocator: std.mem.Allocator, model: *@import("model.zig").Model) !void {
            const before = model.gpa;
            model.gpa = allocator;
            defer model.gpa = before;
            var diag: Diagnostic = .{};
            const session = try Session.create(model, options(policies[3]), &diag);
            session.destroy();
        }
    };
    var fixture = try Fixture.init(.{}, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    // Room for it in the scheduler's lists is made once.
    const first = try Session.create(fixture.model, full, &diag);
    first.destroy();
    try std.testing.checkAllAllocationFailures(gpa, Attempt.create, .{fixture.model});
}
