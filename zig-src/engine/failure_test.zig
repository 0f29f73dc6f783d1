//! What happens when something fails on the way: memory that runs out at every single allocation of
//! a load and of a session, and requests that are refused or cancelled half-way.

const std = @import("std");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const model_module = @import("model.zig");
const Model = model_module.Model;
const record = @import("record.zig");
const sampler = @import("../sampler.zig");
const session_module = @import("session.zig");
const Session = session_module.Session;
const tiny_model = @import("tiny_model.zig");

const gpa = std.testing.allocator;
const tokens = [_]u32{ 1, 3, 4, 5, 6, 7, 8, 9 };

const Fixture = struct {
    folder: std.testing.TmpDir,
    path_buffer: [std.fs.max_path_bytes]u8 = undefined,
    path_len: usize = 0,

    fn init(into: *Fixture, shape: tiny_model.Shape) !void {
        into.* = .{ .folder = std.testing.tmpDir(.{}) };
        errdefer into.folder.cleanup();
        try tiny_model.write(gpa, into.folder.dir, "model.gguf", shape);
        into.path_len = try into.folder.dir.realPathFile(std.testing.io, "model.gguf", &into.path_buffer);
    }

    fn deinit(fixture: *Fixture) void {
        fixture.folder.cleanup();
    }

    fn load(fixture: *const Fixture, allocator: std.mem.Allocator, diag: *Diagnostic) !*Model {
        var progress: model_module.Progress = .{};
        return Model.load(allocator, fixture.path_buffer[0..fixture.path_len], .{ .threads = 2 }, &progress, diag);
    }
};

test "memory that runs out while loading leaves nothing behind" {
    const Attempt = struct {
        fn load(allocator: std.mem.Allocator, fixture: *const Fixture) !void {
            var diag: Diagnostic = .{};
            errdefer std.debug.assert(diag.text().len != 0);
            const model = try fixture.load(allocator, &diag);
            try model.destroy();
        }
    };
    var fixture: Fixture = undefined;
    try fixture.init(.{ .architecture = "gemma3", .window = 8 });
    defer fixture.deinit();
    try std.testing.checkAllAllocationFailures(gpa, Attempt.load, .{&fixture});
}

test "memory that runs out in a session leaves the model as it was" {
    const Attempt = struct {
        fn use(allocator: std.mem.Allocator, model: *Model) !void {
            // The scheduler frees with it while this thread waits.
            const before = model.gpa;
            model.gpa = allocator;
            defer model.gpa = before;
            var diag: Diagnostic = .{};
            errdefer std.debug.assert(diag.text().len != 0);
            const session = try Session.create(model, .{ .shift_keep = 1 }, &diag);
            defer session.destroy();
            try session.start(.{ .tokens = &tokens, .max_tokens = 2, .ignore_eog = true }, &diag);
            session.wait();
            try std.testing.expectEqual(10, session.position());
        }
    };
    var fixture: Fixture = undefined;
    try fixture.init(.{});
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const model = try fixture.load(gpa, &diag);
    defer model.destroy() catch unreachable;
    // Room for a session is made once and stays with the model.
    const first = try Session.create(model, .{}, &diag);
    first.destroy();
    try std.testing.checkAllAllocationFailures(gpa, Attempt.use, .{model});
}

test "a refused request leaves the session as it was" {
    var fixture: Fixture = undefined;
    try fixture.init(.{});
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const model = try fixture.load(gpa, &diag);
    defer model.destroy() catch unreachable;
    try std.testing.expectError(error.BadOption, Session.create(model, .{ .shift_keep = std.math.maxInt(i32) }, &diag));
    const session = try Session.create(model, .{}, &diag);
    defer session.destroy();
    try session.start(.{ .tokens = &tokens }, &diag);
    session.wait();
    // Its logits are gone, so that the last token would be evaluated again.
    try session.truncate(5, &diag);
    const unknown: sampler.StageSpec = .{ .id = 9999 };
    try std.testing.expectError(error.BadSampler, session.start(.{ .max_tokens = 1, .stages = &.{unknown} }, &diag));
    try std.testing.expectEqual(5, session.position());
    var kept: [5]u32 = undefined;
    try session.copyTokens(&kept, &diag);
    try std.testing.expectEqualSlices(u32, tokens[0..5], &kept);
}

test "what is asked of the prompt is not given for sampled tokens" {
    var fixture: Fixture = undefined;
    try fixture.init(.{});
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const model = try fixture.load(gpa, &diag);
    defer model.destroy() catch unreachable;
    const vocab = model.vocab();
    var rows: [2][]f32 = undefined;
    for (&rows) |*row| row.* = try gpa.alloc(f32, vocab);
    defer for (rows) |row| gpa.free(row);
    for ([_]u32{ 0, 5 }, &rows) |max_tokens, row| {
        const session = try Session.create(model, .{}, &diag);
        defer session.destroy();
        try session.start(.{
            .tokens = &tokens,
            .max_tokens = max_tokens,
            .all_logits = true,
            .prompt_logprobs = true,
            .ignore_eog = true,
        }, &diag);
        session.wait();
        try std.testing.expectEqual(tokens.len, session.allLogitsRows());
        try session.copyAllLogits(0, row, &diag);
        var buffer: [8 << 10]u8 align(4) = undefined;
        const taken = session.take(&buffer).bytes;
        var counts: [5]usize = @splat(0);
        var at: usize = 0;
        while (at < taken) {
            const header: *const record.Header = @ptrCast(@alignCast(&buffer[at]));
            counts[@backingInt(header.kind)] += 1;
            at += header.size;
        }
        try std.testing.expectEqual(tokens.len - 1, counts[@backingInt(record.Kind.prompt_token)]);
        try std.testing.expectEqual(max_tokens, counts[@backingInt(record.Kind.token)]);
    }
    try std.testing.expectEqualSlices(f32, rows[0], rows[1]);
}

test "a cancelled request has only the logits that it evaluated" {
    var fixture: Fixture = undefined;
    try fixture.init(.{ .context = 4096, .layers = 4 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const model = try fixture.load(gpa, &diag);
    defer model.destroy() catch unreachable;
    const session = try Session.create(model, .{}, &diag);
    defer session.destroy();
    const long = try gpa.alloc(u32, 4000);
    defer gpa.free(long);
    for (long, 0..) |*token, i| token.* = @intCast(i % 70 + 3);
    try session.start(.{ .tokens = long, .all_logits = true }, &diag);
    session.cancel();
    session.wait();
    try std.testing.expectEqual(session.position(), session.allLogitsRows());
    try std.testing.expect(session.position() < long.len);
    const position = session.position();
    // The session goes on where it stopped, with the bits of one that was never disturbed.
    try session.start(.{ .tokens = long[position .. 600 + position] }, &diag);
    session.wait();
    const whole = try Session.create(model, .{}, &diag);
    defer whole.destroy();
    try whole.start(.{ .tokens = long[0 .. 600 + position] }, &diag);
    whole.wait();
    try std.testing.expectEqualSlices(u32, @ptrCast(whole.logits), @ptrCast(session.logits));
}
