//! Integers of 2, 4 and 8 bits after KIVI (Liu et al. 2024, "KIVI: A Tuning-Free Asymmetric 2bit Quantization
//! for KV Cache"): keys in groups of one channel of 32 or 64 positions, because channels of keys have scales of
//! their own, and values in groups of 32, 64 or 128 values of one position. So keys are stored a whole group of
//! positions at a time, when all are there. Each group has an f16 scale and, unless it is symmetric, an f16
//! minimum: a value is code * scale + minimum, or (code - zero) * scale with the middle of the codes as zero.
//! Some values may be outliers, which are kept as f16 with their place (`outliers.zig`).
//!
//!     keys    codes            [position / 16][value / 32] blocks: a lane is a position, a byte value % 4; quad
//!                              value / 4 is in vector quad % bits, its lowest bit (quad / bits) * bits
//!             scales, minimums [position / group][value], all scales first
//!             outliers         [position / group]
//!     values  codes            [value / 32][position / 4] words of 4 bytes: word value % (4 * bits), byte
//!                              position % 4, lowest bit value / (4 * bits) * bits; of 8 bits
//!                              [value / 32][position][value % 32]
//!             scales, minimums [value / group][position], all scales first
//!             outliers         [position]
//!
//! A query is multiplied with the scales of a group once and rounded to 8 bits, as it is for keys of other
//! integers, and its products with the values of the zero are summed up once; then keys cost an integer product.

const std = @import("std");
const dot = @import("../dot.zig");
const layout = @import("../layout.zig");
const narrow = @import("narrow.zig");
const outliers = @import("outliers.zig");
const table = @import("../table.zig");
const tile = @import("tile.zig");
const vector = @import("../vector.zig");

const KvFormat = table.KvFormat;
const Options = table.KvOptions;
const Side = table.KvSide;
const Vf = vector.Vf;
const lanes = vector.lanes;
const page_len = table.page_len;
const Row = [page_len]f32;

/// Values whose codes lie together.
pub const unit = layout.unit;
/// Positions of keys side by side.
const beside = 16;
/// Positions of values whose codes share words.
const quad = 4;
const Unit = @Vector(unit, f32);

