//! Where the engine waits for the holder of a session to look at activations. The engine offers rows at
//! the points that are wanted and stands still; another thread reads them, may write them, and lets the
//! engine go on. A cancelled request doesn't wait.

const std = @import("std");
const probe = @import("../probe.zig");

const io = std.Io.Threaded.global_single_threaded.io();

/// Rows that the engine offers: [rows, width], for positions that follow each other.
pub const Offer = struct {
    point: probe.Point,
    layer: u32,
    position: u32,
    rows: u32,
    width: u32,
    /// Not 0: no activations, but the candidates of a sampler stage that is a function, and its number.
    stage: u32 = 0,
    /// Tokens of the text that such a stage may see.
    history: u32 = 0,
};

pub const Gate = struct {
    /// [layers]: bits of the points that are wanted. The bit of one without a layer is that of layer 0.
    wanted: []const u32 = &.{},
    cancelled: *const std.atomic.Value(bool),
    /// Tells whoever waits for the engine that there is something to see.
    signal: *const fn () void,
    /// Of everything below but `turn`.
    mutex: std.Io.Mutex = .init,
    offer: ?Offer = null,
    values: []f32 = &.{},
    /// Which tokens the values are of, when a stage asks.
    ids: []const u32 = &.{},
    /// The text before, oldest first.
    history: []const u32 = &.{},
    /// Changes whenever the engine has a reason to look again.
    turn: std.atomic.Value(u32) = .init(0),

    pub fn observer(gate: *Gate) probe.Observer {
        return .{ .context = gate, .wants = wants, .observe = observe };
    }

    fn wants(context: *anyopaque, point: probe.Point, layer: u32) bool {
        const gate: *const Gate = @ptrCast(@alignCast(context));
        return gate.wanted[layer] & point.bit() != 0;
    }

    fn observe(context: *anyopaque, point: probe.Point, layer: u32, position: u32, values: []f32, width: u32) void {
        const gate: *Gate = @ptrCast(@alignCast(context));
        const rows: u32 = @intCast(values.len / width);
        _ = gate.wait(.{ .point = point, .layer = layer, .position = position, .rows = rows, .width = width }, values, &.{}, &.{});
    }

    /// Shows candidates to a stage's function and waits for it; false when the request was cancelled first.
    pub fn ask(gate: *Gate, stage: u32, position: u32, ids: []const u32, logits: []f32, history: []const u32) bool {
        return gate.wait(.{
            .point = .embed,
            .layer = 0,
            .position = position,
            .rows = 1,
            .width = @intCast(logits.len),
            .stage = stage,
            .history = @intCast(history.len),
        }, logits, ids, history);
    }

    fn wait(gate: *Gate, offer: Offer, values: []f32, ids: []const u32, history: []const u32) bool {
        gate.mutex.lockUncancelable(io);
        gate.offer = offer;
        gate.values = values;
        gate.ids = ids;
        gate.history = history;
        gate.mutex.unlock(io);
        gate.signal();
        while (true) {
            const turn = gate.turn.load(.seq_cst);
            if (gate.answered()) |was| return was;
            io.futexWaitUncancelable(u32, &gate.turn.raw, turn);
        }
    }

    /// Whether the offer was answered, once the engine may go on; a cancelled one is taken back.
    fn answered(gate: *Gate) ?bool {
        gate.mutex.lockUncancelable(io);
        defer gate.mutex.unlock(io);
        if (gate.offer == null) return true;
        if (!gate.cancelled.load(.seq_cst)) return null;
        gate.clear();
        return false;
    }

    fn clear(gate: *Gate) void {
        gate.offer = null;
        gate.values = &.{};
        gate.ids = &.{};
        gate.history = &.{};
    }

    /// What is offered now, if anything is.
    pub fn current(gate: *Gate) ?Offer {
        gate.mutex.lockUncancelable(io);
        defer gate.mutex.unlock(io);
        return gate.offer;
    }

    /// Copies what is offered into `out`; false when nothing of that length is.
    pub fn read(gate: *Gate, out: []align(1) f32) bool {
        gate.mutex.lockUncancelable(io);
        defer gate.mutex.unlock(io);
        if (gate.offer == null or gate.values.len != out.len) return false;
        @memcpy(std.mem.sliceAsBytes(out), std.mem.sliceAsBytes(gate.values));
        return true;
    }

    /// Copies the ids of the candidates that are offered; false when there aren't so many.
    pub fn readIds(gate: *Gate, out: []align(1) u32) bool {
        gate.mutex.lockUncancelable(io);
        defer gate.mutex.unlock(io);
        if (gate.offer == null or gate.ids.len != out.len) return false;
        @memcpy(std.mem.sliceAsBytes(out), std.mem.sliceAsBytes(gate.ids));
        return true;
    }

    /// Copies the text that a stage may see; false when it hasn't that many tokens.
    pub fn readHistory(gate: *Gate, out: []align(1) u32) bool {
        gate.mutex.lockUncancelable(io);
        defer gate.mutex.unlock(io);
        if (gate.offer == null or gate.history.len != out.len) return false;
        @memcpy(std.mem.sliceAsBytes(out), std.mem.sliceAsBytes(gate.history));
        return true;
    }

    /// Replaces what is offered; false when nothing of that length is.
    pub fn write(gate: *Gate, values: []align(1) const f32) bool {
        gate.mutex.lockUncancelable(io);
        defer gate.mutex.unlock(io);
        if (gate.offer == null or gate.values.len != values.len) return false;
        @memcpy(std.mem.sliceAsBytes(gate.values), std.mem.sliceAsBytes(values));
        return true;
    }

    /// Lets the engine go on; harmless when it doesn't wait.
    pub fn proceed(gate: *Gate) void {
        gate.mutex.lockUncancelable(io);
        gate.clear();
        gate.mutex.unlock(io);
        gate.poke();
    }

    /// Makes the engine look whether it still has to wait.
    pub fn poke(gate: *Gate) void {
        _ = gate.turn.fetchAdd(1, .seq_cst);
        io.futexWake(u32, &gate.turn.raw, 1);
    }
};

