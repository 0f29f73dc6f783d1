//! Metadata values of a GGUF file, as views into the file's bytes. Numbers are kept in the
//! file's byte order and turned on each access, so nothing is copied whatever the endianness;
//! strings and nested arrays are reached through an index that the reader builds in one pass.
//! The type numbers are those of "gguf_metadata_value_type" in the GGUF specification.
//!
//! It promises that no accessor reads outside the bytes that the reader has checked. It
//! deliberately does not check that strings are UTF-8: vocabularies hold tokens that are not.

const std = @import("std");
const Endian = std.lang.Endian;

pub const Type = enum(u32) {
    uint8 = 0,
    int8 = 1,
    uint16 = 2,
    int16 = 3,
    uint32 = 4,
    int32 = 5,
    float32 = 6,
    bool = 7,
    string = 8,
    array = 9,
    uint64 = 10,
    int64 = 11,
    float64 = 12,

    pub const id_max = 12;

    pub fn fromId(id: u32) ?Type {
        return if (id <= id_max) @fromBackingInt(id) else null;
    }

    /// Bytes of one stored value; null for a type whose values differ in length.
    pub fn fixedBytes(t: Type) ?u8 {
        return switch (t) {
            .uint8, .int8, .bool => 1,
            .uint16, .int16 => 2,
            .uint32, .int32, .float32 => 4,
            .uint64, .int64, .float64 => 8,
            .string, .array => null,
        };
    }

    pub fn isInteger(t: Type) bool {
        return switch (t) {
            .uint8, .int8, .uint16, .int16, .uint32, .int32, .uint64, .int64 => true,
            .float32, .bool, .string, .array, .float64 => false,
        };
    }

    pub fn isNumber(t: Type) bool {
        return t.isInteger() or t == .float32 or t == .float64;
    }
};

pub const Value = union(Type) {
    uint8: u8,
    int8: i8,
    uint16: u16,
    int16: i16,
    uint32: u32,
    int32: i32,
    float32: f32,
    bool: bool,
    string: []const u8,
    array: Array,
    uint64: u64,
    int64: i64,
    float64: f64,

    /// Any integer type whose value is not negative.
    pub fn asUint(v: Value) ?u64 {
        return switch (v) {
            inline .uint8, .int8, .uint16, .int16, .uint32, .int32, .uint64, .int64 => |x| std.math.cast(u64, x),
            .float32, .bool, .string, .array, .float64 => null,
        };
    }

    /// Any integer type whose value fits.
    pub fn asInt(v: Value) ?i64 {
        return switch (v) {
            inline .uint8, .int8, .uint16, .int16, .uint32, .int32, .uint64, .int64 => |x| std.math.cast(i64, x),
            .float32, .bool, .string, .array, .float64 => null,
        };
    }

    /// Any integer or float type; a 64-bit integer is rounded to the nearest f64.
    pub fn asFloat(v: Value) ?f64 {
        return switch (v) {
            inline .uint8, .int8, .uint16, .int16, .uint32, .int32, .uint64, .int64 => |x| @floatFromInt(x),
            inline .float32, .float64 => |x| x,
            .bool, .string, .array => null,
        };
    }

    pub fn asBool(v: Value) ?bool {
        return switch (v) {
            .bool => |x| x,
            else => null,
        };
    }

    pub fn asString(v: Value) ?[]const u8 {
        return switch (v) {
            .string => |x| x,
            else => null,
        };
    }

    pub fn asArray(v: Value) ?Array {
        return switch (v) {
            .array => |x| x,
            else => null,
        };
    }
};

pub const Entry = struct {
    key: []const u8,
    value: Value,
};

