//! out += weight * value for a tile of rows and the positions of a block, position by position.
//! Values are converted in registers, once for all rows of the tile. Scales are multiplied into the
//! weights, sixteen positions at a time; minimums are added by themselves (`minimums.zig`).

const std = @import("std");
const minimums = @import("minimums.zig");
const narrow = @import("narrow.zig");
const page_layout = @import("page.zig");
const table = @import("../table.zig");
const tile = @import("tile.zig");
const vector = @import("../vector.zig");

const KvFormat = table.KvFormat;
const Vf = vector.Vf;
const lanes = vector.lanes;
const page_len = table.page_len;
const unit = page_layout.unit;
const Row = [page_len]f32;

/// Vectors of a value that stay in registers together: a power of two, so that units of 32 stay whole.
pub fn width(comptime rows: usize) usize {
    return std.math.floorPowerOfTwo(usize, @min(8, tile.sums_max / rows));
}

pub fn accumulate(
    comptime value: KvFormat,
    comptime rows: usize,
    page: [*]const u8,
    dim: usize,
    weights: *const [rows]Row,
    from: usize,
    to: usize,
    out: *const [rows][*]f32,
    ahead: *tile.Ahead,
) void {
    const units = comptime @max(1, width(rows) * lanes / unit);
    var scaled: [units][rows]Row align(64) = undefined;
    var stepped: [*]const [rows]Row = @ptrCast(weights);
    if (comptime vector.step(value) != 1) {
        const factor: Vf = @splat(vector.step(value));
        for (from / lanes..(to + lanes - 1) / lanes) |j| inline for (0..rows) |r| {
            scaled[0][r][j * lanes ..][0..lanes].* = @as(Vf, weights[r][j * lanes ..][0..lanes].*) * factor;
        };
        stepped = &scaled;
    }
    var i: usize = 0;
    comptime var n = width(rows);
    inline while (n > 0) : (n /= 2) {
        while (i + n * lanes <= dim) : (i += n * lanes) {
            if (comptime value.scaled()) {
                if (i % unit == 0) scaleWeights(value, rows, @max(1, n * lanes / unit), page, dim, i, weights, from, to, &scaled, ahead);
                add(value, rows, lanes, n, page, dim, i, &scaled, from, to, out, ahead);
            } else add(value, rows, lanes, n, page, dim, i, stepped, from, to, out, ahead);
        }
    }
    // Formats with scales have no such rest: its heads are multiples of 32.
    if (comptime value.scaled()) return;
    while (i < dim) : (i += 1) add(value, rows, 1, 1, page, dim, i, stepped, from, to, out, ahead);
}

/// Weights times the scales of `units` times 32 or 16 values from value `index` on.
fn scaleWeights(
    comptime value: KvFormat,
    comptime rows: usize,
    comptime units: usize,
    page: [*]const u8,
    dim: usize,
    index: usize,
    weights: *const [rows]Row,
    from: usize,
    to: usize,
    scaled: [*][rows]Row,
    ahead: *tile.Ahead,
) void {
    const len = comptime if (value.narrow()) value.scaleLen() else unit;
    for (from / lanes..(to + lanes - 1) / lanes) |v| {
        ahead.lines(comptime @max(1, units * lanes * value.termBytes() / 64));
        inline for (0..units) |u| {
            const at = page + page_layout.scaleAt(value, .value, dim, v * lanes, index + u * len);
            const scale = if (comptime value.narrow()) narrow.scales(value, lanes, at) else vector.load(.f16, lanes, at);
            inline for (0..rows) |r| {
                scaled[u][r][v * lanes ..][0..lanes].* = @as(Vf, weights[r][v * lanes ..][0..lanes].*) * scale;
            }
        }
    }
}

inline fn add(
    comptime value: KvFormat,
    comptime rows: usize,
    comptime n: usize,
    comptime count: usize,
    page: [*]const u8,
    dim: usize,
    index: usize,
    weights: [*]const [rows]Row,
    from: usize,
    to: usize,
    out: *const [rows][*]f32,
    ahead: *tile.Ahead,
) void {
    const F = @Vector(n, f32);
    const bytes = comptime value.bytes();
    const at_once = comptime @min(count, vector.together(value));
    // Pairs of bf16 are two f32 but for a shift and a mask: every second value of two vectors goes into each.
    const paired = comptime value == .bf16 and count % 2 == 0;
    var sums: [rows][count]F = undefined;
    inline for (&sums, 0..) |*row, r| {
        inline for (row, 0..) |*sum, i| sum.* = out[r][index + i * n ..][0..n].*;
        if (paired) inline for (0..count / 2) |i| {
            row[2 * i ..][0..2].* = std.simd.deinterlace(2, std.simd.join(row[2 * i], row[2 * i + 1]));
        };
    }
    for (from..to) |position| {
        const at = page + page_layout.valueAt(value, .value, dim, position, index);
        ahead.lines(comptime @max(1, count * n * bytes / 64));
        var v: [count]F = undefined;
        if (paired) {
            inline for (0..count / 2) |i| {
                const pairs = vector.read(u32, n, at + 2 * i * n * bytes);
                v[2 * i] = @bitCast(pairs << @splat(16));
                v[2 * i + 1] = @bitCast(pairs & @as(@Vector(n, u32), @splat(0xffff0000)));
            }
        } else {
            inline for (0..count / at_once) |i| {
                const together = vector.loadSteps(value, at_once * n, at + i * at_once * n * bytes);
                inline for (0..at_once) |j| v[i * at_once + j] = std.simd.extract(together, j * n, n);
            }
        }
        inline for (&sums, 0..) |*row, r| inline for (row, 0..) |*sum, i| {
            const u = if (comptime value.scaled()) i * n / unit else 0;
            sum.* = vector.fma(v[i], @as(F, @splat(weights[u][r][position])), sum.*);
        };
    }
    inline for (&sums, 0..) |*row, r| {
        if (paired) inline for (0..count / 2) |i| {
            const both = std.simd.interlace(row[2 * i ..][0..2].*);
            row[2 * i] = std.simd.extract(both, 0, n);
            row[2 * i + 1] = std.simd.extract(both, n, n);
        };
        inline for (row, 0..) |sum, i| out[r][index + i * n ..][0..n].* = sum;
    }
}

