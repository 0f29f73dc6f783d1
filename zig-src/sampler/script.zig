//! A stage that the host has the code of: the function shows it the candidates and takes what it leaves.
//! `number` says which of its functions, counted from 1; it is the host's own.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const stage = @import("core/stage.zig");
const Script = @This();

number: u32,
/// So much of the text is shown.
kept: u32 = 0,

pub const id: u32 = 100;
pub const name = "script";
pub const draws_numbers = true;
pub const asks_host = true;
pub const about = "Asks a function of the host, which may change and remove logits.";
pub const parameters = [_]stage.Parameter{.{ .name = "number", .min = 1, .max = 64, .whole = true }};

pub fn init(self: *Script, making: stage.Making) stage.MakeError!void {
    self.kept = making.history_max;
}

pub fn deinit(_: *Script, _: std.mem.Allocator) void {}

pub fn remembers(_: *const Script) u32 {
    return stage.whole_text;
}

pub fn apply(self: *Script, set: *candidates.Candidates, step: stage.Step) candidates.Error!void {
    const host = step.host orelse return error.NoHost;
    const logits = set.edit();
    var shown = step;
    shown.history = stage.last(step.history, self.kept);
    if (!host.ask(host.context, self.number, shown, set.ids[0..logits.len], logits)) return error.NoCandidates;
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

const Reader = struct {
    seen: [8]u32 = undefined,
    len: usize = 0,

    fn ask(context: *anyopaque, _: u32, step: stage.Step, _: []const u32, _: []f32) bool {
        const reader: *Reader = @ptrCast(@alignCast(context));
        reader.len = step.history.len;
        @memcpy(reader.seen[0..reader.len], step.history);
        return true;
    }
};

test "a function sees the text that is kept: what was read, and what was drawn" {
    const sampler = @import("../sampler.zig");
    const gpa = std.testing.allocator;
    var diag: @import("../diagnostic.zig").Diagnostic = .{};
    var chain = try sampler.Chain.initWith(gpa, &.{ sampler.spec("greedy", .{}), sampler.spec("script", .{1}) }, .{ .vocab = 4, .history_max = 5 }, &diag);
    defer chain.deinit(gpa);
    var reader: Reader = .{};
    chain.host = .{ .context = &reader, .ask = Reader.ask };
    chain.read(&.{ 2, 0 });
    for (0..3) |position| chain.accept((try chain.sample(&.{ 1, 2, 3, 4 }, 0, position, &diag)).accepted());
    try std.testing.expectEqualSlices(u32, &.{ 2, 0, 3, 3 }, reader.seen[0..reader.len]);
    for (3..6) |position| chain.accept((try chain.sample(&.{ 1, 2, 3, 4 }, 0, position, &diag)).accepted());
    try std.testing.expectEqualSlices(u32, &.{ 3, 3, 3, 3, 3 }, reader.seen[0..reader.len]);
}

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
