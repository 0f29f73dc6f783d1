//! Tests of whole chains: what is refused and with which words, what an error leaves behind, that
//! nothing is allocated or remembered, and the hooks that later stages need.

const std = @import("std");
const sampler = @import("../../sampler.zig");
const chain_file = @import("chain.zig");
const stage_file = @import("stage.zig");
const reference = @import("reference.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const Chain = sampler.Chain;
const StageSpec = sampler.StageSpec;
const spec = sampler.spec;
const inf = std.math.inf(f32);
const nan = std.math.nan(f32);

fn expectRefused(specs: []const StageSpec, text: []const u8) !void {
    var diag: Diagnostic = .{};
    const made = Chain.init(std.testing.allocator, specs, 100, 0, &diag);
    try std.testing.expectError(error.BadSampler, made);
    try std.testing.expectEqualStrings(text, diag.text());
}

test "parameters out of range are refused by stage, name, range and value" {
    const ok = spec("greedy", .{});
    try expectRefused(
        &.{ ok, spec("top_p", .{1.5}) },
        "sampler stage 2 (top_p): expected p to be a number from 0 to 1, found 1.5",
    );
    try expectRefused(
        &.{spec("temperature", .{nan})},
        "sampler stage 1 (temperature): expected t to be a number from 0 to 1000000, found nan",
    );
    try expectRefused(
        &.{spec("temperature", .{-inf})},
        "sampler stage 1 (temperature): expected t to be a number from 0 to 1000000, found -inf",
    );
    try expectRefused(
        &.{spec("top_k", .{0})},
        "sampler stage 1 (top_k): expected k to be a whole number from 1 to 16777216, found 0",
    );
    try expectRefused(
        &.{spec("top_k", .{2.5})},
        "sampler stage 1 (top_k): expected k to be a whole number from 1 to 16777216, found 2.5",
    );
    try expectRefused(
        &.{spec("min_p", .{-0.1})},
        "sampler stage 1 (min_p): expected p to be a number from 0 to 1, found -0.1",
    );
}

test "nothing that was asked for is dropped in silence" {
    try expectRefused(
        &.{.{ .id = 4, .p = .{ 0.5, 0, 7, 0, 0, 0 } }},
        "sampler stage 1 (top_p): expected 1 parameter, found 7 in place 3",
    );
    try expectRefused(
        &.{.{ .id = 1, .data = "12345678" }},
        "sampler stage 1 (greedy): expected no data, found 8 bytes",
    );
    var diag: Diagnostic = .{};
    const unknown = Chain.init(std.testing.allocator, &.{.{ .id = 99 }}, 100, 0, &diag);
    try std.testing.expectError(error.BadSampler, unknown);
    const list = "sampler stage 1: expected the id of one of greedy (1), temperature (2), top_k (3), top_p (4), ";
    try std.testing.expectStringStartsWith(diag.text(), list);
    try std.testing.expectStringEndsWith(diag.text(), ", found 99");
    inline for (sampler.stages) |Stage| {
        const entry = std.fmt.comptimePrint("{s} ({d})", .{ Stage.name, Stage.id });
        try std.testing.expect(std.mem.indexOf(u8, diag.text(), entry) != null);
    }
    const many: [65]StageSpec = @splat(spec("greedy", .{}));
    try expectRefused(&many, "expected at most 64 sampler stages, found 65");
    try std.testing.expectError(error.BadSampler, Chain.init(std.testing.allocator, &.{}, 0, 0, &diag));
}

test "making a chain survives the lack of memory" {
    const Body = struct {
        fn make(gpa: std.mem.Allocator) !void {
            var diag: Diagnostic = .{};
            var chain: Chain = try .init(gpa, &.{ spec("top_k", .{3}), spec("greedy", .{}) }, 300, 0, &diag);
            chain.deinit(gpa);
        }
    };
    try std.testing.checkAllAllocationFailures(std.testing.allocator, Body.make, .{});
}

test "logits without a distribution are named errors and leave the chain usable" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    var chain: Chain = try .init(gpa, &.{spec("top_p", .{0.9})}, 4, 0, &diag);
    defer chain.deinit(gpa);
    const good = [_]f32{ 1, 2, 3, 4 };
    const before = try chain.sample(&good, 0, 0, &diag);
    const bad = [_]struct { [4]f32, anyerror, []const u8 }{
        .{
            .{ 1, nan, 2, nan },
            error.NotANumber,
            "the model's logits: expected logits below infinity that are numbers, found nan for token 1",
        },
        .{
            .{ 1, 2, 3, inf },
            error.NotANumber,
            "the model's logits: expected logits below infinity that are numbers, found inf for token 3",
        },
        .{
            @splat(-inf),
            error.NoCandidates,
            "the model's logits: expected at least one token with a logit above -inf, found none",
        },
    };
    for (bad) |case| {
        const logits, const expected, const text = case;
        try std.testing.expectError(expected, chain.sample(&logits, 0, 0, &diag));
        try std.testing.expectEqualStrings(text, diag.text());
        try std.testing.expectEqual(before, try chain.sample(&good, 0, 0, &diag));
    }
}

