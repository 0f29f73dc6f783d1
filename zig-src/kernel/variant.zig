//! The CPU variants: the instruction sets that the kernels are compiled for. One list serves the
//! build (which compiles `kernel.zig` once for each), the kernels (which name themselves by it) and
//! the choice at start (`backend/cpu.zig`). It knows names only, so that the build can import it.
//!
//! `requires` are feature names of the compiler for the architecture, without its baseline. The
//! order within an architecture is the order of preference: the last that the machine has wins.
//! A variant without requirements must come first: it is what every machine can run.

const std = @import("std");

pub const Variant = struct {
    /// What VITRINE_CPU and `info()` call it.
    name: [:0]const u8,
    arch: std.Target.Cpu.Arch,
    requires: []const []const u8,

    /// The symbol of its table.
    pub fn symbol(comptime variant: Variant) [:0]const u8 {
        return "vitrine_kernels_" ++ variant.name;
    }
};

const avx2 = [_][]const u8{ "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "popcnt" };
const avx512 = avx2 ++ [_][]const u8{ "avx512f", "avx512bw", "avx512dq", "avx512vl" };
const avx512_vnni = avx512 ++ [_][]const u8{ "avx512bf16", "avx512vnni" };
const dotprod = [_][]const u8{ "dotprod", "fullfp16" };

pub const all = [_]Variant{
    .{ .name = "x86_64", .arch = .x86_64, .requires = &.{} },
    .{ .name = "avx2", .arch = .x86_64, .requires = &avx2 },
    .{ .name = "avx_vnni", .arch = .x86_64, .requires = &(avx2 ++ [_][]const u8{"avxvnni"}) },
    .{ .name = "avx512", .arch = .x86_64, .requires = &avx512 },
    .{ .name = "avx512_vnni", .arch = .x86_64, .requires = &avx512_vnni },
    .{ .name = "amx", .arch = .x86_64, .requires = &(avx512_vnni ++ [_][]const u8{ "amx_int8", "amx_tile" }) },
    .{ .name = "neon", .arch = .aarch64, .requires = &.{} },
    .{ .name = "dotprod", .arch = .aarch64, .requires = &dotprod },
    .{ .name = "i8mm", .arch = .aarch64, .requires = &(dotprod ++ [_][]const u8{ "bf16", "i8mm" }) },
};

/// The best variant that a processor with these features can run, or null on an architecture
/// without any.
pub fn best(comptime cpu: std.Target.Cpu) ?Variant {
    @setEvalBranchQuota(100_000);
    var found: ?Variant = null;
    for (all) |variant| {
        if (variant.arch != cpu.arch) continue;
        if (has(cpu, variant)) found = variant;
    }
    return found;
}

fn has(comptime cpu: std.Target.Cpu, comptime variant: Variant) bool {
    for (variant.requires) |name| {
        const wanted = for (cpu.arch.allFeaturesList()) |feature| {
            if (std.mem.eql(u8, feature.name, name)) break feature.index;
        } else @compileError("expected a processor feature of " ++ @tagName(cpu.arch) ++ ", found " ++ name);
        if (!cpu.features.isEnabled(wanted)) return false;
    }
    return true;
}

test "each architecture begins with a variant that every machine has" {
    var previous: ?std.Target.Cpu.Arch = null;
    for (all) |variant| {
        if (previous == null or previous.? != variant.arch) try std.testing.expectEqual(0, variant.requires.len);
        previous = variant.arch;
    }
}

test "names differ" {
    for (all, 0..) |a, i| for (all[0..i]) |b| try std.testing.expect(!std.mem.eql(u8, a.name, b.name));
}
