//! Temperature: divides the logits by T (Ackley, Hinton, Sejnowski, "A Learning Algorithm for
//! Boltzmann Machines", 1985). Below 1 it sharpens the distribution, above 1 it flattens it.
//! T = 0 is the limit for small T: only the most probable token stays, the lowest id among equals.

const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const Temperature = @This();

t: f32,

pub const id: u32 = 2;
pub const name = "temperature";
pub const about = "Divides the logits by t; 0 keeps only the most probable token.";
pub const parameters = [_]stage.Parameter{.{ .name = "t", .min = 0, .max = 1e6 }};

/// Asks for single blocks of a row.
pub const by_blocks = true;

pub fn apply(self: *Temperature, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    if (self.t == 0) set.keepOnly(set.best()) else set.heat(self.t);
}

const reference = @import("core/reference.zig");
const std = @import("std");

test "temperature gives the softmax of logits divided by it" {
    try reference.forAll(12, 300, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            var self: Temperature = .{ .t = 0.05 + 3 * random.float(f32) };
            try self.apply(&pair.set, reference.step);
            // Two temperatures in one chain are one: their product.
            if (random.boolean()) {
                var second: Temperature = .{ .t = 0.5 + random.float(f32) };
                try second.apply(&pair.set, reference.step);
                self.t *= second.t;
            }
            pair.reference.heat(self.t);
            const found = pair.set.probabilities();
            for (pair.reference.members.items) |member| {
                // beta is an f32, so a distance of 30 nats has an error of 30 · 1.2e-7 · 2.
                try std.testing.expectApproxEqAbs(member.p, found[member.id], 1e-6);
            }
        }
    }.body);
}

test "temperature 0 is greedy" {
    try reference.forAll(13, 100, struct {
        fn body(_: std.Random, pair: *reference.Pair) !void {
            var self: Temperature = .{ .t = 0 };
            try self.apply(&pair.set, reference.step);
            try std.testing.expectEqual(1, pair.set.len());
            try pair.reference.expectPrefix(&pair.set);
        }
    }.body);
}
