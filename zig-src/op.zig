//! The operations of a model: for each one its shape rule, a scalar f32 reference that is never
//! optimised, and how far a fast kernel may be from it. `ops` is the registry; each member is a
//! file in `op/` that declares
//!
//!     name        in the words of the field
//!     tolerance   see `Tolerance`
//!     check       the shape rule: an error if arguments don't fit together
//!     reference   the operation itself, in plain loops
//!
//! Every CPU variant is compared with these in `kernel/tests/`, device backends will be too.

const std = @import("std");

/// The registry.
pub const ops = .{
    @import("op/add.zig"),
    @import("op/attention.zig"),
    @import("op/gelu_mul.zig"),
    @import("op/hadamard.zig"),
    @import("op/kv_store.zig"),
    @import("op/layer_norm.zig"),
    @import("op/matmul.zig"),
    @import("op/rms_norm.zig"),
    @import("op/rope.zig"),
    @import("op/scale.zig"),
    @import("op/silu_mul.zig"),
    @import("op/softcap.zig"),
};

pub const Tolerance = @import("op/shared/tolerance.zig").Tolerance;

pub const attention = @import("op/attention.zig");
pub const matmul = @import("op/matmul.zig");

/// The member with this name.
pub fn Member(comptime name: []const u8) type {
    for (ops) |M| if (std.mem.eql(u8, M.name, name)) return M;
    @compileError("expected the name of an operation, found " ++ name);
}

comptime {
    for (ops) |M| {
        for (.{ "name", "tolerance", "check", "reference" }) |declaration| {
            if (!@hasDecl(M, declaration)) @compileError(@typeName(M) ++
                ": expected `pub const " ++ declaration ++ "`, which every operation declares, found none");
        }
    }
}

test {
    inline for (ops) |M| _ = M;
    _ = @import("op/shared/tolerance.zig");
}

test "every file in the folder is a registered operation" {
    const io = std.testing.io;
    // Tests run in the root of the repository.
    var folder = try std.Io.Dir.cwd().openDir(io, "zig-src/op", .{ .iterate = true });
    defer folder.close(io);
    var found: usize = 0;
    var entries = folder.iterate();
    while (try entries.next(io)) |entry| {
        if (entry.kind != .file or !std.mem.endsWith(u8, entry.name, ".zig")) continue;
        const name = entry.name[0 .. entry.name.len - ".zig".len];
        found += 1;
        var registered = false;
        inline for (ops) |M| registered = registered or std.mem.eql(u8, M.name, name);
        errdefer std.debug.print("expected op/{s} in the registry, found no such member\n", .{entry.name});
        try std.testing.expect(registered);
    }
    try std.testing.expectEqual(ops.len, found);
}
