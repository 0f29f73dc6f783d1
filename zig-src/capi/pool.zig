//! Pools: pages of the KV cache that several sessions share, with a limit.

const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const cache = @import("../cache.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const session_file = @import("session.zig");
const table = @import("core/table.zig");
const ModelObject = @import("core/model_object.zig").ModelObject;
const PoolObject = @import("core/pool_object.zig").PoolObject;
const SessionObject = @import("core/session_object.zig").SessionObject;
const Stored = @import("core/stored.zig").Stored;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Error = errors.Error;

pub const functions = .{
    .{
        .name = "vitrine_pool_create",
        .function = "create",
        .doc =
        \\Sets pages aside that sessions will share. The handle is the caller's, also after an error, and is
        \\given back with vitrine_pool_destroy.
        ,
        .params = .{
            .{ "model", "A loaded model; it stays alive as long as the pool." },
            .{ "options", "Read during the call only.", "PoolOptions" },
            .{ "options_length", "In bytes." },
            .{ "formats", "As for vitrine_session_create." },
            .{ "format_count", "How many: twice the layers times the KV heads, or 0, and those of `window_layers`." },
            .{ "out_pool", "Gets the handle; 0 when there is none." },
        },
    },
    .{
        .name = "vitrine_pool_destroy",
        .function = "destroy",
        .doc = "Ends the handle; again is harmless. The pages go with the last of the pool's sessions.",
        .params = .{.{ "pool", "The pool." }},
    },
    .{
        .name = "vitrine_pool_info",
        .function = "info",
        .doc = "What the pool has, and who holds it.",
        .params = .{
            .{ "pool", "The pool." },
            .{ "out", "The caller's; filled as far as it reaches.", "PoolInfo" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_pool_session",
        .function = "session",
        .doc =
        \\Makes an empty sequence that takes its pages from the pool. The handle is the caller's, also after
        \\an error, and is given back with vitrine_session_destroy.
        ,
        .params = .{
            .{ "pool", "The pool; it lives as long as the session." },
            .{ "options", "Read during the call only; the formats are the pool's. Null: the defaults.", "SessionOptions" },
            .{ "options_length", "In bytes; 0: the defaults." },
            .{ "out_session", "Gets the handle; 0 when there is none." },
        },
    },
};

pub fn create(
    model_handle: u32,
    options: ?[*]const u8,
    options_length: u32,
    formats: ?[*]align(1) const u32,
    format_count: u32,
    out_pool: ?*align(1) u32,
) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    const out = buffers.required(out_pool, "the handle", &diag) catch |err| return errors.code(err);
    out.* = 0;
    const self = PoolObject.create() catch |err| return errors.code(err);
    out.* = table.add(&self.object) catch |err| {
        table.unpin(&self.object);
        return errors.code(err);
    };
    return errors.finish(&self.object, open(self, model_handle, options, options_length, formats, format_count));
}

fn open(
    self: *PoolObject,
    model_handle: u32,
    bytes: ?[*]const u8,
    length: u32,
    formats: ?[*]align(1) const u32,
    format_count: u32,
) Error!void {
    const diag = &self.object.diag;
    const parent = table.pin(model_handle, .model) orelse {
        diag.set("expected a model, found a handle that names none", .{});
        return error.InvalidHandle;
    };
    errdefer table.unpin(parent);
    const model_object = ModelObject.of(parent);
    if (model_object.phaseNow() != .ready) {
        diag.set("expected a loaded model, found one that isn't", .{});
        return error.NotReady;
    }
    const given = try buffers.options(abi.PoolOptions, bytes, length, "pool options", diag);
    const numbers = try buffers.slice(u32, formats, format_count, "the cache formats", diag);
    const stored: Stored = try .of(numbers, given.window_layers, diag);
    defer stored.deinit();
    self.pool = try engine.limited_pool.create(model_object.model.?, .{
        .pages = given.pages,
        .bytes = given.bytes_wanted,
        .when_full = try whenFull(given.when_full, diag),
        .key_format = try session_file.cacheFormat(given.key_format, "key_format", diag),
        .value_format = try session_file.cacheFormat(given.value_format, "value_format", diag),
        .head_formats = stored.formats,
        .windows = stored.windows,
        .exact_format = try session_file.cacheFormat(given.exact_format, "exact_format", diag),
    }, diag);
    self.model = model_object;
}

fn whenFull(id: u32, diag: *Diagnostic) Error!cache.WhenFull {
    inline for (comptime @import("std").enums.values(cache.WhenFull)) |tag| if (id == @backingInt(tag)) return tag;
    diag.set("expected when_full to say what a full pool does, found number {d}", .{id});
    return error.InvalidArgument;
}

pub fn destroy(handle: u32) callconv(.c) i32 {
    const object = table.remove(handle, .pool) orelse return 0;
    table.unpin(object);
    return 0;
}

pub fn info(handle: u32, out: ?[*]u8, length: u32) callconv(.c) i32 {
    const object = table.pin(handle, .pool) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    object.lock();
    defer object.unlock();
    return errors.finish(object, fill(PoolObject.of(object), out, length));
}

fn fill(self: *PoolObject, out: ?[*]u8, length: u32) Error!void {
    const pool = try self.ready();
    const counts = pool.counts();
    try buffers.fill(abi.PoolInfo{
        .page_length = cache.page_len,
        .page_count = @intCast(counts.total),
        .pages_used = @intCast(counts.used),
        .pages_shared = @intCast(counts.shared),
        .pages_kept = @intCast(counts.kept),
        .sequences = @intCast(pool.tableCount()),
        .page_bytes = @floatFromInt(pool.page_bytes),
        .memory_bytes = @floatFromInt(pool.page_bytes * counts.total),
        .found = @floatFromInt(counts.found),
        .evicted = @floatFromInt(counts.evicted),
    }, out, length, &self.object.diag);
}

pub fn session(handle: u32, options: ?[*]const u8, options_length: u32, out_session: ?*align(1) u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    const out = buffers.required(out_session, "the handle", &diag) catch |err| return errors.code(err);
    out.* = 0;
    const object = table.pin(handle, .pool) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    const self = SessionObject.create() catch |err| return errors.code(err);
    out.* = table.add(&self.object) catch |err| {
        table.unpin(&self.object);
        return errors.code(err);
    };
    return errors.finish(&self.object, begin(self, PoolObject.of(object), options, options_length));
}

fn begin(self: *SessionObject, of: *PoolObject, bytes: ?[*]const u8, length: u32) Error!void {
    const diag = &self.object.diag;
    const pool = of.pool orelse {
        diag.set("expected a pool, found one that couldn't be created", .{});
        return error.NotReady;
    };
    const given = try buffers.options(abi.SessionOptions, bytes, length, "session options", diag);
    self.session = try engine.Session.create(of.model.?.model.?, .{
        .context = given.context,
        .pool = pool,
        .chunk = given.chunk,
        .shift_keep = @max(-1, given.shift_keep),
        .evict = try session_file.eviction(given, diag),
    }, diag);
    table.retain(&of.model.?.object);
    self.model = of.model;
}