/// How one side of a head is stored.
pub const Kind = struct {
    format: KvFormat,
    side: Side,
    dim: usize,
    options: Options,

    /// Values that share a scale: positions of a channel of keys, or values of a position.
    pub fn group(kind: Kind) usize {
        return kind.options.groupLen();
    }

    fn codeBytes(kind: Kind) usize {
        return page_len * kind.dim * kind.format.bits() / 8;
    }

    /// Of the scales of a page, and as many of the minimums.
    fn scalesBytes(kind: Kind) usize {
        return page_len * kind.dim / kind.group() * 2;
    }

    pub fn hasMinimum(kind: Kind) bool {
        return !kind.options.symmetric;
    }

    fn outliersAt(kind: Kind) usize {
        return kind.codeBytes() + kind.scalesBytes() * if (kind.hasMinimum()) @as(usize, 2) else 1;
    }

    /// Sets of outliers in a page: of groups of positions of keys, and of positions of values.
    fn sets(kind: Kind) usize {
        return if (kind.side == .key) page_len / kind.group() else page_len;
    }

    /// Outliers of a set. Those of keys are a whole number of bytes a position.
    pub fn capacity(kind: Kind) usize {
        const positions: usize = if (kind.side == .key) kind.group() else 1;
        const wanted = (positions * kind.dim * kind.options.outliers + 999) / 1000;
        return std.mem.alignForward(usize, wanted, @max(1, positions / outliers.entry_bytes));
    }

    /// The outliers that a position belongs to.
    pub fn outliersOf(kind: Kind, position: usize) usize {
        const set = if (kind.side == .key) position / kind.group() else position;
        return kind.outliersAt() + set * kind.capacity() * outliers.entry_bytes;
    }

    /// Of one KV head in one page.
    pub fn bytes(kind: Kind) usize {
        return kind.outliersAt() + kind.sets() * kind.capacity() * outliers.entry_bytes;
    }

    /// Where a code is: a byte, and its lowest bit.
    pub fn codeAt(kind: Kind, position: usize, index: usize) struct { usize, u3 } {
        const bits = kind.format.bits();
        const i = index % unit;
        switch (kind.side) {
            .key => {
                const of = i / 4;
                const block = (position / beside * (kind.dim / unit) + index / unit) * bits * 4 * beside;
                return .{ block + of % bits * 4 * beside + position % beside * 4 + i % 4, @intCast(of / bits * bits) };
            },
            .value => {
                if (bits == 8) return .{ (index / unit * page_len + position) * unit + i, 0 };
                const words = 4 * bits;
                const first = (index / unit * (page_len / quad) + position / quad) * words * quad;
                return .{ first + i % words * quad + position % quad, @intCast(i / words * bits) };
            },
        }
    }

    pub fn scaleAt(kind: Kind, position: usize, index: usize) usize {
        const place = switch (kind.side) {
            .key => position / kind.group() * kind.dim + index,
            .value => index / kind.group() * page_len + position,
        };
        return kind.codeBytes() + 2 * place;
    }

    /// Where there are minimums.
    pub fn minimumAt(kind: Kind, position: usize, index: usize) usize {
        return kind.scaleAt(position, index) + kind.scalesBytes();
    }

    pub fn readCode(kind: Kind, page: [*]const u8, position: usize, index: usize) u8 {
        const at, const shift = kind.codeAt(position, index);
        return page[at] >> shift & mask(kind.format);
    }

    pub fn writeCode(kind: Kind, page: [*]u8, position: usize, index: usize, code: u8) void {
        const at, const shift = kind.codeAt(position, index);
        page[at] = page[at] & ~(mask(kind.format) << shift) | code << shift;
    }

    fn scale(kind: Kind, page: [*]const u8, position: usize, index: usize) f32 {
        return half(page + kind.scaleAt(position, index));
    }

    /// What code 0 stands for.
    fn minimum(kind: Kind, page: [*]const u8, position: usize, index: usize) f32 {
        if (kind.hasMinimum()) return half(page + kind.minimumAt(position, index));
        return -zero(kind.format) * kind.scale(page, position, index);
    }

    /// What a place holds apart from outliers.
    fn value(kind: Kind, page: [*]const u8, position: usize, index: usize, code: f32) f32 {
        return vector.fma(code, kind.scale(page, position, index), kind.minimum(page, position, index));
    }

    /// What outliers have beside themselves: the value of the code in the middle.
    pub fn middle(kind: Kind, page: [*]const u8, position: usize, index: usize) f32 {
        return kind.value(page, position, index, zero(kind.format));
    }
};

fn mask(format: KvFormat) u8 {
    return @intCast((@as(u16, 1) << @intCast(format.bits())) - 1);
}

/// The code in the middle.
fn zero(format: KvFormat) f32 {
    return @floatFromInt(@as(u16, 1) << @intCast(format.bits() - 1));
}

fn half(at: [*]const u8) f32 {
    return vector.load(.f16, 1, at)[0];
}

/// The values of positions [from, to) as they were stored: [to - from][dim].
pub fn readRange(kind: Kind, page: [*]const u8, from: usize, to: usize, out: [*]f32) void {
    const dim = kind.dim;
    for (from..to) |position| for (0..dim) |index| {
        const code: f32 = @floatFromInt(kind.readCode(page, position, index));
        out[(position - from) * dim + index] = kind.value(page, position, index, code);
    };
    if (kind.options.outliers != 0) outliers.overlay(kind, page, from, to, out);
}

