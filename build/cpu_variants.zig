//! The CPU kernels: `zig-src/kernel.zig` compiled once for each instruction set that
//! `zig-src/kernel/variant.zig` lists for the target's architecture, as objects of one library.
//! Each object exports one hidden symbol, its table; `zig-src/backend/cpu.zig` chooses.

const std = @import("std");
const variant = @import("../zig-src/kernel/variant.zig");

/// Adds the objects to whatever contains `backend.zig`: the library, and tests of the engine.
pub fn add(b: *std.Build, module: *std.Build.Module, target: std.Build.ResolvedTarget) void {
    for (variant.all) |of| {
        if (of.arch != target.result.cpu.arch) continue;
        const root = b.createModule(.{
            .root_source_file = b.path("zig-src/kernel.zig"),
            .target = withFeatures(b, target, of),
            // The kernels are fast in debug builds of the engine too: they assert nothing that
            // their tests, which compile them safely, don't.
            .optimize = .fast,
            .pic = true,
            .link_libc = true,
            .strip = true,
        });
        module.addObject(b.addObject(.{
            .name = b.fmt("kernels_{s}", .{of.name}),
            .root_module = root,
            .use_llvm = true,
        }));
    }
}

/// The target's system with the baseline processor and the variant's features.
fn withFeatures(b: *std.Build, target: std.Build.ResolvedTarget, of: variant.Variant) std.Build.ResolvedTarget {
    var query = target.query;
    query.cpu_arch = of.arch;
    query.os_tag = target.result.os.tag;
    query.abi = target.result.abi;
    // The baseline of ARM macOS is already an M1, which has features of the higher variants.
    query.cpu_model = if (of.arch == .aarch64) .{ .explicit = &std.Target.aarch64.cpu.generic } else .baseline;
    query.cpu_features_add = .empty;
    query.cpu_features_sub = .empty;
    for (of.requires) |name| {
        for (of.arch.allFeaturesList()) |feature| {
            if (std.mem.eql(u8, feature.name, name)) query.cpu_features_add.addFeature(feature.index);
        }
    }
    return b.resolveTargetQuery(query);
}
