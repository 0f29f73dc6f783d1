//! Every CPU variant that this machine can run, against the references of `op/`. Variants that it
//! can't run are printed with the feature that is missing.

const std = @import("std");
const cpu = @import("../../backend/cpu.zig");
const kernel = @import("../../kernel.zig");
const quant = @import("../../quant.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;

/// Calls `body(table, random)` once a variant, with the same random numbers.
pub fn each(comptime body: fn (table: *const kernel.Table, random: std.Random) anyerror!void) !void {
    var ran: usize = 0;
    for (cpu.variants) |variant| {
        if (cpu.missing(variant)) |feature| {
            std.debug.print("skipped: variant {s} needs {s}\n", .{ variant.name, feature });
            continue;
        }
        var diag: Diagnostic = .{};
        const table = try cpu.chooseNamed(variant.name, &diag);
        var state: std.Random.DefaultPrng = .init(42);
        errdefer std.debug.print("in variant {s}\n", .{variant.name});
        try body(table, state.random());
        ran += 1;
    }
    try std.testing.expect(ran > 0);
}

/// Values of the size of 1, with a few larger ones.
pub fn fill(random: std.Random, out: []f32) void {
    for (out) |*value| {
        value.* = random.floatNorm(f32);
        if (random.uintLessThan(u32, 50) == 0) value.* *= 8;
    }
}

/// Random bytes, block by block, until they decode to values of a usual size.
pub fn fillBlocks(random: std.Random, format: quant.Format, bytes: []u8, decoded: []f32) void {
    const of = quant.info(format);
    for (0..bytes.len / of.block_bytes) |i| {
        const block = bytes[i * of.block_bytes ..][0..of.block_bytes];
        const values = decoded[i * of.block_len ..][0..of.block_len];
        var tries: usize = 0;
        while (true) : (tries += 1) {
            random.bytes(block);
            // Wide integers are hardly ever small.
            const limit: f32 = if (tries < 64) 1e4 else 1e20;
            quant.decodeRow(format, block, values);
            const usual = for (values) |value| {
                // Not above either when not a number.
                if (!(@abs(value) < limit)) break false;
            } else true;
            if (usual) break;
        }
    }
}

pub fn expectSameBits(want: []const f32, got: []const f32) !void {
    for (want, got, 0..) |a, b, i| {
        if (@as(u32, @bitCast(a)) == @as(u32, @bitCast(b))) continue;
        std.debug.print("index {d}: expected {e}, found {e}\n", .{ i, a, b });
        return error.DifferentBits;
    }
}

test {
    _ = @import("matmul.zig");
    _ = @import("elementwise.zig");
    _ = @import("attention.zig");
    _ = @import("key_turns.zig");
    _ = @import("channels.zig");
    _ = @import("sampling.zig");
    _ = @import("pack.zig");
    _ = @import("page.zig");
}
