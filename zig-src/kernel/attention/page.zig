//! How the keys and the values of one KV head lie in one page of the cache, for every format: the
//! one place that knows. Positions count from the start of the page, `table.page_len` of them.
//!
//! Keys stand sixteen positions side by side, so that a vector of scores grows value by value of
//! the head without a sum across its lanes. Values stand position by position: an output grows
//! position by position. Integers have one f16 scale for 32 values of a head, or for all of them (int8),
//! and some an f16 minimum; these follow all integers of the page, so that both are read as vectors.
//!
//!     keys    floats           [position / 16][value][position % 16]
//!             q8_0, int8       [position / 16][value / 4][position % 16][value % 4]
//!             4 and 5 bits     [position / 16][value / 32] blocks of `narrow.zig`: a lane is a
//!                              position, a byte value % 4, a vector and its half value / 4
//!             scales, minimums [position / 16][value / 32][position % 16]; int8 has one: value / 32 is 0
//!     values  floats, 8 bits   [position][value]
//!             4 and 5 bits     [value / 32][position / 16] blocks: a lane is value % 16, a half
//!                              value / 16, a byte position % 4, a vector position / 4
//!             scales, minimums [value / 32][position]

const std = @import("std");
const f8 = @import("../f8.zig");
const groups = @import("../../quant/shared/groups.zig");
const narrow = @import("narrow.zig");
const table = @import("../table.zig");
const vector = @import("../vector.zig");

const KvFormat = table.KvFormat;
const Side = table.KvSide;
const page_len = table.page_len;

/// Positions side by side in keys.
pub const group = 16;
/// Values of a head that share a scale.
pub const unit = 32;
/// Codes in a word of keys of q8_0, and of blocks.
pub const word = 4;

/// Where a value of whole bytes, without its scale, begins. A word of q8_0 is contiguous.
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

/// Where the block of a position and a value of 4 or 5 bits begins.
pub fn blockAt(format: KvFormat, side: Side, dim: usize, position: usize, index: usize) usize {
    const at = switch (side) {
        .key => position / group * (dim / unit) + index / unit,
        .value => index / unit * (page_len / group) + position / group,
    };
    return at * narrow.blockBytes(format);
}

/// Where the bits of a code of 4 or 5 bits are.
pub const Place = struct {
    byte: usize,
    half: u1,
    /// Of the fifth bit, if there is one.
    fifth_byte: usize,
    fifth_bit: u3,
};

pub fn codeAt(format: KvFormat, side: Side, dim: usize, position: usize, index: usize) Place {
    const p = position % group;
    const i = index % unit;
    const half = i / (unit / 2);
    const block = blockAt(format, side, dim, position, index);
    const fifth = block + narrow.vectors * narrow.line + p * word;
    // Threads store different positions: no byte belongs to two of them.
    return switch (side) {
        .key => .{
            .byte = block + i / word % narrow.vectors * narrow.line + p * word + i % word,
            .half = @intCast(half),
            .fifth_byte = fifth + i % word,
            .fifth_bit = @intCast(i / word),
        },
        .value => .{
            .byte = block + p / word * narrow.line + i % group * word + p % word,
            .half = @intCast(half),
            .fifth_byte = fifth + i / 8,
            .fifth_bit = @intCast(i % 8),
        },
    };
}

/// How many scales a head has.
pub fn scaleCount(format: KvFormat, dim: usize) usize {
    return if (format == .int8) 1 else dim / unit;
}

/// Where the f16 scale of value `index` begins.
pub fn scaleAt(format: KvFormat, side: Side, dim: usize, position: usize, index: usize) usize {
    const units = scaleCount(format, dim);
    const u = if (units == 1) 0 else index / unit;
    const at = switch (side) {
        .value => u * page_len + position,
        .key => (position / group * units + u) * group + position % group,
    };
    return page_len * dim * format.bits() / 8 + 2 * at;
}

/// Where the f16 minimum of value `index` begins.
pub fn minimumAt(format: KvFormat, side: Side, dim: usize, position: usize, index: usize) usize {
    return scaleAt(format, side, dim, position, index) + page_len * scaleCount(format, dim) * 2;
}

/// Of one KV head in one page, scales and minimums included.
pub fn bytes(format: KvFormat, dim: usize) usize {
    const terms = @as(usize, @intFromBool(format.scaled())) + @intFromBool(format.hasMinimum());
    return page_len * (dim * format.bits() / 8 + terms * scaleCount(format, dim) * 2);
}

/// The values of one position as they were stored.
pub fn read(format: KvFormat, side: Side, page: [*]const u8, position: usize, out: []f32) void {
    const dim = out.len;
    std.debug.assert(position < page_len);
    switch (format) {
        inline else => |tag| if (comptime tag.narrow()) {
            for (0..dim / unit) |u| out[u * unit ..][0..unit].* = readUnit(tag, side, page, dim, position, u * unit);
        } else for (out, 0..) |*value, i| {
            value.* = vector.load(tag, 1, page + valueAt(tag, side, dim, position, i))[0];
            if (!tag.scaled()) continue;
            value.* *= halfFloat(page + scaleAt(tag, side, dim, position, i));
        },
    }
}

