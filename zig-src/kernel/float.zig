//! Products of float panels with f32 activations: weights are converted to f32 in registers, each
//! row is summed input by input in one accumulator. Latency is hidden by the tokens of a tile, or,
//! for one token, by several panels at a time; neither changes the order of a sum.

const std = @import("std");
const integer = @import("integer.zig");
const layout = @import("layout.zig");
const table = @import("table.zig");
const vector = @import("vector.zig");

const Vf = vector.Vf;
const lanes = vector.lanes;
const panel_rows = layout.panel_rows;
const parts = panel_rows / lanes;
/// Tokens in a tile, widest first.
const tiles = if (lanes == 16) .{ 16, 4, 1 } else if (lanes == 8) .{ 4, 1 } else .{ 2, 1 };
/// Panels that one token reads at a time.
const panels_max = if (parts == 4) 2 else 4;

pub fn matmul(comptime format: table.KvFormat, bytes: usize, floats_at: usize, args: *const table.MatmulArgs) void {
    var token: usize = 0;
    inline for (tiles) |n_tokens| {
        while (args.n_tokens - token >= n_tokens) : (token += n_tokens) {
            var p = args.panel_from;
            if (n_tokens == 1) while (p + panels_max <= args.panel_to) : (p += panels_max) {
                tile(format, 1, panels_max, bytes, floats_at, args, p, token);
            };
            while (p < args.panel_to) : (p += 1) tile(format, n_tokens, 1, bytes, floats_at, args, p, token);
        }
    }
}

fn tile(
    comptime format: table.KvFormat,
    comptime n_tokens: usize,
    comptime n_panels: usize,
    bytes: usize,
    floats_at: usize,
    args: *const table.MatmulArgs,
    panel: usize,
    token: usize,
) void {
    const size = comptime format.bytes();
    var x: [n_tokens][*]align(4) const f32 = undefined;
    inline for (&x, 0..) |*row, t| row.* = @ptrCast(@alignCast(args.acts + (token + t) * args.act_stride + floats_at));
    const first = args.panels + panel * bytes;

    var sums: [n_tokens][n_panels][parts]Vf = @splat(@splat(@splat(@splat(0))));
    for (0..args.cols) |col| {
        inline for (0..n_panels) |p| inline for (0..parts) |part| {
            const at = first + p * bytes + (col * panel_rows + part * lanes) * size;
            const weight = vector.load(format, lanes, at);
            inline for (0..n_tokens) |t| {
                sums[t][p][part] = vector.fma(weight, @as(Vf, @splat(x[t][col])), sums[t][p][part]);
            }
        };
    }
    inline for (0..n_tokens) |t| inline for (0..n_panels) |p| inline for (0..parts) |part| {
        integer.store(args, sums[t][p][part], (panel + p) * panel_rows + part * lanes, token + t);
    };
}
