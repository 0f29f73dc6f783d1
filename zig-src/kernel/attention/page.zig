//! How the keys and the values of one KV head lie in one page of the cache, for every format: the
//! one place that knows. Positions count from the start of the page, `table.page_len` of them.
//!
//! Keys stand sixteen positions side by side, so that a vector of scores grows value by value of
//! the head without a sum across its lanes. Values stand position by position: an output grows
//! position by position. Integers have one f16 scale for 32 values of a head, or for all of them (int8),
//! and some an f16 minimum; the floats of mxfp4 and nvfp4 have scales of one byte for 32 and 16. These
//! follow all integers of the page, so that both are read as vectors.
//!
//!     keys    floats           [position / 16][value][position % 16]
//!             q8_0, int8       [position / 16][value / 4][position % 16][value % 4]
//!             4 and 5 bits     [position / 16][value / 32] blocks of `narrow.zig`: a lane is a
//!                              position, a byte value % 4, a vector and its half value / 4
//!             scales, minimums [position / 16][value / 32][position % 16]; int8 has one: value / 32 is 0;
//!                              of nvfp4 value / 16 stands for value / 32
//!     values  floats, 8 bits   [position][value]
//!             4 and 5 bits     [value / 32][position / 16] blocks: a lane is value % 16, a half
//!                              value / 16, a byte position % 4, a vector position / 4
//!             scales, minimums [value / 32][position]

const std = @import("std");
const channels = @import("channels.zig");
const f8 = @import("../f8.zig");
const groups = @import("../../quant/shared/groups.zig");
const narrow = @import("narrow.zig");
const table = @import("../table.zig");
const vector = @import("../vector.zig");

const KvFormat = table.KvFormat;
const KvOptions = table.KvOptions;
const Side = table.KvSide;
const page_len = table.page_len;

/// Positions side by side in keys.
pub const group = 16;
/// Heads of scaled formats are multiples of it: the values of a block, and mostly those that share a scale.
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

/// How many scales a head has at one position, where they don't belong to channels.
pub fn scaleCount(format: KvFormat, dim: usize) usize {
    std.debug.assert(!format.grouped());
    return switch (format) {
        inline else => |tag| if (comptime tag.Blocks() != null) dim / comptime tag.scaleLen() else 1,
    };
}

/// Scales a position; of keys that are rounded in groups of positions as many in the mean.
pub fn termCount(format: KvFormat, dim: usize, options: KvOptions) usize {
    return if (format.grouped()) dim / options.groupLen() else scaleCount(format, dim);
}

/// Where the scale of value `index` begins.
pub fn scaleAt(format: KvFormat, side: Side, dim: usize, position: usize, index: usize) usize {
    const units = scaleCount(format, dim);
    // Kernels ask for each unit, of a format that is known: a shift.
    const u = switch (format) {
        inline else => |tag| if (comptime tag.Blocks() != null) index / comptime tag.scaleLen() else 0,
    };
    const at = switch (side) {
        .value => u * page_len + position,
        .key => (position / group * units + u) * group + position % group,
    };
    return page_len * dim * format.bits() / 8 + format.scaleBytes() * at;
}

/// Where the f16 minimum of value `index` begins.
pub fn minimumAt(format: KvFormat, side: Side, dim: usize, position: usize, index: usize) usize {
    return scaleAt(format, side, dim, position, index) + page_len * scaleCount(format, dim) * format.scaleBytes();
}

/// Of one side of one KV head in one page, scales and minimums included.
pub fn bytes(format: KvFormat, side: Side, dim: usize, options: KvOptions) usize {
    if (format.grouped()) return channels.Kind.bytes(.{ .format = format, .side = side, .dim = dim, .options = options });
    return page_len * (dim * format.bits() / 8 + scaleCount(format, dim) * format.termBytes());
}

/// Bytes at the begin of a page that hold its first positions; all of it where these lie apart.
pub fn bytesOf(format: KvFormat, side: Side, dim: usize, positions: usize, options: KvOptions) usize {
    if (format.scaled() or format.grouped()) return bytes(format, side, dim, options);
    return valueAt(format, .value, dim, if (side == .key) std.mem.alignForward(usize, positions, group) else positions, 0);
}

