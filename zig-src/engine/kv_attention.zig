//! How much attention given queries pay to what a session's cache holds. Attention itself is fused and
//! keeps no weights; here they are computed once more, for those who want to see them.

const std = @import("std");
const cache = @import("../cache.zig");
const rope = @import("../arch/block/rope.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Session = @import("session.zig").Session;

const lanes = 16;
const V = @Vector(lanes, f32);

/// Rotated queries of a layer, for positions that follow each other.
pub const Queries = struct {
    layer: u32,
    /// Of the first row.
    position: u32,
    rows: u32,
    /// One query head, or null: all.
    head: ?u32,
    /// [rows][heads][values of a key]
    values: []align(1) const f32,
};

pub const Error = error{ Busy, NotReady, BadOption, OutOfRange, BufferTooSmall, OutOfMemory };

/// Writes softmax(cap(q k scale)) into `out`: [rows][heads][positions], with as many positions as the last
/// row sees; 0 where a row doesn't look.
pub fn weights(session: *Session, queries: Queries, out: []align(1) f32, diag: *Diagnostic) Error!void {
    session.lock();
    defer session.unlock();
    try session.expectIdle(diag);
    try session.expectWhole(diag);
    try session.expectUnevicted(diag);
    const positions = try check(session, queries, out.len, diag);
    const h = &session.model.hyper;
    const dim: usize = h.head_dim_k;
    const memory = try session.gpa.alignedAlloc(f32, .@"64", 2 * positions * dim + dim + positions);
    defer session.gpa.free(memory);
    const keys = memory[0 .. positions * dim];
    // Those at full precision, where the layer has some.
    const exact_keys = memory[keys.len..][0..keys.len];
    const q = memory[2 * keys.len ..][0..dim];
    const row = memory[2 * keys.len + dim ..];
    const window = session.sequence.pool.layout.window(queries.layer);
    const first = queries.head orelse 0;
    const heads: usize = if (queries.head == null) h.heads else 1;
    var decoded: ?u32 = null;
    for (0..heads) |i| {
        const kv_head: u32 = @intCast((first + i) / h.group());
        if (decoded != kv_head) decode(session, queries.layer, kv_head, keys, exact_keys);
        decoded = kv_head;
        for (0..queries.rows) |r| {
            const at = r * heads + i;
            const to: usize = queries.position + r + 1;
            const from = if (h.slides(queries.layer)) to -| h.window else 0;
            @memcpy(std.mem.sliceAsBytes(q), std.mem.sliceAsBytes(queries.values[at * dim ..][0..dim]));
            @memset(row, 0);
            for (row[from..to], from..) |*product_of, p| {
                const is_exact = p < window.sinks or p + window.recent >= to;
                product_of.* = product(q, (if (is_exact) exact_keys else keys)[p * dim ..][0..dim]);
            }
            weigh(h.attn_scale, h.attn_softcap, row[from..to]);
            @memcpy(std.mem.sliceAsBytes(out[at * positions ..][0..positions]), std.mem.sliceAsBytes(row));
        }
    }
}

/// Positions of a row of the result.
fn check(session: *const Session, queries: Queries, len: usize, diag: *Diagnostic) Error!usize {
    const h = &session.model.hyper;
    if (queries.layer >= h.layers) {
        diag.set("expected a layer under {d}, found {d}", .{ h.layers, queries.layer });
        return error.OutOfRange;
    }
    if (queries.head) |head| if (head >= h.heads) {
        diag.set("expected a query head under {d}, found {d}", .{ h.heads, head });
        return error.OutOfRange;
    };
    const positions = @as(u64, queries.position) + queries.rows;
    if (queries.rows == 0 or positions > session.sequence.len) {
        diag.set("expected queries at positions under {d}, which have keys, found {d} of them from {d} on", .{
            session.sequence.len, queries.rows, queries.position,
        });
        return error.OutOfRange;
    }
    if (session.sequence.exact) |*exact| {
        const window = exact.pool.layout.window(queries.layer);
        const recent = @min(window.recent, queries.position + 1);
        if (recent != 0 and queries.position + 1 - recent < exact.begin and exact.begin != 0) {
            diag.set("expected queries whose last {d} tokens are still there at full precision, at positions from {d} on, found {d}", .{
                window.recent, exact.begin + window.recent - 1, queries.position,
            });
            return error.OutOfRange;
        }
    }
    const heads: usize = if (queries.head == null) h.heads else 1;
    if (queries.values.len != queries.rows * heads * h.head_dim_k or len != queries.rows * heads * positions) {
        diag.set("expected {d} queries of {d} heads of {d} values and room for {d} positions each, found {d} values and room for {d}", .{
            queries.rows, heads, h.head_dim_k, positions, queries.values.len, len,
        });
        return error.BufferTooSmall;
    }
    return @intCast(positions);
}

fn decode(session: *const Session, layer: u32, kv_head: u32, keys: []f32, exact_keys: []f32) void {
    const dim: usize = session.model.hyper.head_dim_k;
    const code = session.sequence.pool.layout.code(.key, layer, kv_head);
    const positions = keys.len / dim;
    var position: usize = 0;
    while (position < positions) : (position += cache.page_len) {
        const count = @min(cache.page_len, positions - position);
        const page = session.sequence.pageMemory(.key, @intCast(position), layer, kv_head);
        session.model.kernels.kv_read(code, 0, page, dim, 0, count, keys[position * dim ..].ptr);
    }
    const rotates = session.sequence.pool.layout.rotates(.key, layer, kv_head);
    if (rotates) session.model.kernels.hadamard(keys.ptr, positions, dim);
    const early = session.sequence.pool.layout.early(layer, kv_head);
    if (early) for (0..positions) |p| rotate(session, layer, p, keys[p * dim ..][0..dim]);
    const exact = if (session.sequence.exact) |*of| of else return;
    for (0..positions) |p| if (exact.table[p / cache.page_len] != null and exact.takes(layer, @intCast(p))) {
        exact.read(session.model.kernels, .key, @intCast(p), layer, kv_head, exact_keys[p * dim ..][0..dim]);
        if (rotates) session.model.kernels.hadamard(exact_keys[p * dim ..].ptr, 1, dim);
        if (early) rotate(session, layer, p, exact_keys[p * dim ..][0..dim]);
    };
}

/// A key that is stored before its rotary embedding.
fn rotate(session: *const Session, layer: u32, position: usize, key: []f32) void {
    const h = &session.model.hyper;
    const frequencies = &session.model.frequencies[@intFromBool(h.slides(layer) and h.rope_local != null)];
    var storage: [rope.dim_max / 2][2]f32 = undefined;
    const angles = storage[0..frequencies.short.len];
    frequencies.at(@intCast(position), session.settings.context, angles);
    session.model.kernels.rope(key.ptr, 1, key.len, frequencies.rope.dim, @backingInt(frequencies.rope.style), @ptrCast(angles.ptr));
}

/// Products become weights.
fn weigh(scale: f32, cap: f32, row: []f32) void {
    var top: f32 = -std.math.inf(f32);
    for (row) |*weight| {
        const dot = weight.* * scale;
        weight.* = if (cap == 0) dot else cap * std.math.tanh(dot / cap);
        top = @max(top, weight.*);
    }
    var total: f32 = 0;
    for (row) |*weight| {
        weight.* = @exp(weight.* - top);
        total += weight.*;
    }
    for (row) |*weight| weight.* /= total;
}

fn product(a: []const f32, b: []const f32) f32 {
    var sums: V = @splat(0);
    var i: usize = 0;
    while (i + lanes <= a.len) : (i += lanes) sums += @as(V, a[i..][0..lanes].*) * @as(V, b[i..][0..lanes].*);
    var sum = @reduce(.Add, sums);
    while (i < a.len) : (i += 1) sum += a[i] * b[i];
    return sum;
}
