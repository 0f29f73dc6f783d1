//! Tests of the draw: its distribution, its independence of the path and the log-probabilities
//! beside it.

const std = @import("std");
const sampler = @import("../../sampler.zig");
const draw = @import("draw.zig");
const sweep = @import("sweep.zig");
const top = @import("top.zig");
const reference = @import("reference.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const Candidates = sampler.Candidates;
const inf = std.math.inf(f32);

test "the draw fits its distribution: chi-square with a fixed seed" {
    const gpa = std.testing.allocator;
    const p = [_]f64{ 0.3, 0.001, 0.25, 0, 0.149, 0.2, 0.1 };
    var logits: [p.len]f32 = undefined;
    for (&logits, p) |*logit, share| logit.* = @floatCast(@log(share));
    var diag: Diagnostic = .{};
    var chain: sampler.Chain = try .init(gpa, &.{}, p.len, 20_260_723, &diag);
    defer chain.deinit(gpa);
    const draws = 100_000;
    var counts: [p.len]u32 = @splat(0);
    for (0..draws) |position| {
        counts[(try chain.sample(&logits, 3, position, &diag)).token] += 1;
    }
    try std.testing.expectEqual(0, counts[3]);
    var statistic: f64 = 0;
    for (counts, p) |count, share| {
        if (share == 0) continue;
        const expected = share * draws;
        const difference = @as(f64, @floatFromInt(count)) - expected;
        statistic += difference * difference / expected;
    }
    // Five degrees of freedom: 20.5 is exceeded by chance once in a thousand seeds, and far
    // exceeded by any wrong weighting. Below 0.2 (once in a thousand too) it would be no chance.
    try std.testing.expect(statistic < 20.5);
    try std.testing.expect(statistic > 0.2);
}

test "the draw is the inverse of the cumulative distribution in order of id" {
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(21);
    const random = prng.random();
    const values = try gpa.alloc(f32, 1000);
    defer gpa.free(values);
    var set: Candidates = try .init(gpa, 1000);
    defer set.deinit(gpa);
    for (0..300) |_| {
        for (values) |*x| x.* = random.floatNorm(f32) * 3;
        values[random.uintLessThan(usize, 1000)] = -inf;
        try set.begin(values);
        const u = random.float(f64);
        const found = draw.pick(&set, u);
        const max: f64 = set.max;
        var total: f64 = 0;
        for (values) |x| total += @exp(x - max);
        var before: f64 = 0;
        for (values[0..found]) |x| before += @exp(x - max);
        const after = before + @exp(values[found] - max);
        try std.testing.expect(before / total <= u + 1e-6);
        try std.testing.expect(after / total >= u - 1e-6);
    }
}

test "the ends of the unit interval draw the first and the last token that have mass" {
    const gpa = std.testing.allocator;
    var values: [5 * sweep.block_len]f32 = @splat(-inf);
    values[200] = 1;
    values[300] = 2;
    values[401] = 1;
    // Present, but of no mass beside the others.
    values[0] = -300;
    values[600] = -300;
    var set: Candidates = try .init(gpa, values.len);
    defer set.deinit(gpa);
    try set.begin(&values);
    try std.testing.expectEqual(200, draw.pick(&set, 0));
    try std.testing.expectEqual(401, draw.pick(&set, 1 - 0x1p-53));
}

test "a target on the edge between two tokens or two blocks draws the later one" {
    const gpa = std.testing.allocator;
    const values: [2 * sweep.block_len]f32 = @splat(1);
    var set: Candidates = try .init(gpa, values.len);
    defer set.deinit(gpa);
    try set.begin(&values);
    try std.testing.expectEqual(1, draw.pick(&set, 1.0 / 256.0));
    try std.testing.expectEqual(sweep.block_len, draw.pick(&set, 0.5));
}

test "no rounding error draws a masked token" {
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(23);
    var values: [sweep.block_len]f32 = @splat(-inf);
    var set: Candidates = try .init(gpa, values.len);
    defer set.deinit(gpa);
    var fell_short = false;
    for (0..100) |_| {
        for (values[0..61]) |*x| x.* = prng.random().floatNorm(f32);
        try set.begin(&values);
        var sum: f64 = 0;
        for (0..61) |index| sum += set.weight(index);
        // In about half of the rounds the block's mass was rounded up.
        fell_short = fell_short or set.mass() > sum;
        try std.testing.expectEqual(60, draw.pick(&set, 1 - 0x1p-53));
    }
    try std.testing.expect(fell_short);
}

test "log-probabilities are those of the model, whatever the stages" {
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(22);
    const random = prng.random();
    const values = try gpa.alloc(f32, 5000);
    defer gpa.free(values);
    var diag: Diagnostic = .{};
    const specs = [_]sampler.StageSpec{
        sampler.spec("temperature", .{0.5}),
        sampler.spec("top_k", .{40}),
        sampler.spec("top_p", .{0.9}),
    };
    var chain: sampler.Chain = try .init(gpa, &specs, 5000, 5, &diag);
    defer chain.deinit(gpa);
    for (0..20) |position| {
        for (values) |*x| x.* = random.floatNorm(f32) * 4 + 100;
        const choice = try chain.sample(values, 0, position, &diag);
        var list: reference.Reference = try .init(gpa, values);
        defer list.deinit(gpa);
        for (list.members.items) |member| {
            if (member.id != choice.token) continue;
            try std.testing.expectApproxEqAbs(@log(member.p), choice.logprob, 2e-6);
        }
        try expectTop(&list, values);
        list.heat(0.5);
        list.truncate(40);
        list.truncate(list.nucleus(0.9));
        for (list.members.items) |member| {
            if (member.id != choice.token) continue;
            try std.testing.expectApproxEqRel(member.p, choice.probability, 1e-5);
            break;
        } else return error.TestTokenOutsideOfNucleus;
        try std.testing.expectEqual(list.members.items.len, choice.candidates);
    }
}

fn expectTop(list: *const reference.Reference, values: []const f32) !void {
    var found: [50]top.TokenLogprob = undefined;
    for ([_]usize{ 1, 2, 50 }) |count| {
        top.topLogprobs(.compiled, values, found[0..count]);
        for (found[0..count], list.members.items[0..count]) |entry, member| {
            try std.testing.expectEqual(member.id, entry.token);
            try std.testing.expectApproxEqAbs(@log(member.p), entry.logprob, 2e-6);
        }
    }
}

test "top log-probabilities: ties by id, masks and NaN left out, places beyond the end" {
    const nan = std.math.nan(f32);
    const values = [_]f32{ 1, 3, nan, 3, -inf, 3, 2, inf };
    var found: [7]top.TokenLogprob = undefined;
    top.topLogprobs(.compiled, &values, &found);
    for ([_]u32{ 1, 3, 5, 6, 0 }, found[0..5]) |token, entry| {
        try std.testing.expectEqual(token, entry.token);
    }
    try std.testing.expectEqual(top.none, found[5]);
    try std.testing.expectEqual(top.none, found[6]);
    top.topLogprobs(.compiled, &.{-inf}, found[0..2]);
    try std.testing.expectEqual(top.none, found[0]);
    top.topLogprobs(.compiled, &values, found[0..0]);
}

test "top log-probabilities of every token are a sort" {
    const gpa = std.testing.allocator;
    var values: [700]f32 = undefined;
    for (&values, 0..) |*x, i| x.* = @floatFromInt(i % 350);
    var list: reference.Reference = try .init(gpa, &values);
    defer list.deinit(gpa);
    var found: [700]top.TokenLogprob = undefined;
    top.topLogprobs(.compiled, &values, &found);
    for (found, list.members.items) |entry, member| {
        try std.testing.expectEqual(member.id, entry.token);
    }
}

test "after a draw the best are known without another pass" {
    const gpa = std.testing.allocator;
    const values = try gpa.alloc(f32, 3001);
    defer gpa.free(values);
    var prng: std.Random.DefaultPrng = .init(21);
    const specs = [_]sampler.StageSpec{ sampler.spec("temperature", .{0.5}), sampler.spec("top_k", .{20}), sampler.spec("top_p", .{0.9}) };
    var diag: Diagnostic = .{};
    var chain: sampler.Chain = try .init(gpa, &specs, 3001, 1, &diag);
    defer chain.deinit(gpa);
    for (0..20) |round| {
        for (values) |*x| x.* = prng.random().floatNorm(f32) * 3;
        // Fewer that can be drawn than are asked for.
        if (round == 0) @memset(values[2..], -std.math.inf(f32));
        const choice = try chain.sample(values, 0, round, &diag);
        var want: [7]top.TokenLogprob = undefined;
        var got: [7]top.TokenLogprob = undefined;
        top.topLogprobs(.compiled, values, &want);
        chain.topLogprobs(values, &got);
        try std.testing.expectEqualSlices(top.TokenLogprob, &want, &got);
        for (got) |entry| if (entry.token == choice.token) try std.testing.expectEqual(entry.logprob, choice.logprob);
    }
}
