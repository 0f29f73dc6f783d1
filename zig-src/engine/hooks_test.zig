//! Hooks on a small model: looking changes no bit, what is written is what the model goes on with, and a
//! request that is cancelled waits for nobody.

const std = @import("std");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const probe = @import("../probe.zig");
const sampler = @import("../sampler.zig");
const session_module = @import("session.zig");
const Session = session_module.Session;
const session_test = @import("session_test.zig");
const Fixture = session_test.Fixture;
const unembed = @import("unembed.zig");

const gpa = std.testing.allocator;
/// Those that every pass comes to: groups of keys are shown where tokens are kept at full precision.
const points: [std.enums.values(probe.Point).len - 1]probe.Point = blk: {
    var some: [std.enums.values(probe.Point).len - 1]probe.Point = undefined;
    var count: usize = 0;
    for (std.enums.values(probe.Point)) |point| {
        if (point == .k_group) continue;
        some[count] = point;
        count += 1;
    }
    break :blk some;
};

/// All points of all layers.
fn everything(layers: usize) ![]u32 {
    const wanted = try gpa.alloc(u32, layers);
    for (wanted, 0..) |*bits, layer| {
        bits.* = 0;
        for (points) |point| if (layer == 0 or point.perLayer()) {
            bits.* |= point.bit();
        };
    }
    return wanted;
}

/// Answers a session's hooks until the request has ended: keeps what it sees, and writes it back after
/// `change`.
const Answerer = struct {
    session: *Session,
    change: ?*const fn (offer: probe.Offer, values: []f32) void = null,
    seen: std.ArrayList(probe.Offer) = .empty,
    /// The residual stream behind the last layer, of the rows that were shown last.
    last: []f32 = &.{},
    failed: ?anyerror = null,

    fn run(answerer: *Answerer) void {
        answerer.serve() catch |err| {
            answerer.failed = err;
            answerer.session.cancel();
        };
    }

    fn serve(answerer: *Answerer) !void {
        const gate = &answerer.session.gate;
        while (answerer.session.running.load(.acquire)) {
            const offer = gate.current() orelse {
                std.Thread.yield() catch {};
                continue;
            };
            const values = try gpa.alloc(f32, @as(usize, offer.rows) * offer.width);
            errdefer gpa.free(values);
            if (!gate.read(values)) return error.TestNothingToRead;
            try answerer.seen.append(gpa, offer);
            if (answerer.change) |change| {
                change(offer, values);
                if (!gate.write(values)) return error.TestNothingToWrite;
            }
            if (offer.point == .resid_post) {
                gpa.free(answerer.last);
                answerer.last = values;
            } else gpa.free(values);
            gate.proceed();
        }
    }

    fn deinit(answerer: *Answerer) void {
        answerer.seen.deinit(gpa);
        gpa.free(answerer.last);
    }
};

/// Evaluates `tokens` with the answerer beside it.
fn evaluate(session: *Session, tokens: []const u32, answerer: *Answerer) !void {
    var diag: Diagnostic = .{};
    try session.start(.{ .tokens = tokens }, &diag);
    const thread = try std.Thread.spawn(.{}, Answerer.run, .{answerer});
    thread.join();
    session.wait();
    if (answerer.failed) |err| return err;
}

test "looking at everything changes no bit" {
    const tokens = session_test.someTokens(70);
    for ([_]bool{ false, true }) |exact| {
        var fixture = try Fixture.init(.{}, .{ .threads = 2, .precision = if (exact) .float else .int8, .batch_rows = 64 });
        defer fixture.deinit();
        const expected = try fixture.logits(.{}, &tokens, tokens.len);
        defer gpa.free(expected);
        const vocab = fixture.model.vocab();
        const layers = fixture.model.hyper.layers;
        const wanted = try everything(layers);
        defer gpa.free(wanted);
        var diag: Diagnostic = .{};
        const session = try Session.create(fixture.model, .{}, &diag);
        defer session.destroy();
        try session.openGate(wanted, &diag);
        var answerer: Answerer = .{ .session = session };
        defer answerer.deinit();
        // A prompt of two batches, then a token by itself.
        try evaluate(session, tokens[0..69], &answerer);
        try evaluate(session, tokens[69..], &answerer);
        try session_test.expectSameBits(expected[69 * vocab ..], session.logits);
        try std.testing.expectEqual(3 * (1 + layers * (points.len - 1)), answerer.seen.items.len);
        const found = answerer.seen.items[0];
        try std.testing.expectEqual(probe.Offer{ .point = .embed, .layer = 0, .position = 0, .rows = 64, .width = 64 }, found);
        const last = answerer.seen.getLast();
        try std.testing.expectEqual(probe.Offer{ .point = .resid_post, .layer = 1, .position = 69, .rows = 1, .width = 64 }, last);
        // What the model says there is what it says.
        const lens = try gpa.alloc(f32, vocab);
        defer gpa.free(lens);
        try unembed.logits(fixture.model, answerer.last, lens, &diag);
        try session_test.expectSameBits(session.logits, lens);
    }
}

fn silence(offer: probe.Offer, values: []f32) void {
    // The last layer adds nothing, so that the residual stream stays.
    if (offer.layer == 1 and (offer.point == .attn_out or offer.point == .mlp_out)) @memset(values, 0);
    if (offer.layer == 0 and offer.point == .resid_post) silenced = values[0];
    if (offer.layer == 1 and offer.point == .resid_post) std.debug.assert(values[0] == silenced);
}
var silenced: f32 = 0;

