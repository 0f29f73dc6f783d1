//! Greedy decoding: only the most probable token stays, the lowest id among equals.

const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const Greedy = @This();

pub const id: u32 = 1;
pub const name = "greedy";
pub const about = "Keeps only the most probable token.";
pub const parameters = [_]stage.Parameter{};

/// Asks for single blocks of a row.
pub const by_blocks = true;

pub fn apply(_: *Greedy, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    set.keepOnly(set.best());
}

const reference = @import("core/reference.zig");
const std = @import("std");

test "greedy keeps the first of the highest" {
    try reference.forAll(11, 300, struct {
        fn body(_: std.Random, pair: *reference.Pair) !void {
            var self: Greedy = .{};
            try self.apply(&pair.set, reference.step);
            try std.testing.expectEqual(1, pair.set.len());
            try pair.reference.expectPrefix(&pair.set);
        }
    }.body);
}
