//! What a session records while it generates, against the textbook definitions, and that recording changes
//! no token.

const std = @import("std");
const sampler = @import("../sampler.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Reference = @import("../sampler/core/reference.zig").Reference;
const recorder = @import("recorder.zig");
const session_module = @import("session.zig");
const Session = session_module.Session;
const session_test = @import("session_test.zig");
const Fixture = session_test.Fixture;
const tape = @import("tape.zig");

const gpa = std.testing.allocator;
const steps = 12;
const nucleus = 0.8;
const hot = 0.7;
const stages = [_]sampler.StageSpec{
    sampler.spec("temperature", .{hot}),
    sampler.spec("top_p", .{nucleus}),
    sampler.spec("min_p", .{0.3}),
};

/// The tokens of a generation; what it recorded stays with the session.
fn generated(session: *Session, wanted: recorder.Wanted, seed: u64) ![]const u32 {
    var diag: Diagnostic = .{};
    try session.start(.{
        .tokens = &session_test.someTokens(20),
        .max_tokens = steps,
        .stages = &stages,
        .seed = seed,
        .ignore_eog = true,
        .record = wanted,
    }, &diag);
    session.wait();
    const tokens = try gpa.alloc(u32, session.position());
    defer gpa.free(tokens);
    try session.copyTokens(tokens, &diag);
    return try gpa.dupe(u32, tokens[tokens.len - steps ..]);
}

test "what each stage left is what a sorted list leaves" {
    var fixture = try Fixture.init(.{}, .{ .threads = 2 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const session = try Session.create(fixture.model, .{}, &diag);
    defer session.destroy();
    const tokens = try generated(session, .{ .trace_steps = steps, .trace_candidates = 4, .tape_steps = steps }, 5);
    defer gpa.free(tokens);
    const kept = session.recorder.?;
    try std.testing.expectEqualSlices(u32, tokens, kept.trace.?.values(.token));
    try std.testing.expectEqual(steps, kept.tape.?.rows);
    var reader = try tape.Reader.init(gpa, .f32, fixture.model.vocab());
    defer reader.deinit(gpa);
    for (0..steps) |step| {
        const row = kept.tape.?.recorded()[step * kept.tape.?.row_bytes ..][0..kept.tape.?.row_bytes];
        const head = reader.read(row, fixture.model.vocab()).?;
        try std.testing.expectEqual(tokens[step], head.token);
        try std.testing.expectEqual(20 + step, head.position);
        try expectPlaces(&kept.trace.?, step, reader.logits, tokens[step]);
    }
}

/// All places of a step, against lists made of its logits.
fn expectPlaces(trace: *const recorder.Trace, step: usize, logits: []const f32, token: u32) !void {
    var own = try Reference.init(gpa, logits);
    defer own.deinit(gpa);
    var left = try Reference.init(gpa, logits);
    defer left.deinit(gpa);
    for (0..stages.len + 1) |place| {
        switch (place) {
            1 => left.heat(hot),
            2 => left.truncate(left.nucleus(nucleus)),
            3 => left.truncate(left.above(0.3)),
            else => {},
        }
        const at = step * trace.places + place;
        const items = left.members.items;
        try std.testing.expectEqual(items.len, trace.values(.candidates)[at]);
        try std.testing.expectApproxEqAbs(left.entropy(), float(trace, .entropy, at), 1e-4);
        try std.testing.expectApproxEqAbs(if (place == 0) @as(f64, 1) else hot, float(trace, .temperature, at), 1e-6);
        var mass: f64 = 0;
        for (own.members.items[0..items.len]) |member| mass += member.p;
        try std.testing.expectApproxEqAbs(mass, float(trace, .mass, at), 1e-5);
        try std.testing.expectApproxEqAbs(@log(own.members.items[items.len - 1].p), float(trace, .threshold, at), 1e-4);
        for (0..trace.depth) |i| {
            const id = trace.values(.top_id)[at * trace.depth + i];
            if (i >= items.len) {
                try std.testing.expectEqual(std.math.maxInt(u32), id);
                continue;
            }
            try std.testing.expectEqual(items[i].id, id);
            try std.testing.expectApproxEqAbs(items[i].p, float(trace, .top_probability, at * trace.depth + i), 1e-5);
        }
        try std.testing.expect(std.math.isNan(float(trace, .state, at)));
    }
    for (own.members.items, 0..) |member, rank| if (member.id == token) {
        try std.testing.expectEqual(rank, trace.values(.rank)[step]);
        try std.testing.expectApproxEqAbs(@log(member.p), float(trace, .logprob, step), 1e-4);
    };
    for (left.members.items) |member| if (member.id == token) {
        try std.testing.expectApproxEqAbs(member.p, float(trace, .probability, step), 1e-5);
        return;
    };
    return error.TestDrawnTokenWasRemoved;
}

fn float(trace: *const recorder.Trace, column: recorder.Column, index: usize) f64 {
    return @as(f32, @bitCast(trace.values(column)[index]));
}

test "recording changes no token, and a chain draws them again from the tape" {
    var fixture = try Fixture.init(.{}, .{ .threads = 2 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const vocab = fixture.model.vocab();
    for (std.enums.values(tape.Kind)) |kind| {
        const plain = try Session.create(fixture.model, .{}, &diag);
        defer plain.destroy();
        const expected = try generated(plain, .{}, 9);
        defer gpa.free(expected);
        try std.testing.expectEqual(null, plain.recorder);
        const session = try Session.create(fixture.model, .{}, &diag);
        defer session.destroy();
        const found = try generated(session, .{ .trace_steps = 3, .tape_steps = steps, .tape_kind = kind, .tape_top = 60 }, 9);
        defer gpa.free(found);
        try std.testing.expectEqualSlices(u32, expected, found);
        try std.testing.expectEqual(steps - 3, session.recorder.?.trace.?.dropped);
        const rows = &session.recorder.?.tape.?;
        var reader = try tape.Reader.init(gpa, kind, rows.count);
        defer reader.deinit(gpa);
        var chain = try sampler.Chain.init(gpa, &stages, vocab, 9, &diag);
        defer chain.deinit(gpa);
        for (expected, 0..) |token, step| {
            const head = reader.read(rows.recorded()[step * rows.row_bytes ..][0..rows.row_bytes], vocab).?;
            const choice = if (kind == .top)
                try chain.sampleSome(reader.ids, reader.logits, 0, head.position, &diag)
            else
                try chain.sampleRow(reader.whole(), 0, head.position, &diag);
            try std.testing.expectEqual(token, choice.token);
        }
    }
}
