//! Rotary position embedding: the angles. RoPE is Su et al. 2021, "RoFormer"; YaRN is Peng et al.
//! 2023, section 3; llama3's scaling arrives as one factor per frequency in the tensor
//! `rope_freqs.weight`, and LongRoPE's (Ding et al. 2024) as two such tensors, one for sequences
//! within the original context and one for longer ones. Angles are computed in f64, because a
//! position of a hundred thousand times a rounded f32 frequency is already off by whole percents.

const std = @import("std");
const Rope = @import("hyper.zig").Rope;

pub const dim_max = 1024;

/// The frequencies of one kind of layer, fixed when a model is loaded.
pub const Frequencies = struct {
    rope: Rope,
    /// Angle per position, [rope.dim / 2]; for contexts within the original one.
    short: []f64,
    /// The same for longer contexts; only LongRoPE differs.
    long: []f64,
    /// Multiplies cosine and sine.
    magnitude: f64,

    /// `short_factors` and `long_factors` divide the frequencies; null means 1.
    pub fn init(arena: std.mem.Allocator, rope: Rope, short_factors: ?[]const f32, long_factors: ?[]const f32) error{OutOfMemory}!Frequencies {
        const short = try arena.alloc(f64, rope.dim / 2);
        fill(rope, short_factors, short);
        var long = short;
        if (long_factors) |factors| {
            long = try arena.alloc(f64, rope.dim / 2);
            fill(rope, factors, long);
        }
        return .{ .rope = rope, .short = short, .long = long, .magnitude = magnitudeOf(rope) };
    }

    /// Writes cosine and sine of each pair: [rope.dim / 2][2]. `context` is the length that the
    /// sequence may reach.
    pub fn at(frequencies: *const Frequencies, position: u32, context: u32, out: [][2]f32) void {
        std.debug.assert(out.len == frequencies.short.len);
        const chosen = if (context > frequencies.rope.context_original) frequencies.long else frequencies.short;
        const p: f64 = @floatFromInt(position);
        for (chosen, out) |frequency, *pair| {
            const angle = p * frequency;
            pair.* = .{ @floatCast(@cos(angle) * frequencies.magnitude), @floatCast(@sin(angle) * frequencies.magnitude) };
        }
    }
};

fn fill(rope: Rope, factors: ?[]const f32, out: []f64) void {
    const dim: f64 = @floatFromInt(rope.dim);
    const ramp = yarnRamp(rope);
    for (out, 0..) |*frequency, i| {
        const exponent = @as(f64, @floatFromInt(2 * i)) / dim;
        const plain = std.math.pow(f64, rope.base, -exponent) / if (factors) |f| @as(f64, f[i]) else 1.0;
        frequency.* = switch (rope.scaling) {
            .none, .longrope => plain,
            .linear => plain / rope.factor,
            .yarn => blk: {
                // 1: keep the frequency (it turns often within the original context); 0: interpolate.
                const keep = 1 - std.math.clamp((@as(f64, @floatFromInt(i)) - ramp.low) / @max(0.001, ramp.high - ramp.low), 0, 1);
                break :blk plain / rope.factor * (1 - keep) + plain * keep;
            },
        };
    }
}

/// The pairs between which YaRN goes from keeping to interpolating.
fn yarnRamp(rope: Rope) struct { low: f64, high: f64 } {
    const dim: f64 = @floatFromInt(rope.dim);
    const context: f64 = @floatFromInt(rope.context_original);
    const Turns = struct {
        /// The pair that makes `turns` full turns over the original context.
        fn pair(d: f64, base: f64, n: f64, turns: f64) f64 {
            return d * @log(n / (turns * 2 * std.math.pi)) / (2 * @log(base));
        }
    };
    return .{
        .low = @max(0, @floor(Turns.pair(dim, rope.base, context, rope.yarn_beta_fast))),
        .high = @min(dim - 1, @ceil(Turns.pair(dim, rope.base, context, rope.yarn_beta_slow))),
    };
}

fn magnitudeOf(rope: Rope) f64 {
    const given = if (rope.attention_factor > 0) rope.attention_factor else 1;
    // YaRN, equation 22: sqrt(1/t) = 0.1 ln(s) + 1, applied to q and k alike. A factor in the file
    // comes on top, as the converters mean it.
    if (rope.scaling == .yarn and rope.factor > 1) return given * (0.1 * @log(rope.factor) + 1);
    return given;
}

test "plain frequencies turn pair 0 by one radian per position" {
    const rope: Rope = .{ .style = .halves, .dim = 8, .base = 10000 };
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    const frequencies = try Frequencies.init(arena.allocator(), rope, null, null);
    try std.testing.expectApproxEqAbs(1.0, frequencies.short[0], 1e-15);
    try std.testing.expectApproxEqAbs(0.1, frequencies.short[1], 1e-15);
    try std.testing.expectApproxEqAbs(0.001, frequencies.short[3], 1e-15);
    var pairs: [4][2]f32 = undefined;
    frequencies.at(3, 100, &pairs);
    try std.testing.expectApproxEqAbs(@cos(@as(f32, 3)), pairs[0][0], 1e-6);
    try std.testing.expectApproxEqAbs(@sin(@as(f32, 0.3)), pairs[1][1], 1e-6);
}

test "yarn keeps fast pairs, interpolates slow ones, and raises the magnitude" {
    const rope: Rope = .{ .style = .halves, .dim = 64, .base = 10000, .scaling = .yarn, .factor = 4, .context_original = 2048 };
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    const frequencies = try Frequencies.init(arena.allocator(), rope, null, null);
    try std.testing.expectApproxEqRel(1.0, frequencies.short[0], 1e-12);
    const slowest = std.math.pow(f64, 10000, -62.0 / 64.0);
    try std.testing.expectApproxEqRel(slowest / 4, frequencies.short[31], 1e-12);
    try std.testing.expectApproxEqRel(0.1 * @log(4.0) + 1, frequencies.magnitude, 1e-12);
}

test "longrope chooses its factors by the context" {
    const rope: Rope = .{ .style = .halves, .dim = 4, .base = 100, .scaling = .longrope, .context_original = 10 };
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    const frequencies = try Frequencies.init(arena.allocator(), rope, &.{ 1, 1 }, &.{ 2, 4 });
    var pairs: [2][2]f32 = undefined;
    frequencies.at(1, 10, &pairs);
    try std.testing.expectApproxEqAbs(@cos(@as(f32, 1)), pairs[0][0], 1e-6);
    frequencies.at(1, 11, &pairs);
    try std.testing.expectApproxEqAbs(@cos(@as(f32, 0.5)), pairs[0][0], 1e-6);
}
