//! Saved sessions: what comes back has the same bits and shares the same pages, and a file that is not
//! what it was when it was written is refused, whatever happened to it.

const std = @import("std");
const cache = @import("../cache.zig");
const kernel = @import("../kernel.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Progress = @import("model.zig").Progress;
const restore_module = @import("snapshot_restore.zig");
const session_module = @import("session.zig");
const session_test = @import("session_test.zig");
const snapshot = @import("snapshot.zig");
const tiny_model = @import("tiny_model.zig");
const Fixture = session_test.Fixture;
const Restored = restore_module.Restored;
const Save = @import("snapshot_save.zig").Save;
const Session = session_module.Session;

const gpa = std.testing.allocator;
const io = std.testing.io;

/// Where tests write: beside the fixture's model.
fn pathIn(fixture: *Fixture, buffer: []u8, name: []const u8) ![]const u8 {
    const len = try fixture.folder.dir.realPathFile(io, "model.gguf", buffer);
    const folder = std.fs.path.dirname(buffer[0..len]).?;
    buffer[folder.len] = '/';
    @memcpy(buffer[folder.len + 1 ..][0..name.len], name);
    return buffer[0 .. folder.len + 1 + name.len];
}

fn save(fixture: *Fixture, sessions: []const *Session, name: []const u8) !void {
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}\n", .{diag.text()});
    var buffer: [std.fs.max_path_bytes]u8 = undefined;
    var job: Save = .init(fixture.model);
    defer job.deinit();
    for (sessions) |session| try job.add(session, &diag);
    var progress: Progress = .{};
    try job.write(try pathIn(fixture, &buffer, name), &progress, &diag);
    try std.testing.expectEqual(progress.bytes_total.load(.monotonic), progress.bytes_done.load(.monotonic));
    try std.testing.expectError(error.FileNotFound, fixture.folder.dir.statFile(io, "saved.vitrine-partial", .{}));
}

fn restore(fixture: *Fixture, name: []const u8, options: restore_module.Options, diag: *Diagnostic) !Restored {
    var buffer: [std.fs.max_path_bytes]u8 = undefined;
    var progress: Progress = .{};
    return restore_module.restore(fixture.model, try pathIn(fixture, &buffer, name), options, &progress, diag);
}

fn run(session: *Session, request: session_module.Request) !void {
    var diag: Diagnostic = .{};
    try session.start(request, &diag);
    session.wait();
    try std.testing.expectEqualStrings("", session.failure.text());
}

/// Both hold the same, and go on with the same bits.
fn expectSame(expected: *Session, found: *Session) !void {
    var diag: Diagnostic = .{};
    try std.testing.expectEqual(expected.sequence.len, found.sequence.len);
    try std.testing.expectEqual(expected.carry, found.carry);
    try std.testing.expectEqualSlices(u32, expected.tokens[0..expected.sequence.len], found.tokens[0..found.sequence.len]);
    try std.testing.expectEqual(expected.logits_valid, found.logits_valid);
    if (expected.logits_valid) try session_test.expectSameBits(expected.logits, found.logits);
    try std.testing.expectEqual(expected.settings, found.settings);
    try std.testing.expectEqual(expected.sequence.count(), found.sequence.count());
    for ([_]*Session{ expected, found }) |session| {
        try run(session, .{ .tokens = &.{ 9, 4 }, .max_tokens = 9, .seed = 3, .ignore_eog = true });
    }
    const vocab = expected.model.vocab();
    const logits = try gpa.alloc(f32, 2 * vocab);
    defer gpa.free(logits);
    try expected.copyLogits(logits[0..vocab], &diag);
    try found.copyLogits(logits[vocab..], &diag);
    try session_test.expectSameBits(logits[0..vocab], logits[vocab..]);
    try std.testing.expectEqualSlices(u32, expected.tokens[0..expected.sequence.len], found.tokens[0..found.sequence.len]);
}

