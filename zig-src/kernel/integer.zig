//! Products of integer panels with int8 activations.
//!
//! For each unit of 32 inputs: unpack the integers of the panel, then for each token the integer
//! product of each group. It starts at magic - zero * sum(activations): the zero point costs nothing,
//! and the bits of the result are those of an f32, magic + product (see `layout.magic`). Then in f32
//!
//!     t = sum over groups of scale * product   (+ offset * sum of activations)
//!     result += d * t
//!
//! in the order of the inputs. scale * product is one fused operation, scale * (magic + product) -
//! scale * magic: the last term is exact where the scale is an f16 times a small integer, so that the
//! one rounding is that of the product.
//!
//! A few tokens unpack in registers and read each panel once. Many tokens (`blocked.zig`) pass in blocks
//! and share what was read, or unpacked. Both do the same operations in the same order, to the bit.

const std = @import("std");
const builtin = @import("builtin");
const blocked = @import("blocked.zig");
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

/// Tokens that unpack in registers together, most first. Weights of a unit take 8 registers and each
/// token one; what is unpacked for one token alone is used once.
const tiles = if (lanes == 16)
    .{ 12, 8, 4, 2, 1 }
else if (builtin.cpu.arch == .aarch64) .{ 8, 4, 2, 1 } else if (lanes == 8) .{ 4, 2, 1 } else .{1};

/// Panels that some processors read at the same time, each a stream of its own: with one stream these wait for
/// memory at the begin of each page and of each panel. Others read one panel faster (see `table.Reading`).
const abreast = table.panels_abreast;

pub fn matmul(comptime class: Class, args: *const table.MatmulArgs) void {
    if (args.n_tokens > layout.act_width) return blocked.matmul(class, args);
    var panel = args.panel_from;
    if (args.reading.panels == abreast) {
        while (panel + abreast <= args.panel_to) : (panel += abreast) multiplyFew(class, abreast, args, panel);
    }
    while (panel < args.panel_to) : (panel += 1) multiplyFew(class, 1, args, panel);
}

/// All tokens with some panels, from `panel` on.
fn multiplyFew(comptime class: Class, comptime panels: usize, args: *const table.MatmulArgs, panel: usize) void {
    var token: usize = 0;
    inline for (tiles) |n_tokens| {
        // Several tokens pass one part of the rows at a time, so that its weights stay in registers;
        // one token reads each panel once.
        const n_parts = if (n_tokens == 1 and parts <= 2) parts else 1;
        while (args.n_tokens - token >= n_tokens) : (token += n_tokens) {
            var part: usize = 0;
            while (part < parts) : (part += n_parts) tile(class, n_tokens, n_parts, panels, args, panel, token, part);
        }
    }
}

/// Some tokens with some panels.
fn tile(
    comptime class: Class,
    comptime n_tokens: usize,
    comptime n_parts: usize,
    comptime n_panels: usize,
    args: *const table.MatmulArgs,
    panel_index: usize,
    token: usize,
    part: usize,
) void {
    const unit_bytes = comptime class.unitBytes();
    const scale_bytes = comptime class.scaleBytes();
    const data_bytes = comptime class.dataBytes();
    const span = comptime class.span();
    const units_ahead = (args.reading.ahead + unit_bytes - 1) / unit_bytes;
    const panel_bytes = class.panelBytes(args.cols);
    const panels = args.panels + panel_index * panel_bytes;
    const units = args.cols / layout.unit;
    // A call of so few tokens has them all interleaved.
    var acts = @as([*]const Act, @ptrCast(@alignCast(args.acts))) + token;

    var sums: [n_panels][n_parts][n_tokens]Vf = @splat(@splat(@splat(@splat(0))));
    const after: After = .of(args, panel_index, n_panels, panel_bytes, units * unit_bytes);
    var first: usize = 0;
    while (first < units) : (first += comptime class.stretch()) {
        const len = @min(comptime class.stretch(), units - first);
        const begin = panels + first * unit_bytes;
        for (0..len) |index| {
            const later = after.from((first + index + units_ahead) * unit_bytes);
            const place: Place = .{
                .record = begin + index / span * scale_bytes,
                .data = begin + len / span * scale_bytes + index * data_bytes,
                .index = index % span,
            };
            // One token's arithmetic is too little to hide the end of a short loop.
            if (n_tokens == 1 or n_panels == 1) {
                inline for (&sums, 0..) |*sum, n| addUnit(class, n_tokens, n_parts, place.plus(n * panel_bytes), later.at + n * later.stride, part, acts, sum);
            } else for (&sums, 0..) |*sum, n| {
                addUnit(class, n_tokens, n_parts, place.plus(n * panel_bytes), later.at + n * later.stride, part, acts, sum);
            }
            acts += args.n_tokens;
        }
    }
    for (&sums, panel_index..) |*of_panel, panel| inline for (0..n_tokens) |t| inline for (0..n_parts) |p| {
        store(args, of_panel[p][t], panel * panel_rows + (part + p) * lanes, token + t);
    };
}

