//! Which tokens a KV cache of limited size keeps. A policy is one file in `evict/`: it is shown the tokens
//! in the order of the text and marks those that stay. What it decides holds for all layers and heads: they
//! share one page table. `engine/evictor.zig` does what it says.
//!
//! A policy declares:
//!   `name`, `id`  of which the id crosses the C ABI
//!   `scoring`     which attention its scores are the sum of, unless the options say it
//!   `keep`        marks at most `budget` tokens

const std = @import("std");

/// The registry of policies.
pub const policies = .{
    @import("evict/sliding_window.zig"),
    @import("evict/h2o.zig"),
    @import("evict/snap_kv.zig"),
    @import("evict/tova.zig"),
    @import("evict/script.zig"),
};

/// Derived from the registry: tag and wire id of each policy.
pub const Policy = blk: {
    var names: [policies.len][]const u8 = undefined;
    var ids: [policies.len]u32 = undefined;
    for (policies, 0..) |policy, i| {
        names[i] = policy.name;
        ids[i] = policy.id;
        for (ids[0..i]) |id| if (id == policy.id or id == 0) @compileError("no id of its own: " ++ policy.name);
    }
    break :blk @Enum(u32, .exhaustive, &names, &ids);
};

/// Null when no policy has that wire id.
pub fn policyFromId(id: u32) ?Policy {
    inline for (policies) |policy| if (policy.id == id) return @field(Policy, policy.name);
    return null;
}

/// Whose attention to a token is its score: the mean over layers and heads of softmax(q k).
pub const Scoring = enum(u32) {
    /// There are no scores.
    none = 0,
    /// All queries since the token came.
    sum = 1,
    /// The last query.
    last = 2,
    /// The last `window` queries of the prompt.
    prompt_end = 3,
};

pub const Options = struct {
    policy: Policy,
    /// Tokens that stay, at most.
    budget: u32,
    /// So many more come before the budget is held again.
    every: u32 = 1,
    /// Tokens at the beginning that stay.
    sinks: u32 = 0,
    /// Youngest tokens that stay.
    recent: u32 = 0,
    /// Queries at the end of a prompt.
    window: u32 = 0,
    /// Neighbours over which a score is pooled, itself included.
    pooling: u32 = 1,
    /// Of `script` only.
    scoring: Scoring = .none,
    /// Whether what stays is rotated to its place in the cache, and not that in the text.
    cache_positions: bool = false,

    pub fn scores(options: Options) Scoring {
        return switch (options.policy) {
            inline else => |tag| of(tag).scoring orelse options.scoring,
        };
    }

    /// Whether the cache never holds more than the budget and `every`; otherwise only prompts are cut down.
    pub fn bounded(options: Options) bool {
        return options.scores() != .prompt_end;
    }
};

/// Tokens in the order of the text.
pub const Tokens = struct {
    /// In the text.
    positions: []const u32,
    scores: []const f64,
    /// Working space of as many.
    indices: []u32,
    pooled: []f64,

    pub fn len(tokens: Tokens) usize {
        return tokens.positions.len;
    }
};

/// Tokens that stay whatever a policy says: those at full precision.
pub const Pins = struct {
    sinks: u32 = 0,
    recent: u32 = 0,

    /// With what the options promise.
    pub fn with(pins: Pins, options: Options) Pins {
        return .{ .sinks = @max(pins.sinks, options.sinks), .recent = @max(pins.recent, @max(options.recent, options.window)) };
    }

    pub fn count(pins: Pins) u64 {
        return @as(u64, pins.sinks) + pins.recent;
    }
};

/// Marks tokens that have to stay, and unmarks as many others as are too many then: those with the lowest
/// scores or, without scores, the oldest.
pub fn pin(options: Options, pins: Pins, tokens: Tokens, kept: []bool) void {
    const all = pins.with(options);
    var pinned: usize = 0;
    var others: usize = 0;
    for (kept, tokens.pooled[0..kept.len], 0..) |*is, *rank, i| {
        const stays = i < all.sinks or i + all.recent >= kept.len;
        rank.* = if (stays or !is.*) -std.math.inf(f64) else if (options.scores() == .none) @floatFromInt(i) else tokens.scores[i];
        pinned += @intFromBool(stays);
        others += @intFromBool(is.* and !stays);
        is.* = stays;
    }
    keepHighest(tokens.pooled[0..kept.len], @min(options.budget -| pinned, others), tokens.indices, kept);
}

