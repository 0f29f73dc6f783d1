//! Attention weights on small models, against the textbook's.

const std = @import("std");
const cache = @import("../cache.zig");
const kv_attention = @import("kv_attention.zig");
const op = @import("../op/attention.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Session = @import("session.zig").Session;
const session_test = @import("session_test.zig");
const Fixture = session_test.Fixture;

const gpa = std.testing.allocator;
const dim = 32;
const heads = 4;
const length = 150;

fn filled(fixture: *Fixture, format: cache.Format) !*Session {
    var diag: Diagnostic = .{};
    const session = try Session.create(fixture.model, .{ .key_format = format }, &diag);
    errdefer session.destroy();
    try session.start(.{ .tokens = &session_test.someTokens(length) }, &diag);
    session.wait();
    return session;
}

test "weights are those of the reference" {
    var prng: std.Random.DefaultPrng = .init(5);
    for ([_]u32{ 0, 20 }) |window| for ([_]cache.Format{ .f32, .q8_0 }) |format| {
        const family = if (window == 0) "llama" else "gemma3";
        var fixture = try Fixture.init(.{ .architecture = family, .head_dim = dim, .window = window }, .{ .threads = 1 });
        defer fixture.deinit();
        const session = try filled(&fixture, format);
        defer session.destroy();
        const h = &fixture.model.hyper;
        const rows = 3;
        const position = 125;
        const positions = position + rows;
        var q: [rows * heads * dim]f32 = undefined;
        for (&q) |*x| x.* = prng.random().floatNorm(f32);
        var found: [rows * heads * positions]f32 = undefined;
        var diag: Diagnostic = .{};
        try kv_attention.weights(session, .{ .layer = 1, .position = position, .rows = rows, .head = null, .values = &q }, &found, &diag);
        for (0..rows) |r| for (0..heads) |head| {
            const to = position + r + 1;
            const from = if (h.slides(1)) to - window else 0;
            var keys: [positions * dim]f32 = undefined;
            for (from..to, 0..) |p, i| session.sequence.read(.key, @intCast(p), 1, head / h.group(), keys[i * dim ..][0..dim]);
            var weights: [positions]f32 = undefined;
            var out: [1]f32 = undefined;
            const query = q[(r * heads + head) * dim ..][0..dim];
            const ones: [positions]f32 = @splat(1);
            op.reference(query, keys[0 .. (to - from) * dim], ones[0 .. to - from], h.attn_scale, h.attn_softcap, weights[0 .. to - from], &out);
            var total: f32 = 0;
            for (weights[0 .. to - from]) |weight| total += weight;
            const row = found[(r * heads + head) * positions ..][0..positions];
            for (row, 0..) |weight, p| {
                const want = if (p < from or p >= to) 0 else weights[p - from] / total;
                try std.testing.expectApproxEqAbs(want, weight, 1e-6);
            }
        };
        // One head by itself.
        var one: [positions]f32 = undefined;
        try kv_attention.weights(session, .{ .layer = 1, .position = positions - 1, .rows = 1, .head = 3, .values = q[q.len - dim ..] }, &one, &diag);
        try session_test.expectSameBits(found[found.len - positions ..], &one);
    };
}

test "what is asked for must be there" {
    var fixture = try Fixture.init(.{ .head_dim = dim }, .{ .threads = 1 });
    defer fixture.deinit();
    const session = try filled(&fixture, .f16);
    defer session.destroy();
    const q: [heads * dim]f32 = @splat(1);
    var out: [heads * length]f32 = undefined;
    var diag: Diagnostic = .{};
    const good: kv_attention.Queries = .{ .layer = 0, .position = length - 1, .rows = 1, .head = null, .values = &q };
    try kv_attention.weights(session, good, &out, &diag);
    const wrong = [_]kv_attention.Queries{
        .{ .layer = 2, .position = good.position, .rows = 1, .head = null, .values = &q },
        .{ .layer = 0, .position = length, .rows = 1, .head = null, .values = &q },
        .{ .layer = 0, .position = std.math.maxInt(u32), .rows = 1, .head = null, .values = &q },
        .{ .layer = 0, .position = 5, .rows = 0, .head = null, .values = &q },
        .{ .layer = 0, .position = good.position, .rows = 1, .head = heads, .values = q[0..dim] },
    };
    for (wrong) |queries| {
        try std.testing.expectError(error.OutOfRange, kv_attention.weights(session, queries, &out, &diag));
    }
    try std.testing.expectError(error.BufferTooSmall, kv_attention.weights(session, good, out[1..], &diag));
    var short = good;
    short.values = q[1..];
    try std.testing.expectError(error.BufferTooSmall, kv_attention.weights(session, short, &out, &diag));
    try std.testing.expectEqualStrings("expected 1 queries of 4 heads of 32 values and room for 150 positions each, " ++
        "found 127 values and room for 600", diag.text());
}
