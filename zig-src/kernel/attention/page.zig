//! How the keys and the values of one KV head lie in one page of the cache, for every format: the
//! one place that knows. Positions count from the start of the page, `table.page_len` of them.
//!
//! Keys stand sixteen positions side by side, so that a vector of scores grows value by value of
//! the head without a sum across its lanes. Values stand position by position: an output grows
//! position by position. q8_0 is signed integers with one f16 scale for 32 values of a head; the
//! scales follow all integers of the page, so that both are read as vectors.
//!
//!     keys    floats           [position / 16][value][position % 16]
//!             q8_0             [position / 16][value / 4][position % 16][value % 4], then
//!                              scales [position / 16][value / 32][position % 16]
//!     values  floats           [position][value]
//!             q8_0             [position][value], then scales [value / 32][position]

const std = @import("std");
const f8 = @import("../f8.zig");
const table = @import("../table.zig");
const vector = @import("../vector.zig");

const KvFormat = table.KvFormat;
const Side = table.KvSide;
const page_len = table.page_len;

/// Positions side by side in keys.
pub const group = 16;
/// Values of a head that share a scale.
pub const unit = 32;
/// Values in a word of keys of q8_0.
pub const word = 4;

/// Where a value, without its scale, begins. A word of q8_0 is contiguous.
pub fn valueAt(format: KvFormat, side: Side, dim: usize, position: usize, index: usize) usize {
    const at = switch (side) {
        .value => position * dim + index,
        .key => at: {
            const first = position / group * group * dim;
            const lane = position % group;
            if (!format.scaled()) break :at first + index * group + lane;
            break :at first + index / word * word * group + lane * word + index % word;
        },
    };
    return at * format.bytes();
}

/// Where the f16 scale of value `index` begins, in q8_0.
pub fn scaleAt(side: Side, dim: usize, position: usize, index: usize) usize {
    const units = dim / unit;
    const at = switch (side) {
        .value => index / unit * page_len + position,
        .key => (position / group * units + index / unit) * group + position % group,
    };
    return page_len * dim + 2 * at;
}

/// Of one KV head in one page, scales included.
pub fn bytes(format: KvFormat, dim: usize) usize {
    const scales = if (format.scaled()) dim / unit * 2 else 0;
    return page_len * (dim * format.bytes() + scales);
}

/// The values of one position as they were stored.
pub fn read(format: KvFormat, side: Side, page: [*]const u8, position: usize, out: []f32) void {
    const dim = out.len;
    std.debug.assert(position < page_len);
    switch (format) {
        inline else => |tag| for (out, 0..) |*value, i| {
            value.* = vector.load(tag, 1, page + valueAt(tag, side, dim, position, i))[0];
            if (!tag.scaled()) continue;
            value.* *= vector.load(.f16, 1, page + scaleAt(side, dim, position, i))[0];
        },
    }
}

/// The same for positions [from, to): [to - from][dim].
pub fn readRange(format: KvFormat, side: Side, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]f32) void {
    std.debug.assert(from <= to and to <= page_len);
    switch (format) {
        inline else => |tag| switch (side) {
            .key => readKeys(tag, page, dim, from, to, out),
            .value => for (from..to) |position| readValue(tag, page, dim, position, out + (position - from) * dim),
        },
    }
}

/// Sixteen positions at a time, as they lie.
fn readKeys(comptime format: KvFormat, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]f32) void {
    for (from / group..(to + group - 1) / group) |g| {
        const first = @max(from, g * group);
        const last = @min(to, (g + 1) * group);
        for (0..dim) |index| {
            var values: [group]f32 = undefined;
            if (comptime format.scaled()) {
                const scales: [group]f32 = vector.load(.f16, group, page + scaleAt(.key, dim, g * group, index));
                for (&values, scales, 0..) |*value, scale, p| {
                    value.* = vector.load(format, 1, page + valueAt(format, .key, dim, g * group + p, index))[0] * scale;
                }
            } else values = vector.load(format, group, page + valueAt(format, .key, dim, g * group, index));
            for (first..last) |position| out[(position - from) * dim + index] = values[position - g * group];
        }
    }
}

