//! What the library is.

const std = @import("std");
const abi = @import("core/abi.zig");
const arch = @import("../arch.zig");
const buffers = @import("core/buffers.zig");
const cache = @import("../cache.zig");
const describe = @import("core/describe.zig");
const errors = @import("core/errors.zig");
const pin = @import("core/pin.zig");
const quant = @import("../quant.zig");
const sampler = @import("../sampler.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const version = "0.1.0";

pub const functions = .{
    .{
        .name = "vitrine_abi_hash",
        .function = "abiHash",
        .doc = "The fingerprint of this interface. A host compares it with the one that it was made for.",
        .params = .{.{ "out", "Two u32: the lower half, the upper half." }},
    },
    .{
        .name = "vitrine_info",
        .function = "info",
        .doc = "The library's version, formats, model families and sampler stages, as JSON.",
        .params = .{
            .{ "buffer", "The caller's; filled with UTF-8." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "out_length", "Gets the length of the text, also when the buffer is too small." },
        },
    },
};

pub fn abiHash(out: ?*align(1) [2]u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    const to = buffers.required(out, "the hash", &diag) catch |err| return errors.code(err);
    // Every host asks this first.
    pin.pin();
    const hash = comptime describe.hash();
    to.* = .{ @truncate(hash), @truncate(hash >> 32) };
    return 0;
}

pub fn info(buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    const text = comptime "{\"version\":\"" ++ version ++ "\"" ++
        list("formats", quant.formats) ++ list("cacheFormats", cache.formats) ++
        list("samplerStages", sampler.stages) ++ architectures() ++ "}";
    return errors.code(buffers.copyOut(&.{text}, buffer, length, out_length, &diag));
}

/// A family has several names when it runs several architectures.
fn architectures() []const u8 {
    var text: []const u8 = "";
    for (arch.families) |family| for (family.names) |name| {
        text = text ++ (if (text.len == 0) "\"" else ",\"") ++ name ++ "\"";
    };
    return ",\"architectures\":[" ++ text ++ "]";
}

/// The names of a registry's members, as a member of a JSON object.
fn list(comptime key: []const u8, comptime members: anytype) []const u8 {
    var text: []const u8 = ",\"" ++ key ++ "\":[";
    for (members, 0..) |member, i| text = text ++ (if (i == 0) "\"" else ",\"") ++ member.name ++ "\"";
    return text ++ "]";
}