/// A unit of a panel.
const Place = struct {
    record: [*]const u8,
    data: [*]const u8,
    /// Its number among those of the record.
    index: usize,

    inline fn plus(place: Place, bytes: usize) Place {
        return .{ .record = place.record + bytes, .data = place.data + bytes, .index = place.index };
    }
};

/// What is read behind some panels that are read at the same time: the next ones, and behind the last of a
/// call what the caller reads then.
pub const After = struct {
    panels: [*]const u8,
    panel_bytes: usize,
    /// Bytes of a panel that are read.
    len: usize,
    next: [*]const u8,
    next_bytes: usize,

    pub const Streams = struct { at: [*]const u8, stride: usize };

    pub fn of(args: *const table.MatmulArgs, panel: usize, n_panels: usize, panel_bytes: usize, len: usize) After {
        const end = panel + n_panels;
        const ends = end >= args.panel_to;
        return .{
            .panels = args.panels + panel * panel_bytes,
            .panel_bytes = panel_bytes,
            .len = len,
            .next = if (ends) args.next else args.panels + end * panel_bytes,
            .next_bytes = if (ends) args.next_bytes else panel_bytes,
        };
    }

    /// What comes so many bytes behind the begin of each panel.
    pub inline fn from(after: After, bytes: usize) Streams {
        if (bytes < after.len) return .{ .at = after.panels + bytes, .stride = after.panel_bytes };
        return .{ .at = after.next + (bytes - after.len), .stride = after.next_bytes };
    }
};

inline fn addUnit(
    comptime class: Class,
    comptime n_tokens: usize,
    comptime n_parts: usize,
    place: Place,
    later: [*]const u8,
    part: usize,
    acts: [*]const Act,
    sums: *[n_parts][n_tokens]Vf,
) void {
    const zero = comptime if (dot.wantsSigned(class.bits)) 0 else class.zero;
    if (part == 0) prefetch(later, comptime class.unitBytes());
    inline for (sums, 0..) |*sum, p| {
        const of_part = if (p == 0) acts else readAnew(acts);
        const weights: Weights(class, .value) = .of(place.data, part + p, zero);
        const terms = readTerms(class, place.record, place.index, part + p);
        step(class, zero, .value, n_tokens, &weights, &terms, of_part, sum);
    }
}

/// The same activations. Broadcasts that are kept from one part for the next would go through the stack: to read
/// them once more takes less.
inline fn readAnew(acts: [*]const Act) [*]const Act {
    var out = acts;
    asm (""
        : [out] "+r" (out),
    );
    return out;
}

/// The processor's own prefetching ends at each page.
pub inline fn prefetch(from: [*]const u8, comptime bytes: usize) void {
    inline for (0..(bytes + 63) / 64) |line| @prefetch(from + line * 64, .{});
}

/// Vectors of terms: scales and offsets of the groups, then what takes magic off the products.
pub fn termCount(comptime class: Class) usize {
    return class.terms() + class.groups();
}

