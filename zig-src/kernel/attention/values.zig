//! out += weight * value for a tile of rows and the positions of a block, position by position.
//! Values are converted in registers, once for all rows of the tile. The scales of q8_0 are
//! multiplied into the weights, sixteen positions at a time.

const std = @import("std");
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

/// Vectors of a value that stay in registers together.
fn width(comptime rows: usize) usize {
    return @min(8, tile.sums_max / rows);
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
    var i: usize = 0;
    comptime var n = width(rows);
    inline while (n > 0) : (n /= 2) {
        while (i + n * lanes <= dim) : (i += n * lanes) {
            if (comptime value.scaled()) {
                if (i % unit == 0) scaleWeights(rows, @max(1, n * lanes / unit), page, dim, i, weights, from, to, &scaled);
                add(value, rows, lanes, n, page, dim, i, &scaled, from, to, out, ahead);
            } else add(value, rows, lanes, n, page, dim, i, @ptrCast(weights), from, to, out, ahead);
        }
    }
    // Formats with scales have no such rest: its heads are multiples of 32.
    if (comptime value.scaled()) return;
    while (i < dim) : (i += 1) add(value, rows, 1, 1, page, dim, i, @ptrCast(weights), from, to, out, ahead);
}

/// Weights times the scales of `units` blocks of 32 values from value `index` on.
fn scaleWeights(
    comptime rows: usize,
    comptime units: usize,
    page: [*]const u8,
    dim: usize,
    index: usize,
    weights: *const [rows]Row,
    from: usize,
    to: usize,
    scaled: [*][rows]Row,
) void {
    for (from / lanes..(to + lanes - 1) / lanes) |v| {
        inline for (0..units) |u| {
            const scale = vector.load(.f16, lanes, page + page_layout.scaleAt(.value, dim, v * lanes, index + u * unit));
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
    var sums: [rows][count]F = undefined;
    inline for (&sums, 0..) |*row, r| inline for (row, 0..) |*sum, i| {
        sum.* = out[r][index + i * n ..][0..n].*;
    };
    for (from..to) |position| {
        const at = page + page_layout.valueAt(value, .value, dim, position, index);
        ahead.lines(comptime @max(1, count * n * bytes / 64));
        var v: [count]F = undefined;
        inline for (&v, 0..) |*part, i| part.* = vector.load(value, n, at + i * n * bytes);
        inline for (&sums, 0..) |*row, r| inline for (row, 0..) |*sum, i| {
            const u = if (comptime value.scaled()) i * n / unit else 0;
            sum.* = vector.fma(v[i], @as(F, @splat(weights[u][r][position])), sum.*);
        };
    }
    inline for (sums, 0..) |row, r| inline for (row, 0..) |sum, i| {
        out[r][index + i * n ..][0..n].* = sum;
    };
}
