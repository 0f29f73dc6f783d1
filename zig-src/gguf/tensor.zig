//! The tensor table of one GGUF file: the entry, its checks, and where its bytes lie. The size
//! of a tensor follows from its shape and format and is never read from the file. The
//! specification allows any order of offsets and gaps between tensors; what it does not allow,
//! and what is refused here, is an offset off the alignment, an overlap, or data past the end.

const std = @import("std");
const quant = @import("../quant.zig");
const cursor = @import("cursor.zig");
const Cursor = cursor.Cursor;
const Error = cursor.Error;

pub const dims_max = 4;

pub const Tensor = struct {
    name: []const u8,
    n_dims: u32,
    /// `dims[0]` is the contiguous one; those at and after `n_dims` are 1.
    dims: [dims_max]u64,
    format: quant.Format,
    /// Native endian, exactly as long as shape and format say.
    bytes: []const u8,
    /// As stored: from the start of the data section of its own file.
    offset: u64,

    /// Number of values.
    pub fn count(t: *const Tensor) u64 {
        return t.dims[0] * t.dims[1] * t.dims[2] * t.dims[3];
    }
};

/// The name's length, one byte of it, the dimension count, one dimension, type and offset.
/// A nameless tensor cannot be looked up, but is legal, so the byte isn't counted.
pub const entry_bytes_min = 8 + 4 + 8 + 4 + 8;

/// Reads and checks one entry. `bytes` stays empty: `place` sets it when the whole header is
/// known.
pub fn read(c: *Cursor) Error!Tensor {
    const name = try c.name("a tensor name");
    c.place = .{ .tensor = name };
    const n_dims = try c.int(u32, "the number of dimensions");
    if (n_dims == 0) {
        return c.fail(error.ZeroDimension, "expected 1 to {d} dimensions, found 0", .{@as(u32, dims_max)});
    }
    if (n_dims > dims_max) {
        return c.fail(error.TooManyDimensions, "expected at most {d} dimensions, found {d}", .{ @as(u32, dims_max), n_dims });
    }
    var dims: [dims_max]u64 = @splat(1);
    for (dims[0..n_dims], 0..) |*dim, i| {
        dim.* = try c.int(u64, "a dimension");
        if (dim.* == 0) {
            return c.fail(error.ZeroDimension, "expected dimension {d} to be at least 1, found 0", .{i});
        }
    }
    const type_id = try c.int(u32, "the tensor type");
    const format = quant.fromId(type_id) orelse {
        return c.fail(error.UnknownTensorType, "expected a tensor type this engine knows, found type {d}", .{type_id});
    };
    const offset = try c.int(u64, "the data offset");
    const tensor: Tensor = .{
        .name = name,
        .n_dims = n_dims,
        .dims = dims,
        .format = format,
        .bytes = "",
        .offset = offset,
    };
    _ = try sizeOf(c, &tensor);
    return tensor;
}

/// The bytes of a tensor's data, with every product checked.
fn sizeOf(c: *const Cursor, t: *const Tensor) Error!u64 {
    const row = quant.rowBytes(t.format, t.dims[0]) catch |err| switch (err) {
        error.NotWholeBlocks => return c.fail(error.NotWholeBlocks, "expected rows of whole blocks of {d} values for {t}, found rows of {d} values", .{
            quant.info(t.format).block_len, t.format, t.dims[0],
        }),
        error.Overflow => return overflow(c, t),
    };
    // The number of values is checked on its own: below one byte a value it can overflow first.
    var size = row;
    var values = t.dims[0];
    for (t.dims[1..]) |dim| {
        size = std.math.mul(u64, size, dim) catch return overflow(c, t);
        values = std.math.mul(u64, values, dim) catch return overflow(c, t);
    }
    return size;
}

fn overflow(c: *const Cursor, t: *const Tensor) Error {
    return c.fail(error.ShapeOverflow, "expected a shape whose size fits in 64 bits, found {d} x {d} x {d} x {d}", .{
        t.dims[0], t.dims[1], t.dims[2], t.dims[3],
    });
}

/// Gives every tensor its bytes within `data` after checking offsets, ends and overlaps.
/// Takes O(n) when offsets ascend, as writers make them, else O(n log n).
pub fn place(gpa: std.mem.Allocator, c: *Cursor, tensors: []Tensor, data: []const u8, alignment: u32) Error!void {
    var ascending = true;
    var end_before: u64 = 0;
    for (tensors) |*t| {
        c.place = .{ .tensor = t.name };
        const size = try sizeOf(c, t);
        if (t.offset % alignment != 0) {
            return c.fail(error.OffsetMisaligned, "expected a data offset that is a multiple of {d}, found {d}", .{ alignment, t.offset });
        }
        const end = std.math.add(u64, t.offset, size) catch std.math.maxInt(u64);
        if (end > data.len) {
            return c.fail(error.TensorPastEnd, "expected {d} bytes at data offset {d}, found a data section of {d} bytes", .{ size, t.offset, data.len });
        }
        t.bytes = data[@intCast(t.offset)..@intCast(end)];
        ascending = ascending and t.offset >= end_before;
        end_before = end;
    }
    if (!ascending) try refuseOverlap(gpa, c, tensors);
}

fn refuseOverlap(gpa: std.mem.Allocator, c: *Cursor, tensors: []const Tensor) Error!void {
    const order = try gpa.alloc(usize, tensors.len);
    defer gpa.free(order);
    for (order, 0..) |*o, i| o.* = i;
    std.mem.sortUnstable(usize, order, tensors, lowerOffset);
    for (order[0 .. order.len - 1], order[1..]) |a, b| {
        const before = &tensors[a];
        const end = before.offset + before.bytes.len;
        if (end > tensors[b].offset) {
            c.place = .{ .tensor = tensors[b].name };
            return c.fail(error.OverlappingTensors, "expected data that begins at or after {d}, where \"{f}\" ends, found data offset {d}", .{
                end, cursor.printable(before.name), tensors[b].offset,
            });
        }
    }
}

fn lowerOffset(tensors: []const Tensor, a: usize, b: usize) bool {
    return tensors[a].offset < tensors[b].offset;
}