test "sampling allocates nothing" {
    var failing: std.testing.FailingAllocator = .init(std.testing.allocator, .{});
    const gpa = failing.allocator();
    var diag: Diagnostic = .{};
    const specs = [_]StageSpec{
        spec("temperature", .{0.7}), spec("top_p", .{0.99}), spec("top_k", .{100}),
        spec("min_p", .{0.01}),      spec("greedy", .{}),
    };
    var chain: Chain = try .init(gpa, &specs, 3000, 0, &diag);
    defer chain.deinit(gpa);
    const allocations = failing.allocations;
    failing.fail_index = failing.alloc_index;
    var prng: std.Random.DefaultPrng = .init(31);
    var logits: [3000]f32 = undefined;
    for (0..21) |kind| {
        reference.fillRandom(prng.random(), kind, &logits);
        _ = try chain.sample(&logits, 0, kind, &diag);
        chain.accept(.{ .token = 0 });
        chain.reset();
    }
    try std.testing.expectEqual(allocations, failing.allocations);
    try std.testing.expect(!failing.has_induced_failure);
}

test "a token depends on seed, sequence and position alone, not on what came before" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    var prng: std.Random.DefaultPrng = .init(32);
    var logits: [2000]f32 = undefined;
    for (&logits) |*x| x.* = prng.random().floatNorm(f32);
    const specs = [_]StageSpec{ spec("temperature", .{1.2}), spec("top_k", .{500}) };
    var chain: Chain = try .init(gpa, &specs, logits.len, 77, &diag);
    defer chain.deinit(gpa);
    var forward: [50]sampler.Choice = undefined;
    for (&forward, 0..) |*choice, position| {
        choice.* = try chain.sample(&logits, 1, position, &diag);
    }
    var other: Chain = try .init(gpa, &specs, logits.len, 77, &diag);
    defer other.deinit(gpa);
    var differs = false;
    for (0..forward.len) |i| {
        const position = forward.len - 1 - i;
        const again = try other.sample(&logits, 1, position, &diag);
        try std.testing.expectEqual(forward[position], again);
        differs = differs or (try other.sample(&logits, 2, position, &diag)).token != again.token;
    }
    try std.testing.expect(differs);
}

test "stages work in the user's order" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    // At T = 1 the nucleus of 0.9 is three tokens; at T = 4 the distribution is so flat that it
    // is all four.
    const logits = [_]f32{ @log(0.45), @log(0.35), @log(0.15), @log(0.05) };
    const hot = spec("temperature", .{4});
    const nucleus = spec("top_p", .{0.9});
    var first: Chain = try .init(gpa, &.{ nucleus, hot }, 4, 0, &diag);
    defer first.deinit(gpa);
    var second: Chain = try .init(gpa, &.{ hot, nucleus }, 4, 0, &diag);
    defer second.deinit(gpa);
    try std.testing.expectEqual(3, (try first.sample(&logits, 0, 0, &diag)).candidates);
    try std.testing.expectEqual(4, (try second.sample(&logits, 0, 0, &diag)).candidates);
}

test "no stages: the model's own distribution" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    var chain: Chain = try .init(gpa, &.{}, 3, 9, &diag);
    defer chain.deinit(gpa);
    const logits = [_]f32{ 0, 1, 2 };
    for (0..50) |position| {
        const choice = try chain.sample(&logits, 0, position, &diag);
        try std.testing.expectEqual(3, choice.candidates);
        try std.testing.expectApproxEqRel(@exp(choice.logprob), choice.probability, 1e-6);
    }
}