/// Rounds the values of one position, or the keys of a whole group: [positions][dim], from `position` on.
pub fn store(comptime format: KvFormat, side: Side, options: Options, x: []const f32, page: [*]u8, position: usize) void {
    const len = options.groupLen();
    const kind: Kind = .{ .format = format, .side = side, .dim = if (side == .key) x.len / len else x.len, .options = options };
    std.debug.assert(side == .value or position % len == 0);
    std.debug.assert(side == .key or x.len % len == 0);
    if (options.outliers != 0) outliers.choose(kind, x, page + kind.outliersOf(position));
    const found: outliers.Set = .of(kind, page, position);
    switch (side) {
        .key => for (0..kind.dim) |index| storeGroup(format, kind, x[index..].ptr, kind.dim, index, found, page, position, index),
        .value => {
            var index: usize = 0;
            while (index < x.len) : (index += len) storeGroup(format, kind, x[index..].ptr, 1, index, found, page, position, index);
        },
    }
}

/// What is not a number counts as 0, and values are limited to what an f16 can hold.
pub fn within(x: f32) f32 {
    const limit = std.math.floatMax(f16);
    return if (x != x) 0 else std.math.clamp(x, -limit, limit);
}

/// Values that stand `stride` apart, of which the first is number `first` among those that outliers are
/// chosen from. Outliers don't count, and get the code in the middle.
fn storeGroup(
    comptime format: KvFormat,
    kind: Kind,
    x: [*]const f32,
    stride: usize,
    first: usize,
    found: outliers.Set,
    page: [*]u8,
    position: usize,
    index: usize,
) void {
    const of: Kind = .{ .format = format, .side = kind.side, .dim = kind.dim, .options = kind.options };
    const len = kind.group();
    var buffer: [table.group_max]f32 = undefined;
    var is_outlier: [table.group_max]bool = @splat(false);
    const values = buffer[0..len];
    for (values, 0..) |*value, i| value.* = within(x[i * stride]);
    if (kind.options.outliers != 0) found.mark(first, stride, is_outlier[0..len]);
    var low = std.math.inf(f32);
    var high = -std.math.inf(f32);
    for (values, is_outlier[0..len]) |value, out| if (!out) {
        low = @min(low, value);
        high = @max(high, value);
    };
    if (low > high) low, high = .{ 0, 0 };
    const bits: u4 = comptime @intCast(format.bits());
    const most: f32 = comptime @floatFromInt((1 << bits) - 1);
    const least: f32 = if (kind.options.symmetric) 1 else 0;
    const range = if (kind.options.symmetric) @max(@abs(low), @abs(high)) / (zero(format) - 1) else (high - low) / most;
    const scale: f16 = @floatCast(range);
    page[of.scaleAt(position, index)..][0..2].* = @bitCast(scale);
    // The terms as they are read again, so that codes are the nearest ones to them.
    const step: f32 = scale;
    var minimum: f32 = 0;
    if (!kind.options.symmetric) {
        const stored: f16 = @floatCast(low);
        page[of.minimumAt(position, index)..][0..2].* = @bitCast(stored);
        minimum = stored;
    }
    const shift: f32 = if (kind.options.symmetric) zero(format) else 0;
    for (values, 0..) |value, i| {
        const nearest = @floor((value - minimum) / step + 0.5) + shift;
        const code = if (is_outlier[i]) zero(format) else if (step == 0) shift else std.math.clamp(nearest, least, most);
        const p, const v = if (kind.side == .key) .{ position + i, index } else .{ position, index + i };
        of.writeCode(page, p, v, @intFromFloat(code));
    }
}

