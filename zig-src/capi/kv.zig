//! The KV cache of a session, as far as it can be seen from outside.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const cache = @import("../cache.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const table = @import("core/table.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const withSession = @import("session.zig").withSession;
const SessionObject = @import("core/session_object.zig").SessionObject;

pub const functions = .{
    .{
        .name = "vitrine_kv_info",
        .function = "info",
        .doc = "What the cache is made of, and what it takes.",
        .params = .{
            .{ "session", "The session." },
            .{ "out", "The caller's; filled as far as it reaches.", "KvInfo" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_kv_read",
        .function = "read",
        .doc =
        \\Copies keys or values: [heads][positions][values of a head], as f32 or, for the codes and the
        \\scales, as they are stored.
        ,
        .params = .{
            .{ "session", "An idle session." },
            .{ "part", "Read during the call only.", "KvPart" },
            .{ "part_length", "In bytes." },
            .{ "values", "The caller's; filled." },
            .{ "values_length", "In bytes; exactly what the part takes." },
        },
    },
};

pub fn info(handle: u32, out: ?[*]u8, length: u32) callconv(.c) i32 {
    return withSession(handle, .{ out, length }, fill);
}

fn fill(self: *SessionObject, out: ?[*]u8, length: u32) errors.Error!void {
    const sequence = &self.session.?.sequence;
    const layout = sequence.pool.layout;
    const pages = sequence.count();
    try buffers.fill(abi.KvInfo{
        .key_format = @backingInt(layout.key_format),
        .value_format = @backingInt(layout.value_format),
        .layers = layout.layers,
        .kv_heads = layout.kv_heads,
        .key_length = layout.head_dim_k,
        .value_length = layout.head_dim_v,
        .page_length = cache.page_len,
        .page_count = @intCast(sequence.table.len),
        .pages_used = @intCast(pages.held),
        .pages_shared = @intCast(pages.shared),
        .positions = sequence.len,
        .memory_bytes = @floatFromInt(self.session.?.kvBytes()),
    }, out, length, &self.object.diag);
}

pub fn read(handle: u32, part: ?[*]const u8, part_length: u32, values: ?[*]u8, values_length: u32) callconv(.c) i32 {
    return withSession(handle, .{ part, part_length, values, values_length }, copyPart);
}

fn copyPart(self: *SessionObject, bytes: ?[*]const u8, length: u32, values: ?[*]u8, values_length: u32) errors.Error!void {
    const diag = &self.object.diag;
    const given = try buffers.options(abi.KvPart, bytes, length, "a part of the KV cache", diag);
    const part: engine.kv_view.Part = .{
        .side = try member(abi.KvSideId, given.side, "a side", diag),
        .view = try member(abi.KvViewId, given.view, "a view", diag),
        .layer = given.layer,
        .head = if (given.head == abi.none) null else given.head,
        .from = given.from,
        .to = given.to,
    };
    if (values_length == 0) return engine.kv_view.read(self.session.?, part, &.{}, diag);
    const out = (try buffers.required(values, "the values", diag))[0..values_length];
    if (@intFromPtr(out.ptr) % @alignOf(f32) == 0) return engine.kv_view.read(self.session.?, part, out, diag);
    const aligned = try table.gpa.alignedAlloc(u8, .of(f32), out.len);
    defer table.gpa.free(aligned);
    try engine.kv_view.read(self.session.?, part, aligned, diag);
    @memcpy(out, aligned);
}

fn member(comptime Enum: type, id: u32, what: []const u8, diag: *Diagnostic) errors.Error!Enum {
    inline for (comptime std.enums.values(Enum)) |tag| if (id == @backingInt(tag)) return tag;
    diag.set("expected {s} of the KV cache, found number {d}", .{ what, id });
    return error.InvalidArgument;
}
