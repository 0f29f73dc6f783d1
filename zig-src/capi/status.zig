//! What went wrong, in words. A text lives on the handle whose call failed, until the next call on
//! that handle: it is read per handle and not per thread, so it can't be somebody else's.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const errors = @import("core/errors.zig");
const table = @import("core/table.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const functions = .{
    .{
        .name = "vitrine_error_text",
        .function = "errorText",
        .doc =
        \\Copies the text of the last failed call on a handle, without a final zero. Any thread may
        \\call it. A creation that fails gives a handle too: it carries the text, and is destroyed
        \\like any other. An empty text means that there was no error.
        ,
        .params = .{
            .{ "handle", "A model, a session or a snapshot." },
            .{ "buffer", "The caller's; filled with UTF-8." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "out_length", "Gets the length of the text, also when the buffer is too small." },
        },
    },
    .{
        .name = "vitrine_status_text",
        .function = "statusText",
        .doc = "Copies the name of a status, for calls that have no handle.",
        .params = .{
            .{ "status", "What a function returned." },
            .{ "buffer", "The caller's; filled with UTF-8." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "out_length", "Gets the length of the text." },
        },
    },
};

pub fn errorText(handle: u32, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    if (out_length) |out| out.* = 0;
    const object = table.pin(handle, null) orelse return @backingInt(abi.Status.invalid_handle);
    defer table.unpin(object);
    object.lock();
    defer object.unlock();
    return errors.code(buffers.copyOut(&.{object.diag.text()}, buffer, length, out_length, &diag));
}

pub fn statusText(status: i32, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    const text = inline for (comptime @typeInfo(abi.Status).@"enum".field_names, @typeInfo(abi.Status).@"enum".field_values) |name, value| {
        if (status == value) break @as([]const u8, name);
    } else "unknown status";
    return errors.code(buffers.copyOut(&.{text}, buffer, length, out_length, &diag));
}

test "every status has a name" {
    var buffer: [64]u8 = undefined;
    var len: u32 = 0;
    try std.testing.expectEqual(0, statusText(-9, &buffer, 64, &len));
    try std.testing.expectEqualStrings("context_full", buffer[0..len]);
    try std.testing.expectEqual(0, statusText(12345, &buffer, 64, &len));
    try std.testing.expectEqualStrings("unknown status", buffer[0..len]);
    try std.testing.expectEqual(@backingInt(abi.Status.invalid_handle), errorText(77, &buffer, 64, &len));
    try std.testing.expectEqual(0, len);
}
