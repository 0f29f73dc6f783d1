//! Rows whose maxima are known are drawn from as those that are looked at anew: the same tokens of what is left
//! with the same bits, in 32 bits and in 16, whatever the row and the stages.

const std = @import("std");
const sampler = @import("../../sampler.zig");
const half = @import("half.zig");
const reference = @import("reference.zig");
const sweep = @import("sweep.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const Chain = sampler.Chain;
const spec = sampler.spec;

const chains = [_][]const sampler.StageSpec{
    &.{},
    &.{spec("greedy", .{})},
    &.{spec("temperature", .{0})},
    &.{spec("temperature", .{0.7})},
    &.{ spec("temperature", .{0.8}), spec("top_k", .{40}), spec("top_p", .{0.9}) },
    &.{ spec("top_k", .{3}), spec("temperature", .{1.4}) },
    &.{ spec("top_k", .{500}), spec("min_p", .{0.01}) },
    &.{spec("top_k", .{1})},
    &.{ spec("temperature", .{1.2}), spec("min_p", .{0.05}) },
    &.{spec("min_p", .{0})},
    &.{ spec("min_p", .{1}), spec("top_k", .{2}) },
    &.{ spec("temperature", .{0.9}), spec("top_p", .{0.8}) },
    &.{ spec("typical", .{0.9}), spec("top_k", .{7}) },
    &.{ spec("min_p", .{1e-4}), spec("typical", .{0.5}) },
    &.{spec("top_n_sigma", .{1})},
    &.{spec("epsilon_cutoff", .{1e-3})},
    &.{spec("eta_cutoff", .{2e-3})},
    &.{spec("tail_free", .{0.9})},
    &.{spec("top_a", .{0.2})},
    &.{ spec("temperature", .{0.9}), spec("dynamic_temperature", .{ 0.5, 1.5, 1 }) },
    &.{spec("p_less", .{0})},
    &.{spec("min_k", .{3})},
    &.{spec("xtc", .{ 0.5, 0.05 })},
    &.{ spec("repetition_penalty", .{ 1.3, 64 }), spec("top_k", .{5}) },
    &.{ spec("temperature", .{0.8}), spec("presence_penalty", .{ 0.5, 64 }), spec("no_repeat_ngram", .{2}) },
};

test "a row whose maxima are known gives the same choice" {
    const gpa = std.testing.allocator;
    const vocab = 11_003;
    const floats = try gpa.alloc(f32, 3 * vocab);
    defer gpa.free(floats);
    const words = try gpa.alloc(u16, vocab + 1);
    defer gpa.free(words);
    const bits: []align(1) u16 = std.mem.bytesAsSlice(u16, std.mem.sliceAsBytes(words)[1..][0 .. 2 * vocab]);
    const values = floats[0..vocab];
    const rounded = floats[vocab..][0..vocab];
    const place = floats[2 * vocab ..];
    var block_max: [sweep.blockCount(vocab)]f32 = undefined;
    var prng: std.Random.DefaultPrng = .init(77);
    for (chains, 0..) |specs, number| {
        errdefer std.debug.print("chain {d}\n", .{number});
        var diag: Diagnostic = .{};
        var plain: Chain = try .initWith(gpa, specs, .{ .vocab = vocab, .seed = 3 }, &diag);
        defer plain.deinit(gpa);
        var other: Chain = try .initWith(gpa, specs, .{ .vocab = vocab, .seed = 3 }, &diag);
        defer other.deinit(gpa);
        plain.logprobs = false;
        other.logprobs = false;
        for (0..16) |row| {
            errdefer std.debug.print("row {d}\n", .{row});
            reference.fillRandom(prng.random(), row, values);
            // One alone, and in a block all of whose others are gone.
            if (row == 9) @memset(values, -std.math.inf(f32));
            if (row == 9) values[vocab - 1] = -2;
            if (row == 10) @memset(values[128..], -std.math.inf(f32));
            half.round(values, bits);
            half.widen(bits, rounded);
            // What was there before must not be taken for a logit.
            @memset(place, 1000);
            var found = sweep.scan(values, &block_max);
            var expected = try plain.sample(values, 0, row, &diag);
            var choice = try other.sampleRow(.{ .values = .{ .single = values }, .known = .{ .max = found.max, .block_max = &block_max } }, 0, row, &diag);
            try expectSame(&plain, expected, &other, choice, row);
            found = sweep.scan(rounded, &block_max);
            expected = try plain.sample(rounded, 0, row, &diag);
            const halves: sampler.Row = .{
                .values = .{ .half = .{ .bits = bits, .room = place } },
                .known = .{ .max = found.max, .block_max = &block_max },
            };
            choice = try other.sampleRow(halves, 0, row, &diag);
            try expectSame(&plain, expected, &other, choice, row);
            plain.accept(expected.accepted());
            other.accept(choice.accepted());
        }
    }
}

fn expectSame(plain: *Chain, expected: sampler.Choice, other: *Chain, choice: sampler.Choice, position: u64) !void {
    try std.testing.expectEqual(expected.token, choice.token);
    try std.testing.expectEqual(expected.probability, choice.probability);
    try std.testing.expectEqual(expected.candidates, choice.candidates);
    for (1..20) |sequence| {
        try std.testing.expectEqual(plain.drawAgain(@intCast(sequence), position), other.drawAgain(@intCast(sequence), position));
    }
}
