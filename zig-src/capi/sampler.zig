//! Sampler chains without a session: a host can check one before it has a model.

const std = @import("std");
const buffers = @import("core/buffers.zig");
const chains = @import("core/chain.zig");
const errors = @import("core/errors.zig");
const sampler = @import("../sampler.zig");
const table = @import("core/table.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const functions = .{
    .{
        .name = "vitrine_sampler_check",
        .function = "check",
        .doc =
        \\Says whether a chain is valid, and if not, in words why. A stage that must know the texts of tokens
        \\is refused: only a model has them.
        ,
        .params = .{
            .{ "stages", "In the order of their application, each with its data; read during the call only.", "Stage" },
            .{ "count", "How many records." },
            .{ "vocabulary", "Tokens that the chain chooses from." },
            .{ "buffer", "The caller's; filled with the text of the error, in UTF-8." },
            .{ "length", "Of the buffer, in bytes; the text is cut to it." },
            .{ "out_length", "Gets the length of the text." },
        },
    },
};

pub fn check(
    stages: ?[*]align(1) const sampler.wire.Record,
    count: u32,
    vocabulary: u32,
    buffer: ?[*]u8,
    length: u32,
    out_length: ?*align(1) u32,
) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    const written = buffers.required(out_length, "the length", &diag) catch |err| return errors.code(err);
    written.* = 0;
    const status = errors.code(validate(stages, count, vocabulary, &diag));
    if (buffer) |out| {
        const text = diag.text()[0..@min(diag.text().len, length)];
        @memcpy(out[0..text.len], text);
        written.* = @intCast(text.len);
    }
    return status;
}

fn validate(stages: ?[*]align(1) const sampler.wire.Record, count: u32, vocabulary: u32, diag: *Diagnostic) errors.Error!void {
    if (vocabulary > 1 << 24) {
        diag.set("expected a vocabulary of at most {d} tokens, found {d}", .{ 1 << 24, vocabulary });
        return error.InvalidArgument;
    }
    var specs: chains.Specs = undefined;
    const given = try chains.stages(stages, count, &specs, diag);
    var chain = try sampler.Chain.init(table.gpa, given, vocabulary, 0, diag);
    chain.deinit(table.gpa);
}

test "a chain is checked, and the text says what is wrong" {
    var buffer: [200]u8 = undefined;
    var len: u32 = 7;
    const good = [_]sampler.wire.Record{ .{ .id = 2, .p = .{ 0.8, 0, 0, 0, 0, 0 } }, .{ .id = 4, .p = .{ 0.9, 0, 0, 0, 0, 0 } } };
    try std.testing.expectEqual(0, check(&good, 2, 100, &buffer, buffer.len, &len));
    try std.testing.expectEqual(0, len);
    const wrong = [_]sampler.wire.Record{.{ .id = 4, .p = .{ std.math.nan(f32), 0, 0, 0, 0, 0 } }};
    try std.testing.expectEqual(-1, check(&wrong, 1, 100, &buffer, buffer.len, &len));
    try std.testing.expect(std.mem.indexOf(u8, buffer[0..len], "top_p") != null);
    try std.testing.expectEqual(-1, check(&wrong, 1, 100, &buffer, 3, &len));
    try std.testing.expectEqual(3, len);
    try std.testing.expectEqual(-1, check(null, 1, 100, &buffer, buffer.len, &len));
    try std.testing.expectEqual(-1, check(&good, 0xffff_ffff, 100, &buffer, buffer.len, &len));
    const hostile = [_]sampler.wire.Record{ .{ .id = 4, .data_length = 33 }, .{ .id = 4 } };
    try std.testing.expectEqual(-1, check(&hostile, 2, 100, &buffer, buffer.len, &len));
    try std.testing.expectEqualStrings("sampler stage 1 (top_p): expected 33 bytes of data behind it, found 32", buffer[0..len]);
}