/// An array as the file stores it. Access by position is O(1) for every element type.
///
/// The element type comes from the file, so asking for the wrong kind is not a bug of the
/// program: it reads as the neutral value (empty, 0, false). Whoever needs to refuse it looks
/// at `element` first.
pub const Array = struct {
    element: Type,
    len: usize,
    /// The elements alone, without the array's own type and count.
    bytes: []const u8,
    endian: Endian,
    /// Strings: where each begins in `bytes`. Arrays: where each begins, then where its own
    /// index begins behind this one's start. Otherwise empty.
    index: []const u64,

    pub fn string(a: Array, i: usize) []const u8 {
        std.debug.assert(i < a.len);
        if (a.element != .string) return "";
        const from: usize = @intCast(a.index[i]);
        const len: usize = @intCast(std.mem.readInt(u64, a.bytes[from..][0..8], a.endian));
        return a.bytes[from + 8 ..][0..len];
    }

    /// Integers of every width; a negative one reads as 0.
    pub fn uint(a: Array, i: usize) u64 {
        return std.math.lossyCast(u64, a.integer(i));
    }

    /// Integers of every width; one above the range of i64 reads as its maximum.
    pub fn int(a: Array, i: usize) i64 {
        return std.math.lossyCast(i64, a.integer(i));
    }

    /// Floats and integers of every width.
    pub fn float(a: Array, i: usize) f64 {
        return switch (a.element) {
            .float32 => @as(f32, @bitCast(a.load(u32, i))),
            .float64 => @as(f64, @bitCast(a.load(u64, i))),
            else => @floatFromInt(a.integer(i)),
        };
    }

    pub fn @"bool"(a: Array, i: usize) bool {
        std.debug.assert(i < a.len);
        return a.element == .bool and a.bytes[i] != 0;
    }

    pub fn array(a: Array, i: usize) Array {
        std.debug.assert(i < a.len);
        if (a.element != .array) {
            return .{ .element = .uint8, .len = 0, .bytes = "", .endian = a.endian, .index = &.{} };
        }
        const from: usize = @intCast(a.index[2 * i]);
        const to: usize = if (i + 1 < a.len) @intCast(a.index[2 * i + 2]) else a.bytes.len;
        // The reader has checked the type number and the count, so both conversions hold.
        return .{
            .element = Type.fromId(std.mem.readInt(u32, a.bytes[from..][0..4], a.endian)).?,
            .len = @intCast(std.mem.readInt(u64, a.bytes[from + 4 ..][0..8], a.endian)),
            .bytes = a.bytes[from + 12 .. to],
            .endian = a.endian,
            .index = a.index[@intCast(a.index[2 * i + 1])..],
        };
    }

    /// The element as a value of its own type.
    pub fn at(a: Array, i: usize) Value {
        return switch (a.element) {
            .uint8 => .{ .uint8 = a.load(u8, i) },
            .int8 => .{ .int8 = a.load(i8, i) },
            .uint16 => .{ .uint16 = a.load(u16, i) },
            .int16 => .{ .int16 = a.load(i16, i) },
            .uint32 => .{ .uint32 = a.load(u32, i) },
            .int32 => .{ .int32 = a.load(i32, i) },
            .float32 => .{ .float32 = @bitCast(a.load(u32, i)) },
            .bool => .{ .bool = a.bool(i) },
            .string => .{ .string = a.string(i) },
            .array => .{ .array = a.array(i) },
            .uint64 => .{ .uint64 = a.load(u64, i) },
            .int64 => .{ .int64 = a.load(i64, i) },
            .float64 => .{ .float64 = @bitCast(a.load(u64, i)) },
        };
    }

    /// Wide enough for both i64 and u64.
    fn integer(a: Array, i: usize) i128 {
        return switch (a.element) {
            .uint8 => a.load(u8, i),
            .int8 => a.load(i8, i),
            .uint16 => a.load(u16, i),
            .int16 => a.load(i16, i),
            .uint32 => a.load(u32, i),
            .int32 => a.load(i32, i),
            .uint64 => a.load(u64, i),
            .int64 => a.load(i64, i),
            .float32, .bool, .string, .array, .float64 => 0,
        };
    }

    fn load(a: Array, comptime T: type, i: usize) T {
        std.debug.assert(i < a.len);
        const size = @divExact(@bitSizeOf(T), 8);
        return std.mem.readInt(T, a.bytes[i * size ..][0..size], a.endian);
    }
};

test "an array of the wrong kind reads as neutral values" {
    const a: Array = .{ .element = .int16, .len = 2, .bytes = &.{ 0xff, 0xfe, 0x7f, 0x00 }, .endian = .big, .index = &.{} };
    try std.testing.expectEqual(-2, a.int(0));
    try std.testing.expectEqual(0, a.uint(0));
    try std.testing.expectEqual(0x7f00, a.uint(1));
    try std.testing.expectEqual(-2.0, a.float(0));
    try std.testing.expectEqualStrings("", a.string(1));
    try std.testing.expectEqual(false, a.bool(1));
    try std.testing.expectEqual(0, a.array(1).len);
    try std.testing.expectEqual(Value{ .int16 = 0x7f00 }, a.at(1));
}
