//! The sampler's passes over all logits: right against plain loops in f64, and the same bits in every
//! variant as where the sampler itself is compiled, so that a seed draws the same everywhere.

const std = @import("std");
const kernel = @import("../../kernel.zig");
const counts = @import("../../sampler/core/counts.zig");
const gather = @import("../../sampler/core/gather.zig");
const sweep = @import("../../sampler/core/sweep.zig");
const variants = @import("variants.zig");

const longest = 1000;
const lengths = [_]usize{ 1, 7, 16, 127, 128, 129, 255, 384, 1000 };

fn passes(table: *const kernel.Table, random: std.Random) !void {
    var values: [longest]f32 = undefined;
    for (lengths) |n| for ([_]f32{ 0.5, 6, 60 }) |spread| {
        errdefer std.debug.print("length {d}, spread {d}\n", .{ n, spread });
        for (values[0..n]) |*x| x.* = random.floatNorm(f32) * spread;
        if (n > 100) @memset(values[3..70], -std.math.inf(f32));
        try compare(table, values[0..n]);
        values[random.uintLessThan(usize, n)] = std.math.nan(f32);
        var block_max: [longest]f32 = undefined;
        try std.testing.expect(table.sampling.scan(values[0..n], &block_max).nan);
    };
}

fn compare(table: *const kernel.Table, values: []const f32) !void {
    const blocks = sweep.blockCount(values.len);
    // One place more than there are blocks, which must stay as it is.
    var got: [longest]f32 = @splat(777);
    var want: [longest]f32 = undefined;
    const found = table.sampling.scan(values, got[0..blocks]);
    try std.testing.expect(!found.nan);
    try std.testing.expectEqual(std.mem.max(f32, values), found.max);
    try std.testing.expectEqual(777, got[blocks]);
    for (got[0..blocks], 0..) |max, b| {
        const block = values[b * sweep.block_len .. @min((b + 1) * sweep.block_len, values.len)];
        try std.testing.expectEqual(std.mem.max(f32, block), max);
    }
    for ([_]f32{ 0.3, 1, 2 }) |beta| {
        const mass = table.sampling.mass(values, found.max, beta, got[0..blocks]);
        var exact: f64 = 0;
        for (values) |x| exact += @exp((@as(f64, x) - found.max) * beta);
        try std.testing.expectApproxEqRel(exact, mass, 1e-6);
        try std.testing.expectEqual(sweep.mass(values, found.max, beta, &want), mass);
        try variants.expectSameBits(want[0..blocks], got[0..blocks]);
        try std.testing.expectEqual(777, got[blocks]);
        const exponents = sweep.exponents(values, found.max, beta);
        const both = table.sampling.moments(values, found.max, beta, got[0..blocks]);
        try std.testing.expectEqual(sweep.Moments{ .mass = mass, .exponents = exponents }, both);
        try variants.expectSameBits(want[0..blocks], got[0..blocks]);
        try std.testing.expectEqual(exponents, table.sampling.exponents(values, found.max, beta));
        var weights: [longest]f32 = @splat(777);
        table.sampling.weightsOf(values, found.max, beta, &weights);
        for (values, weights[0..values.len]) |x, w| try std.testing.expectEqual(sweep.weight(x, found.max, beta), w);
        if (values.len < longest) try std.testing.expectEqual(777, weights[values.len]);
    }
    try std.testing.expectEqual(sweep.spread(values, found.max), table.sampling.spread(values, found.max));
    for ([_]f32{ found.max, 0, -3, -std.math.floatMax(f32) }) |bound| {
        var count: usize = 0;
        for (values) |x| count += @intFromBool(x >= bound);
        try std.testing.expectEqual(count, table.sampling.countFrom(values, bound));
    }
    var bits: [longest]u16 = undefined;
    var wide: [longest]f32 = @splat(777);
    for (bits[0..values.len], values) |*to, x| to.* = @bitCast(@as(f16, @floatCast(x)));
    const widened = table.sampling.scanHalf(bits[0..values.len], wide[0..values.len], got[0..blocks]);
    for (bits[0..values.len], wide[0..values.len]) |h, x| try std.testing.expectEqual(@as(f32, @as(f16, @bitCast(h))), x);
    try std.testing.expectEqual(sweep.scan(wide[0..values.len], &want), widened);
    try variants.expectSameBits(want[0..blocks], got[0..blocks]);
    try std.testing.expectEqual(777, got[blocks]);
    var masses: [2][longest]f32 = undefined;
    const mass = table.sampling.massHalf(bits[0..values.len], widened.max, 1.25, &masses[0]);
    try std.testing.expectEqual(sweep.mass(wide[0..values.len], widened.max, 1.25, &masses[1]), mass);
    try variants.expectSameBits(masses[1][0..blocks], masses[0][0..blocks]);
    bits[values.len - 1] = @bitCast(std.math.nan(f16));
    try std.testing.expect(table.sampling.scanHalf(bits[0..values.len], wide[0..values.len], got[0..blocks]).nan);
    var lowest = std.math.inf(f32);
    for (values) |x| lowest = if (x > -std.math.inf(f32)) @min(lowest, x) else lowest;
    try std.testing.expectEqual(lowest, table.sampling.lowestFinite(values));
    const wanted: counts.Range = .{ .count = values.len / 2 + 1, .spare = 3, .low = -std.math.inf(f32), .high = found.max };
    try std.testing.expectEqual(counts.boundOf(values, wanted), table.sampling.boundOf(values, wanted));
    try compareMoves(table, values);
}

fn compareMoves(table: *const kernel.Table, values: []const f32) !void {
    var block_max: [longest]f32 = undefined;
    const max = sweep.scan(values, &block_max).max;
    for ([_]f32{ max, 0.5, -3, -std.math.floatMax(f32) }) |bound| {
        var kept: [longest]f32 = undefined;
        var ids: [longest]u32 = undefined;
        const count = table.sampling.gather(.{
            .values = values.ptr,
            .ids = null,
            .len = values.len,
            .block_max = &block_max,
            .bound = bound,
            .to_values = &kept,
            .to_ids = &ids,
        });
        var expected: usize = 0;
        for (values, 0..) |x, id| {
            if (x < bound) continue;
            try std.testing.expectEqual(x, kept[expected]);
            try std.testing.expectEqual(id, ids[expected]);
            expected += 1;
        }
        try std.testing.expectEqual(expected, count);
        if (count == 0 or count > gather.rank_max) continue;
        var sorted: [2][gather.rank_max]f32 = undefined;
        var weights: [2][gather.rank_max]f32 = undefined;
        var few: gather.Few = .{ .values = &kept, .len = count, .max = max, .beta = 1.25, .sorted = &sorted[0], .weights = &weights[0] };
        table.sampling.rank(few);
        few.sorted = &sorted[1];
        few.weights = &weights[1];
        gather.rankRow(&few);
        try variants.expectSameBits(sorted[1][0..count], sorted[0][0..count]);
        try variants.expectSameBits(weights[1][0..count], weights[0][0..count]);
    }
}

test "passes of the sampler" {
    try variants.each(passes);
}
