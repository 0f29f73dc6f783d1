//! Builds the library. Steps:
//!   zig build                the shared library for this machine, in zig-out/lib
//!   zig build test           all Zig tests
//!   zig build test-arm       the tests of the CPU kernels for ARM, under QEMU
//!   zig build bindings       rewrites the generated header, symbol table and manifest
//!   zig build bindings-check fails when they are stale
//!   zig build dist           the library for every platform, in zig-out/dist
//! One file in `build/` is one artefact.

const std = @import("std");
const library = @import("build/library.zig");
const bindings = @import("build/bindings.zig");
const tests = @import("build/tests.zig");
const arm_tests = @import("build/arm_tests.zig");
const dist = @import("build/dist.zig");

pub fn build(b: *std.Build) void {
    const target = b.standardTargetOptions(.{ .default_target = library.defaultTarget(b) });
    // The engine keeps its safety checks; only the kernels, whose inputs it has checked, go without.
    const optimize = b.option(std.lang.Optimize, "optimize", "Of the engine; kernels are always fast (default: safe)") orelse .safe;

    b.installArtifact(library.add(b, target, optimize));
    bindings.add(b);
    tests.add(b, target);
    arm_tests.add(b);
    dist.add(b);
}
