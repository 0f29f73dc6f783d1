//! Checked reading of a GGUF header: every number and string is measured against the bytes that
//! are left before it is used, and every refusal leaves one sentence that says where in the file
//! it happened, what was expected and what was found.

const std = @import("std");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Endian = std.lang.Endian;

pub const Error = error{
    OutOfMemory,
    // The file itself.
    FileNotFound,
    AccessDenied,
    NotAFile,
    CannotOpen,
    ReadFailed,
    EmptyFile,
    FileTooLarge,
    FileChanged,
    // The header.
    BadMagic,
    UnsupportedVersion,
    Truncated,
    CountTooLarge,
    StringPastEnd,
    NameTooLong,
    // Metadata.
    UnknownValueType,
    InvalidBool,
    NestedTooDeep,
    DuplicateKey,
    BadAlignment,
    // Tensors.
    DuplicateTensor,
    ZeroDimension,
    TooManyDimensions,
    ShapeOverflow,
    UnknownTensorType,
    NotWholeBlocks,
    OffsetMisaligned,
    OverlappingTensors,
    TensorPastEnd,
    // Split files.
    MissingSplit,
    NotFirstSplit,
    BadSplitName,
    SplitMismatch,
};

/// A name out of a file, made safe for a terminal and a fixed buffer: what is not printable
/// ASCII is escaped, and a long one is cut.
pub const Printable = struct {
    bytes: []const u8,

    const shown_max = 96;

    pub fn format(p: Printable, writer: *std.Io.Writer) std.Io.Writer.Error!void {
        for (p.bytes[0..@min(p.bytes.len, shown_max)]) |c| switch (c) {
            ' '...'!', '#'...'[', ']'...'~' => try writer.writeByte(c),
            else => try writer.print("\\x{x:0>2}", .{c}),
        };
        if (p.bytes.len > shown_max) try writer.print("… ({d} bytes)", .{p.bytes.len});
    }
};

pub fn printable(bytes: []const u8) Printable {
    return .{ .bytes = bytes };
}

/// What is being read, for messages.
pub const Place = union(enum) {
    header,
    key_at: u64,
    key: []const u8,
    tensor_at: u64,
    tensor: []const u8,

    pub fn format(p: Place, writer: *std.Io.Writer) std.Io.Writer.Error!void {
        switch (p) {
            .header => try writer.writeAll("GGUF header"),
            .key_at => |i| try writer.print("metadata entry {d}", .{i}),
            .key => |k| try writer.print("metadata key \"{f}\"", .{printable(k)}),
            .tensor_at => |i| try writer.print("tensor entry {d}", .{i}),
            .tensor => |t| try writer.print("tensor \"{f}\"", .{printable(t)}),
        }
    }
};

pub const Cursor = struct {
    bytes: []const u8,
    pos: usize = 0,
    endian: Endian = .little,
    diag: *Diagnostic,
    place: Place = .header,

    /// The specification gives 2^16 - 1 for keys; tensor names are shorter in practice.
    pub const name_bytes_max = 65535;

    pub fn left(c: *const Cursor) usize {
        return c.bytes.len - c.pos;
    }

    pub fn fail(c: *const Cursor, err: Error, comptime format: []const u8, args: anytype) Error {
        c.diag.set("{f}: " ++ format, .{c.place} ++ args);
        return err;
    }

    pub fn take(c: *Cursor, len: usize, comptime what: []const u8) Error![]const u8 {
        if (len > c.left()) {
            return c.fail(error.Truncated, "expected {d} bytes of " ++ what ++ " at offset {d}, found the end of the file after {d}", .{ len, c.pos, c.left() });
        }
        defer c.pos += len;
        return c.bytes[c.pos..][0..len];
    }

    pub fn int(c: *Cursor, comptime T: type, comptime what: []const u8) Error!T {
        const size = @divExact(@bitSizeOf(T), 8);
        const stored = try c.take(size, what);
        return std.mem.readInt(T, stored[0..size], c.endian);
    }

    /// A count of things that take at least `bytes_min` bytes each, so that a loop over it and
    /// a table made for it are bounded by the file.
    pub fn count(c: *Cursor, bytes_min: u32, comptime what: []const u8) Error!usize {
        const n = try c.int(u64, "the count of " ++ what);
        const n_max = c.left() / bytes_min;
        if (n > n_max) {
            return c.fail(error.CountTooLarge, "expected at most {d} " ++ what ++ " in the {d} bytes left, found a count of {d}", .{ n_max, c.left(), n });
        }
        return @intCast(n);
    }

    pub fn string(c: *Cursor, comptime what: []const u8) Error![]const u8 {
        const n = try c.int(u64, "the length of " ++ what);
        if (n > c.left()) {
            return c.fail(error.StringPastEnd, "expected " ++ what ++ " within the {d} bytes left at offset {d}, found a length of {d}", .{ c.left(), c.pos, n });
        }
        const len: usize = @intCast(n);
        defer c.pos += len;
        return c.bytes[c.pos..][0..len];
    }

    pub fn name(c: *Cursor, comptime what: []const u8) Error![]const u8 {
        const found = try c.string(what);
        if (found.len > name_bytes_max) {
            return c.fail(error.NameTooLong, "expected " ++ what ++ " of at most {d} bytes, found {d}", .{ @as(u32, name_bytes_max), found.len });
        }
        return found;
    }
};

test "a printable name shows no control characters and is cut" {
    var buffer: [256]u8 = undefined;
    try std.testing.expectEqualStrings("a\\x1b[0m\\x22\\xff", try std.mem.print(&buffer, "{f}", .{printable("a\x1b[0m\"\xff")}));
    const long: [200]u8 = @splat('y');
    const shown = try std.mem.print(&buffer, "{f}", .{printable(&long)});
    try std.testing.expect(std.mem.endsWith(u8, shown, "y… (200 bytes)"));
}