/// Marks what stays.
pub fn keep(options: Options, tokens: Tokens, kept: []bool) void {
    @memset(kept, false);
    switch (options.policy) {
        inline else => |tag| of(tag).keep(options, tokens, kept),
    }
}

fn of(comptime tag: Policy) type {
    inline for (policies) |policy| {
        if (comptime std.mem.eql(u8, policy.name, @tagName(tag))) return policy;
    }
    unreachable;
}

/// Marks the `count` tokens of [0, scores.len) with the highest scores; of equal ones the earlier.
pub fn keepHighest(scores: []const f64, count: usize, indices: []u32, kept: []bool) void {
    const all = indices[0..scores.len];
    for (all, 0..) |*index, i| index.* = @intCast(i);
    std.mem.sortUnstable(u32, all, scores, higher);
    for (all[0..@min(count, all.len)]) |index| kept[index] = true;
}

fn higher(scores: []const f64, a: u32, b: u32) bool {
    return if (scores[a] == scores[b]) a < b else scores[a] > scores[b];
}

fn expectKept(options: Options, scores: []const f64, expected: []const u8) !void {
    var positions: [16]u32 = undefined;
    for (&positions, 0..) |*position, i| position.* = @intCast(3 * i);
    var indices: [16]u32 = undefined;
    var pooled: [16]f64 = undefined;
    var kept: [16]bool = undefined;
    const n = scores.len;
    keep(options, .{ .positions = positions[0..n], .scores = scores, .indices = indices[0..n], .pooled = pooled[0..n] }, kept[0..n]);
    for (kept[0..n], expected) |is, wanted| try std.testing.expectEqual(wanted == 'x', is);
}

test "each policy keeps what its paper says" {
    const scores = [_]f64{ 1, 9, 2, 8, 3, 3, 0, 4 };
    try expectKept(.{ .policy = .sliding_window, .budget = 5, .sinks = 2, .recent = 3 }, &scores, "xx...xxx");
    try expectKept(.{ .policy = .sliding_window, .budget = 3, .sinks = 0, .recent = 3 }, &scores, ".....xxx");
    // Heavy hitters among the older ones, and of equals the earlier.
    try expectKept(.{ .policy = .h2o, .budget = 5, .recent = 2 }, &scores, ".x.xx.xx");
    try expectKept(.{ .policy = .h2o, .budget = 2, .recent = 2 }, &scores, "......xx");
    try expectKept(.{ .policy = .tova, .budget = 4 }, &scores, ".x.xx..x");
    try expectKept(.{ .policy = .snap_kv, .budget = 5, .window = 2, .pooling = 1 }, &scores, ".x.xx.xx");
    // Neighbours of what is looked at stay too.
    try expectKept(.{ .policy = .snap_kv, .budget = 5, .window = 2, .pooling = 3 }, &scores, "xxx...xx");
}

test "windows: pinned tokens stay, and others go for them" {
    const scores = [_]f64{ 1, 9, 2, 8, 3, 3, 0, 4 };
    const cases = [_]struct { Options, Pins, []const u8, []const u8 }{
        .{ .{ .policy = .tova, .budget = 4 }, .{ .sinks = 1, .recent = 2 }, ".x.xx..x", "xx....xx" },
        .{ .{ .policy = .tova, .budget = 5 }, .{ .sinks = 1, .recent = 2 }, ".x.xx..x", "xx.x..xx" },
        .{ .{ .policy = .h2o, .budget = 5, .recent = 3 }, .{ .recent = 1 }, ".x.x.xxx", ".x.x.xxx" },
        .{ .{ .policy = .sliding_window, .budget = 7, .recent = 5 }, .{ .sinks = 2 }, "...xxxxx", "xx.xxxxx" },
        .{ .{ .policy = .sliding_window, .budget = 5, .sinks = 2, .recent = 2 }, .{ .recent = 3 }, "xx....xx", "xx...xxx" },
    };
    for (cases) |case| {
        var kept: [scores.len]bool = undefined;
        for (&kept, case[2]) |*is, mark| is.* = mark == 'x';
        var indices: [scores.len]u32 = undefined;
        var pooled: [scores.len]f64 = undefined;
        const positions: [scores.len]u32 = @splat(0);
        pin(case[0], case[1], .{ .positions = &positions, .scores = &scores, .indices = &indices, .pooled = &pooled }, &kept);
        for (kept, case[3]) |is, wanted| try std.testing.expectEqual(wanted == 'x', is);
    }
}

test {
    inline for (policies) |policy| _ = policy;
}