test "snapshot: a session goes on with the same bits, in every format, and with several" {
    const prompt = session_test.someTokens(150);
    const shape: tiny_model.Shape = .{ .layers = 3, .head_dim = 32 };
    var fixture = try Fixture.init(shape, .{ .threads = 2 });
    defer fixture.deinit();
    const formats = comptime std.enums.values(cache.Format);
    var mixed: [6]cache.Layout.Pair = undefined;
    for (&mixed, 0..) |*pair, i| pair.* = .{ .key = formats[i % formats.len], .value = formats[(3 * i + 1) % formats.len] };
    for (0..formats.len + 1) |i| {
        var diag: Diagnostic = .{};
        const session = try Session.create(fixture.model, .{
            .context = 300,
            .key_format = formats[i % formats.len],
            .value_format = formats[(i + 1) % formats.len],
            .head_formats = if (i == formats.len) &mixed else &.{},
            .windows = &@as([shape.layers]cache.Layout.Window, @splat(.{ .recent = 32 })),
            .shift_keep = if (i == 0) 4 else -1,
        }, &diag);
        defer session.destroy();
        try run(session, .{ .tokens = &prompt, .max_tokens = if (i % 2 == 0) 3 else 0, .ignore_eog = true });
        try save(&fixture, &.{session}, "saved");
        var restored = try restore(&fixture, "saved", .{}, &diag);
        defer restored.deinit();
        try std.testing.expectEqual(1, restored.sessions.len);
        const found = restored.sessions[0];
        for (0..shape.layers) |layer| for (0..shape.kv_heads) |head| for ([_]kernel.KvSide{ .key, .value }) |side| {
            const stored = session.sequence.pool.layout.format(side, layer, head);
            try std.testing.expectEqual(stored, found.sequence.pool.layout.format(side, layer, head));
            // Keys of a group that is not whole yet are at full precision only.
            const len = session.sequence.len / 32 * 32;
            for (0..len) |position| {
                var a: [32]f32 = undefined;
                var b: [32]f32 = undefined;
                session.sequence.read(side, @intCast(position), layer, head, &a);
                found.sequence.read(side, @intCast(position), layer, head, &b);
                try session_test.expectSameBits(&a, &b);
            }
        };
        try expectSame(session, found);
    }
}

