//! The root of the tests that run on an emulated ARM processor (`zig build test-arm`): what differs
//! between CPU variants, against its references. The rest of the engine is the same code everywhere.

const std = @import("std");
const cpu = @import("backend/cpu.zig");
const Diagnostic = @import("diagnostic.zig").Diagnostic;

test {
    _ = @import("quant.zig");
    _ = @import("op.zig");
    _ = @import("kernel.zig");
    _ = @import("backend.zig");
}

// The build says what the emulated processor has; otherwise a detection that finds nothing would
// leave all but the first variant untested, and nobody would see it.
test "the best variant of the emulated processor is found" {
    const wanted = std.c.getenv("VITRINE_TEST_VARIANT") orelse return error.VariantNotNamed;
    var diag: Diagnostic = .{};
    const table = try cpu.chooseNamed("", &diag);
    try std.testing.expectEqualStrings(std.mem.span(wanted), std.mem.span(table.variant));
}