/// The values of one position as they were stored.
pub fn read(format: KvFormat, side: Side, page: [*]const u8, position: usize, out: []f32, options: KvOptions) void {
    const dim = out.len;
    std.debug.assert(position < page_len);
    switch (format) {
        inline else => |tag| if (comptime tag.grouped()) {
            channels.readRange(.{ .format = tag, .side = side, .dim = dim, .options = options }, page, position, position + 1, out.ptr);
        } else if (comptime tag.narrow()) {
            readNarrow(tag, side, page, dim, position, position + 1, out.ptr);
        } else for (out, 0..) |*value, i| {
            value.* = vector.load(tag, 1, page + valueAt(tag, side, dim, position, i))[0];
            if (!tag.scaled()) continue;
            value.* *= halfFloat(page + scaleAt(tag, side, dim, position, i));
        },
    }
}

/// The same for positions [from, to): [to - from][dim].
pub fn readRange(format: KvFormat, side: Side, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]f32, options: KvOptions) void {
    std.debug.assert(from <= to and to <= page_len);
    switch (format) {
        inline else => |tag| if (comptime tag.grouped()) {
            channels.readRange(.{ .format = tag, .side = side, .dim = dim, .options = options }, page, from, to, out);
        } else if (comptime tag.narrow()) {
            readNarrow(tag, side, page, dim, from, to, out);
        } else switch (side) {
            .key => readKeys(tag, page, dim, from, to, out),
            .value => for (from..to) |position| readValue(tag, page, dim, position, out + (position - from) * dim),
        },
    }
}

fn readNarrow(comptime format: KvFormat, side: Side, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]f32) void {
    switch (side) {
        inline else => |of| for (from..to) |position| {
            var u: usize = 0;
            while (u < dim) : (u += unit) {
                out[(position - from) * dim + u ..][0..unit].* = readUnit(format, of, page, dim, position, u);
            }
        },
    }
}

/// Products and sums are rounded one after the other, as the format's own decoder does it.
inline fn readUnit(comptime format: KvFormat, comptime side: Side, page: [*]const u8, dim: usize, position: usize, index: usize) @Vector(unit, f32) {
    const F = @Vector(unit, f32);
    var values = narrow.numbers(format, readCodesOfUnit(format, side, page, dim, position, index));
    const len = comptime format.scaleLen();
    var scales: F = @splat(narrow.scale(format, page + scaleAt(format, side, dim, position, index)));
    if (comptime len < unit) {
        const other: F = @splat(narrow.scale(format, page + scaleAt(format, side, dim, position, index + len)));
        scales = @select(f32, std.simd.iota(u8, unit) < @as(@Vector(unit, u8), @splat(len)), scales, other);
    }
    values *= scales;
    if (format.hasMinimum()) values += @splat(halfFloat(page + minimumAt(format, side, dim, position, index)));
    return values;
}

/// The codes of a unit in the order of their values.
inline fn readCodesOfUnit(comptime format: KvFormat, comptime side: Side, page: [*]const u8, dim: usize, position: usize, index: usize) @Vector(unit, u8) {
    const half = unit / 2;
    const Half = @Vector(half, u8);
    const block = page + blockAt(format, side, dim, position, index);
    const p = position % group;
    const two: Half = switch (side) {
        // A word of each vector.
        .key => words: {
            var words: [narrow.vectors]u32 = undefined;
            inline for (&words, 0..) |*of, v| of.* = @bitCast(block[v * narrow.line + p * word ..][0..word].*);
            break :words @bitCast(words);
        },
        // A byte of each word of one vector.
        .value => bytes: {
            const shift: @Vector(half, u5) = @splat(@intCast(p % word * 8));
            break :bytes @truncate(vector.read(u32, half, block + p / word * narrow.line) >> shift);
        },
    };
    const codes = std.simd.join(two & @as(Half, @splat(15)), two >> @splat(4));
    if (comptime format.bits() == 4) return codes;
    const fifths = block + narrow.vectors * narrow.line + p * word;
    const order: [unit]i32, const bit: [unit]u8 = comptime blk: {
        var order: [unit]i32 = undefined;
        var bit: [unit]u8 = undefined;
        for (&order, &bit, 0..) |*byte, *of, i| {
            byte.* = if (side == .key) i % word else i / 8;
            of.* = 1 << if (side == .key) i / word else i % 8;
        }
        break :blk .{ order, bit };
    };
    const spread = @shuffle(u8, vector.read(u8, word, fifths), undefined, order);
    const fifth: @Vector(unit, u8) = bit;
    return codes | @select(u8, spread & fifth == fifth, @as(@Vector(unit, u8), @splat(16)), @as(@Vector(unit, u8), @splat(0)));
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
        if (comptime format.scaled()) {
            for (first..last) |position| readWords(format, page, dim, position, out + (position - from) * dim);
            continue;
        }
        const keys = page + valueAt(format, .key, dim, g * group, 0);
        const size = comptime group * format.bytes();
        var index: usize = 0;
        while (index + group <= dim) : (index += group) {
            var values: [group]@Vector(group, f32) = undefined;
            inline for (&values, 0..) |*of, i| of.* = vector.load(format, group, keys + (index + i) * size);
            transpose(&values);
            for (first..last) |position| out[(position - from) * dim + index ..][0..group].* = values[position % group];
        }
        while (index < dim) : (index += 1) {
            const values: [group]f32 = vector.load(format, group, keys + index * size);
            for (first..last) |position| out[(position - from) * dim + index] = values[position % group];
        }
    }
}

