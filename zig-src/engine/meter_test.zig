//! What a meter counts, against what is counted by hand.

const std = @import("std");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const meter = @import("meter.zig");
const Meter = meter.Meter;
const Session = @import("session.zig").Session;
const session_test = @import("session_test.zig");
const Fixture = session_test.Fixture;

const gpa = std.testing.allocator;

// The shape of the model: 2 layers of 4 heads and 2 KV heads.
const embd = 64;
const ff = 96;
const heads = 4;
const kv_heads = 2;
const dim = 32;
const vocab = 80;
const layer_weights = 2 * embd * heads * dim + 2 * embd * kv_heads * dim + 3 * embd * ff;
/// Operations of one query of one layer for each position that it sees.
const attention_flops = 2 * heads * (dim + dim);
const width = Meter.head_values + 3 * Meter.place_values;

/// Evaluates tokens in one pass and gives what was kept of it.
fn metered(session: *Session, tokens: []const u32) ![width]f64 {
    var diag: Diagnostic = .{};
    try session.start(.{ .tokens = tokens }, &diag);
    session.wait();
    var out: [width]f64 = undefined;
    try std.testing.expectEqual(1, (try meter.of(session, &diag)).take(&out));
    return out;
}

fn expectPlace(pass: [width]f64, place: usize, weights: f64, keys: f64, values: f64, flops: f64) !void {
    const found = pass[Meter.head_values + place * Meter.place_values ..][0..Meter.place_values];
    try std.testing.expectEqualSlices(f64, &.{ weights, keys, values, flops }, found[0..4]);
    try std.testing.expect(found[4] > 0);
}

test "bytes and operations are those counted by hand" {
    var diag: Diagnostic = .{};
    for ([_]u32{ 1, 3 }) |threads| {
        var fixture = try Fixture.init(.{ .head_dim = dim, .format = .f32 }, .{ .threads = threads });
        defer fixture.deinit();
        const session = try Session.create(fixture.model, .{ .key_format = .f16, .value_format = .q8_0 }, &diag);
        defer session.destroy();
        try meter.start(session, 8, &diag);
        const tokens = session_test.someTokens(150);

        const prompt = try metered(session, tokens[0..40]);
        try std.testing.expectEqualSlices(f64, &.{ 0, 40, 40, 0 }, prompt[0..4]);
        for (0..2) |layer| {
            const of_layer = prompt[Meter.head_values + layer * Meter.place_values ..][0..Meter.place_values];
            try std.testing.expectEqual(4 * layer_weights, of_layer[0]);
            try std.testing.expectEqual(40 * 2 * layer_weights + 40 * 41 / 2 * attention_flops, of_layer[3]);
            // Rows of a tile share each read, so that it is less than one for each, but all positions once.
            try std.testing.expect(of_layer[1] >= 40 * kv_heads * dim * 2 and of_layer[1] <= 40 * 41 / 2 * kv_heads * dim * 2);
        }
        // The embeddings of all tokens, and the output head for the last one.
        try expectPlace(prompt, 2, 4 * (40 + vocab) * embd, 0, 0, 2 * vocab * embd);

        for (40..150) |position| {
            const pass = try metered(session, tokens[position..][0..1]);
            try std.testing.expectEqualSlices(f64, &.{ @floatFromInt(position - 39), 1, 1, @floatFromInt(position) }, pass[0..4]);
            const sees: f64 = @floatFromInt(position + 1);
            for (0..2) |layer| try expectPlace(
                pass,
                layer,
                4 * layer_weights,
                sees * kv_heads * dim * 2,
                sees * kv_heads * 34,
                2 * layer_weights + sees * attention_flops,
            );
        }
    }
}

test "a window bounds what is read" {
    var diag: Diagnostic = .{};
    var fixture = try Fixture.init(.{ .architecture = "gemma3", .head_dim = dim, .window = 20, .format = .q8_0 }, .{ .threads = 1 });
    defer fixture.deinit();
    const session = try Session.create(fixture.model, .{ .key_format = .f32, .value_format = .f32 }, &diag);
    defer session.destroy();
    const tokens = session_test.someTokens(101);
    try session.start(.{ .tokens = tokens[0..100] }, &diag);
    session.wait();
    try meter.start(session, 1, &diag);
    const pass = try metered(session, tokens[100..]);
    try std.testing.expect(fixture.model.hyper.slides(0));
    // Panels begin at whole lines; those of the down projection have 16 rows of 3 units of 34 bytes.
    const weights = layer_weights * 34 / 32 + embd / 16 * (64 - 16 * 3 * 34 % 64);
    try expectPlace(pass, 0, weights, 20 * kv_heads * dim * 4, 20 * kv_heads * dim * 4, 2 * layer_weights + 20 * attention_flops);
}

test "a meter is asked for, and ends" {
    var diag: Diagnostic = .{};
    var fixture = try Fixture.init(.{}, .{ .threads = 1 });
    defer fixture.deinit();
    const session = try Session.create(fixture.model, .{}, &diag);
    defer session.destroy();
    try std.testing.expectError(error.BadOption, meter.of(session, &diag));
    try std.testing.expectError(error.BadOption, meter.start(session, std.math.maxInt(u32), &diag));
    try meter.start(session, 2, &diag);
    for (0..3) |_| {
        try session.start(.{ .tokens = &.{5} }, &diag);
        session.wait();
    }
    const kept = try meter.of(session, &diag);
    try std.testing.expectEqual(2, kept.held);
    try meter.start(session, 0, &diag);
    try std.testing.expectError(error.BadOption, meter.of(session, &diag));
    try session.start(.{ .tokens = &.{5} }, &diag);
    session.wait();
}
