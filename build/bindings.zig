//! The generated bindings: `zig build bindings` writes them, `zig build bindings-check` fails when
//! the committed ones are stale. The generator is a program that reads the list of the C ABI.

const std = @import("std");

pub fn add(b: *std.Build) void {
    const generator = b.addExecutable(.{
        .name = "bindings",
        .root_module = b.createModule(.{
            .root_source_file = b.path("zig-src/bindings.zig"),
            .target = b.graph.host,
            .optimize = .debug,
            .link_libc = true,
        }),
    });
    const write = b.addRunArtifact(generator);
    write.addDirectoryArg(b.path("."));
    write.has_side_effects = true;
    b.step("bindings", "Write the C header, the ABI manifest and the TypeScript symbol table").dependOn(&write.step);

    const check = b.addRunArtifact(generator);
    check.addDirectoryArg(b.path("."));
    check.addArg("--check");
    check.has_side_effects = true;
    b.step("bindings-check", "Fail when the generated bindings are stale").dependOn(&check.step);
}
