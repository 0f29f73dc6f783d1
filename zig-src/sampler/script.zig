//! A stage that the host has the code of: the function shows it the candidates and takes what it leaves.
//! `number` says which of its functions, counted from 1; it is the host's own.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const Script = @This();

number: u32,

pub const id: u32 = 100;
pub const name = "script";
pub const draws_numbers = true;
pub const asks_host = true;
pub const about = "Asks a function of the host, which may change and remove logits.";
pub const parameters = [_]stage.Parameter{.{ .name = "number", .min = 1, .max = 64, .whole = true }};

pub fn apply(self: *Script, set: *candidates.Candidates, step: stage.Step) candidates.Error!void {
    const host = step.host orelse return error.NoHost;
    const logits = set.edit();
    if (!host.ask(host.context, self.number, step, set.ids[0..logits.len], logits)) return error.NoCandidates;
    try set.edited();
    // Whoever counts what is left counts no removed ones.
    set.keep(.{ .threshold = -std.math.floatMax(f32), .ties = logits.len });
}

const Halver = struct {
    answers: bool = true,

    fn ask(context: *anyopaque, number: u32, step: stage.Step, ids: []const u32, logits: []f32) bool {
        const halver: *const Halver = @ptrCast(@alignCast(context));
        std.debug.assert(number == 2 and step.position == 7);
        // Odd tokens go, and what is left is half as far from each other.
        for (ids, logits) |token, *logit| logit.* = if (token % 2 == 1) -std.math.inf(f32) else logit.* / 2;
        return halver.answers;
    }
};

test "a function sees heated candidates, and what it leaves is drawn from" {
    var pair: @import("core/reference.zig").Pair = try .init(std.testing.allocator, &.{ 1, 5, 3, -std.math.inf(f32), 2, 9 });
    defer pair.deinit();
    var halver: Halver = .{};
    const step: stage.Step = .{ .seed = 0, .sequence = 0, .position = 7, .host = .{ .context = &halver, .ask = Halver.ask } };
    pair.set.heat(0.5);
    var self: Script = .{ .number = 2 };
    try self.apply(&pair.set, step);
    try std.testing.expectEqualSlices(u32, &.{ 0, 2, 4 }, pair.set.ids[0..pair.set.len()]);
    try std.testing.expectEqualSlices(f32, &.{ 1, 3, 2 }, pair.set.values);
    try std.testing.expectEqual(1, pair.set.beta);
    halver.answers = false;
    try std.testing.expectError(error.NoCandidates, self.apply(&pair.set, step));
    try std.testing.expectError(error.NoHost, self.apply(&pair.set, .{ .seed = 0, .sequence = 0, .position = 7 }));
}
