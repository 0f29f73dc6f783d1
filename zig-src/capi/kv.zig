//! The KV cache of a session, as far as it can be seen from outside.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const cache = @import("../cache.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const table = @import("core/table.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const withModel = @import("model.zig").withModel;
const storedHead = @import("session.zig").storedHead;
const withSession = @import("session.zig").withSession;
const SessionObject = @import("core/session_object.zig").SessionObject;

/// More than any head has.
const head_values_max = 1 << 16;

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
    .{
        .name = "vitrine_kv_positions",
        .function = "positions",
        .doc = "Copies where in the text the tokens are that the cache holds, in the order of vitrine_kv_read.",
        .params = .{
            .{ "session", "An idle session." },
            .{ "values", "The caller's; filled." },
            .{ "count", "`positions` of the info, exactly." },
        },
    },
    .{
        .name = "vitrine_kv_attention",
        .function = "attention",
        .doc = "How much attention queries pay to each position: [rows][heads][position + rows], softmax over the last.",
        .params = .{
            .{ "session", "An idle session." },
            .{ "queries", "Read during the call only.", "KvQueries" },
            .{ "queries_length", "In bytes." },
            .{ "values", "Rotated queries: [rows][heads][values of a key]." },
            .{ "weights", "The caller's; filled." },
            .{ "weights_count", "All of them." },
        },
    },
    .{
        .name = "vitrine_model_kv_round",
        .function = "round",
        .doc = "Rounds keys or values as a cache of a format would keep them: [rows][values of a head], in place.",
        .params = .{
            .{ "model", "A loaded model." },
            .{ "format", "`CacheFormatId`." },
            .{ "side", "`KvSideId`." },
            .{ "values", "The caller's; read and replaced." },
            .{ "count", "Rows times `length`." },
            .{ "length", "Values of a head." },
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
    const exact_pages = if (sequence.exact) |*exact| cache.Exact.pagesFor(layout, exact.table.len) else 0;
    const full = if (sequence.exact) |*exact| exact.count(sequence.len) else cache.Exact.Counts{};
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
        .sequence = sequence.number,
        .exact_page_count = @intCast(exact_pages),
        .exact_pages_used = full.held,
        .exact_pages_shared = full.shared,
        .exact_positions = full.positions,
        .exact_bytes = if (layout.exact()) |of| @floatFromInt(exact_pages * of.pageBytes()) else 0,
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

pub fn positions(handle: u32, values: ?[*]align(1) u32, count: u32) callconv(.c) i32 {
    return withSession(handle, .{ values, count }, copyPositions);
}

fn copyPositions(self: *SessionObject, values: ?[*]align(1) u32, count: u32) errors.Error!void {
    const diag = &self.object.diag;
    const session = self.session.?;
    session.lock();
    defer session.unlock();
    try session.expectIdle(diag);
    if (count != session.sequence.len) {
        diag.set("expected a buffer for {d} positions, found {d}", .{ session.sequence.len, count });
        return error.BufferTooSmall;
    }
    if (count == 0) return;
    const out = (try buffers.required(values, "the positions", diag))[0..count];
    const evictor = session.evictor orelse {
        for (out, 0..) |*position, i| position.* = @intCast(i);
        return;
    };
    for (evictor.order(count), out) |slot, *position| position.* = evictor.places[slot];
}

pub fn attention(
    handle: u32,
    queries: ?[*]const u8,
    queries_length: u32,
    values: ?[*]align(1) const f32,
    weights: ?[*]align(1) f32,
    weights_count: u32,
) callconv(.c) i32 {
    return withSession(handle, .{ queries, queries_length, values, weights, weights_count }, fillWeights);
}

fn fillWeights(
    self: *SessionObject,
    bytes: ?[*]const u8,
    length: u32,
    values: ?[*]align(1) const f32,
    weights: ?[*]align(1) f32,
    weights_count: u32,
) errors.Error!void {
    const diag = &self.object.diag;
    const given = try buffers.options(abi.KvQueries, bytes, length, "queries", diag);
    const out = try buffers.required(weights, "the weights", diag);
    try engine.kv_attention.weights(self.session.?, .{
        .layer = given.layer,
        .position = given.position,
        .rows = given.rows,
        .head = if (given.head == abi.none) null else given.head,
        .values = try buffers.slice(f32, values, given.count, "the queries", diag),
    }, out[0..weights_count], diag);
}

pub fn round(handle: u32, format: u32, side: u32, values: ?[*]align(1) f32, count: u32, length: u32) callconv(.c) i32 {
    return withModel(handle, .{ format, side, values, count, length }, roundValues);
}

fn roundValues(
    model: *engine.Model,
    diag: *Diagnostic,
    format_id: u32,
    side_id: u32,
    values: ?[*]align(1) f32,
    count: u32,
    length: u32,
) errors.Error!void {
    const stored = try storedHead(format_id, "the format", diag);
    const format = stored.format;
    const side = try member(abi.KvSideId, side_id, "a side", diag);
    try engine.layouts.checkOptions(side, format, stored.options, length, diag);
    if (length == 0 or length > head_values_max or length % cache.formatUnit(format) != 0 or count % length != 0) {
        diag.set("expected rows of a multiple of {d} values up to {d} for {t}, found {d} values in rows of {d}", .{
            cache.formatUnit(format), head_values_max, format, count, length,
        });
        return error.InvalidArgument;
    }
    const given = (try buffers.required(values, "the values", diag))[0..count];
    // Keys of some formats are rounded so many tokens at a time.
    const together: u32 = if (side == .key and cache.inGroups(format)) @intCast(stored.options.groupLen()) else 1;
    if (count / length % together != 0) {
        diag.set("expected keys of a multiple of {d} tokens for {t}, found {d}", .{ together, format, count / length });
        return error.InvalidArgument;
    }
    const page = try table.gpa.alignedAlloc(u8, .@"64", cache.page_len * cache.sideBytes(format, side, stored.options, length));
    defer table.gpa.free(page);
    const row = try table.gpa.alignedAlloc(f32, .@"64", together * length);
    defer table.gpa.free(row);
    const k = model.kernels;
    const code = stored.options.code(@fromBackingInt(@backingInt(format)));
    var from: usize = 0;
    while (from < count) : (from += row.len) {
        const bytes = std.mem.sliceAsBytes(given[from..][0..row.len]);
        @memcpy(std.mem.sliceAsBytes(row), bytes);
        k.kv_store(code, @backingInt(side), row.ptr, row.len, page.ptr, 0);
        k.kv_read(code, @backingInt(side), page.ptr, length, 0, together, row.ptr);
        @memcpy(bytes, std.mem.sliceAsBytes(row));
    }
}

fn member(comptime Enum: type, id: u32, what: []const u8, diag: *Diagnostic) errors.Error!Enum {
    inline for (comptime std.enums.values(Enum)) |tag| if (id == @backingInt(tag)) return tag;
    diag.set("expected {s} of the KV cache, found number {d}", .{ what, id });
    return error.InvalidArgument;
}
