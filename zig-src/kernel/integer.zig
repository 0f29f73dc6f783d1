//! Products of integer panels with int8 activations.
//!
//! For each unit of 32 inputs: unpack the integers of the panel into registers, then for each token
//! of the tile the integer product of each group, starting at -zero * sum(activations), so that
//! the zero point costs nothing; then in f32
//!
//!     t = sum over groups of scale * integer product   (+ offset * sum of activations)
//!     result += d * t
//!
//! Both for one token and for a tile, in the order of the inputs: results don't depend on the tile.

const std = @import("std");
const builtin = @import("builtin");
const dot = @import("dot.zig");
const layout = @import("layout.zig");
const table = @import("table.zig");
const vector = @import("vector.zig");

const Class = layout.Class;
const Act = layout.Act;
const Vf = vector.Vf;
const lanes = vector.lanes;
const panel_rows = layout.panel_rows;

/// Vectors that the 16 rows of a panel take.
pub const parts = panel_rows / lanes;

/// Tokens in a tile, widest first. Weights of a unit take 8 registers and each token one: of 32
/// registers 16 are left for tokens, of 16 registers 4. ARM has 32 narrow ones.
const tiles = if (lanes == 16) .{ 16, 4, 1 } else if (builtin.cpu.arch == .aarch64) .{ 8, 1 } else if (lanes == 8) .{ 4, 1 } else .{1};

pub fn matmul(comptime class: Class, args: *const table.MatmulArgs) void {
    var token: usize = 0;
    inline for (tiles) |n_tokens| {
        while (args.n_tokens - token >= n_tokens) : (token += n_tokens) {
            for (args.panel_from..args.panel_to) |panel| {
                // Several tokens pass one part of the rows at a time, so that its weights stay in
                // registers; one token reads the panel once.
                if (n_tokens == 1 and parts <= 2) {
                    tile(class, 1, parts, args, panel, token, 0);
                } else for (0..parts) |part| {
                    tile(class, n_tokens, 1, args, panel, token, part);
                }
            }
        }
    }
}

fn tile(
    comptime class: Class,
    comptime n_tokens: usize,
    comptime n_parts: usize,
    args: *const table.MatmulArgs,
    panel_index: usize,
    token: usize,
    part: usize,
) void {
    const panel = args.panels + panel_index * class.panelBytes(args.cols);
    const units = args.cols / layout.unit;
    const scales = panel + units * comptime class.dataBytes();
    var acts: [n_tokens][*]const Act = undefined;
    inline for (&acts, 0..) |*act, t| act.* = @ptrCast(@alignCast(args.acts + (token + t) * args.act_stride));

    var sums: [n_tokens][n_parts]Vf = @splat(@splat(@splat(0)));
    const span = comptime class.span();
    var index: usize = 0;
    while (index < units) : (index += span) {
        const record = scales + index / span * comptime class.scaleBytes();
        for (0..span) |i| {
            const data = panel + (index + i) * comptime class.dataBytes();
            inline for (0..n_parts) |p| {
                const weights = unpack(class, data, part + p);
                const terms = readTerms(class, record, i, part + p);
                inline for (0..n_tokens) |t| {
                    sums[t][p] = step(class, &weights, &terms, &acts[t][index + i], sums[t][p]);
                }
            }
        }
    }
    inline for (0..n_tokens) |t| inline for (0..n_parts) |p| {
        store(args, sums[t][p], panel_index * panel_rows + (part + p) * lanes, token + t);
    };
}

/// One token and one unit.
fn step(
    comptime class: Class,
    weights: *const [layout.quads]dot.Bytes,
    terms: *const [class.terms()]Vf,
    act: *const Act,
    sum: Vf,
) Vf {
    const groups = comptime class.groups();
    const per_group = layout.quads / groups;
    var total: Vf = undefined;
    inline for (0..groups) |g| {
        const from = g * per_group;
        const product = dot.group(class.bits, per_group, weights[from..][0..per_group].*, act.q[from..][0..per_group], start(class, act, g));
        const value: Vf = @floatFromInt(product);
        total = if (g == 0) value * terms[0] else vector.fma(value, terms[g], total);
    }
    var with_offsets = sum;
    if (class.offset) inline for (0..groups) |g| {
        // The activations' sums are multiplied with d already.
        const of_group: Vf = @splat(if (groups == 1) act.sum else act.sums[g]);
        with_offsets = vector.fma(of_group, terms[groups + g], with_offsets);
    };
    return vector.fma(total, @as(Vf, @splat(act.d)), with_offsets);
}

