//! Reads one GGUF file from its bytes, following the GGUF specification, versions 2 and 3, in
//! either byte order.
//!
//! It goes over the header twice. The first pass allocates nothing: it proves every count,
//! length and type against the bytes that are there and adds up what the tables need. The
//! second fills tables of exactly that size. So a file that lies about its counts costs nothing,
//! and the tables of an honest one are bounded by a small multiple of its header
//! (`heap_per_byte_max`).
//!
//! The bytes must not change while they are read. A changed file is noticed where it would
//! lead the second pass astray, but nothing can guard a mapping against another process.

const std = @import("std");
const builtin = @import("builtin");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const quant = @import("../quant.zig");
const cursor = @import("cursor.zig");
const names = @import("names.zig");
const tensor_table = @import("tensor.zig");
const value = @import("value.zig");
const Cursor = cursor.Cursor;
const Endian = std.lang.Endian;
const Error = cursor.Error;
const Tensor = tensor_table.Tensor;

pub const magic = "GGUF";
pub const version_min = 2;
pub const version_max = 3;
pub const alignment_default = 32;
/// The specification asks for a multiple of 8.
pub const alignment_min = 8;
/// Larger than any page, small enough that the padding itself cannot be an attack.
pub const alignment_max = 1 << 24;
pub const alignment_key = "general.alignment";
/// Arrays within arrays. Nothing known nests at all; the bound keeps recursion off the stack's
/// end.
pub const nesting_max = 16;
/// Heap bytes that opening can take for each byte of a native-endian file. The worst header is
/// one of smallest entries: 13 bytes that need an `Entry`, and a place in the name table.
pub const heap_per_byte_max = 8;

/// A key's length, the value type and a one-byte value.
const entry_bytes_min = 8 + 4 + 1;

/// One file of a model. The views in it point into `bytes` (or `converted`).
pub const Part = struct {
    bytes: []const u8,
    version: u32,
    endian: Endian,
    alignment: u32,
    entries: []value.Entry,
    keys: names.Table,
    index: []u64,
    tensors: []Tensor,
    /// Where the data section begins in the file.
    data_start: u64,
    /// The data section in native byte order; empty when the file's own bytes serve.
    converted: []align(data_alignment) u8,

    /// A cache line, so that converted data is aligned as well as mapped data.
    const data_alignment = 64;

    pub fn deinit(part: *Part, gpa: std.mem.Allocator) void {
        gpa.free(part.converted);
        gpa.free(part.tensors);
        gpa.free(part.index);
        part.keys.deinit(gpa);
        gpa.free(part.entries);
        part.* = undefined;
    }

    pub fn get(part: *const Part, key: []const u8) ?value.Value {
        const i = part.keys.find(part, key) orelse return null;
        return part.entries[i].value;
    }

    /// For `names.Table`.
    pub fn nameAt(part: *const Part, i: u32) []const u8 {
        return part.entries[i].key;
    }
};

/// What the first pass found out.
const Layout = struct {
    version: u32,
    endian: Endian,
    tensor_count: usize,
    entry_count: usize,
    entries_start: usize,
    index_len: usize,
    tensors_start: usize,
    end: usize,
};

pub fn parse(gpa: std.mem.Allocator, bytes: []const u8, diag: *Diagnostic) Error!Part {
    var c: Cursor = .{ .bytes = bytes, .diag = diag };
    const layout = try survey(&c);

    const entries = try gpa.alloc(value.Entry, layout.entry_count);
    errdefer gpa.free(entries);
    const index = try gpa.alloc(u64, layout.index_len);
    errdefer gpa.free(index);
    const tensors = try gpa.alloc(Tensor, layout.tensor_count);
    errdefer gpa.free(tensors);
    try fill(&c, layout, entries, index, tensors);

    var part: Part = .{
        .bytes = bytes,
        .version = layout.version,
        .endian = layout.endian,
        .alignment = alignment_default,
        .entries = entries,
        .keys = try .init(gpa, layout.entry_count),
        .index = index,
        .tensors = tensors,
        .data_start = 0,
        .converted = &.{},
    };
    errdefer part.keys.deinit(gpa);
    for (entries, 0..) |entry, i| {
        if (part.keys.add(&part, @intCast(i)) == .duplicate) {
            c.place = .{ .key = entry.key };
            return c.fail(error.DuplicateKey, "expected every key once, found it again at entry {d}", .{i});
        }
    }
    part.alignment = try alignmentOf(&c, &part);

    const data_start = std.mem.alignForward(u64, layout.end, part.alignment);
    part.data_start = data_start;
    // A file without tensors may end before the padding.
    const data = bytes[@intCast(@min(data_start, bytes.len))..];
    try tensor_table.place(gpa, &c, tensors, data, part.alignment);
    if (layout.endian != builtin.cpu.arch.endian()) try convert(gpa, &part, data);
    return part;
}