/// Writes what it saw.
const Recorder = struct {
    applied: [8]usize = undefined,
    lens: [8]usize = undefined,
    tokens: [8]?u32 = undefined,
    events: usize = 0,

    fn observe(context: *anyopaque, event: sampler.Event) void {
        const recorder: *Recorder = @ptrCast(@alignCast(context));
        recorder.applied[recorder.events] = event.applied;
        recorder.lens[recorder.events] = event.candidates.len();
        recorder.tokens[recorder.events] = if (event.choice) |choice| choice.token else null;
        recorder.events += 1;
        // An observer may compute; the choice must not depend on it.
        _ = event.candidates.probabilities();
    }
};

test "an observer sees the set around every stage and changes nothing" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    const specs = [_]StageSpec{ spec("top_k", .{3}), spec("temperature", .{2}), spec("top_p", .{0.6}) };
    var chain: Chain = try .init(gpa, &specs, 5, 1, &diag);
    defer chain.deinit(gpa);
    const logits = [_]f32{ 0, 5, 4, 4.5, 1 };
    const unseen = try chain.sample(&logits, 0, 0, &diag);
    var recorder: Recorder = .{};
    chain.observer = .{ .context = &recorder, .observe = Recorder.observe };
    const choice = try chain.sample(&logits, 0, 0, &diag);
    try std.testing.expectEqual(unseen, choice);
    try std.testing.expectEqual(5, recorder.events);
    try std.testing.expectEqualSlices(usize, &.{ 0, 1, 2, 3, 3 }, recorder.applied[0..5]);
    try std.testing.expectEqualSlices(usize, &.{ 5, 3, 3, 2, 2 }, recorder.lens[0..5]);
    try std.testing.expectEqual(null, recorder.tokens[3]);
    try std.testing.expectEqual(choice.token, recorder.tokens[4].?);
}

/// A stage with state that writes logits: takes away every token that was accepted.
const NoRepeat = struct {
    poison: f32,
    seen: u128 = 0,

    pub const id: u32 = 1000;
    pub const name = "no_repeat";
    pub const about = "For the tests.";
    pub const parameters = [_]stage_file.Parameter{.{ .name = "poison", .min = -1, .max = 1 }};

    pub fn apply(self: *NoRepeat, set: *sampler.Candidates, _: stage_file.Step) !void {
        for (set.edit(), 0..) |*logit, index| {
            const seen = self.seen >> @intCast(set.id(index)) & 1 != 0;
            if (seen) logit.* = if (self.poison > 0) nan else -inf;
        }
        try set.edited();
    }

    pub fn accept(self: *NoRepeat, accepted: stage_file.Accepted) void {
        self.seen |= @as(u128, 1) << @intCast(accepted.token);
    }
};

test "a stage with state and an editing hand: accept, reset, errors that name it" {
    const gpa = std.testing.allocator;
    const Registry = chain_file.ChainType(sampler.stages ++ .{NoRepeat});
    var diag: Diagnostic = .{};
    const specs = [_]StageSpec{
        spec("temperature", .{0.5}),
        .{ .id = NoRepeat.id },
        spec("greedy", .{}),
    };
    var chain: Registry = try .init(gpa, &specs, 3, 0, &diag);
    defer chain.deinit(gpa);
    const logits = [_]f32{ 1, 3, 2 };
    for ([_]u32{ 1, 2, 0 }) |expected| {
        const choice = try chain.sample(&logits, 0, 0, &diag);
        try std.testing.expectEqual(expected, choice.token);
        chain.accept(choice.accepted());
    }
    try std.testing.expectError(error.NoCandidates, chain.sample(&logits, 0, 0, &diag));
    try std.testing.expectEqualStrings(
        "sampler stage 2 (no_repeat): expected at least one token with a logit above -inf, found none",
        diag.text(),
    );
    chain.reset();
    try std.testing.expectEqual(1, (try chain.sample(&logits, 0, 0, &diag)).token);
    const poisoned = [_]StageSpec{.{ .id = NoRepeat.id, .p = .{ 1, 0, 0, 0, 0, 0 } }};
    var other: Registry = try .init(gpa, &poisoned, 3, 0, &diag);
    defer other.deinit(gpa);
    other.accept(.{ .token = 2 });
    try std.testing.expectError(error.NotANumber, other.sample(&logits, 0, 0, &diag));
    try std.testing.expectEqualStrings(
        "sampler stage 1 (no_repeat): expected logits below infinity that are numbers, found nan for token 2",
        diag.text(),
    );
}

