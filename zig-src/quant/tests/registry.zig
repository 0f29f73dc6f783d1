//! The registry against its folder: a format that nobody registered is a file that nobody tests.

const std = @import("std");
const quant = @import("../../quant.zig");

test "every file in the folder is a registered format" {
    const io = std.testing.io;
    // Tests run in the root of the repository.
    var folder = try std.Io.Dir.cwd().openDir(io, "zig-src/quant", .{ .iterate = true });
    defer folder.close(io);
    var found: usize = 0;
    var entries = folder.iterate();
    while (try entries.next(io)) |entry| {
        if (entry.kind != .file or !std.mem.endsWith(u8, entry.name, ".zig")) continue;
        const name = entry.name[0 .. entry.name.len - ".zig".len];
        found += 1;
        if (isRegistered(name)) continue;
        std.debug.print("expected quant/{s} in the registry, found no such member\n", .{entry.name});
        return error.NotRegistered;
    }
    try std.testing.expectEqual(quant.formats.len, found);
}

fn isRegistered(name: []const u8) bool {
    inline for (quant.formats) |M| {
        if (std.mem.eql(u8, name, M.name)) return true;
    }
    return false;
}

test "the formats that the design lists are there, and can encode what they should" {
    const listed = .{
        "f32",     "f16",    "bf16",  "q4_0",    "q4_1",  "q5_0",   "q5_1",  "q8_0",  "q8_1",  "q2_k",
        "q3_k",    "q4_k",   "q5_k",  "q6_k",    "q8_k",  "iq1_s",  "iq1_m", "iq2_s", "iq3_s", "iq2_xs",
        "iq2_xxs", "iq4_nl", "tq1_0", "iq3_xxs", "mxfp4", "iq4_xs", "tq2_0", "nvfp4",
    };
    const encoded = .{
        "f32",   "f16",   "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl",
        "mxfp4", "nvfp4",
    };
    inline for (listed) |name| _ = @field(quant.Format, name);
    inline for (encoded) |name| {
        try std.testing.expect(quant.info(@field(quant.Format, name)).can_encode);
    }
}