fn readValue(comptime format: KvFormat, page: [*]const u8, dim: usize, position: usize, out: [*]f32) void {
    const at = page + valueAt(format, .value, dim, position, 0);
    var i: usize = 0;
    while (i < dim) {
        // A scale belongs to so many; the rest of a head without scales goes one by one.
        const n = unit;
        if (i + n <= dim) {
            var values = vector.load(format, n, at + i * format.bytes());
            if (comptime format.scaled()) {
                values *= @splat(vector.load(.f16, 1, page + scaleAt(.value, dim, position, i))[0]);
            }
            out[i..][0..n].* = values;
            i += n;
        } else {
            out[i] = vector.load(format, 1, at + i * format.bytes())[0];
            i += 1;
        }
    }
}

/// The codes of positions [from, to) without their scales, position by position.
pub fn readCodes(format: KvFormat, side: Side, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]u8) void {
    const size = format.bytes();
    for (from..to) |position| for (0..dim) |index| {
        const to_byte = ((position - from) * dim + index) * size;
        @memcpy(out[to_byte..][0..size], page[valueAt(format, side, dim, position, index)..][0..size]);
    };
}

/// The f16 scales of positions [from, to), where the format has some: [to - from][dim / unit].
pub fn readScales(side: Side, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]u8) void {
    for (from..to) |position| for (0..dim / unit) |u| {
        const at = ((position - from) * (dim / unit) + u) * 2;
        @memcpy(out[at..][0..2], page[scaleAt(side, dim, position, u * unit)..][0..2]);
    };
}

/// Rounds one position's values to the format.
pub fn store(format: KvFormat, side: Side, x: []const f32, page: [*]u8, position: usize) void {
    std.debug.assert(position < page_len);
    if (format.scaled()) {
        std.debug.assert(x.len % unit == 0);
        var i: usize = 0;
        while (i < x.len) : (i += unit) storeUnit(side, x.len, x[i..][0..unit].*, page, position, i);
    } else switch (format) {
        inline else => |tag| if (comptime !tag.scaled()) storeFloats(tag, side, x, page, position),
    }
}

fn storeFloats(comptime format: KvFormat, side: Side, x: []const f32, page: [*]u8, position: usize) void {
    const Bits = @Int(.unsigned, 8 * format.bytes());
    var i: usize = 0;
    while (i < x.len) : (i += unit) {
        const left = @min(unit, x.len - i);
        var values: [unit]f32 = undefined;
        @memcpy(values[0..left], x[i..][0..left]);
        const bits: [unit]Bits = switch (format) {
            .f32 => @bitCast(values),
            .f16 => vector.toF16(unit, values),
            .bf16 => vector.toBf16(unit, values),
            .f8_e4m3 => f8.to(.e4m3, unit, values),
            .f8_e5m2 => f8.to(.e5m2, unit, values),
            else => comptime unreachable,
        };
        for (bits[0..left], i..) |b, index| {
            const to: *align(1) Bits = @ptrCast(page + valueAt(format, side, x.len, position, index));
            to.* = b;
        }
    }
}

/// The integers and the scale are those of the encoder in `quant/q8_0.zig`: NaN counts as 0, and
/// values are limited to what an f16 can hold.
fn storeUnit(side: Side, dim: usize, given: @Vector(unit, f32), page: [*]u8, position: usize, index: usize) void {
    const F = @Vector(unit, f32);
    const limit: F = @splat(std.math.floatMax(f16));
    const numbers = @select(f32, given == given, given, @as(F, @splat(0)));
    const x = @min(@max(numbers, -limit), limit);
    const d = @reduce(.Max, @abs(x)) / 127;
    const raw = 1 / d;
    const inverse: f32 = if (std.math.isFinite(raw)) raw else 0;
    // Halves are rounded away from zero; what is below a half must not become one by the addition.
    const scaled = @abs(x * @as(F, @splat(inverse)));
    const floor = @trunc(scaled);
    const up = @select(f32, scaled - floor >= @as(F, @splat(0.5)), @as(F, @splat(1)), @as(F, @splat(0)));
    const size: @Vector(unit, i32) = @intFromFloat(@min(floor + up, @as(F, @splat(127))));
    const signed: [unit]u8 = @bitCast(@as(@Vector(unit, i8), @intCast(@select(i32, x < @as(F, @splat(0)), -size, size))));
    const scale: *align(1) f16 = @ptrCast(page + scaleAt(side, dim, position, index));
    scale.* = @floatCast(d);
    var i: usize = 0;
    while (i < unit) : (i += word) {
        page[valueAt(.q8_0, side, dim, position, index + i)..][0..word].* = signed[i..][0..word].*;
    }
}