/// Columns of a unit: lanes of its blocks. A vector of codes holds four positions of a column, in two
/// halves that lie `group` values apart.
const columns = page_layout.group / lanes;
const quad = narrow.quad;

/// The same for 4 and 5 bits. Positions are added up in their order here too, four from one vector of
/// codes.
pub fn accumulateNarrow(
    comptime value: KvFormat,
    comptime rows: usize,
    page: [*]const u8,
    dim: usize,
    weights: *const [rows]Row,
    from: usize,
    to: usize,
    out: *const [rows][*]f32,
    ahead: *tile.Ahead,
) void {
    @setEvalBranchQuota(1_000_000);
    const most = comptime width(rows) / 2;
    const parts = comptime unit / value.scaleLen();
    var scaled: [parts * @max(1, most / columns)][rows]Row align(64) = undefined;
    const total = dim / unit * columns;
    var column: usize = 0;
    comptime var n = most;
    inline while (n > 0) : (n /= 2) {
        const units = comptime @max(1, n / columns);
        while (column + n <= total) : (column += n) {
            const index = column / columns * unit;
            if (column % columns == 0) scaleWeights(value, rows, parts * units, page, dim, index, weights, from, to, &scaled, ahead);
            const part: Part(value, rows, n) = .{
                .blocks = page + page_layout.blockAt(value, .value, dim, 0, index),
                .lane = column % columns * lanes,
                .weights = &scaled,
            };
            part.add(index, from, to, out, ahead);
        }
    }
}

/// What code 0 of values at positions [from, to) adds to a row, in formats that have minimums.
pub fn addMinimums(value: KvFormat, page: [*]const u8, dim: usize, weights: *const Row, from: usize, to: usize, out: [*]f32) void {
    var index: usize = 0;
    while (index < dim) : (index += unit) {
        const group: minimums.Group = .{ .at = page + page_layout.minimumAt(value, .value, dim, 0, index) };
        group.add(weights, from, to, out[index..][0..unit]);
    }
}

/// `n` columns that stay in registers together.
fn Part(comptime value: KvFormat, comptime rows: usize, comptime n: usize) type {
    return struct {
        /// Of the first unit.
        blocks: [*]const u8,
        /// The first of the first column.
        lane: usize,
        /// Of each scale of a unit, times it.
        weights: [*]const [rows]Row,

        const Self = @This();
        const Sums = [rows][n][2]Vf;

        inline fn add(part: Self, index: usize, from: usize, to: usize, out: *const [rows][*]f32, ahead: *tile.Ahead) void {
            var sums: Sums = undefined;
            inline for (&sums, out) |*row, of| inline for (row, 0..) |*both, i| inline for (both, 0..) |*sum, half| {
                sum.* = of[part.valueAt(index, i, half)..][0..lanes].*;
            };
            var position = from;
            while (position < to and position % quad != 0) : (position += 1) part.one(position, &sums);
            while (position + quad <= to) : (position += quad) {
                ahead.lines(comptime @max(1, n * quad * 2 * lanes * value.bits() / 8 / 64));
                const codes = part.read(position);
                inline for (0..quad) |k| part.step(&codes, k, position + k, &sums);
            }
            while (position < to) : (position += 1) part.one(position, &sums);
            inline for (sums, out) |row, of| inline for (row, 0..) |both, i| inline for (both, 0..) |sum, half| {
                of[part.valueAt(index, i, half)..][0..lanes].* = sum;
            };
        }

        inline fn valueAt(part: Self, index: usize, comptime i: usize, comptime half: usize) usize {
            return index + i / columns * unit + half * page_layout.group + part.lane + i % columns * lanes;
        }

        /// The codes of the four positions from `position` on.
        inline fn read(part: Self, position: usize) [n][2]narrow.Words {
            const block = part.blocks + position / page_layout.group * narrow.blockBytes(value);
            const v = position % page_layout.group / quad;
            var codes: [n][2]narrow.Words = undefined;
            inline for (&codes, 0..) |*both, i| {
                const of_unit = block + i / columns * (page_len / page_layout.group) * comptime narrow.blockBytes(value);
                both.* = narrow.words(value, of_unit, v, part.lane + i % columns * lanes);
            }
            return codes;
        }

        /// A position whose neighbours are not wanted.
        inline fn one(part: Self, position: usize, sums: *Sums) void {
            var codes = part.read(position / quad * quad);
            const shift: @Vector(lanes, u5) = @splat(@intCast(position % quad * 8));
            inline for (&codes) |*both| inline for (both) |*word| {
                word.* >>= shift;
            };
            part.step(&codes, 0, position, sums);
        }

        inline fn step(part: Self, codes: *const [n][2]narrow.Words, comptime k: usize, position: usize, sums: *Sums) void {
            inline for (codes, 0..) |*both, i| inline for (both, 0..) |word, half| {
                const u = i / columns;
                const number = narrow.value(value, word, k);
                inline for (sums, 0..) |*row, r| {
                    // The halves of a unit may have scales of their own.
                    const own = if (comptime unit / value.scaleLen() == 2) 2 * u + half else u;
                    const weight = part.weights[own][r][position];
                    row[i][half] = vector.fma(number, @as(Vf, @splat(weight)), row[i][half]);
                }
            };
        }
    };
}