test "snapshot: tokens at full precision come back, shared as they were" {
    const prompt = session_test.someTokens(330);
    var fixture = try Fixture.init(.{ .layers = 3, .head_dim = 32 }, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const windows = [_]cache.Layout.Window{ .{ .sinks = 3, .recent = 70 }, .{}, .{ .recent = 20 } };
    for ([_]cache.Format{ .f16, .f32 }) |format| {
        const parent = try Session.create(fixture.model, .{
            .context = 500,
            .key_format = .q4_0,
            .windows = &windows,
            .exact_format = format,
        }, &diag);
        defer parent.destroy();
        try run(parent, .{ .tokens = &prompt });
        var forks: [2]*Session = undefined;
        try parent.fork(&forks, &diag);
        defer for (forks) |fork| fork.destroy();
        try run(forks[0], .{ .tokens = prompt[0..20] });
        try forks[1].truncate(1, &diag);
        const all = [_]*Session{ parent, forks[0], forks[1] };
        try save(&fixture, &all, "saved");
        var restored = try restore(&fixture, "saved", .{}, &diag);
        defer restored.deinit();
        for (all, restored.sessions) |session, found| {
            const len = session.sequence.len;
            const exact = &session.sequence.exact.?;
            try std.testing.expectEqual(exact.count(len), found.sequence.exact.?.count(len));
            try std.testing.expectEqual(exact.from, found.sequence.exact.?.from);
        }
        for (all, restored.sessions) |session, found| try expectSame(session, found);
    }
}

test "snapshot: forks share their pages again" {
    const prompt = session_test.someTokens(200);
    for ([_]tiny_model.Shape{
        .{ .layers = 2 },
        .{ .architecture = "gemma3", .layers = 7, .window = 40, .head_dim = 32 },
    }) |shape| {
        var fixture = try Fixture.init(shape, .{ .threads = 1 });
        defer fixture.deinit();
        var diag: Diagnostic = .{};
        const parent = try Session.create(fixture.model, .{ .context = 400 }, &diag);
        defer parent.destroy();
        try run(parent, .{ .tokens = &prompt });
        var forks: [4]*Session = undefined;
        try parent.fork(&forks, &diag);
        defer for (forks) |fork| fork.destroy();
        // One went on, one went back and on, one went back, one is where its parent is.
        try run(forks[0], .{ .tokens = prompt[0..70] });
        try forks[1].truncate(130, &diag);
        try run(forks[1], .{ .tokens = prompt[5..20], .max_tokens = 2, .ignore_eog = true });
        try forks[2].truncate(70, &diag);
        const all = [_]*Session{ parent, forks[0], forks[1], forks[2], forks[3] };
        try save(&fixture, &all, "saved");
        var restored = try restore(&fixture, "saved", .{}, &diag);
        defer restored.deinit();
        const pool = parent.sequence.pool;
        const other = restored.sessions[0].sequence.pool;
        try std.testing.expectEqual(pool.usedCount(), other.usedCount());
        for (all, restored.sessions) |a, b| {
            try std.testing.expectEqual(other, b.sequence.pool);
            try std.testing.expectEqual(parent.sequence.sharedWith(&a.sequence), restored.sessions[0].sequence.sharedWith(&b.sequence));
            try std.testing.expectEqual(a.sequence.count(), b.sequence.count());
        }
        for (all, restored.sessions) |a, b| try expectSame(a, b);
        try std.testing.expectEqual(pool.usedCount(), other.usedCount());
    }
}

test "snapshot: an empty session, a truncated one, and a larger context" {
    var fixture = try Fixture.init(.{}, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const session = try Session.create(fixture.model, .{ .context = 100 }, &diag);
    defer session.destroy();
    try save(&fixture, &.{session}, "saved");
    {
        var restored = try restore(&fixture, "saved", .{}, &diag);
        defer restored.deinit();
        try std.testing.expectEqual(0, restored.sessions[0].position());
        try expectSame(session, restored.sessions[0]);
    }
    const prompt = session_test.someTokens(90);
    try session.truncate(0, &diag);
    try run(session, .{ .tokens = &prompt });
    try session.truncate(65, &diag);
    // What the truncated positions held is in no file, so two that hold the same are the same file.
    try save(&fixture, &.{session}, "saved");
    const fresh = try Session.create(fixture.model, .{ .context = 100 }, &diag);
    defer fresh.destroy();
    try run(fresh, .{ .tokens = prompt[0..65] });
    fresh.logits_valid = false;
    try save(&fixture, &.{fresh}, "other");
    const first = try fixture.folder.dir.readFileAlloc(io, "saved", gpa, .unlimited);
    defer gpa.free(first);
    const second = try fixture.folder.dir.readFileAlloc(io, "other", gpa, .unlimited);
    defer gpa.free(second);
    try std.testing.expectEqualSlices(u8, first, second);
    var larger = try restore(&fixture, "saved", .{ .context = 200 }, &diag);
    defer larger.deinit();
    try std.testing.expectEqual(200, larger.sessions[0].settings.context);
    try run(larger.sessions[0], .{ .tokens = &prompt });
    try std.testing.expectError(error.ContextFull, restore(&fixture, "saved", .{ .context = 64 }, &diag));
    try std.testing.expect(std.mem.find(u8, diag.text(), "65 tokens") != null);
}

test "snapshot: two sessions change places" {
    var fixture = try Fixture.init(.{}, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const prompt = session_test.someTokens(90);
    const session = try Session.create(fixture.model, .{ .context = 200 }, &diag);
    defer session.destroy();
    try run(session, .{ .tokens = &prompt, .max_tokens = 2, .ignore_eog = true });
    try save(&fixture, &.{session}, "saved");
    try run(session, .{ .tokens = prompt[0..9], .all_logits = true });
    var restored = try restore(&fixture, "saved", .{}, &diag);
    defer restored.deinit();
    try session.exchange(restored.sessions[0], &diag);
    try std.testing.expectEqual(92, session.position());
    try std.testing.expectEqual(101, restored.sessions[0].position());
    try std.testing.expectEqual(0, session.allLogitsRows());
    var again = try restore(&fixture, "saved", .{}, &diag);
    defer again.deinit();
    try expectSame(again.sessions[0], session);

    const other = try Session.create(fixture.model, .{ .context = 200, .value_format = .f32 }, &diag);
    defer other.destroy();
    try std.testing.expectError(error.Foreign, session.exchange(other, &diag));
    try std.testing.expect(std.mem.find(u8, diag.text(), "values of layer 0, KV head 0, are f16, found f32") != null);
    const longer = try Session.create(fixture.model, .{ .context = 300 }, &diag);
    defer longer.destroy();
    try std.testing.expectError(error.Foreign, session.exchange(longer, &diag));
    // As while a request runs.
    session.running.store(true, .release);
    defer session.running.store(false, .release);
    var job: Save = .init(fixture.model);
    defer job.deinit();
    try std.testing.expectError(error.Busy, job.add(session, &diag));
    try std.testing.expectError(error.Busy, session.exchange(again.sessions[0], &diag));
}

test "snapshot: what is saved is what the session was, though it goes on" {
    var fixture = try Fixture.init(.{}, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const prompt = session_test.someTokens(90);
    const session = try Session.create(fixture.model, .{ .context = 200 }, &diag);
    defer session.destroy();
    try run(session, .{ .tokens = &prompt });
    const twin = try Session.create(fixture.model, .{ .context = 200 }, &diag);
    defer twin.destroy();
    try run(twin, .{ .tokens = &prompt });
    const before = session.sequence.pool.usedCount();
    var buffer: [std.fs.max_path_bytes]u8 = undefined;
    const path = try pathIn(&fixture, &buffer, "saved");
    var progress: Progress = .{};
    {
        var job: Save = .init(fixture.model);
        defer job.deinit();
        try job.add(session, &diag);
        try session.truncate(80, &diag);
        try run(session, .{ .tokens = prompt[0..40] });
        try job.write(path, &progress, &diag);
    }
    try std.testing.expectEqual(before, session.sequence.pool.usedCount());
    var restored = try restore(&fixture, "saved", .{}, &diag);
    defer restored.deinit();
    try expectSame(twin, restored.sessions[0]);
}
