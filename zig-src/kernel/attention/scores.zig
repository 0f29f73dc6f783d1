//! q · k for a tile of rows and the positions of a block. Sixteen positions stand side by side in
//! keys, so that each score is a lane. Float keys are converted in registers and added up value by
//! value; integers of 4, 5 and 8 bits are multiplied as such with a query that was rounded to 8 bits in
//! blocks of 32.

const std = @import("std");
const dot = @import("../dot.zig");
const layout = @import("../layout.zig");
const narrow = @import("narrow.zig");
const page_layout = @import("page.zig");
const table = @import("../table.zig");
const tile = @import("tile.zig");
const vector = @import("../vector.zig");

const KvFormat = table.KvFormat;
const Vf = vector.Vf;
const lanes = vector.lanes;
const group = page_layout.group;
const unit = page_layout.unit;
/// Vectors that sixteen positions fill.
const vectors = group / lanes;

comptime {
    std.debug.assert(unit == layout.unit);
}

pub const Row = [table.page_len]f32;

/// Groups of sixteen positions that pass together.
fn width(comptime rows: usize) usize {
    return @min(4, @max(1, tile.sums_max / (rows * vectors)));
}

/// Scores of the groups of positions from `from` to `to`. `q` is [dim][rows].
pub fn floats(
    comptime key: KvFormat,
    comptime rows: usize,
    q: [*]const f32,
    page: [*]const u8,
    dim: usize,
    from: usize,
    to: usize,
    scores: *[rows]Row,
    ahead: *tile.Ahead,
) void {
    var g = from;
    // What is left of a page passes together too: a group alone waits for each of its multiply-adds.
    comptime var n = width(rows);
    inline while (n > 0) : (n -= 1) {
        while (to - g >= n) : (g += n) floatGroups(key, rows, n, q, page, dim, g, scores, ahead);
    }
}

fn floatGroups(
    comptime key: KvFormat,
    comptime rows: usize,
    comptime n: usize,
    q: [*]const f32,
    page: [*]const u8,
    dim: usize,
    first: usize,
    scores: *[rows]Row,
    ahead: *tile.Ahead,
) void {
    const bytes = comptime key.bytes();
    const keys = page + first * dim * group * bytes;
    // Values of a head that lie behind each other and are read together.
    const most = comptime @max(1, vector.together(key) / vectors);
    // As in `values.zig`, where a group fills vectors in pairs; two groups in one vector gain nothing from memory.
    const paired = comptime key == .bf16 and vectors % 2 == 0;
    var sums: [rows][n * vectors]Vf = @splat(@splat(@splat(0)));
    var d: usize = 0;
    inline for (if (most == 1) [_]usize{1} else [_]usize{ most, 1 }) |count| {
        while (d + count <= dim) : (d += count) {
            ahead.lines(comptime @max(1, count * n * group * bytes / 64));
            if (paired) {
                const v = pairs(n, keys + d * group * bytes, dim * group * bytes);
                inline for (&sums, 0..) |*row, r| {
                    const one: Vf = @splat(q[d * rows + r]);
                    inline for (row, v) |*sum, of| sum.* = vector.fma(of, one, sum.*);
                }
                continue;
            }
            var k: [n]@Vector(count * group, f32) = undefined;
            inline for (&k, 0..) |*of, i| of.* = vector.loadSteps(key, count * group, keys + (i * dim + d) * group * bytes);
            inline for (0..count) |j| inline for (&sums, 0..) |*row, r| {
                const one: Vf = @splat(q[(d + j) * rows + r]);
                inline for (row, 0..) |*sum, i| {
                    const v = std.simd.extract(k[i / vectors], j * group + i % vectors * lanes, lanes);
                    sum.* = vector.fma(v, one, sum.*);
                }
            };
        }
    }
    if (paired) inline for (&sums) |*row| inline for (0..n * vectors / 2) |i| {
        const both = std.simd.interlace(row[2 * i ..][0..2].*);
        row[2 * i] = std.simd.extract(both, 0, lanes);
        row[2 * i + 1] = std.simd.extract(both, lanes, lanes);
    };
    inline for (&sums, 0..) |*row, r| inline for (row, 0..) |sum, i| {
        const score = if (comptime vector.step(key) == 1) sum else sum * @as(Vf, @splat(vector.step(key)));
        scores[r][first * group + i * lanes ..][0..lanes].* = score;
    };
}

/// One value of the positions of `n` groups, `stride` bytes apart, as bf16: of each two vectors the even positions
/// and then the odd ones.
inline fn pairs(comptime n: usize, at: [*]const u8, stride: usize) [n * vectors]Vf {
    var v: [n * vectors]Vf = undefined;
    inline for (0..n * vectors / 2) |i| {
        const both = vector.read(u32, lanes, at + 2 * i / vectors * stride + 2 * i % vectors * lanes * 2);
        v[2 * i] = @bitCast(both << @splat(16));
        v[2 * i + 1] = @bitCast(both & @as(@Vector(lanes, u32), @splat(0xffff0000)));
    }
    return v;
}