/// Weights of a unit of the rows of one part as `step` takes them.
pub fn Weights(comptime class: Class, comptime signs: dot.Signs) type {
    return struct {
        vectors: [layout.quads * dot.splits(class.bits)]dot.Bytes,
        /// What the products of each group begin with where weights decide it.
        starts: if (signs == .mask) [class.groups()]dot.Ints else void,

        pub inline fn of(data: [*]const u8, part: usize, comptime zero: u8) @This() {
            if (signs == .mask) comptime std.debug.assert(zero == 0);
            var out: @This() = undefined;
            out.vectors = dot.split(class.bits, signs, unpack(class, data, part, zero));
            if (signs == .mask) inline for (&out.starts, 0..) |*begin, g| {
                const n = out.vectors.len / out.starts.len;
                begin.* = dot.startOf(out.vectors[g * n ..][0..n], @splat(layout.magic));
            };
            return out;
        }
    };
}

/// One unit for some tokens whose activations begin at `acts`, side by side.
pub inline fn step(
    comptime class: Class,
    comptime zero: u8,
    comptime signs: dot.Signs,
    comptime n_tokens: usize,
    weights: *const Weights(class, signs),
    terms: *const [termCount(class)]Vf,
    acts: [*]const Act,
    sums: *[n_tokens]Vf,
) void {
    const groups = comptime class.groups();
    const per_group = layout.quads / groups;
    const vectors = comptime per_group * dot.splits(class.bits);
    var totals: [n_tokens]Vf = undefined;
    inline for (0..groups) |g| {
        var q: [n_tokens]*const [per_group]i32 = undefined;
        var starts: [n_tokens]dot.Ints = undefined;
        inline for (&q, &starts, 0..) |*of, *begin, t| {
            of.* = acts[t].q[g * per_group ..][0..per_group];
            begin.* = if (signs == .mask) weights.starts[g] else start(zero, groups, &acts[t], g);
        }
        const products = dot.group(class.bits, signs, per_group, n_tokens, weights.vectors[g * vectors ..][0..vectors], q, starts);
        inline for (products, &totals) |product, *total| {
            const value = scaled(class, product, terms[g], terms[class.terms() + g]);
            total.* = if (g == 0) value else total.* + value;
        }
    }
    inline for (totals, sums, 0..) |total, *sum, t| addTotal(class, total, terms, &acts[t].factors, &acts[t].sums, sum);
}

/// Adds what a unit comes to for one token, whose scaled products of groups are added up.
pub inline fn addTotal(
    comptime class: Class,
    total: Vf,
    terms: *const [termCount(class)]Vf,
    factors: *const layout.Factors,
    halves: *const layout.Halves,
    sum: *Vf,
) void {
    const groups = comptime class.groups();
    if (class.offset) inline for (0..groups) |g| {
        // The activations' sums are multiplied with d already.
        const of_group: Vf = @splat(if (groups == 1) factors.sum else halves[g]);
        sum.* = vector.fma(of_group, terms[groups + g], sum.*);
    };
    sum.* = vector.fma(total, @as(Vf, @splat(factors.d)), sum.*);
}

/// Whether scale * magic is exact, and the processor fuses.
fn fuses(comptime class: Class) bool {
    return vector.has_fma and class.scale != .single;
}

/// The scaled product of a group, which began at magic.
pub inline fn scaled(comptime class: Class, product: dot.Ints, scale: Vf, less: Vf) Vf {
    if (comptime fuses(class)) return vector.fma(@as(Vf, @bitCast(product)), scale, less);
    const value: Vf = @floatFromInt(product -% @as(dot.Ints, @splat(layout.magic)));
    return value * scale;
}