test "what is written is what the model goes on with" {
    var fixture = try Fixture.init(.{}, .{ .threads = 2 });
    defer fixture.deinit();
    const model = fixture.model;
    const tokens = session_test.someTokens(9);
    const wanted = try everything(model.hyper.layers);
    defer gpa.free(wanted);
    var diag: Diagnostic = .{};
    const session = try Session.create(model, .{}, &diag);
    defer session.destroy();
    try session.openGate(wanted, &diag);
    var answerer: Answerer = .{ .session = session, .change = silence };
    defer answerer.deinit();
    try evaluate(session, &tokens, &answerer);
    const lens = try gpa.alloc(f32, model.vocab());
    defer gpa.free(lens);
    const embd = model.hyper.embd;
    try unembed.logits(model, answerer.last[8 * embd ..], lens, &diag);
    try session_test.expectSameBits(session.logits, lens);

    // Each point has its say: another value there gives other logits.
    for (points) |point| {
        const own = try Session.create(model, .{}, &diag);
        defer own.destroy();
        changed = point;
        try own.openGate(wanted, &diag);
        var changer: Answerer = .{ .session = own, .change = double };
        defer changer.deinit();
        try evaluate(own, &tokens, &changer);
        const plain = try fixture.logits(.{}, &tokens, tokens.len);
        defer gpa.free(plain);
        const same = std.mem.eql(f32, own.logits, plain[8 * model.vocab() ..]);
        if (same) std.debug.print("{t} has no effect\n", .{point});
        try std.testing.expect(!same);
    }
}

fn double(offer: probe.Offer, values: []f32) void {
    if (offer.point != changed or offer.layer != 0) return;
    // Not of one size for all: a norm would take it back.
    for (values, 0..) |*value, i| value.* *= if (i % 2 == 0) 2 else -0.5;
}
var changed: probe.Point = .embed;

test "another session's end makes no row pass twice, and a cancelled request waits for nobody" {
    var fixture = try Fixture.init(.{}, .{ .threads = 2 });
    defer fixture.deinit();
    const tokens = session_test.someTokens(40);
    const wanted = try everything(fixture.model.hyper.layers);
    defer gpa.free(wanted);
    var diag: Diagnostic = .{};
    const session = try Session.create(fixture.model, .{}, &diag);
    defer session.destroy();
    const other = try Session.create(fixture.model, .{ .context = 4096 }, &diag);
    defer other.destroy();
    try session.openGate(wanted, &diag);
    try other.start(.{ .tokens = &tokens, .max_tokens = 4000, .ignore_eog = true }, &diag);
    var answerer: Answerer = .{ .session = session };
    defer answerer.deinit();
    try session.start(.{ .tokens = &tokens }, &diag);
    while (session.gate.current() == null) std.Thread.yield() catch {};
    other.cancel();
    const thread = try std.Thread.spawn(.{}, Answerer.run, .{&answerer});
    thread.join();
    session.wait();
    other.wait();
    try std.testing.expectEqual(1 + 2 * (points.len - 1), answerer.seen.items.len);

    // Nobody answers this one.
    try session.start(.{ .tokens = &tokens }, &diag);
    while (session.gate.current() == null) std.Thread.yield() catch {};
    try std.testing.expectError(error.Busy, session.openGate(&.{}, &diag));
    session.cancel();
    session.wait();
    try std.testing.expectEqual(null, session.gate.current());
    // Without hooks it goes on where it was.
    try session.openGate(&.{}, &diag);
    try session.start(.{ .tokens = tokens[0..3] }, &diag);
    session.wait();
    try std.testing.expectEqual(43, session.position());
    try std.testing.expectError(error.BadOption, session.openGate(&.{1}, &diag));
    try std.testing.expectError(error.BadOption, session.openGate(&.{ 0, 1 }, &diag));
    try std.testing.expectError(error.BadOption, session.openGate(&.{ 1 << 31, 0 }, &diag));
}

test "while a stage waits for its host, other requests begin" {
    var fixture = try Fixture.init(.{}, .{ .threads = 2 });
    defer fixture.deinit();
    const tokens = session_test.someTokens(9);
    var diag: Diagnostic = .{};
    var sessions: [2]*Session = undefined;
    for (&sessions) |*session| session.* = try Session.create(fixture.model, .{}, &diag);
    defer for (sessions) |session| session.destroy();
    for (sessions) |session| {
        try session.start(.{ .tokens = &tokens }, &diag);
        session.wait();
    }
    // Nothing to evaluate: they sample from the logits that are there, before any pass.
    const stages = [_]sampler.StageSpec{sampler.spec("script", .{1})};
    const request: session_module.Request = .{ .max_tokens = 2, .stages = &stages, .ignore_eog = true };
    try sessions[0].start(request, &diag);
    while (sessions[0].gate.current() == null) std.Thread.yield() catch {};
    // A start that waits for the scheduler would keep this thread from ever answering.
    const free = fixture.model.scheduler.mutex.tryLock();
    if (!free) return error.TestSchedulerHeldByAStageThatWaits;
    fixture.model.scheduler.mutex.unlock(std.testing.io);
    try sessions[1].start(request, &diag);
    while (sessions[0].running.load(.acquire) or sessions[1].running.load(.acquire)) {
        for (sessions) |session| session.gate.proceed();
        std.Thread.yield() catch {};
    }
    for (sessions) |session| try std.testing.expectEqual(11, session.position());
}
