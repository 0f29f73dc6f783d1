//! Drawing tokens from logits that the caller has, without a model: the same chains as a session's.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const errors = @import("core/errors.zig");
const Drawing = @import("core/chain.zig").Drawing;
const sampler = @import("../sampler.zig");
const table = @import("core/table.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const functions = .{
    .{
        .name = "vitrine_sampler_draw",
        .function = "draw",
        .doc =
        \\Draws tokens from one row of logits with a sampler chain: the first for position 0, the next
        \\for position 1, and so on, all from the same logits. vitrine_sampler_check says in words what
        \\is wrong with a chain.
        ,
        .params = .{
            .{ "request", "A Request, of which seed_low, seed_high, stage_count, history_count and model count.", "Request" },
            .{ "stages", "In the order of their application, each with its data; read during the call only.", "Stage" },
            .{ "logits", "Read during the call only." },
            .{ "vocabulary", "How many logits." },
            .{ "tokens", "The caller's; filled with token ids." },
            .{ "count", "How many tokens." },
        },
    },
    .{
        .name = "vitrine_draw_error",
        .function = "drawError",
        .doc = "Copies the text of the last draw of this thread that failed, with or without a tape; it has no handle.",
        .params = .{
            .{ "buffer", "The caller's; filled with UTF-8." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "out_length", "Gets the length of the text, also when the buffer is too small." },
        },
    },
};

/// Of the last draw of this thread that failed.
threadlocal var failure: Diagnostic = .{};

/// Ends a draw: its text stays, the status goes out.
pub fn finish(result: errors.Error!void, diag: *const Diagnostic) i32 {
    if (std.meta.isError(result)) failure = diag.*;
    return errors.code(result);
}

pub fn drawError(buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    return errors.code(buffers.copyOut(&.{failure.text()}, buffer, length, out_length, &diag));
}

pub fn draw(
    request: ?[*]const u8,
    stages: ?[*]align(1) const sampler.wire.Record,
    logits: ?[*]align(1) const f32,
    vocabulary: u32,
    tokens: ?[*]align(1) u32,
    count: u32,
) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    return finish(drawAll(request, stages, logits, vocabulary, tokens, count, &diag), &diag);
}

fn drawAll(
    request: ?[*]const u8,
    stages: ?[*]align(1) const sampler.wire.Record,
    logits: ?[*]align(1) const f32,
    vocabulary: u32,
    tokens: ?[*]align(1) u32,
    count: u32,
    diag: *Diagnostic,
) errors.Error!void {
    const given = try buffers.options(abi.Request, request, @sizeOf(abi.Request), "the request", diag);
    const row = try buffers.slice(f32, logits, vocabulary, "the logits", diag);
    if (count == 0) return;
    const out = try buffers.required(tokens, "the tokens", diag);
    var drawing: Drawing = try .init(.{
        .stages = stages,
        .stage_count = given.stage_count,
        .vocabulary = vocabulary,
        .seed_low = given.seed_low,
        .seed_high = given.seed_high,
        .model = given.model,
        .history = if (request) |from| @ptrCast(from[given.size..]) else null,
        .history_count = given.history_count,
        .count = count,
    }, diag);
    defer drawing.deinit();
    const chain = &drawing.chain;
    // Nobody is told them; only stages that follow the text may ask.
    chain.logprobs = chain.follows();
    // A function of the host could write to its row meanwhile.
    const usable = std.mem.isAligned(@intFromPtr(row.ptr), @alignOf(f32)) and !chain.asksHost();
    const own = try table.gpa.alloc(f32, if (usable) 0 else row.len);
    defer table.gpa.free(own);
    for (row[0..own.len], own) |from, *to| to.* = from;
    const values: []const f32 = if (usable) @alignCast(row) else own;
    for (0..count) |position| {
        const choice = try chain.sample(values, 0, position, diag);
        chain.accept(choice.accepted());
        out[position] = choice.token;
    }
}

test "the same seed draws the same tokens, and what is wrong is refused" {
    const specs = [_]sampler.wire.Record{ .{ .id = 2, .p = .{ 0.8, 0, 0, 0, 0, 0 } }, .{ .id = 3, .p = .{ 2, 0, 0, 0, 0, 0 } } };
    const request: abi.Request = .{ .seed_low = 7, .stage_count = specs.len };
    const bytes = std.mem.asBytes(&request);
    const logits = [_]f32{ 1, 3, -2, 2.5 };
    var first: [64]u32 = undefined;
    var second: [64]u32 = undefined;
    try std.testing.expectEqual(0, draw(bytes, &specs, &logits, 4, &first, 64));
    try std.testing.expectEqual(0, draw(bytes, &specs, &logits, 4, &second, 64));
    try std.testing.expectEqualSlices(u32, &first, &second);
    var seen: [4]bool = @splat(false);
    for (first) |token| seen[token] = true;
    try std.testing.expectEqual([_]bool{ false, true, false, true }, seen);
    const invalid = @backingInt(abi.Status.invalid_argument);
    try std.testing.expectEqual(invalid, draw(bytes, &specs, &logits, 0, &first, 1));
    try std.testing.expectEqual(invalid, draw(bytes, &specs, null, 4, &first, 1));
    try std.testing.expectEqual(invalid, draw(bytes, null, &logits, 4, &first, 1));
    try std.testing.expectEqual(invalid, draw(bytes, &specs, &logits, 4, null, 1));
    try std.testing.expectEqual(invalid, draw(null, &specs, &logits, 0, &first, 1));
    const broken = [_]f32{ 1, std.math.nan(f32), 0, 0 };
    try std.testing.expectEqual(@backingInt(abi.Status.numeric), draw(bytes, &specs, &broken, 4, &first, 1));
}

test "a draw that fails says which stage it was" {
    const specs = [_]sampler.wire.Record{ .{ .id = 3, .p = .{ 2, 0, 0, 0, 0, 0 } }, .{ .id = 100, .p = .{ 1, 0, 0, 0, 0, 0 } } };
    const request: abi.Request = .{ .stage_count = specs.len };
    const bytes = std.mem.asBytes(&request);
    var token: [1]u32 = undefined;
    var text: [200]u8 = undefined;
    var len: u32 = 0;
    try std.testing.expectEqual(@backingInt(abi.Status.not_ready), draw(bytes, &specs, &[_]f32{ 1, 2, 3 }, 3, &token, 1));
    try std.testing.expectEqual(0, drawError(&text, text.len, &len));
    try std.testing.expectEqualStrings("sampler stage 2 (script): expected a host that has the function, found none", text[0..len]);
    try std.testing.expectEqual(@backingInt(abi.Status.numeric), draw(bytes, &specs, &[_]f32{ 1, std.math.nan(f32) }, 2, &token, 1));
    try std.testing.expectEqual(0, drawError(&text, text.len, &len));
    try std.testing.expectEqualStrings("the model's logits: expected logits below infinity that are numbers, found nan for token 1", text[0..len]);
}