/// magic - zero * sum of the group's activations.
pub inline fn start(comptime zero: u8, comptime groups: usize, act: *const Act, comptime g: usize) dot.Ints {
    const none: dot.Ints = @splat(layout.magic);
    if (zero == 0) return none;
    if (groups == 1 and zero == 8) return @splat(act.start8);
    const ready = comptime if (groups == 1) 128 else dot.zero_of_half;
    const of_ready: dot.Ints = @splat(if (groups == 1) act.start128 else act.start_half[g]);
    if (zero == ready) return of_ready;
    const sum = of_ready -% none;
    const up = comptime @ctz(zero) - @as(i32, @ctz(@as(u8, ready)));
    return (if (up > 0) sum << @splat(up) else sum >> @splat(-up)) +% none;
}

/// The integers of one unit for the rows of one part with another zero point, a vector a quad.
pub inline fn unpack(comptime class: Class, data: [*]const u8, part: usize, comptime zero: u8) [layout.quads]dot.Bytes {
    var out = stored(class, data + part * 4 * lanes);
    if (zero != class.zero) inline for (&out) |*of| {
        of.* +%= @splat(zero -% class.zero);
    };
    return out;
}

inline fn stored(comptime class: Class, from: [*]const u8) [layout.quads]dot.Bytes {
    var out: [layout.quads]dot.Bytes = undefined;
    const own = class.bits;
    var vectors: [own]dot.Bytes = undefined;
    inline for (&vectors, out[0..own], 0..) |*v, *to, j| {
        v.* = read(from, j);
        to.* = v.* & @as(dot.Bytes, @splat((1 << own) - 1));
    }
    inline for (comptime layout.pieces(own), out[own..]) |pieces, *to| {
        to.* = @splat(0);
        inline for (pieces) |piece| to.* |= vectors[piece.vector] >> @splat(piece.at - piece.to) & @as(dot.Bytes, @splat(piece.mask()));
    }
    return out;
}

inline fn read(from: [*]const u8, comptime quad: usize) dot.Bytes {
    return vector.read(u8, 4 * lanes, from + quad * layout.quad_bytes);
}

/// The terms of unit `i` of a record, in f32.
pub inline fn readTerms(comptime class: Class, record: [*]const u8, i: usize, part: usize) [termCount(class)]Vf {
    var out: [termCount(class)]Vf = undefined;
    inline for (0..comptime class.terms()) |term| {
        const row = part * lanes;
        switch (class.scale) {
            .half => out[term] = vector.load(.f16, lanes, record + 2 * (term * panel_rows + row)),
            .single => out[term] = vector.load(.f32, lanes, record + 4 * (term * panel_rows + row)),
            .two_level => {
                const level = if (term < comptime class.groups()) 0 else 1;
                const head = vector.load(.f16, lanes, record + 2 * (level * panel_rows + row));
                const at = record + comptime class.headBytes();
                const small = vector.read(i8, lanes, at + (i * class.terms() + term) * panel_rows + row);
                out[term] = head * @as(Vf, @floatFromInt(small));
                // A power of two in f32 is exact, where in the super-scale's f16 it might not be.
                if (class.step != 1 and level == 0) out[term] *= @as(Vf, @splat(class.step));
            },
        }
    }
    inline for (0..comptime class.groups()) |g| out[class.terms() + g] = out[g] * @as(Vf, @splat(-layout.magic_value));
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

test "panels that are read together ask for those behind them" {
    var memory: [4096]u8 = undefined;
    const base: [*]const u8 = &memory;
    const next = base + 2048;
    var args: table.MatmulArgs = undefined;
    args.panels = base;
    args.panel_to = 10;
    args.next = next;
    args.next_bytes = 500;
    // Panels 4 to 7 of 128 bytes, of which 96 are read.
    const middle: After = .of(&args, 4, 4, 128, 96);
    try std.testing.expectEqual(After.Streams{ .at = base + 4 * 128 + 95, .stride = 128 }, middle.from(95));
    try std.testing.expectEqual(After.Streams{ .at = base + 8 * 128, .stride = 128 }, middle.from(96));
    const last: After = .of(&args, 8, 2, 128, 96);
    try std.testing.expectEqual(After.Streams{ .at = base + 8 * 128, .stride = 128 }, last.from(0));
    try std.testing.expectEqual(After.Streams{ .at = next + 4, .stride = 500 }, last.from(100));
}