/// The same for positions [from, to): [to - from][dim].
pub fn readRange(format: KvFormat, side: Side, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]f32) void {
    std.debug.assert(from <= to and to <= page_len);
    switch (format) {
        inline else => |tag| if (comptime tag.narrow()) {
            for (from..to) |position| read(tag, side, page, position, out[(position - from) * dim ..][0..dim]);
        } else switch (side) {
            .key => readKeys(tag, page, dim, from, to, out),
            .value => for (from..to) |position| readValue(tag, page, dim, position, out + (position - from) * dim),
        },
    }
}

/// Products and sums are rounded one after the other, as the format's own decoder does it.
fn readUnit(comptime format: KvFormat, side: Side, page: [*]const u8, dim: usize, position: usize, index: usize) [unit]f32 {
    var values: @Vector(unit, f32) = undefined;
    inline for (0..unit) |i| values[i] = narrow.number(format, readCode(format, side, page, dim, position, index + i));
    values *= @splat(halfFloat(page + scaleAt(format, side, dim, position, index)));
    if (format.hasMinimum()) values += @splat(halfFloat(page + minimumAt(format, side, dim, position, index)));
    return values;
}

fn readCode(format: KvFormat, side: Side, page: [*]const u8, dim: usize, position: usize, index: usize) u8 {
    const at = codeAt(format, side, dim, position, index);
    const low = page[at.byte] >> @as(u3, at.half) * 4 & 15;
    return if (format.bits() == 5) low | (page[at.fifth_byte] >> at.fifth_bit & 1) << 4 else low;
}

fn halfFloat(at: [*]const u8) f32 {
    return vector.load(.f16, 1, at)[0];
}

/// Sixteen positions at a time, as they lie.
fn readKeys(comptime format: KvFormat, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]f32) void {
    for (from / group..(to + group - 1) / group) |g| {
        const first = @max(from, g * group);
        const last = @min(to, (g + 1) * group);
        for (0..dim) |index| {
            var values: [group]f32 = undefined;
            if (comptime format.scaled()) {
                const scales: [group]f32 = vector.load(.f16, group, page + scaleAt(format, .key, dim, g * group, index));
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
                values *= @splat(halfFloat(page + scaleAt(format, .value, dim, position, i)));
            }
            out[i..][0..n].* = values;
            i += n;
        } else {
            out[i] = vector.load(format, 1, at + i * format.bytes())[0];
            i += 1;
        }
    }
}

/// The codes of positions [from, to) without their scales, position by position; one of 4 or 5 bits
/// becomes a byte.
pub fn readCodes(format: KvFormat, side: Side, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]u8) void {
    const size = codeBytes(format);
    for (from..to) |position| for (0..dim) |index| {
        const to_byte = ((position - from) * dim + index) * size;
        if (format.narrow()) {
            out[to_byte] = readCode(format, side, page, dim, position, index);
        } else @memcpy(out[to_byte..][0..size], page[valueAt(format, side, dim, position, index)..][0..size]);
    };
}

/// Bytes of a code that `readCodes` writes.
pub fn codeBytes(format: KvFormat) usize {
    return if (format.narrow()) 1 else format.bytes();
}

pub const Term = enum { scale, minimum };

/// The f16 scales or minimums of positions [from, to), where the format has some: [to - from][scales].
pub fn readTerms(term: Term, format: KvFormat, side: Side, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]u8) void {
    const count = scaleCount(format, dim);
    for (from..to) |position| for (0..count) |u| {
        const at = ((position - from) * count + u) * 2;
        const stored = switch (term) {
            .scale => scaleAt(format, side, dim, position, u * unit),
            .minimum => minimumAt(format, side, dim, position, u * unit),
        };
        @memcpy(out[at..][0..2], page[stored..][0..2]);
    };
}

/// Rounds one position's values to the format.
pub fn store(format: KvFormat, side: Side, x: []const f32, page: [*]u8, position: usize) void {
    std.debug.assert(position < page_len);
    switch (format) {
        inline else => |tag| if (comptime tag.scaled()) storeUnits(tag, side, x, page, position) else storeFloats(tag, side, x, page, position),
    }
}

fn storeUnits(comptime format: KvFormat, side: Side, x: []const f32, page: [*]u8, position: usize) void {
    std.debug.assert(x.len % unit == 0);
    const of_head = if (format == .int8) largest(x) else 0;
    var i: usize = 0;
    while (i < x.len) : (i += unit) {
        if (comptime !format.narrow()) {
            const values = within(x[i..][0..unit].*);
            const of_unit = if (format == .int8) of_head else @reduce(.Max, @abs(values));
            storeUnit(format, side, x.len, values, of_unit, page, position, i);
        } else storeNarrow(format, side, x.len, x[i..][0..unit], page, position, i);
    }
}