/// 32 values as 8-bit integers, x being about d * q, as in `layout.Act` but with the one zero point that is wanted.
pub const Rounded = struct {
    q: [layout.quads]i32 align(4), // four i8 each
    d: f32,
    /// What products begin with: takes the zero points off, and makes floats of them (`layout.magic`).
    start: i32,

    inline fn of(comptime key: KvFormat, x: Unit) Rounded {
        const largest = @reduce(.Max, @abs(x));
        // A maximum passes over what is not a number, and a subnormal one has no finite inverse.
        const d = if (@reduce(.Or, x != x)) std.math.nan(f32) else largest * (1.0 / 127.0);
        const inverse: f32 = if (d >= std.math.floatMin(f32)) 127 / largest else 0;
        const shifted = x * @as(Unit, @splat(inverse)) + @as(Unit, @splat(layout.magic_value));
        const bits: @Vector(unit, i32) = @bitCast(shifted);
        const sum = @reduce(.Add, bits -% @as(@Vector(unit, i32), @splat(layout.magic)));
        const point = comptime if (dot.wantsSigned(key.bits())) 0 else 1 << (key.bits() - 1);
        return .{
            .q = @bitCast(@as(@Vector(unit, i8), @truncate(bits))),
            .d = d,
            // What isn't a number leaves any bits; d says so then.
            .start = layout.magic -% sum *% point,
        };
    }
};

/// What belongs to a group of positions, for the queries of a tile: these times the scales, rounded to 8 bits,
/// and the scores of keys whose codes are all zero points.
fn Scaled(comptime key: KvFormat, comptime rows: usize) type {
    return struct {
        base: [rows]f32,
        acts: [*]Rounded, // [rows][dim / 32]

        fn of(kind: Kind, q: [*]const f32, page: [*]const u8, position: usize, acts: [*]Rounded) @This() {
            const units = kind.dim / unit;
            var base: [rows]Unit = @splat(@splat(0));
            for (0..units) |u| {
                const scales = vector.load(.f16, unit, page + kind.scaleAt(position, u * unit));
                var middle: Unit = undefined;
                if (kind.hasMinimum()) {
                    const minimums = vector.load(.f16, unit, page + kind.minimumAt(position, u * unit));
                    middle = vector.fma(scales, @as(Unit, @splat(comptime zero(key))), minimums);
                }
                for (0..rows) |r| {
                    const x: Unit = q[r * kind.dim + u * unit ..][0..unit].*;
                    acts[r * units + u] = .of(key, x * scales);
                    if (kind.hasMinimum()) base[r] = vector.fma(x, middle, base[r]);
                }
            }
            var sums: [rows]f32 = undefined;
            for (&sums, base) |*sum, all| sum.* = @reduce(.Add, all);
            return .{ .base = sums, .acts = acts };
        }
    };
}

/// The codes of a block for the positions from `lane` on, four a lane, as `dot.zig` takes weights.
inline fn quads(comptime key: KvFormat, block: [*]const u8, lane: usize) [layout.quads]dot.Bytes {
    const bits = comptime key.bits();
    var out: [layout.quads]dot.Bytes = undefined;
    inline for (0..bits) |v| {
        const stored = vector.read(u8, 4 * lanes, block + (v * beside + lane) * 4);
        inline for (0..layout.quads / bits) |i| {
            const shifted = stored >> @splat(i * bits);
            out[i * bits + v] = if (bits == 8) stored else shifted & @as(dot.Bytes, @splat(comptime mask(key)));
        }
    }
    if (comptime dot.wantsSigned(bits)) for (&out) |*of| {
        of.* ^= @splat(0x80);
    };
    return out;
}

/// Scores of the sixteens of positions from `from` to `to`. `q` is [rows][dim]; `acts` is room for as many.
pub fn scores(
    comptime key: KvFormat,
    comptime rows: usize,
    kind: Kind,
    q: [*]const f32,
    acts: [*]Rounded,
    page: [*]const u8,
    from: usize,
    to: usize,
    out: *[rows]Row,
    ahead: *tile.Ahead,
) void {
    const in_group = kind.group() / beside;
    var sixteen = from;
    while (sixteen < to) {
        const first = sixteen / in_group * in_group;
        const scaled: Scaled(key, rows) = .of(kind, q, page, first * beside, acts);
        const end = @min(to, first + in_group);
        while (sixteen < end) : (sixteen += 1) scoreSixteen(key, rows, kind, &scaled, page, sixteen, out, ahead);
        if (kind.options.outliers == 0) continue;
        const set: outliers.Set = .of(kind, page, first * beside);
        inline for (0..rows) |r| set.addScores(kind, page, first * beside, q + r * kind.dim, &out[r]);
    }
}