fn survey(c: *Cursor) Error!Layout {
    if (c.bytes.len == 0) return c.fail(error.EmptyFile, "expected a GGUF file, found no bytes", .{});
    const found = try c.take(magic.len, "the magic");
    if (!std.mem.eql(u8, found, magic)) {
        return c.fail(error.BadMagic, "expected the magic \"{s}\", found \"{f}\"", .{ magic, cursor.printable(found) });
    }
    var layout: Layout = undefined;
    layout.version = try c.int(u32, "the version");
    // Versions are small, so one that fills only the upper half is in the other byte order.
    if (layout.version & 0xffff == 0 and layout.version != 0) {
        c.endian = .big;
        layout.version = @byteSwap(layout.version);
    }
    layout.endian = c.endian;
    if (layout.version < version_min or layout.version > version_max) {
        return c.fail(error.UnsupportedVersion, "expected version {d} or {d}, found {d}", .{ @as(u32, version_min), @as(u32, version_max), layout.version });
    }
    layout.tensor_count = try c.count(tensor_table.entry_bytes_min, "tensors");
    layout.entry_count = try c.count(entry_bytes_min, "metadata entries");
    try refuseBeyondTable(c, layout.tensor_count);
    try refuseBeyondTable(c, layout.entry_count);

    layout.entries_start = c.pos;
    var walk: Walk = .{ .c = c, .index = null };
    for (0..layout.entry_count) |i| {
        c.place = .{ .key_at = i };
        _ = try walk.entry();
    }
    layout.index_len = walk.used;
    layout.tensors_start = c.pos;
    for (0..layout.tensor_count) |i| {
        c.place = .{ .tensor_at = i };
        _ = try tensor_table.read(c);
    }
    layout.end = c.pos;
    return layout;
}

/// The name table counts in 32 bits.
fn refuseBeyondTable(c: *const Cursor, n: usize) Error!void {
    if (n > names.count_max) {
        return c.fail(error.CountTooLarge, "expected at most {d} entries, found a count of {d}", .{ @as(u32, names.count_max), n });
    }
}

fn fill(c: *Cursor, layout: Layout, entries: []value.Entry, index: []u64, tensors: []Tensor) Error!void {
    c.pos = layout.entries_start;
    var walk: Walk = .{ .c = c, .index = index };
    for (entries, 0..) |*entry, i| {
        c.place = .{ .key_at = i };
        entry.* = try walk.entry();
    }
    if (walk.used != layout.index_len or c.pos != layout.tensors_start) return changed(c);
    for (tensors, 0..) |*t, i| {
        c.place = .{ .tensor_at = i };
        t.* = try tensor_table.read(c);
    }
    if (c.pos != layout.end) return changed(c);
}

fn changed(c: *const Cursor) Error {
    return c.fail(error.FileChanged, "expected the same bytes in both passes, found a file that changes while it is read", .{});
}

fn alignmentOf(c: *Cursor, part: *const Part) Error!u32 {
    const found = part.get(alignment_key) orelse return alignment_default;
    c.place = .{ .key = alignment_key };
    const alignment = found.asUint() orelse {
        return c.fail(error.BadAlignment, "expected an unsigned integer, found a value of type {t}", .{found});
    };
    if (alignment < alignment_min or alignment > alignment_max or !std.math.isPowerOfTwo(alignment)) {
        return c.fail(error.BadAlignment, "expected a power of two from {d} to {d}, found {d}", .{ @as(u32, alignment_min), @as(u32, alignment_max), alignment });
    }
    return @intCast(alignment);
}

