//! Caches whose keys are stored before their rotary embedding. In f32 nothing is rounded, so that all that
//! comes out has the bits of keys that are rotated before they are stored.

const std = @import("std");
const cache = @import("../cache.zig");
const evict = @import("../evict.zig");
const kernel = @import("../kernel.zig");
const kv_view = @import("kv_view.zig");
const tiny_model = @import("tiny_model.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const session_module = @import("session.zig");
const Session = session_module.Session;
const session_test = @import("session_test.zig");
const Fixture = session_test.Fixture;
const Pair = cache.Layout.Pair;
const Window = cache.Layout.Window;

const gpa = std.testing.allocator;
const dim = 32;

/// Neighbours in pairs; halves, in two kinds of layers of which one slides.
const shapes = [_]tiny_model.Shape{
    .{ .head_dim = dim },
    .{ .head_dim = dim, .architecture = "gemma3", .layers = 7, .window = 33 },
};

/// Of so many heads; every other one of `mixed` ones is stored behind its rotary embedding.
fn pairs(comptime format: cache.Format, mixed: bool) [14]Pair {
    var all: [14]Pair = @splat(.{ .key = format, .value = format, .early_key = true });
    if (mixed) for (&all, 0..) |*pair, i| {
        pair.early_key = i % 2 == 0;
    };
    return all;
}

fn expectSameLogits(fixture: *Fixture, expected: session_module.Options, found: session_module.Options, tokens: []const u32, pieces: []const usize) !void {
    const wanted = try fixture.logits(expected, tokens, tokens.len);
    defer gpa.free(wanted);
    for (pieces) |piece| {
        const logits = try fixture.logits(found, tokens, piece);
        defer gpa.free(logits);
        try session_test.expectSameBits(wanted, logits);
    }
}

test "f32 keys before their rotary embedding have the bits of those behind it" {
    const tokens = session_test.someTokens(150);
    for (shapes) |shape| for ([_]u32{ 1, 3 }) |threads| {
        var fixture = try Fixture.init(shape, .{ .threads = threads });
        defer fixture.deinit();
        const late: session_module.Options = .{ .context = 256, .key_format = .f32, .value_format = .f32 };
        for ([_]bool{ false, true }) |mixed| {
            var early = late;
            const formats = pairs(.f32, mixed);
            early.head_formats = formats[0 .. shape.layers * shape.kv_heads];
            try expectSameLogits(&fixture, late, early, &tokens, if (mixed or threads == 1) &.{150} else &.{ 150, 1, 37 });
        }
    };
}

test "windows and keys before their rotary embedding" {
    const tokens = session_test.someTokens(150);
    const windows: [7]Window = @splat(.{ .sinks = 3, .recent = 40 });
    for (shapes) |shape| {
        var fixture = try Fixture.init(shape, .{ .threads = 2 });
        defer fixture.deinit();
        var late: session_module.Options = .{ .context = 256, .key_format = .f32, .value_format = .f32, .exact_format = .f32 };
        late.windows = windows[0..shape.layers];
        var early = late;
        const formats = pairs(.f32, true);
        early.head_formats = formats[0 .. shape.layers * shape.kv_heads];
        try expectSameLogits(&fixture, late, early, &tokens, &.{ 150, 33 });
    }
}

fn policy(of: evict.Policy) evict.Options {
    const slides = of == .sliding_window;
    return .{ .policy = of, .budget = 60, .every = 5, .recent = if (slides or of == .h2o) 56 else 0, .sinks = if (slides) 4 else 0 };
}

test "evicted caches of keys before their rotary embedding" {
    const tokens = session_test.someTokens(150);
    for (shapes) |shape| {
        var fixture = try Fixture.init(shape, .{ .threads = 2 });
        defer fixture.deinit();
        for ([_]evict.Policy{ .sliding_window, .h2o, .tova }) |of| {
            var late: session_module.Options = .{ .key_format = .f32, .value_format = .f32, .evict = policy(of) };
            var early = late;
            const formats = pairs(.f32, false);
            early.head_formats = formats[0 .. shape.layers * shape.kv_heads];
            try expectSameLogits(&fixture, late, early, &tokens, &.{50});
            if (of != .sliding_window) continue;
            // Sinks that are turned on are rotated once, and not back and on again.
            late.evict.?.cache_positions = true;
            early.evict.?.cache_positions = true;
            const wanted = try fixture.logits(late, &tokens, 150);
            defer gpa.free(wanted);
            const found = try fixture.logits(early, &tokens, 50);
            defer gpa.free(found);
            for (wanted, found) |a, b| try std.testing.expectApproxEqAbs(a, b, 1e-4);
        }
    }
}

fn read(session: *Session, view: kv_view.View, layer: u32, out: []f32) !void {
    var diag: Diagnostic = .{};
    const part: kv_view.Part = .{ .side = .key, .view = view, .layer = layer, .head = null, .from = 0, .to = session.sequence.len };
    try kv_view.read(session, part, std.mem.sliceAsBytes(out), &diag);
}

test "views of keys before their rotary embedding" {
    const tokens = session_test.someTokens(100);
    for (shapes) |shape| {
        var fixture = try Fixture.init(shape, .{ .threads = 1 });
        defer fixture.deinit();
        var diag: Diagnostic = .{};
        var sessions: [2]*Session = undefined;
        const formats = pairs(.f32, false);
        for (&sessions, 0..) |*session, i| {
            session.* = try Session.create(fixture.model, .{
                .context = 128,
                .key_format = .f32,
                .value_format = .f32,
                .head_formats = formats[0 .. i * shape.layers * shape.kv_heads],
            }, &diag);
            try session.*.start(.{ .tokens = &tokens }, &diag);
            session.*.wait();
        }
        defer for (sessions) |session| session.destroy();
        var values: [3][2 * 100 * dim]f32 = undefined;
        for ([_]u32{ 0, shape.layers - 1 }) |layer| {
            for (sessions, values[0..2]) |session, *of| try read(session, .decoded, layer, of);
            try session_test.expectSameBits(&values[0], &values[1]);
            for (sessions, values[0..2]) |session, *of| try read(session, .unrotated, layer, of);
            for (values[0], values[1]) |a, b| try std.testing.expectApproxEqAbs(a, b, 1e-5);
            // What is stored is what the view shows.
            try read(sessions[1], .codes, layer, &values[2]);
            try session_test.expectSameBits(&values[1], &values[2]);
        }
    }
}
