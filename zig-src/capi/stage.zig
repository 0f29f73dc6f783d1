//! Sampler stages that are functions of the host, in draws without a session: the host is called back by
//! the thread that draws, while its call waits. Sessions show candidates with the hooks instead.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const errors = @import("core/errors.zig");
const sampler = @import("../sampler.zig");
const Callback = @import("../engine.zig").wake.Callback;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const functions = .{
    .{
        .name = "vitrine_stage_host",
        .function = "setHost",
        .doc =
        \\Says who is called, by draws of this thread, for stages that are functions. It takes the candidates
        \\with vitrine_stage_take and may replace their logits with vitrine_stage_put before it returns.
        ,
        .params = .{.{ "callback", "Called by the thread that draws, during its call only." }},
    },
    .{
        .name = "vitrine_stage_take",
        .function = "take",
        .doc = "Copies the candidates that a stage is asked about: `width` of the offer, ids ascending, and logits.",
        .params = .{
            .{ "out", "The caller's; filled as far as it reaches.", "HookOffer" },
            .{ "length", "Of `out`, in bytes." },
            .{ "ids", "The caller's; filled from the beginning." },
            .{ "logits", "The caller's; filled from the beginning." },
            .{ "count", "Of each, at least the width: the vocabulary always is." },
        },
    },
    .{
        .name = "vitrine_stage_history",
        .function = "history",
        .doc = "Copies the text before the token that a stage is asked about: what stages that look back see.",
        .params = .{
            .{ "tokens", "The caller's; filled, oldest first." },
            .{ "count", "`history` of the offer." },
        },
    },
    .{
        .name = "vitrine_stage_put",
        .function = "put",
        .doc = "Replaces the logits of the candidates that a stage is asked about; -inf removes one.",
        .params = .{
            .{ "logits", "Read during the call only." },
            .{ "count", "The offer's width." },
        },
    },
};

const Question = struct {
    offer: abi.HookOffer,
    ids: []const u32,
    logits: []f32,
    history: []const u32,
};

threadlocal var callback: ?Callback = null;
threadlocal var question: ?Question = null;

/// Who has the code of stages that are functions, for draws of this thread.
pub fn host() ?sampler.Host {
    if (callback == null) return null;
    return .{ .context = @ptrCast(&callback), .ask = ask };
}

fn ask(_: *anyopaque, number: u32, step: sampler.Step, ids: []const u32, logits: []f32) bool {
    // A function may draw, too.
    const outer = question;
    defer question = outer;
    question = .{
        .offer = .{
            .waiting = 1,
            .position = @intCast(step.position),
            .rows = 1,
            .width = @intCast(logits.len),
            .stage = number,
            .sequence = step.sequence,
            .history = @intCast(step.history.len),
        },
        .ids = ids,
        .logits = logits,
        .history = step.history,
    };
    callback.?();
    return true;
}

pub fn setHost(given: ?Callback) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    callback = buffers.required(given, "the callback", &diag) catch |err| return errors.code(err);
    return 0;
}

pub fn take(out: ?[*]u8, length: u32, ids: ?[*]align(1) u32, logits: ?[*]align(1) f32, count: u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    return errors.code(copy(out, length, ids, logits, count, &diag));
}

fn copy(out: ?[*]u8, length: u32, ids: ?[*]align(1) u32, logits: ?[*]align(1) f32, count: u32, diag: *Diagnostic) errors.Error!void {
    const asked = question orelse return error.NotReady;
    if (count < asked.ids.len) return error.BufferTooSmall;
    const to_ids = try buffers.required(ids, "the ids", diag);
    const to_logits = try buffers.required(logits, "the logits", diag);
    try buffers.fill(asked.offer, out, length, diag);
    @memcpy(std.mem.sliceAsBytes(to_ids[0..asked.ids.len]), std.mem.sliceAsBytes(asked.ids));
    @memcpy(std.mem.sliceAsBytes(to_logits[0..asked.logits.len]), std.mem.sliceAsBytes(asked.logits));
}

pub fn history(tokens: ?[*]align(1) u32, count: u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    return errors.code(copyHistory(tokens, count, &diag));
}

fn copyHistory(tokens: ?[*]align(1) u32, count: u32, diag: *Diagnostic) errors.Error!void {
    const asked = question orelse return error.NotReady;
    if (count != asked.history.len) return error.InvalidArgument;
    if (count == 0) return;
    const out = try buffers.required(tokens, "the tokens", diag);
    @memcpy(std.mem.sliceAsBytes(out[0..count]), std.mem.sliceAsBytes(asked.history));
}

pub fn put(logits: ?[*]align(1) const f32, count: u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    return errors.code(replace(logits, count, &diag));
}

fn replace(logits: ?[*]align(1) const f32, count: u32, diag: *Diagnostic) errors.Error!void {
    const asked = question orelse return error.NotReady;
    const given = try buffers.slice(f32, logits, count, "the logits", diag);
    if (given.len != asked.logits.len) return error.InvalidArgument;
    @memcpy(std.mem.sliceAsBytes(asked.logits), std.mem.sliceAsBytes(given));
}

fn keepTheLast() callconv(.c) void {
    var offer: abi.HookOffer = .{};
    var ids: [4]u32 = undefined;
    var logits: [4]f32 = undefined;
    const shown = std.mem.asBytes(&offer);
    std.debug.assert(take(shown, @sizeOf(abi.HookOffer), &ids, &logits, 1) != 0);
    std.debug.assert(take(shown, @sizeOf(abi.HookOffer), &ids, &logits, 4) == 0);
    std.debug.assert(offer.stage == 7 and offer.width == 2 and offer.position == 5 and offer.sequence == 3);
    var text: [2]u32 = undefined;
    std.debug.assert(offer.history == 2);
    std.debug.assert(history(&text, 1) != 0);
    std.debug.assert(history(&text, 2) == 0 and text[0] == 3 and text[1] == 1);
    logits[0] = -std.math.inf(f32);
    std.debug.assert(put(&logits, 1) != 0);
    std.debug.assert(put(&logits, 2) == 0);
}

test "the thread that draws asks its host" {
    var diag: Diagnostic = .{};
    try std.testing.expectEqual(@backingInt(abi.Status.not_ready), put(null, 0));
    try std.testing.expectEqual(@backingInt(abi.Status.invalid_argument), setHost(null));
    const specs = [_]sampler.StageSpec{ sampler.spec("top_k", .{2}), sampler.spec("script", .{7}) };
    var chain = try sampler.Chain.init(std.testing.allocator, &specs, 4, 0, &diag);
    defer chain.deinit(std.testing.allocator);
    const logits = [_]f32{ 1, 9, 2, 5 };
    try std.testing.expectError(error.NoHost, chain.sample(&logits, 3, 5, &diag));
    try std.testing.expectEqual(0, setHost(keepTheLast));
    defer callback = null;
    chain.host = host();
    chain.read(&.{ 3, 1 });
    try std.testing.expectEqual(3, (try chain.sample(&logits, 3, 5, &diag)).token);
    try std.testing.expectEqual(null, question);
    try std.testing.expectEqual(null, chain.coinCount());
}