test "edit gives logits with the temperature multiplied in" {
    const gpa = std.testing.allocator;
    var set: sampler.Candidates = try .init(gpa, 3);
    defer set.deinit(gpa);
    try set.begin(&.{ 1, 2, -inf });
    set.heat(0.5);
    const edited = set.edit();
    try std.testing.expectEqualSlices(f32, &.{ 2, 4, -inf }, edited);
    try set.edited();
    try std.testing.expectEqual(1, set.beta);
    try std.testing.expectEqual(4, set.max);
    try std.testing.expectApproxEqRel(1 + @exp(@as(f64, -2)), set.mass(), 1e-6);
}

test "extreme logits and temperatures stay finite" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    const logits = [_]f32{ 3.4e38, -3.4e38, 0, 1e-40, -inf };
    for ([_]f32{ 1e-38, 1e-3, 1, 1e6 }) |t| {
        const specs = [_]StageSpec{
            spec("temperature", .{t}), spec("min_p", .{1e-40}), spec("top_p", .{0.999}),
        };
        var chain: Chain = try .init(gpa, &specs, logits.len, 4, &diag);
        defer chain.deinit(gpa);
        const choice = try chain.sample(&logits, 0, 0, &diag);
        try std.testing.expectEqual(0, choice.token);
        try std.testing.expectEqual(0, choice.logprob);
        try std.testing.expectEqual(1, choice.probability);
    }
}

test "drawing again from what was left is sampling for another sequence" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    const logits = [_]f32{ 0, 1, -1, 0.5, 2, -3 };
    for ([_][]const StageSpec{ &.{}, &.{ sampler.spec("temperature", .{1.5}), sampler.spec("top_k", .{4}) } }) |stages| {
        var chain = try sampler.Chain.init(gpa, stages, logits.len, 3, &diag);
        defer chain.deinit(gpa);
        try std.testing.expectEqual(0, chain.coinCount());
        var expected: [100]u32 = undefined;
        for (&expected, 0..) |*token, sequence| token.* = (try chain.sample(&logits, @intCast(sequence), 7, &diag)).token;
        for (expected, 0..) |token, sequence| try std.testing.expectEqual(token, chain.drawAgain(@intCast(sequence), 7));
    }
}

test "drawing again is sampling for a sequence whose coins fall alike" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    const logits = [_]f32{ 0, 1, -1, 0.5, 2, -3 };
    const stages = [_]StageSpec{ sampler.spec("xtc", .{ 0.5, 0.2 }), sampler.spec("temperature", .{2}), sampler.spec("xtc", .{ 0.8, 0.1 }) };
    var chain = try sampler.Chain.init(gpa, &stages, logits.len, 3, &diag);
    defer chain.deinit(gpa);
    try std.testing.expectEqual(2, chain.coinCount());
    var expected: [200]u32 = undefined;
    for (&expected, 0..) |*token, sequence| token.* = (try chain.sample(&logits, @intCast(sequence), 7, &diag)).token;
    // One number tosses both: what happens in half of the cases doesn't happen alone.
    for ([_]u64{ 0b00, 0b01, 0b10, 0b11 }, [_]bool{ true, true, false, true }) |fallen, happens| {
        var again = false;
        for (expected, 0..) |token, sequence| {
            if (chain.coins(@intCast(sequence), 7) != fallen) continue;
            if (!again) _ = try chain.sample(&logits, @intCast(sequence), 7, &diag);
            again = true;
            try std.testing.expectEqual(token, chain.drawAgain(@intCast(sequence), 7));
        }
        try std.testing.expectEqual(happens, again);
    }
}

