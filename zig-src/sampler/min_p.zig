//! Min-p: tokens whose probability is at least p times that of the most probable one stay (Nguyen
//! et al., "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs", 2024).
//! A ratio of probabilities is a difference of logits, so no probability is computed.

const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const MinP = @This();

p: f32,

pub const id: u32 = 5;
pub const name = "min_p";
pub const about = "Keeps the tokens at least p times as probable as the most probable one.";
pub const parameters = [_]stage.Parameter{.{ .name = "p", .min = 0, .max = 1 }};

/// Asks for single blocks of a row.
pub const by_blocks = true;

pub fn apply(self: *MinP, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    set.keepFrom(self.p);
}

const reference = @import("core/reference.zig");
const std = @import("std");

test "min-p keeps what a full list of probabilities says" {
    try reference.forAll(18, 600, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            if (random.boolean()) {
                const t = 0.1 + 2 * random.float(f32);
                pair.set.heat(t);
                pair.reference.heat(t);
            }
            const choices = [_]f32{ 1, 0.05, 0.5, 1e-6, random.float(f32) };
            const p = choices[random.uintLessThan(usize, choices.len)];
            var self: MinP = .{ .p = p };
            try self.apply(&pair.set, reference.step);
            if (p == 0) return;
            try pair.reference.expectPrefix(&pair.set);
            const expected = pair.reference.above(p);
            const found = pair.set.len();
            const items = pair.reference.members.items;
            for (items[@min(expected, found)..@max(expected, found)]) |member| {
                // So close to the threshold that the rounding of a logit decides.
                try std.testing.expectApproxEqRel(p * items[0].p, member.p, 2e-4);
            }
        }
    }.body);
}

test "min-p 0 keeps every token" {
    var pair: reference.Pair = try .init(std.testing.allocator, &.{ 0, -200, 3 });
    defer pair.deinit();
    var self: MinP = .{ .p = 0 };
    try self.apply(&pair.set, reference.step);
    try std.testing.expectEqual(3, pair.set.len());
}
