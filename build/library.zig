//! The shared library: the engine with the kernels of every CPU variant of the target.

const std = @import("std");
const cpu_variants = @import("cpu_variants.zig");

/// This machine, but the baseline processor (variants are chosen at run time) and the oldest C
/// library that is still met: a library built here loads on every glibc since 2014.
pub fn defaultTarget(b: *std.Build) std.Target.Query {
    const host = b.graph.host.result;
    var query: std.Target.Query = .{ .cpu_model = .baseline };
    if (host.os.tag == .linux and host.abi.isGnu()) {
        query.cpu_arch = host.cpu.arch;
        query.os_tag = .linux;
        query.abi = .gnu;
        query.glibc_version = .{ .major = 2, .minor = 17, .patch = 0 };
    }
    return query;
}

/// A module with the engine's sources; `root` is a file in zig-src.
pub fn module(b: *std.Build, root: []const u8, target: std.Build.ResolvedTarget, optimize: std.lang.Optimize) *std.Build.Module {
    return b.createModule(.{
        .root_source_file = b.path(b.fmt("zig-src/{s}", .{root})),
        .target = target,
        .optimize = optimize,
        .link_libc = true,
        .pic = true,
        .strip = if (optimize == .debug) null else true,
    });
}

pub fn add(b: *std.Build, target: std.Build.ResolvedTarget, optimize: std.lang.Optimize) *std.Build.Step.Compile {
    const root = module(b, "capi.zig", target, optimize);
    cpu_variants.add(b, root, target);
    return b.addLibrary(.{
        .name = "vitrine",
        .linkage = .dynamic,
        .root_module = root,
        .use_llvm = true,
    });
}
