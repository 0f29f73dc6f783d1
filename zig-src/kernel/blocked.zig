//! Integer products for many tokens. Tokens pass in blocks whose activations stay in the second cache
//! for all panels. A part of a panel is unpacked, a chunk of units at a time, into a buffer that stays
//! in the first cache, and all tokens of the block are multiplied with it, `layout.act_width` together.
//!
//! The order of loops follows Goto and van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication", 2008.

const std = @import("std");
const dot = @import("dot.zig");
const integer = @import("integer.zig");
const layout = @import("layout.zig");
const table = @import("table.zig");
const vector = @import("vector.zig");

const Class = layout.Class;
const Act = layout.Act;
const Vf = vector.Vf;
const lanes = vector.lanes;

/// Units in a chunk, a multiple of every `Class.span`: unpacked they take half of the first cache.
const chunk_units = 32;
/// Bytes of activations that are passed again and again for each panel: half of the second
/// cache.
const block_bytes = 1 << 20;
/// Tokens in a block, at most.
pub const tokens_max = (255 / layout.act_width + 1) * layout.act_width;

/// Tokens that keep their sums in registers together, most first.
pub const tiles = switch (layout.act_width) {
    12 => .{ 12, 4, 2, 1 },
    8 => .{ 8, 4, 2, 1 },
    else => .{ 4, 2, 1 },
};
/// Tokens whose products are under way at the same time.
const abreast = 4;

/// One unit of the rows of one part, unpacked.
fn Unit(comptime class: Class) type {
    return struct {
        terms: [integer.termCount(class)]Vf,
        weights: integer.Weights(class),
    };
}

pub fn matmul(comptime class: Class, args: *const table.MatmulArgs) void {
    const step = tokensOf(layout.valueBytes(.int8, args.cols), args.token_to - args.token_from);
    var token = args.token_from;
    while (token < args.token_to) : (token += step) {
        const tokens = @min(step, args.token_to - token);
        for (args.panel_from..args.panel_to) |panel| for (0..integer.parts) |part| {
            rows(class, args, panel, part, token, tokens);
        };
    }
}

/// Tokens in a block of `n_tokens`, whose activations take `bytes` each. Blocks are about equally large:
/// a small last one would have the weights unpacked for little.
pub fn tokensOf(bytes: usize, n_tokens: usize) usize {
    const blocks = @max(1, (n_tokens * bytes + block_bytes / 2) / block_bytes);
    const width = blocks * layout.act_width;
    return @min(tokens_max, (n_tokens + width - 1) / width * layout.act_width);
}

/// The rows of one part for one block of tokens.
fn rows(comptime class: Class, args: *const table.MatmulArgs, panel: usize, part: usize, token: usize, tokens: usize) void {
    const units = args.cols / layout.unit;
    var buffer: [chunk_units]Unit(class) align(64) = undefined;
    var sums: [tokens_max]Vf = undefined;
    var from: usize = 0;
    while (from < units) : (from += chunk_units) {
        const chunk = buffer[0..@min(chunk_units, units - from)];
        unpack(class, args, panel, part, from, chunk);
        multiply(class, args, chunk, from, token, sums[0..tokens]);
    }
    for (sums[0..tokens], token..) |sum, t| integer.store(args, sum, panel * layout.panel_rows + part * lanes, t);
}

fn unpack(comptime class: Class, args: *const table.MatmulArgs, panel_index: usize, part: usize, from: usize, chunk: []Unit(class)) void {
    const panel = args.panels + panel_index * class.panelBytes(args.cols);
    const scales = panel + args.cols / layout.unit * comptime class.dataBytes();
    const span = comptime class.span();
    for (chunk, from..) |*unit, index| {
        const record = scales + index / span * comptime class.scaleBytes();
        const data = panel + index * comptime class.dataBytes();
        unit.terms = integer.readTerms(class, record, index % span, part);
        unit.weights = dot.split(class.bits, integer.unpack(class, data, part, comptime dot.zeroOfMany(class.zero)));
    }
}

fn multiply(comptime class: Class, args: *const table.MatmulArgs, chunk: []const Unit(class), from: usize, token: usize, sums: []Vf) void {
    var base: usize = 0;
    while (base < sums.len) : (base += layout.act_width) {
        const row: layout.ActRow = .of(token + base, args.n_tokens, args.act_stride);
        const acts: [*]const Act = @ptrCast(@alignCast(args.acts + row.unitAt(from)));
        var lane: usize = 0;
        inline for (tiles) |n_tokens| {
            while (row.width - lane >= n_tokens) : (lane += n_tokens) {
                tile(class, n_tokens, chunk, acts + lane, row.width, from == 0, sums[base + lane ..][0..n_tokens]);
            }
        }
    }
}

/// Adds a chunk to sums that were begun, or begins them.
fn tile(
    comptime class: Class,
    comptime n_tokens: usize,
    chunk: []const Unit(class),
    acts: [*]const Act,
    width: usize,
    begin: bool,
    result: *[n_tokens]Vf,
) void {
    const zero = comptime dot.zeroOfMany(class.zero);
    const set = @min(abreast, n_tokens);
    comptime std.debug.assert(n_tokens % set == 0);
    var sums: [n_tokens]Vf = if (begin) @splat(@splat(0)) else result.*;
    var of_unit = acts;
    for (chunk) |*unit| {
        inline for (0..n_tokens / set) |s| {
            integer.step(class, zero, set, &unit.weights, &unit.terms, of_unit + s * set, sums[s * set ..][0..set]);
        }
        of_unit += width;
    }
    result.* = sums;
}
