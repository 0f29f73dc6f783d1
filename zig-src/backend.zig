//! What computes. `backends` is the registry; each member is a file in `backend/` that declares
//!
//!     name                what `info()` calls it
//!     Error               what can go wrong when it is opened
//!     available(diag)     whether this machine has it; if not, the diagnostic says why
//!
//! and the functions of its kind of memory. The processor is always there and does whatever
//! another backend can't; see `backend/README.md`.

const std = @import("std");
const Diagnostic = @import("diagnostic.zig").Diagnostic;

pub const cpu = @import("backend/cpu.zig");

/// The registry, in order of preference: the last that is available computes.
pub const backends = .{
    @import("backend/cpu.zig"),
};

pub const Error = joined: {
    var errors = error{};
    for (backends) |backend| {
        for (.{ "name", "Error", "available" }) |declaration| {
            if (!@hasDecl(backend, declaration)) @compileError(@typeName(backend) ++
                ": expected `pub const " ++ declaration ++ "`, which every backend declares, found none");
        }
        errors = errors || backend.Error;
    }
    break :joined errors;
};

test {
    inline for (backends) |backend| _ = backend;
    _ = @import("kernel/tests/variants.zig");
}

test "every file in the folder is a registered backend" {
    const io = std.testing.io;
    var folder = try std.Io.Dir.cwd().openDir(io, "zig-src/backend", .{ .iterate = true });
    defer folder.close(io);
    var files: usize = 0;
    var entries = folder.iterate();
    while (try entries.next(io)) |entry| {
        if (!std.mem.endsWith(u8, entry.name, ".zig")) continue;
        files += 1;
        var registered = false;
        inline for (backends) |backend| {
            if (std.mem.eql(u8, entry.name, backend.name ++ ".zig")) registered = true;
        }
        errdefer std.debug.print("backend/{s} is not registered\n", .{entry.name});
        try std.testing.expect(registered);
    }
    try std.testing.expectEqual(backends.len, files);
}

test "the processor is always available" {
    var diag: Diagnostic = .{};
    try cpu.available(&diag);
}
