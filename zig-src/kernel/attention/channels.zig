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
//! `channel_keys.zig` multiplies queries with keys. Weights are multiplied with the scales of values here, and
//! with their minimums once for a block (`minimums.zig`).

const std = @import("std");
const layout = @import("../layout.zig");
const minimums_file = @import("minimums.zig");
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
pub const beside = 16;
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

pub fn mask(format: KvFormat) u8 {
    return @intCast((@as(u16, 1) << @intCast(format.bits())) - 1);
}

/// The code in the middle.
pub fn zero(format: KvFormat) f32 {
    return @floatFromInt(@as(u16, 1) << @intCast(format.bits() - 1));
}

fn half(at: [*]const u8) f32 {
    return vector.load(.f16, 1, at)[0];
}

/// The values of positions [from, to) as they were stored: [to - from][dim].
pub fn readRange(kind: Kind, page: [*]const u8, from: usize, to: usize, out: [*]f32) void {
    switch (kind.format) {
        inline else => |format| if (comptime format.grouped()) switch (kind.side) {
            inline else => |side| for (from..to) |position| {
                var index: usize = 0;
                while (index < kind.dim) : (index += unit) {
                    out[(position - from) * kind.dim + index ..][0..unit].* = readUnit(format, side, kind, page, position, index);
                }
            },
        } else unreachable,
    }
    if (kind.options.outliers != 0) outliers.overlay(kind, page, from, to, out);
}

/// 32 values of a position, as `Kind.value` has them.
inline fn readUnit(comptime format: KvFormat, comptime side: Side, kind: Kind, page: [*]const u8, position: usize, index: usize) Unit {
    const codes: Unit = @floatFromInt(readCodes(format, side, kind, page, position, index));
    const scales = readTerms(side, page + kind.scaleAt(position, index));
    if (!kind.hasMinimum()) return vector.fma(codes, scales, scales * @as(Unit, @splat(comptime -zero(format))));
    return vector.fma(codes, scales, readTerms(side, page + kind.minimumAt(position, index)));
}

/// Of each channel, or of a group of values.
inline fn readTerms(comptime side: Side, at: [*]const u8) Unit {
    return if (side == .key) vector.load(.f16, unit, at) else @splat(half(at));
}

/// The codes of a unit in the order of their values.
inline fn readCodes(comptime format: KvFormat, comptime side: Side, kind: Kind, page: [*]const u8, position: usize, index: usize) @Vector(unit, u8) {
    const bits = comptime format.bits();
    const at, _ = kind.codeAt(position, index);
    if (side == .value and bits == 8) return vector.read(u8, unit, page + at);
    // Of keys a word of each vector has codes of four values; of values each word a byte of the position.
    const words = comptime if (side == .key) bits else 4 * bits;
    var bytes: [words]if (side == .key) u32 else u8 = undefined;
    inline for (&bytes, 0..) |*of, i| of.* = if (side == .key) @bitCast(page[at + i * 4 * beside ..][0..4].*) else page[at + i * quad];
    const stored: @Vector(4 * bits, u8) = @bitCast(bytes);
    var codes: [8 / bits]@Vector(4 * bits, u8) = undefined;
    inline for (&codes, 0..) |*of, i| of.* = stored >> @splat(i * bits) & @as(@Vector(4 * bits, u8), @splat(comptime mask(format)));
    return @bitCast(codes);
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

/// out += weight * scale * code for a tile of rows and positions [from, to), position by position; without
/// minimums and outliers.
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
    const most = comptime std.math.floorPowerOfTwo(usize, @min(8, tile.sums_max / rows));
    const of_unit: usize = unit / lanes;
    var scaled: [@max(1, most / of_unit)][rows]Row align(64) = undefined;
    var index: usize = 0;
    comptime var n = most;
    // Down to whole units, where a tile is not as narrow as that.
    inline while (n >= comptime @min(most, of_unit)) : (n /= 2) {
        while (index + n * lanes <= kind.dim) : (index += n * lanes) {
            if (index % unit == 0) inline for (0..@max(1, n / of_unit)) |u| {
                scaleWeights(rows, kind, page, index + u * unit, weights, from, to, &scaled[u]);
            };
            const columns: Columns(value, rows, n) = .{ .codes = page, .index = index, .weights = &scaled };
            columns.add(from, to, out, ahead);
        }
    }
}

/// Weights times the scales of a unit of values at positions [from, to).
fn scaleWeights(
    comptime rows: usize,
    kind: Kind,
    page: [*]const u8,
    index: usize,
    weights: *const [rows]Row,
    from: usize,
    to: usize,
    scaled: *[rows]Row,
) void {
    for (from / lanes..(to + lanes - 1) / lanes) |v| {
        const scales = vector.load(.f16, lanes, page + kind.scaleAt(v * lanes, index));
        inline for (scaled, weights) |*row, weight| {
            row[v * lanes ..][0..lanes].* = @as(Vf, weight[v * lanes ..][0..lanes].*) * scales;
        }
    }
}

/// What code 0 of values at positions [from, to) adds to a row, which is where symmetric ones have their zero.
pub fn addMinimums(kind: Kind, page: [*]const u8, weights: *const Row, from: usize, to: usize, out: [*]f32) void {
    const len = kind.group();
    var index: usize = 0;
    while (index < kind.dim) : (index += len) {
        const group: minimums_file.Group = if (kind.hasMinimum())
            .{ .at = page + kind.minimumAt(0, index) }
        else
            .{ .at = page + kind.scaleAt(0, index), .factor = -zero(kind.format) };
        group.add(weights, from, to, out[index..][0..len]);
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
        /// Of each unit, times its scales.
        weights: [*]const [rows]Row,

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
            inline for (&v, 0..) |*to, i| to.* = of.numbers(first, i, k);
            inline for (sums, 0..) |*row, r| inline for (row, v, 0..) |*sum, number, i| {
                sum.* = vector.fma(number, @as(Vf, @splat(of.weights[i * lanes / unit][r][position])), sum.*);
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
