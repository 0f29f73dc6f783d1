//! The tests of the CPU kernels for ARM, run by QEMU's user-mode emulation. They are a step of their
//! own because most machines have no QEMU; `./test` runs it where there is one.

const std = @import("std");
const cpu_variants = @import("cpu_variants.zig");
const library = @import("library.zig");

/// Processors that QEMU knows, each with the best variant that it can run: what a processor has
/// must be found, and what it lacks must not be used. The first has everything and runs all tests.
const processors = [_]struct { name: []const u8, variant: []const u8 }{
    .{ .name = "max", .variant = "i8mm" },
    .{ .name = "neoverse-n1", .variant = "dotprod" },
    .{ .name = "cortex-a72", .variant = "neon" },
};

pub fn add(b: *std.Build) void {
    const step = b.step("test-arm", "Run the tests of the CPU kernels for ARM under QEMU");
    const qemu = b.option([]const u8, "qemu", "The emulator of test-arm (default: qemu-aarch64)") orelse "qemu-aarch64";
    // A static executable, so that QEMU needs no ARM system beside it.
    const query = std.Target.Query.parse(.{ .arch_os_abi = "aarch64-linux-musl", .cpu_features = "generic" }) catch unreachable;
    const target = b.resolveTargetQuery(query);
    const module = library.module(b, "arm_tests.zig", target, .safe);
    module.strip = false;
    cpu_variants.add(b, module, target);
    const compiled = b.addTest(.{ .name = "arm_tests", .root_module = module, .use_llvm = true });
    for (processors) |processor| {
        const run = std.Build.Step.Run.create(b, b.fmt("run arm_tests on {s}", .{processor.name}));
        run.addArgs(&.{ qemu, "-cpu", processor.name });
        run.addArtifactArg(compiled);
        run.enableTestRunnerMode();
        run.setEnvironmentVariable("VITRINE_TEST_VARIANT", processor.variant);
        run.setCwd(b.path("."));
        run.has_side_effects = true;
        step.dependOn(&run.step);
    }
}
