//! Caches whose heads are stored in formats of their own.

const std = @import("std");
const cache = @import("../cache.zig");
const kernel = @import("../kernel.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const kv_view = @import("kv_view.zig");
const session_test = @import("session_test.zig");
const session_module = @import("session.zig");
const Fixture = session_test.Fixture;
const Session = session_module.Session;

const gpa = std.testing.allocator;
const dim = 32;
const layers = 2;
const heads = 2;

/// Another format for each side of each head, all that there are among them.
const mixed: [layers * heads]cache.Layout.Pair = blk: {
    const all = std.enums.values(cache.Format);
    var pairs: [layers * heads]cache.Layout.Pair = undefined;
    for (&pairs, 0..) |*pair, i| pair.* = .{ .key = all[2 * i % all.len], .value = all[(2 * i + 1) % all.len] };
    break :blk pairs;
};

fn filled(fixture: *Fixture, options: session_module.Options, tokens: []const u32) !*Session {
    var diag: Diagnostic = .{};
    const session = try Session.create(fixture.model, options, &diag);
    errdefer session.destroy();
    try session.start(.{ .tokens = tokens }, &diag);
    session.wait();
    return session;
}

test "each head is stored in its own format" {
    const tokens = session_test.someTokens(150);
    var fixture = try Fixture.init(.{ .head_dim = dim }, .{ .threads = 1 });
    defer fixture.deinit();
    const session = try filled(&fixture, .{ .head_formats = &mixed }, &tokens);
    defer session.destroy();
    // What goes into the first layer doesn't depend on any cache.
    for (0..heads) |head| for ([_]kernel.KvSide{ .key, .value }) |side| {
        const format = if (side == .key) mixed[head].key else mixed[head].value;
        const uniform = try filled(&fixture, .{ .key_format = format, .value_format = format }, &tokens);
        defer uniform.destroy();
        for (0..tokens.len) |position| {
            var found: [dim]f32 = undefined;
            var want: [dim]f32 = undefined;
            session.sequence.read(side, @intCast(position), 0, head, &found);
            uniform.sequence.read(side, @intCast(position), 0, head, &want);
            try session_test.expectSameBits(&want, &found);
        }
    };
}

test "the same format for each head is that format for all" {
    const tokens = session_test.someTokens(130);
    var fixture = try Fixture.init(.{ .head_dim = dim }, .{ .threads = 2 });
    defer fixture.deinit();
    const pairs: [layers * heads]cache.Layout.Pair = @splat(.{ .key = .q8_0, .value = .f32 });
    const one = try fixture.logits(.{ .head_formats = &pairs }, &tokens, tokens.len);
    defer gpa.free(one);
    const other = try fixture.logits(.{ .key_format = .q8_0, .value_format = .f32 }, &tokens, tokens.len);
    defer gpa.free(other);
    try session_test.expectSameBits(other, one);
}

test "mixed formats: the same bits for all chunks and threads" {
    const tokens = session_test.someTokens(200);
    var whole: ?[]f32 = null;
    defer if (whole) |bits| gpa.free(bits);
    for ([_]u32{ 1, 3 }) |threads| {
        var fixture = try Fixture.init(.{ .head_dim = dim }, .{ .threads = threads, .batch_rows = 64 });
        defer fixture.deinit();
        for ([_]usize{ tokens.len, 50, 1 }) |piece| {
            const found = try fixture.logits(.{ .head_formats = &mixed }, &tokens, piece);
            if (whole) |expected| {
                defer gpa.free(found);
                try session_test.expectSameBits(expected, found);
            } else whole = found;
        }
    }
}

test "a fork of a mixed cache copies whole pages, and the bytes add up" {
    const tokens = session_test.someTokens(70);
    var fixture = try Fixture.init(.{ .head_dim = dim }, .{ .threads = 1 });
    defer fixture.deinit();
    const session = try filled(&fixture, .{ .context = 128, .head_formats = &mixed }, &tokens);
    defer session.destroy();
    var bytes: u64 = 0;
    for (mixed) |pair| bytes += 128 * (cache.formatBytes(pair.key, dim) + cache.formatBytes(pair.value, dim));
    try std.testing.expectEqual(bytes, session.kvBytes());

    var diag: Diagnostic = .{};
    var forks: [1]*Session = undefined;
    try session.fork(&forks, &diag);
    defer forks[0].destroy();
    try forks[0].start(.{ .tokens = &.{9} }, &diag);
    forks[0].wait();
    try session.start(.{ .tokens = &.{9} }, &diag);
    session.wait();
    try session_test.expectSameBits(session.logits, forks[0].logits);
}

test "formats that don't fit the model are refused" {
    var fixture = try Fixture.init(.{ .head_dim = dim }, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    try std.testing.expectError(error.BadOption, Session.create(fixture.model, .{ .head_formats = mixed[1..] }, &diag));
    try std.testing.expectStringStartsWith(diag.text(), "expected cache formats of 2 layers of 2 KV heads, 4 in all, found 3");

    const session = try filled(&fixture, .{ .head_formats = &mixed }, &session_test.someTokens(9));
    defer session.destroy();
    const all: kv_view.Part = .{ .side = .key, .view = .codes, .layer = 0, .head = null, .from = 0, .to = 1 };
    try std.testing.expectError(error.BadOption, kv_view.read(session, all, &.{}, &diag));

    var narrow = try Fixture.init(.{}, .{ .threads = 1 });
    defer narrow.deinit();
    const h = &narrow.model.hyper;
    const pairs = try gpa.alloc(cache.Layout.Pair, h.layers * h.kv_heads);
    defer gpa.free(pairs);
    @memset(pairs, .{ .key = .f16, .value = .f16 });
    pairs[pairs.len - 1].value = .q8_0;
    try std.testing.expectError(error.BadOption, Session.create(narrow.model, .{ .head_formats = pairs }, &diag));
    try std.testing.expectStringStartsWith(diag.text(), "expected a cache format for values that takes heads of");
}
