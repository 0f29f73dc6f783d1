//! All Zig tests. Each root is one test program; they run from the repository's folder.

const std = @import("std");
const cpu_variants = @import("cpu_variants.zig");
const library = @import("library.zig");

const Root = struct { name: []const u8, kernels: bool };

const roots = [_]Root{
    .{ .name = "unit_tests.zig", .kernels = true },
    // Reads the sources as text.
    .{ .name = "tidy.zig", .kernels = false },
};

pub fn add(b: *std.Build, target: std.Build.ResolvedTarget) void {
    const step = b.step("test", "Run all Zig tests");
    const filter = b.option([]const u8, "test-filter", "Run only the tests whose name contains this");
    for (roots) |root| {
        const module = library.module(b, root.name, target, .safe);
        module.strip = false;
        if (root.kernels) cpu_variants.add(b, module, target);
        const compiled = b.addTest(.{
            .name = root.name,
            .root_module = module,
            .filters = if (filter) |text| b.dupeStrings(&.{text}) else &.{},
            // Zig's own back end for x86 crashes on some of these.
            .use_llvm = true,
        });
        const run = b.addRunArtifact(compiled);
        run.setCwd(b.path("."));
        // What it checks lies in files that the build system doesn't know of.
        run.has_side_effects = true;
        step.dependOn(&run.step);
    }
}