inline fn scoreSixteen(
    comptime key: KvFormat,
    comptime rows: usize,
    kind: Kind,
    scaled: *const Scaled(key, rows),
    page: [*]const u8,
    sixteen: usize,
    out: *[rows]Row,
    ahead: *tile.Ahead,
) void {
    const bits = comptime key.bits();
    const wide: u8 = comptime if (bits == 8) 8 else 4;
    const units = kind.dim / unit;
    var lane: usize = 0;
    while (lane < beside) : (lane += lanes) {
        var sums: [rows]Vf = undefined;
        inline for (&sums, scaled.base) |*sum, base| sum.* = @splat(base);
        for (0..units) |u| {
            // As much as is read here, and some of the scales.
            ahead.lines(comptime 1 + lanes * bits * 4 / 64);
            const k = quads(key, page + (sixteen * units + u) * bits * 4 * beside, lane);
            var of: [rows]*const [layout.quads]i32 = undefined;
            var starts: [rows]dot.Ints = undefined;
            inline for (&of, &starts, 0..) |*row, *begin, r| {
                row.* = &scaled.acts[r * units + u].q;
                begin.* = @splat(scaled.acts[r * units + u].start);
            }
            const products = dot.group(wide, layout.quads, rows, &dot.split(wide, k), of, starts);
            inline for (&sums, products, 0..) |*sum, product, r| {
                const exact = @as(Vf, @bitCast(product)) - @as(Vf, @splat(layout.magic_value));
                sum.* = vector.fma(exact, @as(Vf, @splat(scaled.acts[r * units + u].d)), sum.*);
            }
        }
        inline for (sums, 0..) |sum, r| out[r][sixteen * beside + lane ..][0..lanes].* = sum;
    }
}

/// out += weight * value for a tile of rows and positions [from, to), position by position; without outliers.
pub fn accumulate(
    comptime value: KvFormat,
    comptime rows: usize,
    kind: Kind,
    page: [*]const u8,
    weights: *const [rows]Row,
    from: usize,
    to: usize,
    out: *const [rows][*]f32,
    ahead: *tile.Ahead,
) void {
    const most: usize = comptime @min(4, tile.sums_max / rows);
    const of_unit: usize = unit / lanes;
    var terms: [@max(1, most / of_unit)][2]Row align(64) = undefined;
    var index: usize = 0;
    inline for (if (most > of_unit) [_]usize{ most, of_unit } else [_]usize{most}) |n| {
        while (index + n * lanes <= kind.dim) : (index += n * lanes) {
            if (index % unit == 0) inline for (0..@max(1, n / of_unit)) |u| readTerms(value, kind, page, index + u * unit, from, to, &terms[u]);
            const columns: Columns(value, rows, n) = .{ .codes = page, .index = index, .terms = &terms, .weights = weights };
            columns.add(from, to, out, ahead);
        }
    }
}

/// Scales, and what code 0 stands for, of a unit of values at positions [from, to).
fn readTerms(comptime value: KvFormat, kind: Kind, page: [*]const u8, index: usize, from: usize, to: usize, terms: *[2]Row) void {
    for (from / lanes..(to + lanes - 1) / lanes) |v| {
        const scales = vector.load(.f16, lanes, page + kind.scaleAt(v * lanes, index));
        terms[0][v * lanes ..][0..lanes].* = scales;
        terms[1][v * lanes ..][0..lanes].* = if (kind.hasMinimum())
            vector.load(.f16, lanes, page + kind.minimumAt(v * lanes, index))
        else
            scales * @as(Vf, @splat(comptime -zero(value)));
    }
}

