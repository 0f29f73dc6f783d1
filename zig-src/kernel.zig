//! The fast CPU kernels. As a module of the library this file declares what a CPU variant offers
//! (`Table`); as a root it *is* one variant: `build/cpu_variants.zig` compiles it once for each
//! instruction set of `kernel/variant.zig`, and each object exports one symbol, its table.
//!
//! Only `backend/cpu.zig` chooses between tables; the rest of the engine calls through one.

const std = @import("std");
const builtin = @import("builtin");
const quant = @import("quant.zig");
const activations = @import("kernel/activations.zig");
const attention = @import("kernel/attention.zig");
const blocked = @import("kernel/blocked.zig");
const elementwise = @import("kernel/elementwise.zig");
const float = @import("kernel/float.zig");
const integer = @import("kernel/integer.zig");
const layout = @import("kernel/layout.zig");
const limits = @import("kernel/limits.zig");
const pack = @import("kernel/pack.zig");
const table = @import("kernel/table.zig");
pub const variant = @import("kernel/variant.zig");

pub const Table = table.Table;
pub const Precision = table.Precision;
pub const RopeStyle = table.RopeStyle;
pub const KvFormat = table.KvFormat;
pub const KvOptions = table.KvOptions;
pub const MatmulArgs = table.MatmulArgs;
pub const PrepareArgs = table.PrepareArgs;
pub const kind_integer = table.kind_integer;
pub const kind_float = table.kind_float;
pub const KvSide = table.KvSide;
pub const AttentionArgs = table.AttentionArgs;
pub const KeyTurns = table.KeyTurns;
pub const Later = table.Later;
pub const MergeArgs = table.MergeArgs;
pub const PartSums = table.PartSums;
pub const page_len = table.page_len;
pub const group_max = table.group_max;
pub const formatOf = table.formatOf;
pub const parts_max = table.parts_max;
pub const attention_rows = table.attention_rows;
pub const attention_tile = table.attention_tile;
pub const partLen = table.partLen;
/// How keys and values lie in a page.
pub const page = @import("kernel/attention/page.zig");
/// How they do where scales belong to channels of keys.
pub const channels = @import("kernel/attention/channels.zig");
pub const outliers = @import("kernel/attention/outliers.zig");
pub const denormals = @import("kernel/denormals.zig");
pub const LimitKind = limits.Kind;
pub const panel_rows = table.panel_rows;
pub const panels_abreast = table.panels_abreast;
pub const Reading = table.Reading;
pub const panels_sharing = table.panels_sharing;

/// The table of the instruction set that this compilation is for. In the library use
/// `backend.cpu.choose`: this one would be the kernels of its baseline.
pub const compiled: Table = .{
    .variant = if (variant.best(builtin.cpu)) |of| of.name else "generic",
    .packed_bytes = packedBytes,
    .pack = packPanel,
    .act_bytes = actBytes,
    .prepare = prepare,
    .matmul = matmul,
    .block_tokens = blockTokens,
    .rms_norm = rmsNorm,
    .layer_norm = layerNorm,
    .rope = rope,
    .silu_mul = siluMul,
    .gelu_mul = geluMul,
    .add = add,
    .scale = scale,
    .softcap = softcap,
    .hadamard = hadamard,
    .kv_store = kvStore,
    .kv_read = kvRead,
    .attention = attend,
    .attention_merge = merge,
    .sampling = .compiled,
    .measure = measure,
};

comptime {
    if (@import("root") == @This()) {
        const of = variant.best(builtin.cpu) orelse @compileError("expected an architecture of kernel/variant.zig");
        @export(&compiled, .{ .name = of.symbol(), .visibility = .hidden });
    }
}

fn packedBytes(format: u32, precision: u32, rows: usize, cols: usize) callconv(.c) usize {
    return layout.packedBytes(@fromBackingInt(@intCast(format)), @fromBackingInt(@intCast(precision)), rows, cols);
}

fn packPanel(format: u32, precision: u32, cols: usize, source: [*]const u8, n_rows: usize, panel: [*]u8) callconv(.c) void {
    pack.panel(@fromBackingInt(@intCast(format)), @fromBackingInt(@intCast(precision)), cols, source, n_rows, panel);
}