/// The largest magnitude of a head.
fn largest(x: []const f32) f32 {
    var found: f32 = 0;
    var i: usize = 0;
    while (i < x.len) : (i += unit) found = @max(found, @reduce(.Max, @abs(within(x[i..][0..unit].*))));
    return found;
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

/// NaN counts as 0, and values are limited to what an f16 can hold.
fn within(given: @Vector(unit, f32)) @Vector(unit, f32) {
    const F = @Vector(unit, f32);
    const limit: F = @splat(std.math.floatMax(f16));
    const numbers = @select(f32, given == given, given, @as(F, @splat(0)));
    return @min(@max(numbers, -limit), limit);
}

/// The integers and the scale are those of the encoder in `quant/q8_0.zig`, where `most` is the largest
/// magnitude of the unit; for `int8` it is that of the head.
fn storeUnit(
    comptime format: KvFormat,
    side: Side,
    dim: usize,
    x: @Vector(unit, f32),
    most: f32,
    page: [*]u8,
    position: usize,
    index: usize,
) void {
    const F = @Vector(unit, f32);
    const d = most / 127;
    const raw = 1 / d;
    const inverse: f32 = if (std.math.isFinite(raw)) raw else 0;
    // Halves are rounded away from zero; what is below a half must not become one by the addition.
    const scaled = @abs(x * @as(F, @splat(inverse)));
    const floor = @trunc(scaled);
    const up = @select(f32, scaled - floor >= @as(F, @splat(0.5)), @as(F, @splat(1)), @as(F, @splat(0)));
    const size: @Vector(unit, i32) = @intFromFloat(@min(floor + up, @as(F, @splat(127))));
    const signed: [unit]u8 = @bitCast(@as(@Vector(unit, i8), @intCast(@select(i32, x < @as(F, @splat(0)), -size, size))));
    const scale: *align(1) f16 = @ptrCast(page + scaleAt(format, side, dim, position, index));
    scale.* = @floatCast(d);
    var i: usize = 0;
    while (i < unit) : (i += word) {
        page[valueAt(format, side, dim, position, index + i)..][0..word].* = signed[i..][0..word].*;
    }
}

/// Codes, scale and minimum are those of the encoder in `quant/`.
fn storeNarrow(comptime format: KvFormat, side: Side, dim: usize, x: *const [unit]f32, page: [*]u8, position: usize, index: usize) void {
    const Member = comptime format.Blocks().?;
    var block: Member.Block = undefined;
    Member.encodeBlock(x, &block);
    writeBlock(format, side, dim, &block, page, position, index);
}

/// A unit of 4 or 5 bits, given as the block that GGUF has for it.
pub fn writeBlock(
    comptime format: KvFormat,
    side: Side,
    dim: usize,
    block: *align(1) const format.Blocks().?.Block,
    page: [*]u8,
    position: usize,
    index: usize,
) void {
    page[scaleAt(format, side, dim, position, index)..][0..2].* = @bitCast(block.d);
    if (comptime format.hasMinimum()) page[minimumAt(format, side, dim, position, index)..][0..2].* = @bitCast(block.m);
    const codes = if (comptime format.bits() == 5) groups.fives(&block.qs, &block.qh) else groups.nibbles(16, &block.qs);
    for (codes, index..) |code, i| {
        const at = codeAt(format, side, dim, position, i);
        const shift = @as(u3, at.half) * 4;
        page[at.byte] = page[at.byte] & ~(@as(u8, 15) << shift) | (code & 15) << shift;
        if (comptime format.bits() == 5) {
            page[at.fifth_byte] = page[at.fifth_byte] & ~(@as(u8, 1) << at.fifth_bit) | code >> 4 << at.fifth_bit;
        }
    }
}

/// The way back.
pub fn readBlock(
    comptime format: KvFormat,
    side: Side,
    dim: usize,
    page: [*]const u8,
    position: usize,
    index: usize,
    block: *align(1) format.Blocks().?.Block,
) void {
    block.d = @bitCast(page[scaleAt(format, side, dim, position, index)..][0..2].*);
    if (comptime format.hasMinimum()) block.m = @bitCast(page[minimumAt(format, side, dim, position, index)..][0..2].*);
    var codes: [unit]u8 = undefined;
    for (&codes, index..) |*code, i| code.* = readCode(format, side, page, dim, position, i);
    if (comptime format.bits() == 5) {
        groups.packFives(&codes, &block.qs, &block.qh);
    } else for (&block.qs, codes[0..16], codes[16..]) |*byte, low, high| {
        byte.* = low | high << 4;
    }
}