test "top-p with top-k: the nucleus of the k best, or the k best of the nucleus" {
    try reference.forAll(35, 400, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            const gpa = std.testing.allocator;
            const k = 1 + random.uintLessThan(u32, 60);
            const p = 0.05 + 0.9 * random.float(f32);
            const specs = [_]StageSpec{ spec("top_k", .{@as(f32, @floatFromInt(k))}), spec("top_p", .{p}) };
            var diag: Diagnostic = .{};
            for ([_]bool{ false, true }) |reversed| {
                var chain: Chain = try .init(gpa, if (reversed) &.{ specs[1], specs[0] } else &specs, @intCast(pair.values.len), 3, &diag);
                defer chain.deinit(gpa);
                _ = try chain.sample(pair.values, 0, 0, &diag);
                var list: reference.Reference = try .init(gpa, pair.values);
                defer list.deinit(gpa);
                if (!reversed) list.truncate(k);
                const nucleus = list.nucleus(p);
                const expected = @min(k, nucleus);
                const found = chain.candidates.len();
                try list.expectPrefix(&chain.candidates);
                if (found == expected) continue;
                // Rounding decides where the sum is p at a member, or nearly.
                try std.testing.expectEqual(1, @max(found, expected) - @min(found, expected));
                var sum: f64 = 0;
                for (list.members.items[0..@min(found, expected)]) |member| sum += member.p;
                try std.testing.expectApproxEqAbs(p, sum, 1e-5);
            }
        }
    }.body);
}

test "top-p with top-k of 0.45, 0.35, 0.15, 0.05: their order decides at p = 0.82 and k = 3" {
    const gpa = std.testing.allocator;
    const logits = [_]f32{ @log(0.45), @log(0.35), @log(0.15), @log(0.05) };
    // Of 0.95, 0.45 and 0.35 are 0.842; without top-k they are 0.8, less 0.82.
    const cases = [_]struct { []const StageSpec, usize }{
        .{ &.{ spec("top_k", .{3}), spec("top_p", .{0.82}) }, 2 },
        .{ &.{ spec("top_p", .{0.82}), spec("top_k", .{3}) }, 3 },
        .{ &.{spec("top_p", .{0.9})}, 3 },
        .{ &.{ spec("top_p", .{0.9}), spec("top_k", .{2}) }, 2 },
    };
    for (cases) |case| {
        const specs, const left = case;
        var diag: Diagnostic = .{};
        var chain: Chain = try .init(gpa, specs, logits.len, 3, &diag);
        defer chain.deinit(gpa);
        const choice = try chain.sample(&logits, 0, 0, &diag);
        try std.testing.expectEqual(left, choice.candidates);
    }
}

test "a chain of every stage samples without allocating, and after its own copy as before" {
    var failing: std.testing.FailingAllocator = .init(std.testing.allocator, .{});
    const gpa = failing.allocator();
    var diag: Diagnostic = .{};
    const list: []const []const u8 = &.{ "a", "b", "\n" };
    const specs = [_]StageSpec{
        spec("repetition_penalty", .{ 1.2, 64 }),
        spec("presence_penalty", .{ 0.3, 16 }),
        spec("frequency_penalty", .{ 0.2, 1 << 24 }),
        spec("no_repeat_ngram", .{3}),
        sampler.specWith("logit_bias", .{}, "\x01\x00\x00\x00\x00\x00\x80\xbf"),
        sampler.specWith("dry", .{ 0.8, 1.75, 2, 1 << 24 }, "\x01\x00\x00\x00\n"),
        spec("temperature", .{1.5}),
        spec("mirostat", .{ 4, 0.1, 8, 100 }),
        spec("mirostat_v2", .{ 4, 0.1, 8 }),
        spec("adaptive_p", .{ 0.2, 0.9 }),
    };
    const options: sampler.Options = .{ .vocab = 700, .seed = 5, .history_max = 100, .vocabulary = .ofList(&list) };
    var chain: Chain = try .initWith(gpa, &specs, options, &diag);
    defer chain.deinit(gpa);
    var kept = try chain.clone(gpa, &diag);
    defer kept.deinit(gpa);
    const allocations = failing.allocations;
    failing.fail_index = failing.alloc_index;
    var prng: std.Random.DefaultPrng = .init(36);
    var logits: [700]f32 = undefined;
    chain.read(&.{ 3, 1, 2, 3, 1, 2 });
    var last: chain_file.Choice = undefined;
    for (0..300) |position| {
        for (&logits) |*x| x.* = prng.random().floatNorm(f32) * 2;
        if (position == 299) kept.copy(&chain);
        last = try chain.sample(&logits, 0, position, &diag);
        chain.accept(last.accepted());
    }
    try std.testing.expectEqual(last, try kept.sample(&logits, 0, 299, &diag));
    chain.reset();
    try std.testing.expectEqual(0, chain.history.tokens().len);
    try std.testing.expectEqual(allocations, failing.allocations);
    try std.testing.expect(!failing.has_induced_failure);
}
