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
/// Vectors of rows that many tokens take together, of one panel or of several.
const vectors_many = sums_max / layout.act_width;
/// Panels that one token takes together.
const panels_one = @min(4, @max(1, sums_max / parts));
/// Inputs in a chunk: converted they take half of the first cache.
const chunk_cols = 24 * 1024 / (4 * lanes * vectors_many);

pub fn matmul(comptime format: table.KvFormat, bytes: usize, floats_at: usize, args: *const table.MatmulArgs) void {
    const weights: Weights(format) = .{ .bytes = bytes, .floats_at = floats_at, .args = args };
    if (args.n_tokens <= layout.act_width) return weights.few();
    const step = blocked.tokensOf(layout.valueBytes(.float, args.cols), args.token_to - args.token_from);
    var token = args.token_from;
    while (token < args.token_to) : (token += step) {
        const tokens = @min(step, args.token_to - token);
        var first = args.panel_from * parts;
        const last = args.panel_to * parts;
        while (first + vectors_many <= last) : (first += vectors_many) weights.many(vectors_many, first, last, token, tokens);
        while (first < last) : (first += 1) weights.many(1, first, last, token, tokens);
    }
}

/// Panels of one format, `bytes` each.
fn Weights(comptime format: table.KvFormat) type {
    return struct {
        bytes: usize,
        floats_at: usize,
        args: *const table.MatmulArgs,

        const Self = @This();

        fn load(self: Self, panel: usize, col: usize, part: usize) Vf {
            const at = (col * panel_rows + part * lanes) * comptime format.bytes();
            return vector.load(format, lanes, self.args.panels + panel * self.bytes + at);
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
            const col_bytes = panel_rows * comptime format.bytes();
            const after: integer.After = .of(self.args, panel, n_panels, self.bytes, self.args.cols * col_bytes);
            for (0..self.args.cols) |col| {
                const later = after.from(col * col_bytes + self.args.reading.ahead_floats);
                inline for (0..n_panels * parts) |i| {
                    const weight = self.load(panel + i / parts, col, i % parts);
                    if (i % parts == 0) @prefetch(later.at + i / parts * later.stride, .{});
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

        /// Some vectors of rows, from vector `first` of all panels on, for one block of tokens. What follows
        /// before `last` is asked for meanwhile.
        fn many(self: Self, comptime vectors: usize, first: usize, last: usize, token: usize, tokens: usize) void {
            const Columns = [vectors]Vf;
            const args = self.args;
            var buffer: [chunk_cols]Columns align(64) = undefined;
            var sums: [blocked.tokens_max]Columns = undefined;
            var from: usize = 0;
            while (from < args.cols) : (from += chunk_cols) {
                const chunk = buffer[0..@min(chunk_cols, args.cols - from)];
                for (chunk, from..) |*columns, col| inline for (columns, first..) |*weight, vector_index| {
                    weight.* = self.load(vector_index / parts, col, vector_index % parts);
                };
                const ends = from + chunk.len == args.cols;
                const after = first + vectors;
                const next: Next = if (ends) .of(self, after, @min(after + vectors, last), 0) else .of(self, first, after, from + chunk.len);
                var base: usize = 0;
                while (base < tokens) : (base += layout.act_width) {
                    next.prefetch(base, tokens);
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
            for (sums[0..tokens], token..) |of_token, t| inline for (of_token, first..) |sum, index| {
                integer.store(args, sum, index * lanes, t);
            };
        }

        /// Weights of the chunk after the one that is multiplied: the processor's own prefetching doesn't
        /// look so far ahead.
        const Next = struct {
            at: [*]const u8,
            /// Bytes between the panels, and of each what is asked for.
            stride: usize,
            len: usize,
            panels: usize,

            fn of(self: Self, first: usize, last: usize, col: usize) Next {
                const value_bytes = panel_rows * comptime format.bytes();
                const panel = first / parts;
                return .{
                    .at = self.args.panels + panel * self.bytes + col * value_bytes,
                    .stride = self.bytes,
                    .len = @min(chunk_cols, self.args.cols - col) * value_bytes,
                    .panels = if (last <= first) 0 else (last - 1) / parts - panel + 1,
                };
            }

            /// Asks for its share of those `act_width` of all tokens that begin at `base`.
            inline fn prefetch(next: Next, base: usize, tokens: usize) void {
                const line = 64;
                const turns = (tokens + layout.act_width - 1) / layout.act_width;
                const share = std.mem.alignForward(usize, (next.len + turns - 1) / turns, line);
                const from = base / layout.act_width * share;
                for (0..next.panels) |panel| {
                    var at = from;
                    while (at < @min(from + share, next.len)) : (at += line) {
                        @prefetch(next.at + panel * next.stride + at, .{ .locality = 2 });
                    }
                }
            }
        };
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