/// Whether a register holds the numbers of all codes, which a lane picks from by its lowest four bits.
fn picks(comptime value: KvFormat) bool {
    return comptime narrow.picks and value.bits() <= 4;
}

/// `n` vectors of values that stay in registers together.
fn Columns(comptime value: KvFormat, comptime rows: usize, comptime n: usize) type {
    return struct {
        codes: [*]const u8,
        index: usize,
        terms: [*]const [2]Row,
        weights: *const [rows]Row,

        const Self = @This();
        const Sums = [rows][n]Vf;
        const bits = value.bits();
        const words = 4 * bits;

        inline fn add(of: Self, from: usize, to: usize, out: *const [rows][*]f32, ahead: *tile.Ahead) void {
            var sums: Sums = undefined;
            inline for (&sums, out) |*row, to_row| inline for (row, 0..) |*sum, i| {
                sum.* = to_row[of.index + i * lanes ..][0..lanes].*;
            };
            var position = from;
            while (position < to) {
                if (position % quad == 0 and to - position >= quad) {
                    ahead.lines(comptime 1 + n * lanes * bits * quad / 8 / 64);
                    inline for (0..quad) |k| of.step(position, k, &sums);
                    position += quad;
                } else {
                    switch (position % quad) {
                        inline 0...quad - 1 => |k| of.step(position - k, k, &sums),
                        else => unreachable,
                    }
                    position += 1;
                }
            }
            inline for (sums, out) |row, to_row| inline for (row, 0..) |sum, i| {
                to_row[of.index + i * lanes ..][0..lanes].* = sum;
            };
        }

        inline fn step(of: Self, first: usize, comptime k: usize, sums: *Sums) void {
            const position = first + k;
            var v: [n]Vf = undefined;
            inline for (&v, 0..) |*to, i| {
                const terms = &of.terms[i * lanes / unit];
                const scale: Vf = @splat(terms[0][position]);
                to.* = vector.fma(of.numbers(first, i, k), scale, @as(Vf, @splat(terms[1][position])));
            }
            inline for (sums, 0..) |*row, r| inline for (row, v) |*sum, number| {
                sum.* = vector.fma(number, @as(Vf, @splat(of.weights[r][position])), sum.*);
            };
        }

        /// The codes of vector `i` at position `first + k`.
        inline fn numbers(of: Self, first: usize, comptime i: usize, comptime k: usize) Vf {
            const block = of.codes + ((of.index + i * lanes) / unit * (page_len / quad) + first / quad) * words * quad;
            // Columns of whole units begin with one.
            const phase = if (comptime n * lanes % unit == 0) i * lanes % unit else (of.index + i * lanes) % unit;
            if (comptime bits == 8) return @floatFromInt(vector.read(u8, lanes, block + k * unit + phase));
            const together = @min(words, lanes);
            const raw = vector.read(u32, together, block + phase % words * quad);
            const spread = @shuffle(u32, raw, undefined, order: {
                var order: [lanes]i32 = undefined;
                for (&order, 0..) |*to, lane| to.* = lane % together;
                break :order order;
            });
            const own: @Vector(lanes, u5) = comptime shift: {
                var shift: [lanes]u5 = undefined;
                for (&shift, 0..) |*to, lane| to.* = k * 8 + lane / together * bits;
                break :shift shift;
            };
            const shifted = spread >> own + @as(@Vector(lanes, u5), @splat(@intCast(phase / words * bits)));
            if (comptime picks(value)) return narrow.pick(Numbers(value).all, shifted);
            return @floatFromInt(@as(@Vector(lanes, i32), @bitCast(shifted & @as(@Vector(lanes, u32), @splat(mask(value))))));
        }
    };
}

/// What indices of four bits stand for; codes of two have them again and again.
fn Numbers(comptime value: KvFormat) type {
    return struct {
        const all: Vf = blk: {
            var out: [lanes]f32 = undefined;
            for (&out, 0..) |*to, i| to.* = @floatFromInt(i & mask(value));
            break :blk out;
        };
    };
}
