//! What a request records of its sampling: a *trace* of what every stage of the chain received and left,
//! and a *tape* of the logits, from which other chains can draw without the model. Both are columns of
//! a fixed number of steps; their memory is taken when the request begins, and a step beyond it is
//! counted and not kept. A request that records nothing has no recorder and pays nothing.
//!
//! Entropy is in nats, of the candidates' own distribution. Mass and threshold are in the model's own
//! distribution, whatever the temperature, so that stages can be compared.

const std = @import("std");
const probe = @import("../probe.zig");
const sampler = @import("../sampler.zig");
const head = @import("../sampler/core/head.zig");
const sweep = @import("../sampler/core/sweep.zig");
const top = @import("../sampler/core/top.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Request = @import("session.zig").Request;
const Session = @import("session.zig").Session;
const Tape = @import("tape.zig").Tape;
const TapeKind = @import("tape.zig").Kind;

const io = std.Io.Threaded.global_single_threaded.io();

/// Of a trace, and of a tape.
pub const bytes_max = 1 << 30;

/// What a request asks for.
pub const Wanted = struct {
    /// Steps that the trace has room for; 0: none.
    trace_steps: u32 = 0,
    /// Most probable candidates that are kept behind each stage.
    trace_candidates: u32 = 0,
    /// Steps that the tape has room for; 0: none.
    tape_steps: u32 = 0,
    tape_kind: TapeKind = .f32,
    /// Logits of a row of kind `top`.
    tape_top: u32 = 0,
};

/// The columns of a trace, one number of 32 bits a place. A new one is one line here, one in `per`, and
/// the place that writes it. The numbers are part of the C ABI.
pub const Column = enum(u32) {
    position = 0,
    token = 1,
    /// How many tokens the model found more probable.
    rank = 2,
    /// ln p in the model's own distribution.
    logprob = 3,
    /// In the distribution that it was drawn from.
    probability = 4,
    /// Of a logit above -inf.
    candidates = 5,
    /// Of the model's own distribution that the candidates have.
    mass = 6,
    /// In nats.
    entropy = 7,
    /// ln p, in the model's own distribution, of the least probable candidate.
    threshold = 8,
    /// The product of all so far.
    temperature = 9,
    /// Of the stage, in nanoseconds.
    nanoseconds = 10,
    /// The most probable candidates, best first; 0xffffffff where there are fewer.
    top_id = 11,
    /// Divided by the temperature.
    top_logit = 12,
    top_probability = 13,
    /// What the stage says of itself; NaN for one that says nothing.
    state = 14,
    /// What the stage says of the token that was drawn; NaN for one that says nothing.
    outcome = 15,

    const Per = enum { step, stage, top };

    fn per(column: Column) Per {
        return switch (column) {
            .position, .token, .rank, .logprob, .probability => .step,
            .top_id, .top_logit, .top_probability => .top,
            else => .stage,
        };
    }
};

const column_count = @typeInfo(Column).@"enum".field_names.len;

pub const Recorder = struct {
    gpa: std.mem.Allocator,
    trace: ?Trace,
    tape: ?Tape,

    pub fn create(gpa: std.mem.Allocator, wanted: Wanted, stages: usize, vocab: u32, diag: *Diagnostic) error{ OutOfMemory, BadOption }!?*Recorder {
        if (wanted.trace_steps == 0 and wanted.tape_steps == 0) return null;
        const recorder = try gpa.create(Recorder);
        errdefer gpa.destroy(recorder);
        var trace: ?Trace = if (wanted.trace_steps == 0) null else try Trace.init(gpa, wanted, stages, vocab, diag);
        errdefer if (trace) |*made| made.deinit(gpa);
        const tape: ?Tape = if (wanted.tape_steps == 0) null else try Tape.init(gpa, wanted, vocab, diag);
        recorder.* = .{ .gpa = gpa, .trace = trace, .tape = tape };
        return recorder;
    }

    pub fn destroy(recorder: *Recorder) void {
        if (recorder.trace) |*trace| trace.deinit(recorder.gpa);
        if (recorder.tape) |*tape| tape.deinit(recorder.gpa);
        recorder.gpa.destroy(recorder);
    }

    /// Forgets the last steps, which are taken back.
    pub fn takeBack(recorder: *Recorder, count: u32) void {
        if (recorder.tape) |*tape| {
            const unkept = @min(count, tape.dropped);
            tape.dropped -= unkept;
            tape.rows -= count - unkept;
        }
        if (recorder.trace) |*trace| {
            const unkept = @min(count, trace.dropped);
            trace.dropped -= unkept;
            trace.steps -= count - unkept;
        }
    }

    pub fn observer(recorder: *Recorder) sampler.Observer {
        return .{ .context = recorder, .observe = observe, .wants_entropy = recorder.trace != null };
    }

    fn observe(context: *anyopaque, event: sampler.Event) void {
        const recorder: *Recorder = @ptrCast(@alignCast(context));
        if (recorder.tape) |*tape| tape.see(event);
        if (recorder.trace) |*trace| trace.see(event);
    }
};

/// Replaces what the last request recorded by what `request` is to record of its chain, and lets functions
/// of the session's holder be stages of it.
pub fn attach(
    slot: *?*Recorder,
    chain: ?*sampler.Chain,
    session: *Session,
    request: Request,
    diag: *Diagnostic,
) error{ OutOfMemory, BadOption }!void {
    if (slot.*) |old| old.destroy();
    slot.* = null;
    const sampling = chain orelse return;
    sampling.host = .{ .context = &session.gate, .ask = ask };
    slot.* = try Recorder.create(session.gpa, request.record, request.stages.len, session.model.vocab(), diag);
    if (slot.*) |made| sampling.observer = made.observer();
}

fn ask(context: *anyopaque, number: u32, step: sampler.Step, ids: []const u32, logits: []f32) bool {
    const gate: *probe.Gate = @ptrCast(@alignCast(context));
    return gate.ask(number, @intCast(step.position), ids, logits, step.history);
}

pub const Trace = struct {
    /// Room for steps.
    capacity: u32,
    /// Places of a step: before the first stage, and behind each.
    places: usize,
    /// Candidates of a place.
    depth: usize,
    columns: [column_count][]u32,
    /// The best of a place, with indices for tokens.
    best: []sampler.TokenLogprob, // [depth]
    scratch: []sampler.TokenLogprob, // [depth]
    best_len: usize = 0,
    /// Whole steps that are kept, and that there was no room for.
    steps: u32 = 0,
    dropped: u32 = 0,

    /// Of the step that is being recorded.
    logits: []const f32 = &.{},
    max: f32 = 0,
    log_mass: f64 = 0,
    lowest: f32 = 0,
    was_untouched: bool = false,
    mark: i96 = 0,

    fn init(gpa: std.mem.Allocator, wanted: Wanted, stages: usize, vocab: u32, diag: *Diagnostic) error{ OutOfMemory, BadOption }!Trace {
        const depth: usize = @min(wanted.trace_candidates, vocab);
        const places = stages + 1;
        var total: u64 = 0;
        for (std.enums.values(Column)) |column| total += @as(u64, wanted.trace_steps) * width(column, places, depth) * 4;
        if (total > bytes_max) {
            diag.set("expected a trace of at most {d} bytes, found {d}; trace fewer steps or candidates", .{ @as(u64, bytes_max), total });
            return error.BadOption;
        }
        const best = try gpa.alloc(sampler.TokenLogprob, 2 * depth);
        errdefer gpa.free(best);
        const words = try gpa.alloc(u32, @intCast(total / 4));
        var trace: Trace = .{
            .capacity = wanted.trace_steps,
            .places = places,
            .depth = depth,
            .columns = undefined,
            .best = best[0..depth],
            .scratch = best[depth..],
        };
        var at: usize = 0;
        for (std.enums.values(Column), &trace.columns) |column, *slot| {
            const len = wanted.trace_steps * width(column, places, depth);
            slot.* = words[at..][0..len];
            at += len;
        }
        return trace;
    }

    fn deinit(trace: *Trace, gpa: std.mem.Allocator) void {
        var total: usize = 0;
        for (trace.columns) |column| total += column.len;
        gpa.free(trace.columns[0].ptr[0..total]);
        gpa.free(trace.best.ptr[0 .. 2 * trace.depth]);
    }

    fn width(column: Column, places: usize, depth: usize) usize {
        return switch (column.per()) {
            .step => 1,
            .stage => places,
            .top => places * depth,
        };
    }

    /// The values of a column that have been recorded.
    pub fn values(trace: *const Trace, column: Column) []const u32 {
        return trace.columns[@backingInt(column)][0 .. trace.steps * width(column, trace.places, trace.depth)];
    }

    /// The same, place by place: of each, its steps one behind the other.
    pub fn copy(trace: *const Trace, column: Column, out: []align(1) u32) void {
        const from = trace.values(column);
        std.debug.assert(out.len == from.len);
        const places = if (column.per() == .step) 1 else trace.places;
        const each = width(column, trace.places, trace.depth) / places;
        var at: usize = 0;
        for (0..places) |place| for (0..trace.steps) |step| {
            @memcpy(out[at..][0..each], from[(step * places + place) * each ..][0..each]);
            at += each;
        };
    }

    fn put(trace: *Trace, column: Column, index: usize, value: anytype) void {
        trace.columns[@backingInt(column)][index] = if (@TypeOf(value) == u32) value else @bitCast(@as(f32, @floatCast(value)));
    }

    fn see(trace: *Trace, event: sampler.Event) void {
        const arrived = now();
        if (trace.steps == trace.capacity) {
            if (event.choice != null) trace.dropped +|= 1;
            return;
        }
        if (event.choice) |choice| return trace.close(event, choice);
        const set = event.candidates;
        const place = trace.steps * trace.places + event.applied;
        trace.put(.nanoseconds, place, if (event.applied == 0) 0 else @as(f64, @floatFromInt(arrived - trace.mark)));
        if (event.applied == 0) trace.open(set);
        trace.put(.state, place, event.state);
        trace.put(.entropy, place, set.entropy());
        trace.put(.temperature, place, set.temperature);
        trace.measure(set, place);
        if (trace.depth != 0) trace.keepBest(set, place);
        trace.was_untouched = set.untouched();
        trace.mark = now();
    }

    /// The model's own distribution.
    fn open(trace: *Trace, set: *sampler.Candidates) void {
        trace.logits = set.values;
        trace.max = set.max;
        trace.log_mass = @log(set.mass());
        trace.lowest = set.lowestLogit();
        trace.was_untouched = false;
    }

    /// How many candidates there are, and what they have of the model's distribution.
    fn measure(trace: *Trace, set: *sampler.Candidates, place: usize) void {
        if (set.untouched() and trace.was_untouched) {
            // Only the temperature may have changed.
            for ([_]Column{ .candidates, .mass, .threshold }) |column| {
                const values_of = trace.columns[@backingInt(column)];
                values_of[place] = values_of[place - 1];
            }
            return;
        }
        trace.put(.candidates, place, @as(u32, @intCast(set.finiteCount())));
        var share: f64 = 1;
        var lowest = trace.lowest;
        if (!set.untouched()) {
            var sum: f64 = 0;
            lowest = trace.max;
            for (set.values, 0..) |x, index| {
                if (x == -std.math.inf(f32)) continue;
                const own = trace.logits[set.id(index)];
                sum += sweep.weight(own, trace.max, 1);
                lowest = @min(lowest, own);
            }
            share = @min(1, sum / @exp(trace.log_mass));
        }
        trace.put(.mass, place, share);
        trace.put(.threshold, place, top.logprob(lowest, trace.max, trace.log_mass));
    }

    fn keepBest(trace: *Trace, set: *sampler.Candidates, place: usize) void {
        const known = set.untouched() and trace.was_untouched;
        if (!known) {
            const found = head.members(set, trace.best);
            top.sortDescending(found, trace.scratch);
            trace.best_len = found.len;
        }
        const found = trace.best[0..trace.best_len];
        const from = place * trace.depth;
        const ids = trace.columns[@backingInt(Column.top_id)][from..][0..trace.depth];
        const logits = trace.columns[@backingInt(Column.top_logit)][from..][0..trace.depth];
        const shares = trace.columns[@backingInt(Column.top_probability)][from..][0..trace.depth];
        for (found, ids[0..found.len], logits[0..found.len]) |entry, *id, *logit| {
            id.* = set.id(entry.token);
            logit.* = @bitCast(entry.logprob * set.beta);
        }
        const share: f32 = @floatCast(1 / set.mass());
        var i: usize = 0;
        while (i < found.len) : (i += sweep.lanes) {
            var x: [sweep.lanes]f32 = @splat(-std.math.inf(f32));
            const len = @min(sweep.lanes, found.len - i);
            for (x[0..len], found[i..][0..len]) |*to, entry| to.* = entry.logprob;
            const p: [sweep.lanes]f32 = sweep.weights(x, set.max, set.beta) * @as(@Vector(sweep.lanes, f32), @splat(share));
            @memcpy(shares[i..][0..len], @as([]const u32, @ptrCast(p[0..len])));
        }
        @memset(ids[found.len..], top.none.token);
        @memset(logits[found.len..], @bitCast(-std.math.inf(f32)));
        @memset(shares[found.len..], 0);
    }

    fn close(trace: *Trace, event: sampler.Event, choice: sampler.Choice) void {
        const step = trace.steps;
        trace.put(.position, step, @as(u32, @intCast(event.step.position)));
        trace.put(.token, step, choice.token);
        trace.put(.rank, step, rankOf(event.candidates.passes, trace.logits, choice.token));
        trace.put(.logprob, step, choice.logprob);
        trace.put(.probability, step, choice.probability);
        const place = step * trace.places;
        trace.put(.outcome, place, std.math.nan(f32));
        for (event.outcomes, place + 1..) |outcome, at| trace.put(.outcome, at, outcome);
        trace.steps += 1;
    }
};

/// How many tokens come before this one in descending order of logits, lower ids first among equals.
fn rankOf(passes: sweep.Passes, logits: []const f32, token: u32) u32 {
    const own = logits[token];
    const above = std.math.nextAfter(f32, own, std.math.inf(f32));
    const before = logits[0..token];
    return @intCast(passes.countFrom(logits, above) + passes.countFrom(before, own) - passes.countFrom(before, above));
}

fn now() i96 {
    return std.Io.Clock.awake.now(io).nanoseconds;
}

test "a trace says what each stage left" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    const specs = [_]sampler.StageSpec{ sampler.spec("temperature", .{0.5}), sampler.spec("top_k", .{2}) };
    var chain = try sampler.Chain.init(gpa, &specs, 4, 7, &diag);
    defer chain.deinit(gpa);
    const recorder = (try Recorder.create(gpa, .{ .trace_steps = 2, .trace_candidates = 3 }, specs.len, 4, &diag)).?;
    defer recorder.destroy();
    chain.observer = recorder.observer();
    const shares = [_]f32{ 0.05, 0.45, 0.15, 0.35 };
    var logits: [4]f32 = undefined;
    for (shares, &logits) |p, *x| x.* = @log(p);
    var tokens: [3]u32 = undefined;
    for (&tokens, 5..) |*token, position| token.* = (try chain.sample(&logits, 0, position, &diag)).token;
    const trace = &recorder.trace.?;
    try std.testing.expectEqual(2, trace.steps);
    try std.testing.expectEqual(1, trace.dropped);
    try std.testing.expectEqualSlices(u32, &.{ 5, 6 }, trace.values(.position));
    try std.testing.expectEqualSlices(u32, tokens[0..2], trace.values(.token));
    try std.testing.expectEqualSlices(u32, &.{ 4, 4, 2, 4, 4, 2 }, trace.values(.candidates));
    const order = [_]u32{ 3, 0, 2, 1 };
    for (trace.values(.rank), tokens[0..2]) |rank, token| try std.testing.expectEqual(order[token], rank);
    var squares: f64 = 0;
    for (shares) |p| squares += p * p;
    var expected = [3]f64{ 0, 0, 0 };
    for (shares, 0..) |p, i| {
        const q = p * p / squares;
        const r = if (i == 1) @as(f64, 0.45 * 0.45) / (0.45 * 0.45 + 0.35 * 0.35) else if (i == 3) @as(f64, 0.35 * 0.35) / (0.45 * 0.45 + 0.35 * 0.35) else 1;
        expected[0] -= p * @log(p);
        expected[1] -= q * @log(q);
        expected[2] -= r * @log(r);
    }
    for (expected, 0..) |entropy, i| try std.testing.expectApproxEqAbs(entropy, float(trace, .entropy, i), 1e-5);
    for ([_]f64{ 1, 1, 0.8 }, 0..) |mass, i| try std.testing.expectApproxEqAbs(mass, float(trace, .mass, i), 1e-6);
    for ([_]f64{ 0.05, 0.05, 0.35 }, 0..) |p, i| try std.testing.expectApproxEqAbs(@log(p), float(trace, .threshold, i), 1e-5);
    for ([_]f64{ 1, 0.5, 0.5 }, 0..) |t, i| try std.testing.expectApproxEqAbs(t, float(trace, .temperature, i), 1e-6);
    try std.testing.expectEqualSlices(u32, &.{ 1, 3, 2, 1, 3, 2, 1, 3, top.none.token }, trace.values(.top_id)[0..9]);
    try std.testing.expectApproxEqAbs(0.45 * 0.45 / squares, float(trace, .top_probability, 3), 1e-6);
    try std.testing.expectApproxEqAbs(2 * @log(0.35), float(trace, .top_logit, 4), 1e-5);
}

fn float(trace: *const Trace, column: Column, index: usize) f64 {
    return @as(f32, @bitCast(trace.values(column)[index]));
}

test "what would take too much memory is refused, and a failing allocation leaves nothing" {
    var diag: Diagnostic = .{};
    const gpa = std.testing.allocator;
    try std.testing.expectError(error.BadOption, Recorder.create(gpa, .{ .trace_steps = 1 << 24, .trace_candidates = 256 }, 3, 50_000, &diag));
    try std.testing.expectError(error.BadOption, Recorder.create(gpa, .{ .tape_steps = 1 << 20 }, 3, 50_000, &diag));
    try std.testing.expect(std.mem.find(u8, diag.text(), "expected a tape") != null);
    try std.testing.checkAllAllocationFailures(gpa, struct {
        fn body(failing: std.mem.Allocator) !void {
            var other: Diagnostic = .{};
            const wanted: Wanted = .{ .trace_steps = 3, .trace_candidates = 5, .tape_steps = 2, .tape_kind = .top, .tape_top = 4 };
            const recorder = (try Recorder.create(failing, wanted, 2, 50, &other)).?;
            recorder.destroy();
        }
    }.body, .{});
}
