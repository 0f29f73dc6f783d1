//! Top-k: the k tokens of highest logit stay (Fan, Lewis, Dauphin, "Hierarchical Neural Story
//! Generation", ACL 2018). Of equal logits the lower ids stay, so that the number is exactly k.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const head = @import("core/head.zig");
const sweep = @import("core/sweep.zig");
const stage = @import("core/stage.zig");
const TopK = @This();

k: u32,

pub const id: u32 = 3;
pub const name = "top_k";
pub const about = "Keeps the k most probable tokens.";
/// Up to the largest range in which every whole number is an f32.
pub const parameters = [_]stage.Parameter{.{ .name = "k", .min = 1, .max = 1 << 24, .whole = true }};

/// Asks for single blocks of a row.
pub const by_blocks = true;

pub fn apply(self: *TopK, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    head.keep(set, self.k);
}

const reference = @import("core/reference.zig");

test "top-k keeps exactly the first k of a full sort" {
    try reference.forAll(14, 600, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            const limit: u32 = if (random.boolean()) 30 else @intCast(pair.values.len + 2);
            var self: TopK = .{ .k = 1 + random.uintLessThan(u32, limit) };
            try self.apply(&pair.set, reference.step);
            if (self.k >= pair.values.len) {
                try std.testing.expectEqual(pair.values.len, pair.set.len());
                return;
            }
            pair.reference.truncate(self.k);
            try std.testing.expectEqual(pair.reference.members.items.len, pair.set.len());
            try pair.reference.expectPrefix(&pair.set);
        }
    }.body);
}

test "top-k skips blocks over a real vocabulary, ties included" {
    const gpa = std.testing.allocator;
    const values = try gpa.alloc(f32, 128_256);
    defer gpa.free(values);
    var prng: std.Random.DefaultPrng = .init(15);
    for ([_]usize{ 0, 2, 3, 6 }) |kind| {
        reference.fillRandom(prng.random(), kind, values);
        for ([_]u32{ 1, 40, 900, 1003, 100_000 }) |k| {
            var pair: reference.Pair = try .init(gpa, values);
            defer pair.deinit();
            var self: TopK = .{ .k = k };
            try self.apply(&pair.set, reference.step);
            pair.reference.truncate(k);
            try std.testing.expectEqual(pair.reference.members.items.len, pair.set.len());
            try pair.reference.expectPrefix(&pair.set);
        }
    }
}

test "top-k when only a few tokens of one block are not masked" {
    const gpa = std.testing.allocator;
    var values: [40 * sweep.block_len]f32 = @splat(-std.math.inf(f32));
    for (values[700..720], 0..) |*x, i| x.* = @floatFromInt(i);
    var pair: reference.Pair = try .init(gpa, &values);
    defer pair.deinit();
    var self: TopK = .{ .k = 30 };
    try self.apply(&pair.set, reference.step);
    try std.testing.expectEqual(20, pair.set.len());
    try pair.reference.expectPrefix(&pair.set);
}
