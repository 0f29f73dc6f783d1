//! Products of float panels with f32 activations: weights are converted to f32, each row is summed
//! input by input in one accumulator. Latency is hidden by the tokens of a tile and by several panels
//! at a time; neither changes the order of a sum.
//!
//! A few tokens convert weights in registers. Many tokens pass as in `blocked.zig`: in blocks whose
//! activations stay in the second cache, with a chunk of the weights converted once into a buffer that
//! stays in the first.

const std = @import("std");
const builtin = @import("builtin");
const blocked = @import("blocked.zig");
const integer = @import("integer.zig");
const layout = @import("layout.zig");
const table = @import("table.zig");
const vector = @import("vector.zig");

const Vf = vector.Vf;
const lanes = vector.lanes;
const panel_rows = layout.panel_rows;
const parts = integer.parts;

/// Registers for sums.
const sums_max = if (lanes == 16 or builtin.cpu.arch == .aarch64) 24 else 12;
/// Panels that many tokens, and one token, take together.
const panels_many = @max(1, sums_max / (layout.act_width * parts));
const panels_one = @min(4, @max(1, sums_max / parts));
/// Inputs in a chunk: converted they take 32 KiB.
const chunk_cols = 32 * 1024 / (4 * panel_rows * panels_many);

pub fn matmul(comptime format: table.KvFormat, bytes: usize, floats_at: usize, args: *const table.MatmulArgs) void {
    const weights: Weights(format) = .{ .bytes = bytes, .floats_at = floats_at, .args = args };
    if (args.n_tokens <= layout.act_width) return weights.few();
    const step = blocked.tokensOf(layout.valueBytes(.float, args.cols), args.token_to - args.token_from);
    var token = args.token_from;
    while (token < args.token_to) : (token += step) {
        const tokens = @min(step, args.token_to - token);
        var panel = args.panel_from;
        while (panel + panels_many <= args.panel_to) : (panel += panels_many) weights.many(panels_many, panel, token, tokens);
        while (panel < args.panel_to) : (panel += 1) weights.many(1, panel, token, tokens);
    }
}

/// Panels of one format, `bytes` each.
fn Weights(comptime format: table.KvFormat) type {
    return struct {
        bytes: usize,
        floats_at: usize,
        args: *const table.MatmulArgs,

        const Self = @This();

        fn load(self: Self, panel: usize, col: usize, comptime part: usize) Vf {
            const at = (col * panel_rows + part * lanes) * comptime format.bytes();
            return vector.load(format, lanes, self.args.panels + panel * self.bytes + at);
        }

        /// Asks for what is read somewhat later; see `integer.ahead`.
        inline fn prefetch(self: Self, panel: usize, col: usize) void {
            const at = col * panel_rows * comptime format.bytes();
            @prefetch(self.args.panels + panel * self.bytes + at + integer.ahead, .{});
        }

        /// All tokens lie interleaved.
        fn few(self: Self) void {
            const args = self.args;
            const x: [*]const f32 = @ptrCast(@alignCast(args.acts + args.n_tokens * self.floats_at));
            var panel = args.panel_from;
            while (panel < args.panel_to) {
                const panels = @min(panels_one, args.panel_to - panel);
                var token: usize = 0;
                inline for (blocked.tiles) |n_tokens| {
                    const together = comptime @max(1, @min(panels_one, sums_max / (n_tokens * parts)));
                    while (args.n_tokens - token >= n_tokens) : (token += n_tokens) {
                        var p: usize = 0;
                        while (p + together <= panels) : (p += together) self.tile(n_tokens, together, panel + p, token, x);
                        while (p < panels) : (p += 1) self.tile(n_tokens, 1, panel + p, token, x);
                    }
                }
                panel += panels;
            }
        }

        fn tile(self: Self, comptime n_tokens: usize, comptime n_panels: usize, panel: usize, token: usize, x: [*]const f32) void {
            var sums: [n_tokens][n_panels * parts]Vf = @splat(@splat(@splat(0)));
            for (0..self.args.cols) |col| {
                inline for (0..n_panels * parts) |i| {
                    const weight = self.load(panel + i / parts, col, i % parts);
                    if (i % parts == 0) self.prefetch(panel + i / parts, col);
                    inline for (&sums, 0..) |*of_token, t| {
                        of_token[i] = vector.fma(weight, @as(Vf, @splat(x[col * self.args.n_tokens + token + t])), of_token[i]);
                    }
                }
            }
            for (sums, token..) |of_token, t| self.store(n_panels, of_token, panel, t);
        }

        fn store(self: Self, comptime n_panels: usize, sums: [n_panels * parts]Vf, panel: usize, token: usize) void {
            inline for (sums, 0..) |sum, i| integer.store(self.args, sum, panel * panel_rows + i * lanes, token);
        }

        /// One block of tokens.
        fn many(self: Self, comptime n_panels: usize, panel: usize, token: usize, tokens: usize) void {
            const Columns = [n_panels * parts]Vf;
            const args = self.args;
            var buffer: [chunk_cols]Columns align(64) = undefined;
            var sums: [blocked.tokens_max]Columns = undefined;
            var from: usize = 0;
            while (from < args.cols) : (from += chunk_cols) {
                const chunk = buffer[0..@min(chunk_cols, args.cols - from)];
                for (chunk, from..) |*columns, col| inline for (columns, 0..) |*weight, i| {
                    weight.* = self.load(panel + i / parts, col, i % parts);
                };
                var base: usize = 0;
                while (base < tokens) : (base += layout.act_width) {
                    const row: layout.ActRow = .of(token + base, args.n_tokens, args.act_stride);
                    const x: [*]const f32 = @ptrCast(@alignCast(args.acts + row.floatAt(self.floats_at, from)));
                    var lane: usize = 0;
                    inline for (blocked.tiles) |n_tokens| {
                        while (row.width - lane >= n_tokens) : (lane += n_tokens) {
                            multiply(Columns, n_tokens, chunk, x + lane, row.width, from == 0, sums[base + lane ..][0..n_tokens]);
                        }
                    }
                }
            }
            for (sums[0..tokens], token..) |of_token, t| self.store(n_panels, of_token, panel, t);
        }
    };
}

/// Adds a chunk to sums that were begun, or begins them.
fn multiply(
    comptime Columns: type,
    comptime n_tokens: usize,
    chunk: []const Columns,
    x: [*]const f32,
    width: usize,
    begin: bool,
    result: *[n_tokens]Columns,
) void {
    var sums: [n_tokens]Columns = if (begin) @splat(@splat(@splat(0))) else result.*;
    var of_col = x;
    for (chunk) |*columns| {
        inline for (&sums, 0..) |*of_token, t| {
            const value: Vf = @splat(of_col[t]);
            inline for (of_token, columns) |*sum, weight| sum.* = vector.fma(weight, value, sum.*);
        }
        of_col += width;
    }
    result.* = sums;
}