fn actBytes(precision: u32, cols: usize) callconv(.c) usize {
    return layout.actBytes(@fromBackingInt(@intCast(precision)), cols);
}

fn prepare(args: *const PrepareArgs) callconv(.c) void {
    activations.prepare(args);
}

fn matmul(args: *const MatmulArgs) callconv(.c) void {
    const precision: Precision = @fromBackingInt(@intCast(args.precision));
    switch (@as(quant.Format, @fromBackingInt(@intCast(args.format)))) {
        inline else => |tag| {
            if (comptime layout.classOf(tag)) |class| if (precision == .int8) return integer.matmul(class, args);
            const stored = comptime layout.floatOf(tag);
            float.matmul(stored, layout.panelBytes(tag, precision, args.cols), layout.floatsAt(precision, args.cols), args);
        },
    }
}

fn blockTokens(format: u32, precision: u32, cols: usize, n_tokens: usize) callconv(.c) usize {
    switch (@as(quant.Format, @fromBackingInt(@intCast(format)))) {
        inline else => |tag| {
            const precise = layout.precisionOf(tag, @fromBackingInt(@intCast(precision)));
            return blocked.tokensOf(layout.valueBytes(precise, cols), n_tokens);
        },
    }
}

fn rmsNorm(x: [*]const f32, weight: ?[*]const f32, n: usize, eps: f32, out: [*]f32) callconv(.c) void {
    elementwise.rmsNorm(x, weight, n, eps, out);
}

fn layerNorm(x: [*]const f32, weight: ?[*]const f32, bias: ?[*]const f32, n: usize, eps: f32, out: [*]f32) callconv(.c) void {
    elementwise.layerNorm(x, weight, bias, n, eps, out);
}

fn rope(x: [*]f32, n_heads: usize, head_dim: usize, rot_dim: usize, style: u32, cos_sin: [*]const f32) callconv(.c) void {
    elementwise.rope(x, n_heads, head_dim, rot_dim, @fromBackingInt(@intCast(style)), cos_sin);
}

fn siluMul(gate: [*]const f32, up: [*]const f32, n: usize, out: [*]f32) callconv(.c) void {
    elementwise.gate(.silu, gate, up, n, out);
}

fn geluMul(gate: [*]const f32, up: [*]const f32, n: usize, out: [*]f32) callconv(.c) void {
    elementwise.gate(.gelu, gate, up, n, out);
}

fn add(a: [*]f32, b: [*]const f32, n: usize) callconv(.c) void {
    elementwise.add(a, b, n);
}

fn scale(x: [*]f32, n: usize, factor: f32) callconv(.c) void {
    elementwise.scale(x, n, factor);
}

fn softcap(x: [*]f32, n: usize, cap: f32) callconv(.c) void {
    elementwise.softcap(x, n, cap);
}

fn hadamard(x: [*]f32, n_heads: usize, head_dim: usize) callconv(.c) void {
    elementwise.hadamard(x, n_heads, head_dim);
}

fn kvStore(format: u32, side: u32, x: [*]const f32, n: usize, to: [*]u8, position: usize) callconv(.c) void {
    page.store(table.formatOf(format), @fromBackingInt(@intCast(side)), x[0..n], to, position, .of(format));
}

fn kvRead(format: u32, side: u32, from_page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]f32) callconv(.c) void {
    page.readRange(table.formatOf(format), @fromBackingInt(@intCast(side)), from_page, dim, from, to, out, .of(format));
}

fn attend(args: *const AttentionArgs) callconv(.c) void {
    attention.attention(args);
}

fn merge(args: *const MergeArgs) callconv(.c) void {
    attention.merge(args);
}

fn measure(kind: u32, memory: [*]const u8, length: usize) callconv(.c) f64 {
    return limits.run(@fromBackingInt(@intCast(kind)), memory, length);
}

test {
    _ = @import("kernel/attention/minimums.zig");
    _ = @import("kernel/attention/tile.zig");
    _ = @import("kernel/dot.zig");
    _ = @import("kernel/integer.zig");
    _ = @import("kernel/limits.zig");
    _ = @import("kernel/vector.zig");
    _ = @import("kernel/variant.zig");
}

test "table" {
    try std.testing.expect(compiled.packed_bytes(2, 1, 16, 32) > 0);
}
