//! Top-p or nucleus sampling: the smallest set of most probable tokens whose probabilities add up
//! to at least p stays (Holtzman, Buys, Du, Forbes, Choi, "The Curious Case of Neural Text
//! Degeneration", ICLR 2020). At least one token stays, so p = 0 is greedy.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const select = @import("core/select.zig");
const stage = @import("core/stage.zig");
const TopP = @This();

p: f32,

pub const id: u32 = 4;
pub const name = "top_p";
pub const about = "Keeps the most probable tokens that together reach probability p.";
pub const parameters = [_]stage.Parameter{.{ .name = "p", .min = 0, .max = 1 }};

pub fn apply(self: *TopP, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    if (self.p == 1) return;
    const target = self.p * set.mass();
    const measure: select.Measure = .{ .mass = .{ .max = set.max, .beta = set.beta } };
    set.keep(set.cut(measure, target, set.lowestOfMass(self.p)));
}

const reference = @import("core/reference.zig");

test "worked example: of 0.45, 0.35, 0.15, 0.05 the first three stay at p = 0.9" {
    const logits = [_]f32{ @log(0.45), @log(0.35), @log(0.15), @log(0.05) };
    var pair: reference.Pair = try .init(std.testing.allocator, &logits);
    defer pair.deinit();
    var self: TopP = .{ .p = 0.9 };
    try self.apply(&pair.set, reference.step);
    try std.testing.expectEqualSlices(u32, &.{ 0, 1, 2 }, pair.set.ids[0..pair.set.len()]);
    const p = pair.set.probabilities();
    try std.testing.expectApproxEqAbs(0.45 / 0.95, p[0], 1e-6);
    try std.testing.expectApproxEqAbs(0.35 / 0.95, p[1], 1e-6);
    try std.testing.expectApproxEqAbs(0.15 / 0.95, p[2], 1e-6);
}

test "top-p keeps the nucleus of a full sort" {
    try reference.forAll(16, 900, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            if (random.boolean()) {
                const t = 0.1 + 2 * random.float(f32);
                pair.set.heat(t);
                pair.reference.heat(t);
            }
            const choices = [_]f32{ 0, 0.1, 0.5, 0.9, 0.999, 0.999999, random.float(f32) };
            var self: TopP = .{ .p = choices[random.uintLessThan(usize, choices.len)] };
            try self.apply(&pair.set, reference.step);
            try expectNucleus(pair, self.p);
        }
    }.body);
}

/// The set is the reference's nucleus, but for members over which the sum stands so close to `p`
/// that rounding decides.
fn expectNucleus(pair: *const reference.Pair, p: f64) !void {
    try pair.reference.expectPrefix(&pair.set);
    const expected = pair.reference.nucleus(p);
    const found = pair.set.len();
    var sum: f64 = 0;
    for (pair.reference.members.items, 1..) |member, count| {
        sum += member.p;
        if (count >= found and count < expected) try std.testing.expectApproxEqAbs(p, sum, 2e-6);
        if (count >= expected and count < found) try std.testing.expectApproxEqAbs(p, sum, 2e-6);
    }
}

test "top-p over a real vocabulary, peaked and flat" {
    const gpa = std.testing.allocator;
    const values = try gpa.alloc(f32, 128_256);
    defer gpa.free(values);
    var prng: std.Random.DefaultPrng = .init(17);
    const random = prng.random();
    for ([_]f32{ 0.001, 1, 4 }) |spread| {
        for (values) |*x| x.* = random.floatNorm(f32) * spread;
        for ([_]f32{ 0.5, 0.9, 0.9999 }) |p| {
            var pair: reference.Pair = try .init(gpa, values);
            defer pair.deinit();
            var self: TopP = .{ .p = p };
            try self.apply(&pair.set, reference.step);
            try expectNucleus(&pair, p);
        }
    }
}

test "top-p 1 keeps every token" {
    var pair: reference.Pair = try .init(std.testing.allocator, &.{ 0, -200, 3 });
    defer pair.deinit();
    var self: TopP = .{ .p = 1 };
    try self.apply(&pair.set, reference.step);
    try std.testing.expectEqual(3, pair.set.len());
}
