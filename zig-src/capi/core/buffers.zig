//! Reading what a host passes and writing into its buffers. Pointers may have any alignment and may
//! be null where the length is 0; nothing is read or written outside the given lengths.

const std = @import("std");
const abi = @import("abi.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;

pub const Error = error{ InvalidArgument, BufferTooSmall };

/// Longest text, path or prompt that is taken.
pub const bytes_max = 1 << 30;

/// A text or an array of the host; `what` names it in the error.
pub fn slice(comptime T: type, ptr: ?[*]align(1) const T, len: u32, what: []const u8, diag: *Diagnostic) Error![]align(1) const T {
    if (len == 0) return &.{};
    if (@as(u64, len) * @sizeOf(T) > bytes_max) {
        diag.set("expected {s} of at most {d} bytes, found {d}", .{ what, bytes_max, @as(u64, len) * @sizeOf(T) });
        return error.InvalidArgument;
    }
    const p = ptr orelse return missing(what, diag);
    return p[0..len];
}

/// A pointer that must not be null.
pub fn required(ptr: anytype, what: []const u8, diag: *Diagnostic) Error!@TypeOf(ptr.?) {
    return ptr orelse missing(what, diag);
}

fn missing(what: []const u8, diag: *Diagnostic) Error {
    diag.set("expected a pointer to {s}, found null", .{what});
    return error.InvalidArgument;
}

/// An option struct. No buffer at all means the defaults; a shorter struct is filled up with them,
/// a longer one comes from a newer host, and its tail is ignored.
pub fn options(comptime T: type, ptr: ?[*]const u8, len: u32, what: []const u8, diag: *Diagnostic) Error!T {
    var result: T = undefined;
    inline for (comptime @typeInfo(T).@"struct".field_names, @typeInfo(T).@"struct".field_types, @typeInfo(T).@"struct".field_attrs) |name, Field, attributes| {
        @field(result, name) = comptime attributes.defaultValue(Field).?;
    }
    const bytes = try slice(u8, ptr, len, what, diag);
    if (bytes.len == 0) return result;
    if (bytes.len < 8) {
        diag.set("expected {s} of at least 8 bytes (size and version), found {d}", .{ what, bytes.len });
        return error.InvalidArgument;
    }
    const size = std.mem.readInt(u32, bytes[0..4], .little);
    const version = std.mem.readInt(u32, bytes[4..8], .little);
    if (size < 8 or size > bytes.len or size % 4 != 0) {
        diag.set("expected {s} to have a size from 8 to the {d} bytes given, a multiple of 4, found {d}", .{ what, bytes.len, size });
        return error.InvalidArgument;
    }
    if (version != abi.version) {
        diag.set("expected {s} of version {d}, found {d}", .{ what, abi.version, version });
        return error.InvalidArgument;
    }
    const known = @min(size, @sizeOf(T));
    @memcpy(std.mem.asBytes(&result)[0..known], bytes[0..known]);
    return result;
}

/// Fills the host's struct as far as it reaches.
pub fn fill(value: anytype, out: ?[*]u8, len: u32, diag: *Diagnostic) Error!void {
    const to = try required(out, "the result", diag);
    const bytes = std.mem.asBytes(&value);
    const known = @min(len, bytes.len);
    @memcpy(to[0..known], bytes[0..known]);
}

/// Copies parts one behind the other; `out_len` gets their length, also when they don't fit.
pub fn copyOut(parts: []const []const u8, out: ?[*]u8, len: u32, out_len: ?*align(1) u32, diag: *Diagnostic) Error!void {
    const length = try required(out_len, "the length", diag);
    var total: usize = 0;
    for (parts) |part| total += part.len;
    length.* = std.math.cast(u32, total) orelse {
        diag.set("expected a result of at most 4 GiB, found {d} bytes", .{total});
        return error.InvalidArgument;
    };
    if (total > len) {
        diag.set("expected a buffer of {d} bytes, found {d}", .{ total, len });
        return error.BufferTooSmall;
    }
    if (total == 0) return;
    const to = try required(out, "the buffer", diag);
    var at: usize = 0;
    for (parts) |part| {
        @memcpy(to[at..][0..part.len], part);
        at += part.len;
    }
}

/// A flag that nobody knows is refused: it would be dropped otherwise.
pub fn checkFlags(comptime Flags: type, flags: u32, what: []const u8, diag: *Diagnostic) Error!void {
    const known = comptime blk: {
        var mask: u32 = 0;
        for (@typeInfo(Flags).@"enum".field_values) |value| mask |= value;
        break :blk mask;
    };
    if (flags & ~known == 0) return;
    diag.set("expected {s} within 0x{x}, found 0x{x}", .{ what, known, flags });
    return error.InvalidArgument;
}

pub fn has(flags: u32, flag: anytype) bool {
    return flags & @backingInt(flag) != 0;
}

test "options: none, short, long and wrong" {
    var diag: Diagnostic = .{};
    const T = abi.SessionOptions;
    try std.testing.expectEqual(T{}, try options(T, null, 0, "options", &diag));
    var long: [64]u8 = @splat(0xee);
    std.mem.writeInt(u32, long[0..4], 12, .little);
    std.mem.writeInt(u32, long[4..8], 1, .little);
    std.mem.writeInt(u32, long[8..12], 77, .little);
    try std.testing.expectEqual(T{ .size = 12, .context = 77 }, try options(T, &long, 12, "options", &diag));
    std.mem.writeInt(u32, long[0..4], 64, .little);
    const filled = try options(T, &long, 64, "options", &diag);
    try std.testing.expectEqual(77, filled.context);
    try std.testing.expectEqual(@as(i32, @bitCast(@as(u32, 0xeeeeeeee))), filled.shift_keep);
    for ([_][2]u32{ .{ 0, 1 }, .{ 7, 1 }, .{ 13, 1 }, .{ 68, 1 }, .{ 0xffffffff, 1 }, .{ 16, 0 }, .{ 16, 2 } }) |wrong| {
        std.mem.writeInt(u32, long[0..4], wrong[0], .little);
        std.mem.writeInt(u32, long[4..8], wrong[1], .little);
        try std.testing.expectError(error.InvalidArgument, options(T, &long, 64, "options", &diag));
        try std.testing.expect(std.mem.startsWith(u8, diag.text(), "expected options"));
    }
    try std.testing.expectError(error.InvalidArgument, options(T, &long, 7, "options", &diag));
    try std.testing.expectError(error.InvalidArgument, options(T, null, 8, "options", &diag));
}

test "copyOut says the length that is needed" {
    var diag: Diagnostic = .{};
    var out: [4]u8 = undefined;
    var len: u32 = 0;
    try copyOut(&.{ "ab", "cd" }, &out, 4, &len, &diag);
    try std.testing.expectEqualStrings("abcd", &out);
    try std.testing.expectError(error.BufferTooSmall, copyOut(&.{"abcde"}, &out, 4, &len, &diag));
    try std.testing.expectEqual(5, len);
    try copyOut(&.{""}, null, 0, &len, &diag);
    try std.testing.expectEqual(0, len);
    try std.testing.expectError(error.InvalidArgument, copyOut(&.{"a"}, null, 4, &len, &diag));
    try std.testing.expectError(error.InvalidArgument, copyOut(&.{"a"}, &out, 4, null, &diag));
}
