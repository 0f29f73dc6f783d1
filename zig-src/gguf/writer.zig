//! Writes GGUF files, versions 2 and 3, in either byte order. It keeps to what the reader
//! accepts: every key and tensor once, shapes of whole blocks, an alignment that is a power of
//! two. Metadata is encoded when it is added; tensor data and all names are borrowed and must
//! stay until the file is written. Data is streamed: no second copy of the model is made.

const std = @import("std");
const builtin = @import("builtin");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const quant = @import("../quant.zig");
const cursor = @import("cursor.zig");
const reader = @import("reader.zig");
const tensor_table = @import("tensor.zig");
const value = @import("value.zig");
const Allocator = std.mem.Allocator;
const Endian = std.lang.Endian;

pub const Error = error{
    OutOfMemory,
    BadAlignment,
    UnsupportedVersion,
    DuplicateKey,
    DuplicateTensor,
    ReservedKey,
    NameTooLong,
    ZeroDimension,
    TooManyDimensions,
    NotWholeBlocks,
    ShapeOverflow,
    WrongDataSize,
};

pub const FileError = Error || error{WriteFailed};

pub const Writer = struct {
    gpa: Allocator,
    options: Options,
    entries: std.ArrayList(u8) = .empty,
    keys: std.StringHashMapUnmanaged(void) = .empty,
    tensors: std.ArrayList(Pending) = .empty,
    tensor_names: std.StringHashMapUnmanaged(void) = .empty,
    /// Where the next tensor's data goes, from the start of the data section.
    data_end: u64 = 0,
    diag: *Diagnostic,

    pub const Options = struct {
        version: u32 = reader.version_max,
        endian: Endian = .little,
        /// Written as `general.alignment` when it is not the default.
        alignment: u32 = reader.alignment_default,
    };

    const Pending = struct {
        name: []const u8,
        dims: []const u64,
        format: quant.Format,
        bytes: []const u8,
        offset: u64,
    };

    pub fn init(gpa: Allocator, options: Options, diag: *Diagnostic) Error!Writer {
        const alignment = options.alignment;
        if (options.version < reader.version_min or options.version > reader.version_max) {
            diag.set("expected version {d} or {d}, found {d}", .{ @as(u32, reader.version_min), @as(u32, reader.version_max), options.version });
            return error.UnsupportedVersion;
        }
        if (alignment < reader.alignment_min or alignment > reader.alignment_max or !std.math.isPowerOfTwo(alignment)) {
            diag.set("expected an alignment that is a power of two from {d} to {d}, found {d}", .{ @as(u32, reader.alignment_min), @as(u32, reader.alignment_max), alignment });
            return error.BadAlignment;
        }
        var w: Writer = .{ .gpa = gpa, .options = options, .diag = diag };
        errdefer w.deinit();
        if (alignment != reader.alignment_default) {
            try w.begin(reader.alignment_key);
            try w.typed(u32, alignment);
        }
        return w;
    }

    pub fn deinit(w: *Writer) void {
        w.entries.deinit(w.gpa);
        w.keys.deinit(w.gpa);
        for (w.tensors.items) |t| w.gpa.free(t.dims);
        w.tensors.deinit(w.gpa);
        w.tensor_names.deinit(w.gpa);
        w.* = undefined;
    }

    /// One value. `T` is a number type of GGUF, `bool` or `[]const u8` (a string).
    pub fn add(w: *Writer, key: []const u8, comptime T: type, v: T) Error!void {
        try w.beginFree(key);
        try w.typed(T, v);
    }

    /// An array of such values. With `T` itself a slice of another type the array is nested.
    pub fn addArray(w: *Writer, key: []const u8, comptime T: type, items: []const T) Error!void {
        try w.beginFree(key);
        try w.int(u32, @backingInt(value.Type.array));
        try w.array(T, items);
    }

    /// A value as the reader gives it, whatever the byte order of its file.
    pub fn addValue(w: *Writer, key: []const u8, v: value.Value) Error!void {
        try w.beginFree(key);
        try w.int(u32, @backingInt(std.meta.activeTag(v)));
        try w.copied(v);
    }

    /// `bytes` are in this machine's byte order and exactly as long as the shape says.
    pub fn addTensor(w: *Writer, name: []const u8, dims: []const u64, format: quant.Format, bytes: []const u8) Error!void {
        const size = try w.checkShape(name, dims, format);
        if (bytes.len != size) {
            w.diag.set("tensor \"{f}\": expected {d} bytes of data, found {d}", .{ cursor.printable(name), size, bytes.len });
            return error.WrongDataSize;
        }
        const slot = try w.tensor_names.getOrPut(w.gpa, name);
        if (slot.found_existing) {
            w.diag.set("tensor \"{f}\": expected every name once, found it again", .{cursor.printable(name)});
            return error.DuplicateTensor;
        }
        errdefer _ = w.tensor_names.remove(name);
        try w.tensors.ensureUnusedCapacity(w.gpa, 1);
        w.tensors.appendAssumeCapacity(.{
            .name = name,
            .dims = try w.gpa.dupe(u64, dims),
            .format = format,
            .bytes = bytes,
            .offset = w.data_end,
        });
        w.data_end = std.mem.alignForward(u64, w.data_end + size, w.options.alignment);
    }

    /// The whole file. Can be called more than once.
    pub fn write(w: *const Writer, out: *std.Io.Writer) (error{OutOfMemory} || std.Io.Writer.Error)!void {
        const endian = w.options.endian;
        var written: u64 = reader.magic.len + 4 + 8 + 8 + w.entries.items.len;
        try out.writeAll(reader.magic);
        try out.writeInt(u32, w.options.version, endian);
        try out.writeInt(u64, w.tensors.items.len, endian);
        try out.writeInt(u64, w.keys.count(), endian);
        try out.writeAll(w.entries.items);
        for (w.tensors.items) |t| {
            try out.writeInt(u64, t.name.len, endian);
            try out.writeAll(t.name);
            try out.writeInt(u32, @intCast(t.dims.len), endian);
            for (t.dims) |dim| try out.writeInt(u64, dim, endian);
            try out.writeInt(u32, @backingInt(t.format), endian);
            try out.writeInt(u64, t.offset, endian);
            written += 8 + t.name.len + 4 + 8 * t.dims.len + 4 + 8;
        }
        try w.pad(out, written);
        for (w.tensors.items) |t| {
            try w.data(out, t);
            try w.pad(out, t.bytes.len);
        }
    }

    pub fn toBytes(w: *const Writer, gpa: Allocator) error{OutOfMemory}![]u8 {
        var out: std.Io.Writer.Allocating = .init(gpa);
        defer out.deinit();
        // An allocating writer fails only when memory runs out.
        w.write(&out.writer) catch return error.OutOfMemory;
        return out.toOwnedSlice();
    }

    pub fn writeFile(w: *const Writer, path: []const u8) FileError!void {
        const io = std.Io.Threaded.global_single_threaded.io();
        const file = std.Io.Dir.cwd().createFile(io, path, .{}) catch |err| return w.writeFailure(path, err);
        defer file.close(io);
        var buffer: [64 * 1024]u8 = undefined;
        var file_writer = file.writer(io, &buffer);
        w.write(&file_writer.interface) catch |err| switch (err) {
            error.OutOfMemory => return error.OutOfMemory,
            error.WriteFailed => return w.writeFailure(path, file_writer.err orelse error.Unexpected),
        };
        file_writer.interface.flush() catch return w.writeFailure(path, file_writer.err orelse error.Unexpected);
    }

    fn writeFailure(w: *const Writer, path: []const u8, err: anyerror) FileError {
        w.diag.set("{s}: expected a file that can be written, found {t}", .{ path, err });
        return error.WriteFailed;
    }

    fn checkShape(w: *Writer, name: []const u8, dims: []const u64, format: quant.Format) Error!u64 {
        const shown = cursor.printable(name);
        if (name.len > cursor.Cursor.name_bytes_max) return w.nameTooLong(name);
        if (dims.len > tensor_table.dims_max) {
            w.diag.set("tensor \"{f}\": expected at most {d} dimensions, found {d}", .{ shown, @as(u32, tensor_table.dims_max), dims.len });
            return error.TooManyDimensions;
        }
        if (dims.len == 0 or std.mem.findScalar(u64, dims, 0) != null) {
            w.diag.set("tensor \"{f}\": expected dimensions of at least 1, found none or a 0", .{shown});
            return error.ZeroDimension;
        }
        var size = quant.rowBytes(format, dims[0]) catch |err| switch (err) {
            error.NotWholeBlocks => {
                w.diag.set("tensor \"{f}\": expected rows of whole blocks of {d} values for {t}, found rows of {d}", .{ shown, quant.info(format).block_len, format, dims[0] });
                return error.NotWholeBlocks;
            },
            error.Overflow => return w.overflow(name),
        };
        for (dims[1..]) |dim| size = std.math.mul(u64, size, dim) catch return w.overflow(name);
        return size;
    }

    fn overflow(w: *Writer, name: []const u8) Error {
        w.diag.set("tensor \"{f}\": expected a shape whose size fits in 64 bits, found a larger one", .{cursor.printable(name)});
        return error.ShapeOverflow;
    }

    fn nameTooLong(w: *Writer, name: []const u8) Error {
        w.diag.set("\"{f}\": expected a name of at most {d} bytes, found {d}", .{ cursor.printable(name), @as(u32, cursor.Cursor.name_bytes_max), name.len });
        return error.NameTooLong;
    }

    fn beginFree(w: *Writer, key: []const u8) Error!void {
        if (std.mem.eql(u8, key, reader.alignment_key)) {
            w.diag.set("metadata key \"{s}\": expected the alignment among the writer's options, found it as a value", .{reader.alignment_key});
            return error.ReservedKey;
        }
        try w.begin(key);
    }

    fn begin(w: *Writer, key: []const u8) Error!void {
        if (key.len > cursor.Cursor.name_bytes_max) return w.nameTooLong(key);
        const slot = try w.keys.getOrPut(w.gpa, key);
        if (slot.found_existing) {
            w.diag.set("metadata key \"{f}\": expected every key once, found it again", .{cursor.printable(key)});
            return error.DuplicateKey;
        }
        try w.string(key);
    }

    fn string(w: *Writer, text: []const u8) Error!void {
        try w.int(u64, text.len);
        try w.entries.appendSlice(w.gpa, text);
    }

    fn int(w: *Writer, comptime T: type, v: T) Error!void {
        var stored: [@divExact(@bitSizeOf(T), 8)]u8 = undefined;
        std.mem.writeInt(T, &stored, v, w.options.endian);
        try w.entries.appendSlice(w.gpa, &stored);
    }

    fn typed(w: *Writer, comptime T: type, v: T) Error!void {
        try w.int(u32, @backingInt(comptime typeOf(T)));
        try w.scalar(T, v);
    }

    fn scalar(w: *Writer, comptime T: type, v: T) Error!void {
        switch (T) {
            bool => try w.int(u8, @intFromBool(v)),
            f32 => try w.int(u32, @bitCast(v)),
            f64 => try w.int(u64, @bitCast(v)),
            []const u8 => try w.string(v),
            else => if (@typeInfo(T) == .int) {
                try w.int(T, v);
            } else {
                try w.array(std.meta.Elem(T), v);
            },
        }
    }

    fn array(w: *Writer, comptime T: type, items: []const T) Error!void {
        try w.int(u32, @backingInt(comptime typeOf(T)));
        try w.int(u64, items.len);
        for (items) |item| try w.scalar(T, item);
    }

    fn copied(w: *Writer, v: value.Value) Error!void {
        switch (v) {
            .array => |a| {
                try w.int(u32, @backingInt(a.element));
                try w.int(u64, a.len);
                for (0..a.len) |i| try w.copied(a.at(i));
            },
            inline else => |x| try w.scalar(@TypeOf(x), x),
        }
    }

    fn pad(w: *const Writer, out: *std.Io.Writer, written: u64) std.Io.Writer.Error!void {
        const end = std.mem.alignForward(u64, written, w.options.alignment);
        try out.splatByteAll(0, @intCast(end - written));
    }

    /// Foreign byte order is made in pieces of whole blocks.
    fn data(w: *const Writer, out: *std.Io.Writer, t: Pending) (error{OutOfMemory} || std.Io.Writer.Error)!void {
        if (w.options.endian == builtin.cpu.arch.endian()) return out.writeAll(t.bytes);
        const block_bytes = quant.info(t.format).block_bytes;
        const piece = try w.gpa.alloc(u8, @min(t.bytes.len, 256 * @as(usize, block_bytes)));
        defer w.gpa.free(piece);
        var left = t.bytes;
        while (left.len > 0) {
            const n = @min(left.len, piece.len);
            @memcpy(piece[0..n], left[0..n]);
            quant.swapEndian(t.format, piece[0..n]);
            try out.writeAll(piece[0..n]);
            left = left[n..];
        }
    }
};

fn typeOf(comptime T: type) value.Type {
    return switch (T) {
        u8 => .uint8,
        i8 => .int8,
        u16 => .uint16,
        i16 => .int16,
        u32 => .uint32,
        i32 => .int32,
        f32 => .float32,
        bool => .bool,
        []const u8 => .string,
        u64 => .uint64,
        i64 => .int64,
        f64 => .float64,
        else => switch (@typeInfo(T)) {
            .pointer => .array,
            else => @compileError("expected a value type of GGUF, found " ++ @typeName(T)),
        },
    };
}