/// Copies the data section and turns every tensor's bytes. Called when all tensors are known to
/// lie in `data` side by side, so the copy is no longer than the file.
fn convert(gpa: std.mem.Allocator, part: *Part, data: []const u8) Error!void {
    var used: usize = 0;
    for (part.tensors) |t| used = @max(used, @as(usize, @intCast(t.offset)) + t.bytes.len);
    const copy = try gpa.alignedAlloc(u8, .fromByteUnits(Part.data_alignment), used);
    @memcpy(copy, data[0..used]);
    for (part.tensors) |*t| {
        const bytes = copy[@intCast(t.offset)..][0..t.bytes.len];
        quant.swapEndian(t.format, bytes);
        t.bytes = bytes;
    }
    part.converted = copy;
}

/// One pass over metadata values. Without an index it counts the places that the second pass
/// will need.
const Walk = struct {
    c: *Cursor,
    index: ?[]u64,
    used: usize = 0,

    fn entry(w: *Walk) Error!value.Entry {
        const key = try w.c.name("a metadata key");
        w.c.place = .{ .key = key };
        const t = try w.valueType();
        return .{ .key = key, .value = try w.read(t) };
    }

    fn valueType(w: *Walk) Error!value.Type {
        const id = try w.c.int(u32, "the value type");
        return value.Type.fromId(id) orelse
            w.c.fail(error.UnknownValueType, "expected a value type from 0 to {d}, found {d}", .{ @as(u32, value.Type.id_max), id });
    }

    fn read(w: *Walk, t: value.Type) Error!value.Value {
        const c = w.c;
        return switch (t) {
            .uint8 => .{ .uint8 = try c.int(u8, "a value") },
            .int8 => .{ .int8 = try c.int(i8, "a value") },
            .uint16 => .{ .uint16 = try c.int(u16, "a value") },
            .int16 => .{ .int16 = try c.int(i16, "a value") },
            .uint32 => .{ .uint32 = try c.int(u32, "a value") },
            .int32 => .{ .int32 = try c.int(i32, "a value") },
            .float32 => .{ .float32 = @bitCast(try c.int(u32, "a value")) },
            .bool => .{ .bool = try w.oneBool() },
            .string => .{ .string = try c.string("a string") },
            .array => .{ .array = try w.array(1) },
            .uint64 => .{ .uint64 = try c.int(u64, "a value") },
            .int64 => .{ .int64 = try c.int(i64, "a value") },
            .float64 => .{ .float64 = @bitCast(try c.int(u64, "a value")) },
        };
    }

    fn oneBool(w: *Walk) Error!bool {
        const byte = try w.c.int(u8, "a value");
        if (byte > 1) return w.badBool(byte);
        return byte == 1;
    }

    fn badBool(w: *Walk, byte: u8) Error {
        return w.c.fail(error.InvalidBool, "expected a bool of 0 or 1, found {d}", .{byte});
    }

    fn array(w: *Walk, depth: u32) Error!value.Array {
        const c = w.c;
        if (depth > nesting_max) {
            return c.fail(error.NestedTooDeep, "expected arrays nested at most {d} deep, found more", .{@as(u32, nesting_max)});
        }
        const element = try w.valueType();
        const len = try c.count(element.fixedBytes() orelse switch (element) {
            .string => 8,
            else => 12,
        }, "array elements");
        const from = c.pos;
        const index_from = w.used;
        if (element.fixedBytes()) |size| {
            const stored = try c.take(len * size, "array elements");
            if (element == .bool) {
                for (stored) |byte| if (byte > 1) return w.badBool(byte);
            }
        } else if (element == .string) {
            w.used += len;
            if (w.index) |index| {
                if (w.used > index.len) return changed(c);
            }
            for (0..len) |i| {
                if (w.index) |index| index[index_from + i] = c.pos - from;
                _ = try c.string("an array's string");
            }
        } else {
            try w.arrays(depth, len, index_from);
        }
        return .{
            .element = element,
            .len = len,
            .bytes = c.bytes[from..c.pos],
            .endian = c.endian,
            .index = if (w.index) |index| index[index_from..w.used] else &.{},
        };
    }

    fn arrays(w: *Walk, depth: u32, len: usize, index_from: usize) Error!void {
        const from = w.c.pos;
        w.used += 2 * len;
        if (w.index) |index| {
            if (w.used > index.len) return changed(w.c);
        }
        for (0..len) |i| {
            if (w.index) |index| {
                index[index_from + 2 * i] = w.c.pos - from;
                index[index_from + 2 * i + 1] = w.used - index_from;
            }
            _ = try w.array(depth + 1);
        }
    }
};
