//! Caches that keep the first and the last tokens at full precision too.

const std = @import("std");
const cache = @import("../cache.zig");
const kernel = @import("../kernel.zig");
const kv_view = @import("kv_view.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const session_module = @import("session.zig");
const Session = session_module.Session;
const session_test = @import("session_test.zig");
const Fixture = session_test.Fixture;
const tiny_model = @import("tiny_model.zig");
const Window = cache.Layout.Window;

const gpa = std.testing.allocator;
const dim = 32;
const layers = 2;

const shape: tiny_model.Shape = .{ .head_dim = dim };
const sliding: tiny_model.Shape = .{ .head_dim = dim, .architecture = "gemma3", .layers = 7, .window = 33 };

fn narrow(windows: []const Window) session_module.Options {
    return .{ .context = 512, .key_format = .q4_0, .value_format = .q4_0, .windows = windows };
}

test "windows: the same bits for all pieces and threads" {
    const tokens = session_test.someTokens(330);
    for ([_]tiny_model.Shape{ shape, sliding }) |of| for ([_][2]Window{
        .{ .{ .sinks = 3, .recent = 40 }, .{ .recent = 7 } },
        .{ .{ .sinks = 70 }, .{ .sinks = 1, .recent = 100 } },
        .{ .{}, .{ .sinks = 30, .recent = 20 } },
    }) |pair| {
        var windows: [7]Window = undefined;
        for (windows[0..of.layers], 0..) |*window, i| window.* = pair[i % 2];
        const options = narrow(windows[0..of.layers]);
        var expected: ?[]f32 = null;
        defer gpa.free(expected.?);
        for ([_]u32{ 1, 3 }) |threads| {
            var fixture = try Fixture.init(of, .{ .threads = threads });
            defer fixture.deinit();
            for ([_]usize{ 330, 1, 37 }) |piece| {
                if (threads == 1 and piece == 37) continue;
                const found = try fixture.logits(options, &tokens, piece);
                if (expected) |bits| {
                    defer gpa.free(found);
                    try session_test.expectSameBits(bits, found);
                } else expected = found;
            }
        }
    };
}

test "a window over everything is a cache at full precision" {
    const tokens = session_test.someTokens(200);
    var fixture = try Fixture.init(shape, .{ .threads = 1 });
    defer fixture.deinit();
    for ([_]cache.Format{ .f16, .f32 }) |format| {
        const whole = try fixture.logits(.{ .key_format = format, .value_format = format }, &tokens, 200);
        defer gpa.free(whole);
        for ([_]Window{ .{ .recent = 200 }, .{ .sinks = 200 }, .{ .sinks = 120, .recent = 80 } }) |window| {
            var options = narrow(&@as([layers]Window, @splat(window)));
            options.exact_format = format;
            const found = try fixture.logits(options, &tokens, 64);
            defer gpa.free(found);
            try session_test.expectSameBits(whole, found);
        }
        // One token fewer is already another cache.
        var options = narrow(&@as([layers]Window, @splat(.{ .recent = 199 })));
        options.exact_format = format;
        const found = try fixture.logits(options, &tokens, 64);
        defer gpa.free(found);
        const vocab = fixture.model.vocab();
        try session_test.expectSameBits(whole[0 .. 199 * vocab], found[0 .. 199 * vocab]);
        try std.testing.expect(!std.mem.eql(f32, whole[199 * vocab ..], found[199 * vocab ..]));
    }
}

test "spans of one precision add up to what one span gives" {
    const tokens = session_test.someTokens(300);
    for ([_]tiny_model.Shape{ shape, sliding }) |of| {
        var fixture = try Fixture.init(of, .{ .threads = 2, .precision = .float });
        defer fixture.deinit();
        var options: session_module.Options = .{ .context = 512, .key_format = .f32, .value_format = .f32, .exact_format = .f32 };
        const whole = try fixture.logits(options, &tokens, 300);
        defer gpa.free(whole);
        var windows: [7]Window = @splat(.{ .sinks = 5, .recent = 50 });
        options.windows = windows[0..of.layers];
        const found = try fixture.logits(options, &tokens, 41);
        defer gpa.free(found);
        // Sums in another order.
        for (whole, found) |a, b| try std.testing.expectApproxEqAbs(a, b, 1e-4);
    }
}

/// Keys and values of the first layer depend on nothing that the cache rounds.
fn expectExact(session: *Session, full: *Session, rounded: *Session, window: Window) !void {
    const n = session.sequence.len;
    for (std.enums.values(kernel.KvSide)) |side| {
        var diag: Diagnostic = .{};
        var all: [3][512 * dim]f32 = undefined;
        for (&all, [_]*Session{ session, full, rounded }) |*values, of| {
            const part: kv_view.Part = .{ .side = side, .view = .decoded, .layer = 0, .head = 1, .from = 0, .to = n };
            try kv_view.read(of, part, std.mem.sliceAsBytes(values[0 .. n * dim]), &diag);
        }
        var count: u32 = 0;
        for (0..n) |p| {
            const is_full = std.mem.eql(f32, all[0][p * dim ..][0..dim], all[1][p * dim ..][0..dim]);
            try session_test.expectSameBits(all[if (is_full) 1 else 2][p * dim ..][0..dim], all[0][p * dim ..][0..dim]);
            try std.testing.expectEqual(p < window.sinks or p + window.recent >= n, is_full);
            count += @intFromBool(is_full);
        }
        try std.testing.expectEqual(@min(n, window.sinks + window.recent), count);
    }
}

test "after every step min(n, sinks + recent) tokens are at full precision" {
    const tokens = session_test.someTokens(330);
    const window: Window = .{ .sinks = 4, .recent = 96 };
    var fixture = try Fixture.init(shape, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    var sessions: [3]*Session = undefined;
    sessions[0] = try Session.create(fixture.model, narrow(&@as([layers]Window, @splat(window))), &diag);
    defer sessions[0].destroy();
    sessions[1] = try Session.create(fixture.model, .{ .context = 512 }, &diag);
    defer sessions[1].destroy();
    sessions[2] = try Session.create(fixture.model, narrow(&.{}), &diag);
    defer sessions[2].destroy();
    var at: usize = 0;
    for ([_]usize{ 1, 2, 1, 60, 64, 1, 3, 100, 31, 1, 1, 65 }) |count| {
        for (sessions) |session| {
            try session.start(.{ .tokens = tokens[at..][0..count] }, &diag);
            session.wait();
        }
        at += count;
        try expectExact(sessions[0], sessions[1], sessions[2], window);
    }
    // Shorter by up to a page, all are there again; further back they are gone, and this is said.
    for ([_]usize{ 1, 30, 33 }) |fewer| {
        at -= fewer;
        for (sessions) |session| try session.truncate(@intCast(at), &diag);
        try expectExact(sessions[0], sessions[1], sessions[2], window);
    }
    try std.testing.expectError(error.OutOfRange, sessions[0].truncate(120, &diag));
    try std.testing.expect(std.mem.find(u8, diag.text(), "at full precision, from ") != null);
    try std.testing.expectEqual(at, sessions[0].position());
    for (sessions) |session| {
        try session.truncate(3, &diag);
        try session.start(.{ .tokens = tokens[3..200] }, &diag);
        session.wait();
    }
    try expectExact(sessions[0], sessions[1], sessions[2], window);
}

test "forks of a window go on with the same bits, and sessions that shift are those of fresh ones" {
    const tokens = session_test.someTokens(300);
    const windows: [layers]Window = @splat(.{ .sinks = 2, .recent = 50 });
    var fixture = try Fixture.init(shape, .{ .threads = 2 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const whole = try fixture.logits(narrow(&windows), &tokens, 300);
    defer gpa.free(whole);
    const vocab = fixture.model.vocab();
    const parent = try Session.create(fixture.model, narrow(&windows), &diag);
    try parent.start(.{ .tokens = tokens[0..170] }, &diag);
    parent.wait();
    var forks: [3]*Session = undefined;
    try parent.fork(&forks, &diag);
    defer for (forks) |fork| fork.destroy();
    // Another text in the parent and in one fork, which write to the pages that all hold.
    for ([_]*Session{ parent, forks[2] }) |other| {
        try other.start(.{ .tokens = &@as([40]u32, @splat(9)) }, &diag);
        other.wait();
    }
    parent.destroy();
    for (forks[0..2]) |fork| try fork.start(.{ .tokens = tokens[170..] }, &diag);
    const logits = try gpa.alloc(f32, vocab);
    defer gpa.free(logits);
    for (forks[0..2]) |fork| {
        fork.wait();
        try fork.copyLogits(logits, &diag);
        try session_test.expectSameBits(whole[299 * vocab ..], logits);
    }

    var options = narrow(&windows);
    options.context = 200;
    options.shift_keep = 60;
    const shifting = try Session.create(fixture.model, options, &diag);
    defer shifting.destroy();
    for ([_]usize{ 0, 200 }) |from| {
        try shifting.start(.{ .tokens = tokens[from..][0..if (from == 0) 200 else 30] }, &diag);
        shifting.wait();
    }
    try std.testing.expectEqual(160, shifting.sequence.len);
    const fresh = try fixture.logits(narrow(&windows), shifting.tokens[0..160], 160);
    defer gpa.free(fresh);
    try shifting.copyLogits(logits, &diag);
    try session_test.expectSameBits(fresh[159 * vocab ..], logits);
}

test "keys in groups of tokens: stored when a group is whole, the same bits for all pieces and threads" {
    const tokens = session_test.someTokens(200);
    const windows: [7]Window = @splat(.{ .sinks = 2, .recent = 40 });
    for ([_]cache.Format{ .int8_channel, .int4, .int2 }) |format| for ([_]tiny_model.Shape{ shape, sliding }) |of| {
        var options: session_module.Options = .{ .context = 512, .key_format = format, .value_format = format, .windows = windows[0..of.layers] };
        var expected: ?[]f32 = null;
        defer gpa.free(expected.?);
        for ([_]u32{ 1, 3 }, [_]usize{ 200, 1 }) |threads, piece| {
            var fixture = try Fixture.init(of, .{ .threads = threads });
            defer fixture.deinit();
            const found = try fixture.logits(options, &tokens, piece);
            if (expected) |bits| {
                defer gpa.free(found);
                try session_test.expectSameBits(bits, found);
            } else expected = found;
        }
        var fixture = try Fixture.init(of, .{ .threads = 1 });
        defer fixture.deinit();
        var diag: Diagnostic = .{};
        const session = try Session.create(fixture.model, options, &diag);
        defer session.destroy();
        options.key_format = .f16;
        options.value_format = .f16;
        const full = try Session.create(fixture.model, options, &diag);
        defer full.destroy();
        for ([_]*Session{ session, full }) |one| for ([_][]const u32{ tokens[0..150], tokens[150..] }) |part| {
            try one.start(.{ .tokens = part }, &diag);
            one.wait();
        };
        // Whole groups hold what the format makes of the values at full precision.
        const page = try gpa.alloc(u8, kernel.page_len * dim * 2);
        defer gpa.free(page);
        var first: u32 = 0;
        while (first + 32 <= 200) : (first += 32) {
            var exact: [32 * dim]f32 = undefined;
            for (0..32) |i| full.sequence.read(.key, first + @as(u32, @intCast(i)), 0, 1, exact[i * dim ..][0..dim]);
            const kernel_format: kernel.KvFormat = @fromBackingInt(@backingInt(format));
            kernel.page.store(kernel_format, .key, &exact, page.ptr, first % 64, .{});
            for (0..32) |i| {
                var want: [dim]f32 = undefined;
                var got: [dim]f32 = undefined;
                kernel.page.read(kernel_format, .key, page.ptr, first % 64 + i, &want, .{});
                session.sequence.read(.key, first + @as(u32, @intCast(i)), 0, 1, &got);
                try session_test.expectSameBits(&want, &got);
            }
        }
        var codes: [8 * dim]u8 = undefined;
        var part: kv_view.Part = .{ .side = .key, .view = .codes, .layer = 0, .head = 0, .from = 184, .to = 192 };
        try kv_view.read(session, part, &codes, &diag);
        part.to = 193;
        try std.testing.expectError(error.OutOfRange, kv_view.read(session, part, &codes, &diag));
        try std.testing.expectStringStartsWith(diag.text(), "expected keys of the 192 tokens in whole groups of 32");
    };
    var fixture = try Fixture.init(shape, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const short: [layers]Window = @splat(.{ .recent = 31 });
    try std.testing.expectError(error.BadOption, Session.create(fixture.model, .{ .key_format = .int2, .windows = &short }, &diag));
    try std.testing.expectStringStartsWith(diag.text(), "expected at least 32 recent tokens at full precision in layer 0, because keys in int2");
}

test "rotated caches: attention of the same tokens, the same bits for all pieces and threads" {
    const tokens = session_test.someTokens(150);
    for ([_]tiny_model.Shape{ shape, sliding }) |of| {
        var float = try Fixture.init(of, .{ .threads = 1, .precision = .float });
        defer float.deinit();
        const plain = try float.logits(.{ .key_format = .f32, .value_format = .f32 }, &tokens, 150);
        defer gpa.free(plain);
        var pairs: [14]cache.Layout.Pair = undefined;
        for (&pairs, 0..) |*pair, i| pair.* = .{ .key = .f32, .value = .f32, .rotate_key = i % 3 != 0, .rotate_value = i % 2 == 0 };
        const turned = try float.logits(.{ .head_formats = pairs[0 .. 2 * of.layers] }, &tokens, 150);
        defer gpa.free(turned);
        for (plain, turned) |a, b| try std.testing.expectApproxEqAbs(a, b, 2e-4);

        for (&pairs) |*pair| pair.key = .q4_0;
        const windows: [7]Window = @splat(.{ .sinks = 2, .recent = 30 });
        const options: session_module.Options = .{ .head_formats = pairs[0 .. 2 * of.layers], .windows = windows[0..of.layers] };
        var expected: ?[]f32 = null;
        defer gpa.free(expected.?);
        for ([_]u32{ 1, 3 }, [_]usize{ 150, 1 }) |threads, piece| {
            var fixture = try Fixture.init(of, .{ .threads = threads });
            defer fixture.deinit();
            const found = try fixture.logits(options, &tokens, piece);
            if (expected) |bits| {
                defer gpa.free(found);
                try session_test.expectSameBits(bits, found);
            } else expected = found;
        }
    }
    var odd = try Fixture.init(.{ .head_dim = 96 }, .{ .threads = 1 });
    defer odd.deinit();
    var diag: Diagnostic = .{};
    const one: [4]cache.Layout.Pair = @splat(.{ .key = .f16, .value = .f16, .rotate_value = true });
    try std.testing.expectError(error.BadOption, Session.create(odd.model, .{ .head_formats = &one }, &diag));
    try std.testing.expectStringStartsWith(diag.text(), "expected heads of a power of two of values to rotate values");
}

test "a window that can't be is refused" {
    var fixture = try Fixture.init(shape, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    try std.testing.expectError(error.BadOption, Session.create(fixture.model, .{ .windows = &.{.{ .recent = 3 }} }, &diag));
    try std.testing.expectEqualStrings("expected windows of 2 layers, found 1", diag.text());
    const windows: [layers]Window = @splat(.{ .recent = 3 });
    try std.testing.expectError(error.BadOption, Session.create(fixture.model, .{ .windows = &windows, .exact_format = .q8_0 }, &diag));
    try std.testing.expectEqualStrings("expected f16 or f32 for tokens at full precision, found q8_0", diag.text());
    const one = try Session.create(fixture.model, .{ .windows = &windows }, &diag);
    defer one.destroy();
    const other = try Session.create(fixture.model, .{}, &diag);
    defer other.destroy();
    try std.testing.expectError(error.Foreign, one.exchange(other, &diag));
    try std.testing.expectStringStartsWith(diag.text(), "expected a cache that keeps 0 sinks and 3 recent tokens of layer 0");
}