/// The same for integers. `q` is [rows][dim / 32].
pub fn integers(
    comptime key: KvFormat,
    comptime rows: usize,
    q: [*]const layout.Act,
    page: [*]const u8,
    dim: usize,
    from: usize,
    to: usize,
    scores: *[rows]Row,
    ahead: *tile.Ahead,
) void {
    const bits = comptime if (key.narrow()) narrow.keyBits(key) else 8;
    // Of a unit, each with a scale of its own.
    const parts = comptime if (key.narrow()) unit / key.scaleLen() else 1;
    const units = dim / unit;
    for (from * vectors..to * vectors) |v| {
        const position = v * lanes;
        var sums: [rows]Vf = @splat(@splat(0));
        for (0..units) |u| {
            // One line more for the scales, which lie behind all codes of a page.
            ahead.lines(comptime 1 + lanes * unit * key.bits() / 8 / 64);
            const k = keyBytes(key, page, dim, position, u * unit);
            if (comptime key.hasMinimum()) {
                const minimum = vector.load(.f16, lanes, page + page_layout.minimumAt(key, .key, dim, position, u * unit));
                inline for (&sums, 0..) |*sum, r| sum.* = vector.fma(minimum, @as(Vf, @splat(q[r * units + u].factors.sum)), sum.*);
            }
            inline for (0..parts) |part| {
                const quads = layout.quads / parts;
                const at = page_layout.scaleAt(key, .key, dim, position, u * unit + part * (unit / parts));
                const scale = if (comptime key.narrow()) narrow.scales(key, lanes, page + at) else vector.load(.f16, lanes, page + at);
                var of: [rows]*const [quads]i32 = undefined;
                var starts: [rows]dot.Ints = undefined;
                inline for (&of, &starts, 0..) |*row, *begin, r| {
                    row.* = q[r * units + u].q[part * quads ..][0..quads];
                    begin.* = start(key, &q[r * units + u], if (parts == 1) null else part);
                }
                const products = dot.group(bits, .value, quads, rows, &dot.split(bits, .value, k[part * quads ..][0..quads].*), of, starts);
                inline for (&sums, products, 0..) |*sum, product, r| {
                    const exact = @as(Vf, @bitCast(product)) - @as(Vf, @splat(layout.magic_value));
                    sum.* = vector.fma(exact, scale * @as(Vf, @splat(q[r * units + u].factors.d)), sum.*);
                }
            }
        }
        inline for (sums, 0..) |sum, r| scores[r][position..][0..lanes].* = sum;
    }
}

/// A unit of the positions from `position` on as `dot.zig` takes weights: without a sign, or of 8 bits
/// with one.
inline fn keyBytes(comptime key: KvFormat, page: [*]const u8, dim: usize, position: usize, index: usize) [layout.quads]dot.Bytes {
    if (comptime key.narrow()) {
        return narrow.keys(key, page + page_layout.blockAt(key, .key, dim, position, index), position % group);
    }
    const from = page + page_layout.valueAt(key, .key, dim, position, index);
    var k: [layout.quads]dot.Bytes = undefined;
    inline for (&k, 0..) |*quad, j| {
        const stored = vector.read(u8, 4 * lanes, from + j * group * page_layout.word);
        quad.* = if (comptime dot.wantsSigned(8)) stored else stored ^ @as(dot.Bytes, @splat(0x80));
    }
    return k;
}

/// What takes the zero point of the keys off their products, and makes them floats (`layout.magic`): of a
/// unit, or of one half of it.
inline fn start(comptime key: KvFormat, act: *const layout.Act, comptime half: ?usize) dot.Ints {
    const zero = comptime if (key.narrow()) narrow.zero(key) else if (dot.wantsSigned(8)) 0 else 128;
    // Halves are those of keys in E2M1, whose zero point is 12 or 0.
    comptime std.debug.assert(half == null or zero == 12 or zero == 0);
    const ready = comptime if (half == null) 128 else dot.zero_of_half;
    const of_ready = if (half) |h| act.start_half[h] else act.start128;
    return @splat(switch (zero) {
        0 => layout.magic,
        8 => act.start8,
        // The ready zero point, a power of two, divides what its start is away from the magic number.
        12 => layout.magic +% ((of_ready -% layout.magic) >> comptime @ctz(@as(u8, ready))) *% zero,
        16 => act.start8 *% 2 -% layout.magic,
        128 => of_ready,
        else => comptime unreachable,
    });
}