const Answerer = struct {
    gate: *Gate,
    seen: u32 = 0,

    fn run(answerer: *Answerer, count: u32) void {
        var values: [6]f32 = undefined;
        while (answerer.seen < count) {
            const offer = answerer.gate.current() orelse {
                std.atomic.spinLoopHint();
                continue;
            };
            std.debug.assert(offer.rows == 2 and offer.width == 3);
            std.debug.assert(answerer.gate.read(&values));
            for (&values) |*value| value.* += @floatFromInt(offer.layer);
            std.debug.assert(!answerer.gate.write(values[1..]));
            std.debug.assert(answerer.gate.write(&values));
            answerer.seen += 1;
            answerer.gate.proceed();
        }
    }
};

fn quiet() void {}

test "an offer waits for its answer, which may change it" {
    var cancelled: std.atomic.Value(bool) = .init(false);
    var gate: Gate = .{ .wanted = &.{ probe.Point.embed.bit(), probe.Point.k.bit() }, .cancelled = &cancelled, .signal = quiet };
    const observer = gate.observer();
    try std.testing.expect(observer.wants(observer.context, .embed, 0));
    try std.testing.expect(!observer.wants(observer.context, .k, 0));
    try std.testing.expect(observer.wants(observer.context, .k, 1));

    var answerer: Answerer = .{ .gate = &gate };
    const thread = try std.Thread.spawn(.{}, Answerer.run, .{ &answerer, 1000 });
    var values = [_]f32{ 1, 2, 3, 4, 5, 6 };
    for (0..1000) |_| observer.observe(observer.context, .k, 1, 0, &values, 3);
    thread.join();
    try std.testing.expectEqual(1006, values[5]);
    try std.testing.expectEqual(null, gate.current());
    try std.testing.expect(!gate.read(&values));
}

test "a cancelled request doesn't wait" {
    var cancelled: std.atomic.Value(bool) = .init(false);
    var gate: Gate = .{ .wanted = &.{0}, .cancelled = &cancelled, .signal = quiet };
    const Canceller = struct {
        fn run(other: *Gate, flag: *std.atomic.Value(bool)) void {
            while (other.current() == null) std.atomic.spinLoopHint();
            flag.store(true, .seq_cst);
            other.poke();
        }
    };
    const thread = try std.Thread.spawn(.{}, Canceller.run, .{ &gate, &cancelled });
    var values = [_]f32{ 1, 2 };
    const observer = gate.observer();
    observer.observe(observer.context, .z, 0, 7, &values, 2);
    thread.join();
    // Nor does what follows.
    observer.observe(observer.context, .z, 0, 7, &values, 2);
    try std.testing.expectEqual(null, gate.current());
}

test "candidates of a stage are asked for with their ids and the text" {
    const Function = struct {
        fn run(gate: *Gate) void {
            const offer = while (true) {
                if (gate.current()) |found| break found;
                std.atomic.spinLoopHint();
            };
            std.debug.assert(offer.stage == 3 and offer.position == 9 and offer.width == 2 and offer.history == 3);
            var text: [3]u32 = undefined;
            std.debug.assert(!gate.readHistory(text[0..2]));
            std.debug.assert(gate.readHistory(&text));
            std.debug.assert(text[0] == 7 and text[2] == 4);
            var ids: [2]u32 = undefined;
            std.debug.assert(!gate.readIds(ids[0..1]));
            std.debug.assert(gate.readIds(&ids));
            std.debug.assert(gate.write(&.{ @floatFromInt(ids[0]), @floatFromInt(ids[1]) }));
            gate.proceed();
        }
    };
    var cancelled: std.atomic.Value(bool) = .init(false);
    var gate: Gate = .{ .cancelled = &cancelled, .signal = quiet };
    const thread = try std.Thread.spawn(.{}, Function.run, .{&gate});
    var logits = [_]f32{ 1, 2 };
    try std.testing.expect(gate.ask(3, 9, &.{ 5, 8 }, &logits, &.{ 7, 1, 4 }));
    thread.join();
    try std.testing.expectEqualSlices(f32, &.{ 5, 8 }, &logits);
    cancelled.store(true, .seq_cst);
    try std.testing.expect(!gate.ask(3, 9, &.{ 5, 8 }, &logits, &.{}));
}
