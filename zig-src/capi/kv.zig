//! The KV cache of a session, as far as it can be seen from outside.

const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const cache = @import("../cache.zig");
const errors = @import("core/errors.zig");
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
        .memory_bytes = @floatFromInt(self.session.?.kvBytes()),
    }, out, length, &self.object.diag);
}