/// -zero * sum of the group's activations.
fn start(comptime class: Class, act: *const Act, comptime g: usize) dot.Ints {
    if (class.zero == 0) return @splat(0);
    if (comptime dot.wantsSigned(class.bits)) return @splat(0);
    if (comptime class.groups() == 2) return @as(dot.Ints, @splat(act.start_half[g])) << @splat(@ctz(class.zero) - 3);
    if (class.zero == 128) return @splat(act.start128);
    return @as(dot.Ints, @splat(act.start8)) << @splat(@ctz(class.zero) - 3);
}

/// The integers of one unit for the rows of one part, a vector a quad.
fn unpack(comptime class: Class, data: [*]const u8, part: usize) [layout.quads]dot.Bytes {
    const from = data + part * 4 * lanes;
    var out: [layout.quads]dot.Bytes = undefined;
    if (class.bits == 8) {
        inline for (&out, 0..) |*to, j| {
            const u = read(from, j);
            to.* = if (comptime dot.wantsSigned(8)) u ^ @as(dot.Bytes, @splat(0x80)) else u;
        }
        return out;
    }
    inline for (0..4) |j| {
        const two = read(from, j);
        out[j] = two & @as(dot.Bytes, @splat(15));
        out[j + 4] = two >> @splat(4);
    }
    if (class.bits == 5) {
        const fifth = read(from, 4);
        inline for (&out, 0..) |*to, j| {
            const bit: dot.Bytes = @splat(16);
            to.* |= (if (j < 4) fifth << @splat(4 - j) else fifth >> @splat(j - 4)) & bit;
        }
    }
    if (class.bits == 6) inline for (0..2) |half| {
        const more = read(from, 4 + half);
        inline for (0..4) |j| {
            const bits: dot.Bytes = @splat(48);
            const shifted = switch (j) {
                0 => more << @splat(4),
                1 => more << @splat(2),
                2 => more,
                else => more >> @splat(2),
            };
            out[4 * half + j] |= shifted & bits;
        }
    };
    return out;
}

fn read(from: [*]const u8, comptime quad: usize) dot.Bytes {
    return vector.read(u8, 4 * lanes, from + quad * layout.quad_bytes);
}

/// The scales, then the offsets, of the groups of unit `i` of a record, in f32.
fn readTerms(comptime class: Class, record: [*]const u8, i: usize, part: usize) [class.terms()]Vf {
    var out: [class.terms()]Vf = undefined;
    inline for (&out, 0..) |*to, term| {
        const row = part * lanes;
        switch (class.scale) {
            .half => to.* = vector.load(.f16, lanes, record + 2 * (term * panel_rows + row)),
            .single => to.* = vector.load(.f32, lanes, record + 4 * (term * panel_rows + row)),
            .two_level => {
                const level = if (term < comptime class.groups()) 0 else 1;
                const head = vector.load(.f16, lanes, record + 2 * (level * panel_rows + row));
                const at = record + comptime class.headBytes();
                const small = vector.read(i8, lanes, at + (i * class.terms() + term) * panel_rows + row);
                to.* = head * @as(Vf, @floatFromInt(small));
                // A power of two in f32 is exact, where in the super-scale's f16 it might not be.
                if (class.step != 1 and level == 0) to.* *= @as(Vf, @splat(class.step));
            },
        }
    }
    return out;
}

/// Writes the rows that exist.
pub fn store(args: *const table.MatmulArgs, sum: Vf, row: usize, token: usize) void {
    const to = args.out + token * args.out_stride;
    if (row + lanes <= args.rows) {
        to[row..][0..lanes].* = sum;
    } else {
        const values: [lanes]f32 = sum;
        for (values[0..args.rows -| row], row..) |value, at| to[at] = value;
    }
}
