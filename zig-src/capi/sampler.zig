//! Sampler chains without a session: a host can check one before it has a model.

const std = @import("std");
const buffers = @import("core/buffers.zig");
const errors = @import("core/errors.zig");
const sampler = @import("../sampler.zig");
const table = @import("core/table.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const functions = .{
    .{
        .name = "vitrine_sampler_check",
        .function = "check",
        .doc = "Says whether a chain is valid, and if not, in words why.",
        .params = .{
            .{ "stages", "In the order of their application; read during the call only.", "Stage" },
            .{ "count", "How many." },
            .{ "vocabulary", "Tokens that the chain chooses from." },
            .{ "buffer", "The caller's; filled with the text of the error, in UTF-8." },
            .{ "length", "Of the buffer, in bytes; the text is cut to it." },
            .{ "out_length", "Gets the length of the text." },
        },
    },
};

pub fn check(
    stages: ?[*]align(1) const sampler.StageSpec,
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

fn validate(stages: ?[*]align(1) const sampler.StageSpec, count: u32, vocabulary: u32, diag: *Diagnostic) errors.Error!void {
    if (count > sampler.stages_max) {
        diag.set("expected at most {d} sampler stages, found {d}", .{ sampler.stages_max, count });
        return error.InvalidArgument;
    }
    if (vocabulary > 1 << 24) {
        diag.set("expected a vocabulary of at most {d} tokens, found {d}", .{ 1 << 24, vocabulary });
        return error.InvalidArgument;
    }
    var specs: [sampler.stages_max]sampler.StageSpec = undefined;
    const given = try buffers.slice(sampler.StageSpec, stages, count, "the sampler stages", diag);
    for (given, specs[0..given.len]) |from, *to| to.* = from;
    var chain = try sampler.Chain.init(table.gpa, specs[0..given.len], vocabulary, 0, diag);
    chain.deinit(table.gpa);
}

test "a chain is checked, and the text says what is wrong" {
    var buffer: [200]u8 = undefined;
    var len: u32 = 7;
    const good = [_]sampler.StageSpec{ sampler.spec("temperature", .{0.8}), sampler.spec("top_p", .{0.9}) };
    try std.testing.expectEqual(0, check(&good, 2, 100, &buffer, buffer.len, &len));
    try std.testing.expectEqual(0, len);
    const wrong = [_]sampler.StageSpec{sampler.spec("top_p", .{std.math.nan(f32)})};
    try std.testing.expectEqual(-1, check(&wrong, 1, 100, &buffer, buffer.len, &len));
    try std.testing.expect(std.mem.indexOf(u8, buffer[0..len], "top_p") != null);
    try std.testing.expectEqual(-1, check(&wrong, 1, 100, &buffer, 3, &len));
    try std.testing.expectEqual(3, len);
    try std.testing.expectEqual(-1, check(null, 1, 100, &buffer, buffer.len, &len));
    try std.testing.expectEqual(-1, check(&good, 0xffff_ffff, 100, &buffer, buffer.len, &len));
}
