//! Views of the cache of a session on a small model.

const std = @import("std");
const cache = @import("../cache.zig");
const kernel = @import("../kernel.zig");
const kv_view = @import("kv_view.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Session = @import("session.zig").Session;
const session_test = @import("session_test.zig");
const Fixture = session_test.Fixture;
const tiny_model = @import("tiny_model.zig");

const gpa = std.testing.allocator;
const dim = 32;
const heads = 2;

fn filled(fixture: *Fixture, format: cache.Format, tokens: []const u32) !*Session {
    var diag: Diagnostic = .{};
    const session = try Session.create(fixture.model, .{ .key_format = format, .value_format = format }, &diag);
    errdefer session.destroy();
    try session.start(.{ .tokens = tokens }, &diag);
    session.wait();
    return session;
}

test "a view holds what is stored" {
    const tokens = session_test.someTokens(150);
    var fixture = try Fixture.init(.{ .head_dim = dim }, .{ .threads = 1 });
    defer fixture.deinit();
    for (std.enums.values(cache.Format)) |format| {
        // Those need tokens at full precision: window_test.zig.
        if (cache.inGroups(format)) continue;
        const session = try filled(&fixture, format, &tokens);
        defer session.destroy();
        for (std.enums.values(kernel.KvSide)) |side| for ([_][2]u32{ .{ 0, 150 }, .{ 60, 131 }, .{ 7, 7 } }) |range| {
            var diag: Diagnostic = .{};
            const positions = range[1] - range[0];
            const found = try gpa.alloc(f32, heads * positions * dim);
            defer gpa.free(found);
            const part: kv_view.Part = .{ .side = side, .view = .decoded, .layer = 1, .head = null, .from = range[0], .to = range[1] };
            try kv_view.read(session, part, std.mem.sliceAsBytes(found), &diag);
            for (0..heads) |head| for (range[0]..range[1], 0..) |position, i| {
                var want: [dim]f32 = undefined;
                session.sequence.read(side, @intCast(position), 1, head, &want);
                try session_test.expectSameBits(&want, found[(head * positions + i) * dim ..][0..dim]);
            };
            if (positions == 0) continue;
            var one: [dim]f32 = undefined;
            const last: kv_view.Part = .{ .side = side, .view = .decoded, .layer = 1, .head = 1, .from = range[1] - 1, .to = range[1] };
            try kv_view.read(session, last, std.mem.sliceAsBytes(&one), &diag);
            try session_test.expectSameBits(found[found.len - dim ..], &one);
        };
    }
}

test "codes, scales and minimums make up what is decoded" {
    const tokens = session_test.someTokens(70);
    var fixture = try Fixture.init(.{ .head_dim = dim }, .{ .threads = 1 });
    defer fixture.deinit();
    for (meanings) |meaning| {
        const format = meaning.format;
        const session = try filled(&fixture, format, &tokens);
        defer session.destroy();
        var diag: Diagnostic = .{};
        for (std.enums.values(kernel.KvSide)) |side| {
            var decoded: [70 * dim]f32 = undefined;
            var codes: [70 * dim]u8 = undefined;
            var scales: [70]f16 = undefined;
            var codes_of_scales: [2 * 70]u8 = undefined;
            var minimums: [70]f16 = @splat(0);
            var part: kv_view.Part = .{ .side = side, .view = .decoded, .layer = 0, .head = 1, .from = 0, .to = 70 };
            try kv_view.read(session, part, std.mem.sliceAsBytes(&decoded), &diag);
            part.view = .codes;
            try kv_view.read(session, part, &codes, &diag);
            part.view = .scales;
            if (meaning.scale) |_| {
                try kv_view.read(session, part, codes_of_scales[0 .. 70 * meaning.scales], &diag);
            } else try kv_view.read(session, part, std.mem.sliceAsBytes(&scales), &diag);
            part.view = .minimums;
            if (meaning.minimums) {
                try kv_view.read(session, part, std.mem.sliceAsBytes(&minimums), &diag);
            } else try std.testing.expectError(error.BadOption, kv_view.read(session, part, std.mem.sliceAsBytes(&minimums), &diag));
            for (decoded, codes, 0..) |value, code, i| {
                const scale = if (meaning.scale) |of| of(codes_of_scales[i * meaning.scales / dim]) else scales[i / dim];
                const scaled = meaning.number(code) * scale;
                try std.testing.expectEqual(value, if (meaning.minimums) scaled + @as(f32, minimums[i / dim]) else scaled);
            }
        }
    }
}

/// What a code means before its scale, by the description of the format.
const Meaning = struct {
    format: cache.Format,
    zero: f32 = 0,
    signed: bool = false,
    levels: ?[16]f32 = null,
    minimums: bool = false,
    /// Of 8 bits, what a scale means.
    scale: ?*const fn (code: u8) f32 = null,
    /// Of a head of 32 values.
    scales: usize = 1,

    fn number(meaning: Meaning, code: u8) f32 {
        if (meaning.levels) |levels| return levels[code];
        if (meaning.signed) return @floatFromInt(@as(i8, @bitCast(code)));
        return @as(f32, @floatFromInt(code)) - meaning.zero;
    }
};

const meanings = [_]Meaning{
    .{ .format = .q8_0, .signed = true },
    .{ .format = .q5_1, .minimums = true },
    .{ .format = .q5_0, .zero = 16 },
    .{ .format = .q4_1, .minimums = true },
    .{ .format = .q4_0, .zero = 8 },
    .{ .format = .iq4_nl, .levels = .{ -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 } },
    .{ .format = .mxfp4, .levels = e2m1, .scale = e8m0 },
    .{ .format = .nvfp4, .levels = e2m1, .scale = e4m3, .scales = 2 },
};

/// OCP's four-bit float.
const e2m1 = [16]f32{ 0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6 };

fn e8m0(code: u8) f32 {
    return @exp2(@as(f32, @floatFromInt(code)) - 127);
}

fn e4m3(code: u8) f32 {
    const fraction: f32 = @floatFromInt(code & 7);
    if (code < 8) return fraction * 0x1p-9;
    return (8 + fraction) * @exp2(@as(f32, @floatFromInt(code >> 3)) - 10);
}

test "keys without their rotation don't depend on the position" {
    // One token again and again: the first layer sees the same embedding at each position.
    const tokens: [130]u32 = @splat(9);
    for ([_]tiny_model.Shape{
        .{ .head_dim = dim },
        .{ .head_dim = dim, .architecture = "gemma3", .layers = 7, .window = 33 },
    }) |shape| {
        var fixture = try Fixture.init(shape, .{ .threads = 1 });
        defer fixture.deinit();
        const session = try filled(&fixture, .f32, &tokens);
        defer session.destroy();
        var diag: Diagnostic = .{};
        var keys: [130 * dim]f32 = undefined;
        var part: kv_view.Part = .{ .side = .key, .view = .decoded, .layer = 0, .head = 1, .from = 0, .to = 130 };
        try kv_view.read(session, part, std.mem.sliceAsBytes(&keys), &diag);
        var moved: f32 = 0;
        for (keys[100 * dim ..][0..dim], keys[0..dim]) |a, b| moved = @max(moved, @abs(a - b));
        try std.testing.expect(moved > 0.01);
        part.view = .unrotated;
        try kv_view.read(session, part, std.mem.sliceAsBytes(&keys), &diag);
        for (1..130) |position| for (keys[position * dim ..][0..dim], keys[0..dim]) |a, b| {
            try std.testing.expectApproxEqAbs(b, a, 1e-5);
        };
    }
}

test "a view of what isn't there is refused with the reason" {
    var fixture = try Fixture.init(.{ .head_dim = dim }, .{ .threads = 1 });
    defer fixture.deinit();
    const session = try filled(&fixture, .f16, &.{ 1, 5, 6 });
    defer session.destroy();
    const right: kv_view.Part = .{ .side = .value, .view = .decoded, .layer = 1, .head = 1, .from = 0, .to = 3 };
    var buffer: [3 * dim * 4]u8 align(4) = undefined;
    var diag: Diagnostic = .{};
    try kv_view.read(session, right, &buffer, &diag);
    const wrong = [_]struct { kv_view.Error, []const u8, []const u8, u32 }{
        .{ error.OutOfRange, "layer under 2, found 2", "layer", 2 },
        .{ error.OutOfRange, "KV head under 2, found 2", "head", 2 },
        .{ error.OutOfRange, "the 3 that have keys and values, found 0 to 4", "to", 4 },
        .{ error.OutOfRange, "found 4 to 3", "from", 4 },
    };
    inline for (wrong) |case| {
        var part = right;
        @field(part, case[2]) = case[3];
        diag.len = 0;
        try std.testing.expectError(case[0], kv_view.read(session, part, &buffer, &diag));
        try std.testing.expect(std.mem.indexOf(u8, diag.text(), case[1]) != null);
    }
    var part = right;
    part.view = .unrotated;
    try std.testing.expectError(error.BadOption, kv_view.read(session, part, &buffer, &diag));
    part.view = .scales;
    try std.testing.expectError(error.BadOption, kv_view.read(session, part, &buffer, &diag));
    try std.testing.expectError(error.BufferTooSmall, kv_view.read(session, right, buffer[0..8], &diag));
}