/// Each step interlaces the first half of the vectors with the second; after log2 of their number all lanes
/// have changed places with vectors.
fn transpose(values: *[group]@Vector(group, f32)) void {
    const half = group / 2;
    const low, const high = comptime blk: {
        var low: [group]i32 = undefined;
        var high: [group]i32 = undefined;
        for (&low, &high, 0..) |*l, *h, i| {
            l.* = if (i % 2 == 0) i / 2 else ~@as(i32, i / 2);
            h.* = if (i % 2 == 0) half + i / 2 else ~@as(i32, half + i / 2);
        }
        break :blk .{ low, high };
    };
    inline for (0..comptime std.math.log2_int(usize, group)) |_| {
        const before = values.*;
        inline for (0..half) |i| {
            values[2 * i] = @shuffle(f32, before[i], before[i + half], low);
            values[2 * i + 1] = @shuffle(f32, before[i], before[i + half], high);
        }
    }
}

/// A position of keys of 8 bits, four values from each of its words.
fn readWords(comptime format: KvFormat, page: [*]const u8, dim: usize, position: usize, out: [*]f32) void {
    var i: usize = 0;
    while (i < dim) : (i += unit) {
        var words: [unit / word]u32 = undefined;
        const from = page + valueAt(format, .key, dim, position, i);
        inline for (&words, 0..) |*of, j| of.* = @bitCast(from[j * group * word ..][0..word].*);
        const integers: @Vector(unit, i8) = @bitCast(words);
        const values: @Vector(unit, f32) = @floatFromInt(integers);
        out[i..][0..unit].* = values * @as(@Vector(unit, f32), @splat(halfFloat(page + scaleAt(format, .key, dim, position, i))));
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
pub fn readCodes(format: KvFormat, side: Side, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]u8, options: KvOptions) void {
    const size = codeBytes(format);
    for (from..to) |position| for (0..dim) |index| {
        const to_byte = ((position - from) * dim + index) * size;
        if (format.grouped()) {
            const kind: channels.Kind = .{ .format = format, .side = side, .dim = dim, .options = options };
            out[to_byte] = kind.readCode(page, position, index);
        } else if (format.narrow()) {
            out[to_byte] = readCode(format, side, page, dim, position, index);
        } else @memcpy(out[to_byte..][0..size], page[valueAt(format, side, dim, position, index)..][0..size]);
    };
}

/// Bytes of a code that `readCodes` writes.
pub fn codeBytes(format: KvFormat) usize {
    return if (format.narrow() or format.grouped()) 1 else format.bytes();
}

pub const Term = enum { scale, minimum };

/// The scales or minimums of positions [from, to), where the format has some: [to - from][scales]. Of keys that
/// are rounded in groups of positions: [groups][dim], for whole groups.
pub fn readTerms(
    term: Term,
    format: KvFormat,
    side: Side,
    page: [*]const u8,
    dim: usize,
    from: usize,
    to: usize,
    out: [*]u8,
    options: KvOptions,
) void {
    if (format.grouped()) return readGroupTerms(term, .{ .format = format, .side = side, .dim = dim, .options = options }, page, from, to, out);
    const count = scaleCount(format, dim);
    const size = format.scaleBytes();
    for (from..to) |position| for (0..count) |u| {
        const at = ((position - from) * count + u) * size;
        const index = u * (dim / count);
        const stored = switch (term) {
            .scale => scaleAt(format, side, dim, position, index),
            .minimum => minimumAt(format, side, dim, position, index),
        };
        @memcpy(out[at..][0..size], page[stored..][0..size]);
    };
}

fn readGroupTerms(term: Term, kind: channels.Kind, page: [*]const u8, from: usize, to: usize, out: [*]u8) void {
    const positions: usize, const values: usize = if (kind.side == .key) .{ kind.group(), 1 } else .{ 1, kind.group() };
    var at: usize = 0;
    var position = from;
    while (position < to) : (position += positions) {
        var index: usize = 0;
        while (index < kind.dim) : (index += values) {
            const stored = switch (term) {
                .scale => kind.scaleAt(position, index),
                .minimum => kind.minimumAt(position, index),
            };
            out[at..][0..2].* = page[stored..][0..2].*;
            at += 2;
        }
    }
}

/// Rounds one position's values to the format; or the keys of a group of positions, where the format has
/// such.
pub fn store(format: KvFormat, side: Side, x: []const f32, page: [*]u8, position: usize, options: KvOptions) void {
    std.debug.assert(position < page_len);
    switch (format) {
        inline else => |tag| if (comptime tag.grouped()) {
            channels.store(tag, side, options, x, page, position);
        } else if (comptime tag.scaled()) storeUnits(tag, side, x, page, position) else storeFloats(tag, side, x, page, position),
    }
}

fn storeUnits(comptime format: KvFormat, side: Side, x: []const f32, page: [*]u8, position: usize) void {
    std.debug.assert(x.len % unit == 0);
    const of_head = if (format == .int8) largest(x) else 0;
    if (comptime format.narrow()) return storeNarrow(format, side, x, page, position);
    var i: usize = 0;
    while (i < x.len) : (i += unit) {
        const values = within(x[i..][0..unit].*);
        const of_unit = if (format == .int8) of_head else @reduce(.Max, @abs(values));
        storeUnit(format, side, x.len, values, of_unit, page, position, i);
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
        // A copy in between would be read again before it has been written.
        const values: @Vector(unit, f32) = if (left == unit) x[i..][0..unit].* else firstOf(x[i..]);
        const bits: [unit]Bits = switch (format) {
            .f32 => @bitCast(values),
            .f16 => vector.toF16(unit, values),
            .bf16 => vector.toBf16(unit, values),
            .f8_e4m3 => f8.to(.e4m3, unit, values),
            .f8_e5m2 => f8.to(.e5m2, unit, values),
            else => comptime unreachable,
        };
        if (side == .value and left == unit) {
            // They lie as they are.
            const to: *align(1) [unit]Bits = @ptrCast(page + valueAt(format, side, x.len, position, i));
            to.* = bits;
            continue;
        }
        for (bits[0..left], i..) |b, index| {
            const to: *align(1) Bits = @ptrCast(page + valueAt(format, side, x.len, position, index));
            to.* = b;
        }
    }
}

fn firstOf(x: []const f32) @Vector(unit, f32) {
    var values: [unit]f32 = @splat(0);
    @memcpy(values[0..x.len], x);
    return values;
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

/// Codes, scales and minimums are those of the encoder in `quant/`.
fn storeNarrow(comptime format: KvFormat, side: Side, x: []const f32, page: [*]u8, position: usize) void {
    const Member = comptime format.Blocks().?;
    var i: usize = 0;
    while (i < x.len) : (i += Member.block_len) {
        const len = @min(Member.block_len, x.len - i);
        var values: [Member.block_len]f32 = undefined;
        @memcpy(values[0..len], x[i..][0..len]);
        @memset(values[len..], 0);
        var block: Member.Block = undefined;
        Member.encodeBlock(&values, &block);
        writeBlock(format, side, x.len, @ptrCast(&block), .{ .len = Member.block_len, .wanted = len }, page, position, i);
    }
}

/// Values that a block has, and those that are wanted of it: a block of nvfp4 has 64, and heads may end in
/// the middle of one.
pub const BlockLen = struct { len: usize, wanted: usize };

/// Bytes of a block: its scales and minimums, and then its codes.
pub fn blockParts(comptime format: KvFormat, len: usize) struct { terms: usize, codes: usize } {
    return .{ .terms = len / unit * termsOfUnit(format), .codes = len / unit * codesOfUnit(format) };
}

fn termsOfUnit(comptime format: KvFormat) usize {
    return unit / format.scaleLen() * format.termBytes();
}

fn codesOfUnit(comptime format: KvFormat) usize {
    return unit * format.bits() / 8;
}

/// Values of 4 or 5 bits, given as the block that GGUF has for them.
pub fn writeBlock(comptime format: KvFormat, side: Side, dim: usize, block: [*]const u8, len: BlockLen, page: [*]u8, position: usize, index: usize) void {
    const codes = block + blockParts(format, len.len).terms;
    for (0..len.wanted / unit) |u| {
        const at: Unit = .{ .side = side, .dim = dim, .position = position, .index = index + u * unit };
        at.write(format, page, block + u * termsOfUnit(format), codes + u * codesOfUnit(format));
    }
}

/// The way back.
pub fn readBlock(comptime format: KvFormat, side: Side, dim: usize, page: [*]const u8, position: usize, index: usize, block: [*]u8, len: usize) void {
    const codes = block + blockParts(format, len).terms;
    for (0..len / unit) |u| {
        const at: Unit = .{ .side = side, .dim = dim, .position = position, .index = index + u * unit };
        at.read(format, page, block + u * termsOfUnit(format), codes + u * codesOfUnit(format));
    }
}

/// Where 32 values of one position are.
const Unit = struct {
    side: Side,
    dim: usize,
    position: usize,
    index: usize,

    /// Terms are scale and minimum, or several scales; codes of five bits begin with the fifth bits.
    fn write(of: Unit, comptime format: KvFormat, page: [*]u8, terms: [*]const u8, packed_codes: [*]const u8) void {
        const size = comptime format.scaleBytes();
        inline for (0..comptime unit / format.scaleLen()) |i| {
            const at = scaleAt(format, of.side, of.dim, of.position, of.index + i * format.scaleLen());
            page[at..][0..size].* = terms[i * size ..][0..size].*;
        }
        if (comptime format.hasMinimum()) {
            page[minimumAt(format, of.side, of.dim, of.position, of.index)..][0..size].* = terms[size..][0..size].*;
        }
        for (unpacked(format, packed_codes), of.index..) |code, i| {
            const at = codeAt(format, of.side, of.dim, of.position, i);
            const shift = @as(u3, at.half) * 4;
            page[at.byte] = page[at.byte] & ~(@as(u8, 15) << shift) | (code & 15) << shift;
            if (comptime format.bits() == 5) {
                page[at.fifth_byte] = page[at.fifth_byte] & ~(@as(u8, 1) << at.fifth_bit) | code >> 4 << at.fifth_bit;
            }
        }
    }

    fn read(of: Unit, comptime format: KvFormat, page: [*]const u8, terms: [*]u8, packed_codes: [*]u8) void {
        const size = comptime format.scaleBytes();
        inline for (0..comptime unit / format.scaleLen()) |i| {
            const at = scaleAt(format, of.side, of.dim, of.position, of.index + i * format.scaleLen());
            terms[i * size ..][0..size].* = page[at..][0..size].*;
        }
        if (comptime format.hasMinimum()) {
            terms[size..][0..size].* = page[minimumAt(format, of.side, of.dim, of.position, of.index)..][0..size].*;
        }
        var codes: [unit]u8 = undefined;
        for (&codes, of.index..) |*code, i| code.* = readCode(format, of.side, page, of.dim, of.position, i);
        pack(format, &codes, packed_codes);
    }
};

/// The codes of a unit in the order of their values. Where a scale belongs to 16, nibbles go by 16 too.
fn unpacked(comptime format: KvFormat, codes: [*]const u8) [unit]u8 {
    if (comptime format.bits() == 5) return groups.fives(codes[4..20], codes[0..4]);
    if (comptime format.scaleLen() == 16) return groups.nibbles(8, codes[0..8]) ++ groups.nibbles(8, codes[8..16]);
    return groups.nibbles(16, codes[0..16]);
}

fn pack(comptime format: KvFormat, codes: *const [unit]u8, out: [*]u8) void {
    if (comptime format.bits() == 5) return groups.packFives(codes, out[4..20], out[0..4]);
    const half = comptime format.scaleLen() / 2;
    for (0..unit / 2) |i| {
        const low = i / half * 2 * half + i % half;
        out[i] = codes[low] | codes[low + half] << 4;
    }
}
