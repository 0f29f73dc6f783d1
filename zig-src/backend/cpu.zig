//! The processor: chooses, once and at start, the kernels of the best CPU variant that it can run.
//!
//! This file is compiled for the baseline of the architecture, so that asking is safe everywhere.
//! Features come from CPUID (with XCR0: the system must save the wider registers), on ARM from the
//! system (`getauxval`, `sysctlbyname`). VITRINE_CPU names a variant to use instead; one that isn't
//! known, or that this machine lacks, is an error that names those that would work.

const std = @import("std");
const builtin = @import("builtin");
const kernel = @import("../kernel.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

const Variant = kernel.variant.Variant;
const arch = builtin.cpu.arch;

pub const name = "cpu";
pub const Error = error{ UnknownCpuVariant, CpuVariantUnavailable };

/// The variants of this architecture, in order of preference.
pub const variants = found: {
    var list: []const Variant = &.{};
    for (kernel.variant.all) |variant| {
        if (variant.arch == arch) list = list ++ &[_]Variant{variant};
    }
    if (list.len == 0) @compileError("expected an architecture of kernel/variant.zig, found " ++ @tagName(arch));
    break :found list[0..list.len].*;
};

const tables = found: {
    var list: [variants.len]*const kernel.Table = undefined;
    for (variants, &list) |variant, *to| to.* = @extern(*const kernel.Table, .{ .name = variant.symbol() });
    break :found list;
};

pub fn available(diag: *Diagnostic) Error!void {
    _ = try choose(diag);
}

/// The kernels to use.
pub fn choose(diag: *Diagnostic) Error!*const kernel.Table {
    const wanted = if (std.c.getenv("VITRINE_CPU")) |value| std.mem.span(value) else "";
    return chooseNamed(wanted, diag);
}

/// The kernels of the variant with this name; of the best one if the name is empty.
pub fn chooseNamed(wanted: []const u8, diag: *Diagnostic) Error!*const kernel.Table {
    if (wanted.len == 0) {
        var best: usize = 0;
        for (variants, 0..) |variant, i| {
            if (missing(variant) == null) best = i;
        }
        return tables[best];
    }
    for (variants, tables) |variant, table| {
        if (!std.mem.eql(u8, variant.name, wanted)) continue;
        const feature = missing(variant) orelse return table;
        diag.set("expected VITRINE_CPU to name a variant that this processor can run ({f}), found {s}, which needs {s}", .{
            List{ .runnable = true }, variant.name, feature,
        });
        return error.CpuVariantUnavailable;
    }
    diag.set("expected VITRINE_CPU to be one of {f}, found \"{f}\"", .{
        List{ .runnable = false }, std.zig.fmtString(wanted[0..@min(wanted.len, 64)]),
    });
    return error.UnknownCpuVariant;
}

/// How products read weights and attention its pages fastest here: measured on two processors, a Xeon with AMX and
/// an EPYC of Zen 5, which takes a quarter longer with four panels at a time than with one, and loses some pages that
/// are asked for into its second cache. Others of AMD read as the latter, all else as the former.
pub fn reading() kernel.Reading {
    return if (detect().contains(.made_by_amd)) .single else .abreast;
}

/// The first feature of a variant that this machine lacks.
pub fn missing(variant: Variant) ?[]const u8 {
    const here = detect();
    for (variant.requires) |feature| {
        if (!has(here, feature)) return feature;
    }
    return null;
}

const List = struct {
    runnable: bool,

    pub fn format(list: List, writer: *std.Io.Writer) std.Io.Writer.Error!void {
        var first = true;
        for (variants) |variant| {
            if (list.runnable and missing(variant) != null) continue;
            if (!first) try writer.writeAll(", ");
            try writer.writeAll(variant.name);
            first = false;
        }
    }
};

const Features = std.EnumSet(Feature);

/// One tag for each feature name that a variant of any architecture requires, and for what else is asked.
const Feature = enum {
    made_by_amd,
    avx2,
    bmi,
    bmi2,
    f16c,
    fma,
    lzcnt,
    movbe,
    popcnt,
    avxvnni,
    avx512f,
    avx512bw,
    avx512dq,
    avx512vl,
    avx512bf16,
    avx512vnni,
    amx_int8,
    amx_tile,
    dotprod,
    fullfp16,
    bf16,
    i8mm,
};

comptime {
    for (kernel.variant.all) |variant| for (variant.requires) |feature| {
        if (!@hasField(Feature, feature)) @compileError("expected a feature that backend/cpu.zig can detect, found " ++ feature);
    };
}

fn has(here: Features, feature: []const u8) bool {
    const tag = std.meta.stringToEnum(Feature, feature) orelse unreachable;
    return here.contains(tag);
}

/// What `detect` found, with the highest bit set; 0 before it was asked.
var detected: std.atomic.Value(u32) = .init(0);
const is_known: u32 = 1 << 31;

/// The processor is asked once: a virtual machine leaves each CPUID to its host, which takes tens of
/// microseconds, and a call that draws a single token chooses kernels too.
fn detect() Features {
    const before = detected.load(.acquire);
    if (before & is_known != 0) return .{ .bits = .{ .mask = @truncate(before) } };
    const found: Features = switch (arch) {
        .x86_64 => detectX86(),
        .aarch64 => detectArm(),
        else => .empty,
    };
    detected.store(is_known | @as(u32, found.bits.mask), .release);
    return found;
}

const Registers = struct { eax: u32, ebx: u32, ecx: u32, edx: u32 };

fn cpuid(leaf: u32, sub: u32) Registers {
    var eax: u32 = undefined;
    var ebx: u32 = undefined;
    var ecx: u32 = undefined;
    var edx: u32 = undefined;
    asm volatile ("cpuid"
        : [_] "={eax}" (eax),
          [_] "={ebx}" (ebx),
          [_] "={ecx}" (ecx),
          [_] "={edx}" (edx),
        : [_] "{eax}" (leaf),
          [_] "{ecx}" (sub),
    );
    return .{ .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx };
}

/// The register states that the system saves (XCR0).
fn savedStates() u32 {
    return asm volatile ("xgetbv"
        : [_] "={eax}" (-> u32),
        : [_] "{ecx}" (@as(u32, 0)),
        : .{ .edx = true });
}

fn detectX86() Features {
    var set: Features = .empty;
    const zero = cpuid(0, 0);
    const top = zero.eax;
    const maker = [_]u32{ zero.ebx, zero.edx, zero.ecx };
    set.setPresent(.made_by_amd, std.mem.eql(u8, std.mem.asBytes(&maker), "AuthenticAMD"));
    const one = cpuid(1, 0);
    set.setPresent(.popcnt, bit(one.ecx, 23));
    set.setPresent(.movbe, bit(one.ecx, 22));
    if (cpuid(0x80000000, 0).eax >= 0x80000001) set.setPresent(.lzcnt, bit(cpuid(0x80000001, 0).ecx, 5));
    // Without OSXSAVE there is no XCR0 to read, and no AVX.
    const states = if (bit(one.ecx, 27)) savedStates() else 0;
    const ymm = states & 0x6 == 0x6;
    const zmm = states & 0xe6 == 0xe6;
    set.setPresent(.fma, ymm and bit(one.ecx, 12));
    set.setPresent(.f16c, ymm and bit(one.ecx, 29));
    if (top < 7) return set;
    const seven = cpuid(7, 0);
    set.setPresent(.bmi, bit(seven.ebx, 3));
    set.setPresent(.bmi2, bit(seven.ebx, 8));
    set.setPresent(.avx2, ymm and bit(one.ecx, 28) and bit(seven.ebx, 5));
    set.setPresent(.avx512f, zmm and bit(seven.ebx, 16));
    set.setPresent(.avx512dq, zmm and bit(seven.ebx, 17));
    set.setPresent(.avx512bw, zmm and bit(seven.ebx, 30));
    set.setPresent(.avx512vl, zmm and bit(seven.ebx, 31));
    set.setPresent(.avx512vnni, zmm and bit(seven.ecx, 11));
    const tiles = states & 0x60000 == 0x60000 and bit(seven.edx, 24) and allowsTiles();
    set.setPresent(.amx_tile, tiles);
    set.setPresent(.amx_int8, tiles and bit(seven.edx, 25));
    if (seven.eax < 1) return set;
    const more = cpuid(7, 1);
    set.setPresent(.avxvnni, ymm and bit(more.eax, 4));
    set.setPresent(.avx512bf16, zmm and bit(more.eax, 5));
    return set;
}

/// Linux saves the registers of tiles for processes that have asked for it: they take 8 KiB of each
/// signal's frame, which all stacks for signals must have room for. Other systems aren't asked.
fn allowsTiles() bool {
    if (builtin.os.tag != .linux) return false;
    const arch_req_xcomp_perm = 0x1023;
    const tile_data = 18;
    const linux = std.os.linux;
    return linux.errno(linux.syscall2(.arch_prctl, arch_req_xcomp_perm, tile_data)) == .SUCCESS;
}

fn bit(word: usize, index: u6) bool {
    return word >> @intCast(index) & 1 != 0;
}

fn detectArm() Features {
    var set: Features = .empty;
    switch (builtin.os.tag) {
        .linux => {
            const hwcap = std.c.getauxval(std.elf.AT.HWCAP);
            const hwcap2 = std.c.getauxval(std.elf.AT.HWCAP2);
            set.setPresent(.fullfp16, bit(hwcap, 9) and bit(hwcap, 10));
            set.setPresent(.dotprod, bit(hwcap, 20));
            set.setPresent(.i8mm, bit(hwcap2, 13));
            set.setPresent(.bf16, bit(hwcap2, 14));
        },
        .macos => {
            set.setPresent(.fullfp16, appleHas("hw.optional.arm.FEAT_FP16"));
            set.setPresent(.dotprod, appleHas("hw.optional.arm.FEAT_DotProd"));
            set.setPresent(.i8mm, appleHas("hw.optional.arm.FEAT_I8MM"));
            set.setPresent(.bf16, appleHas("hw.optional.arm.FEAT_BF16"));
        },
        // No way to ask is known here; the baseline runs everywhere.
        else => {},
    }
    return set;
}

fn appleHas(key: [*:0]const u8) bool {
    var value: c_int = 0;
    var size: usize = @sizeOf(c_int);
    return std.c.sysctlbyname(key, &value, &size, null, 0) == 0 and value != 0;
}

test "the best variant is chosen, and any that runs can be named" {
    var diag: Diagnostic = .{};
    const best = try chooseNamed("", &diag);
    var last: []const u8 = "";
    for (variants) |variant| {
        if (missing(variant)) |feature| {
            std.debug.print("skipped: variant {s} needs {s}\n", .{ variant.name, feature });
            try std.testing.expectError(error.CpuVariantUnavailable, chooseNamed(variant.name, &diag));
            try std.testing.expect(std.mem.indexOf(u8, diag.text(), feature) != null);
            continue;
        }
        const table = try chooseNamed(variant.name, &diag);
        try std.testing.expectEqualStrings(variant.name, std.mem.span(table.variant));
        last = variant.name;
    }
    try std.testing.expectEqualStrings(last, std.mem.span(best.variant));
}

test "an unknown variant is refused by name" {
    var diag: Diagnostic = .{};
    try std.testing.expectError(error.UnknownCpuVariant, chooseNamed("z80\n", &diag));
    for (variants) |variant| try std.testing.expect(std.mem.indexOf(u8, diag.text(), variant.name) != null);
    try std.testing.expect(std.mem.indexOf(u8, diag.text(), "z80\\n") != null);
}
