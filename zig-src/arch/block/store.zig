//! Queries, keys and values of one layer behind their projections: biases, norms, rotation, and the store
//! into the KV cache. Every function here is executed by all members of the team at once.

const std = @import("std");
const cache = @import("../../cache.zig");
const kernel = @import("../../kernel.zig");
const probe = @import("../../probe.zig");
const Layer = @import("layer.zig").Layer;
const rope_file = @import("rope.zig");
const Run = @import("../../engine/run.zig").Run;

/// Whether each row is the only one of its sequence, so that nobody reads what it stores but the row itself:
/// then attention rotates and stores, head by head, without a barrier in between, and finds the lines of
/// the cache where it has just written to them.
pub fn goesWithAttention(run: *const Run, index: usize) bool {
    const batch = run.batch;
    if (batch.len != batch.segments_len or run.attentionSplits() or observed(run, index)) return false;
    for (batch.segments[0..batch.segments_len], batch.rows[0..batch.len]) |segment, row| {
        // Companions may read what their session's own row stores; and queries of rows that want to know
        // what they attend to are read by everybody.
        if (segment.companion != 0 or row.mass != null or row.sequence.exact != null) return false;
    }
    return true;
}

/// Biases, norms and rotation of one KV head of one row.
pub fn rotate(run: *const Run, layer: *const Layer, index: usize, r: usize, kv_head: usize) void {
    Head.of(run, index, r * run.model.hyper.kv_heads + kv_head).makeReady(layer);
}

/// Its key and its value, which are rotated, go to the cache.
pub fn storeRow(run: *const Run, index: usize, r: usize, kv_head: usize) void {
    Head.of(run, index, r * run.model.hyper.kv_heads + kv_head).store();
}

fn observed(run: *const Run, index: usize) bool {
    const points = [_]probe.Point{ .k_pre, .q, .k, .v, .k_stored, .v_stored, .k_group };
    return for (points) |point| {
        if (run.observes(point, index)) break true;
    } else false;
}

/// Biases, head norms and rotation of q and k; k and v go to the cache. One task is one KV head of
/// one token with the query heads that share it; its steps only part where somebody looks between them.
pub fn rotateAndStore(run: *Run, layer: *const Layer, index: usize) void {
    const h = &run.model.hyper;
    const share = run.split(run.batch.len * h.kv_heads);
    if (!observed(run, index)) {
        for (share.from..share.to) |task| {
            if (task + 1 < share.to) askForPlace(run, index, task + 1);
            const head: Head = .of(run, index, task);
            head.makeReady(layer);
            head.keep();
            head.store();
        }
        return storeGroups(run, index);
    }
    const buffers = run.buffers;
    for (share.from..share.to) |task| Head.of(run, index, task).normalise(layer);
    run.observe(.k_pre, index, buffers.k, h.kv_heads * h.head_dim_k);
    for (share.from..share.to) |task| Head.of(run, index, task).rotate();
    run.observe(.q, index, buffers.q, h.heads * h.head_dim_k);
    observeKeys(run, index, share.from, share.to);
    run.observe(.v, index, buffers.v, h.kv_heads * h.head_dim_v);
    for (share.from..share.to) |task| {
        const head: Head = .of(run, index, task);
        head.turn();
        head.keep();
    }
    run.observe(.k_stored, index, buffers.k, h.kv_heads * h.head_dim_k);
    run.observe(.v_stored, index, buffers.v, h.kv_heads * h.head_dim_v);
    for (share.from..share.to) |task| Head.of(run, index, task).store();
    storeGroups(run, index);
    if (run.observes(.k_group, index)) showGroups(run, index);
}

/// Asks for the lines that a task stores to. A key of a float format is spread over as many lines as its
/// values fill with those beside it, and of a sequence that decodes none of them is in a cache.
fn askForPlace(run: *const Run, index: usize, task: usize) void {
    const h = &run.model.hyper;
    const r = task / h.kv_heads;
    const kv_head = task % h.kv_heads;
    const row = run.batch.rows[r];
    if (r != 0 and run.batch.rows[r - 1].sequence == row.sequence) return;
    const pool = row.sequence.pool;
    const layout = &pool.layout;
    const format: kernel.KvFormat = @fromBackingInt(@backingInt(layout.format(.key, index, kv_head)));
    if (format.scaled() or format.grouped()) return;
    const page = row.sequence.table[row.position / cache.page_len];
    const place = row.position % cache.page_len;
    const line = 64;
    const keys = pool.keys(page, index, kv_head);
    const from = layout.firstBytes(.key, index, kv_head, place / kernel.page.group * kernel.page.group);
    const to = layout.firstBytes(.key, index, kv_head, place + 1);
    var at = from;
    while (at < to) : (at += line) @prefetch(keys + at, .{ .rw = .write });
    const values = pool.values(page, index, kv_head);
    @prefetch(values + layout.firstBytes(.value, index, kv_head, place), .{ .rw = .write });
}

/// Keys behind their rotary embedding, also where they are stored before it. What somebody has changed is
/// turned back; the others are stored as if nobody had looked.
fn observeKeys(run: *Run, index: usize, from: usize, to: usize) void {
    const h = &run.model.hyper;
    const width = h.kv_heads * h.head_dim_k;
    const early = run.observes(.k, index) and run.batch.rows[0].sequence.pool.layout.anyEarly();
    if (early) for (from..to) |task| {
        const head: Head = .of(run, index, task);
        if (!head.early()) continue;
        @memcpy(head.earlyKey(), head.key);
        head.rotateKey(head.key);
    };
    run.observe(.k, index, run.buffers.k, width);
    if (early) for (from..to) |task| {
        const head: Head = .of(run, index, task);
        if (!head.early()) continue;
        const expected = run.group(head.key.len);
        @memcpy(expected, head.earlyKey());
        head.rotateKey(expected);
        if (std.mem.eql(u8, std.mem.sliceAsBytes(expected), std.mem.sliceAsBytes(head.key))) {
            @memcpy(head.key, head.earlyKey());
        } else head.rotateBack(head.key);
    };
}

/// Keys of whole groups of tokens, for those who want to replace them. An observed batch has one sequence.
fn showGroups(run: *Run, index: usize) void {
    const h = &run.model.hyper;
    const sequence = run.batch.rows[0].sequence;
    const exact = if (sequence.exact) |*held| held else return;
    // Longer groups are shown where keys could be rounded so: the window reaches over them.
    const recent = exact.pool.layout.window(index).recent;
    const count: u32 = if (recent >= cache.channel_group_max) cache.channel_group_max else 32;
    if (recent < count) return;
    const width = h.kv_heads * h.head_dim_k;
    const k = run.model.kernels;
    const values = run.buffers.shown_group[0 .. count * width];
    for (run.batch.rows[0..run.batch.len]) |row| {
        if ((row.position + 1) % count != 0) continue;
        const first = row.position + 1 - count;
        run.sync();
        const share = run.split(count * h.kv_heads);
        for (share.from..share.to) |task| {
            const to = values[task / h.kv_heads * width + task % h.kv_heads * h.head_dim_k ..][0..h.head_dim_k];
            exact.read(k, .key, first + @as(u32, @intCast(task / h.kv_heads)), index, task % h.kv_heads, to);
        }
        run.show(.k_group, index, first, values, width);
        for (share.from..share.to) |task| {
            const position = first + @as(u32, @intCast(task / h.kv_heads));
            const kv_head = task % h.kv_heads;
            if (sequence.pool.layout.groups(index, kv_head)) continue;
            const format = sequence.pool.layout.code(.key, index, kv_head);
            const from = values[task / h.kv_heads * width + kv_head * h.head_dim_k ..][0..h.head_dim_k];
            // A head that nobody replaces comes back as NaN: it stays as it was stored, by itself.
            if (std.math.isNan(from[0])) continue;
            const keys = sequence.pageMemory(.key, position, index, kv_head);
            k.kv_store(format, @backingInt(kernel.KvSide.key), from.ptr, from.len, keys, position % cache.page_len);
        }
    }
}

/// Rounds keys whose scales belong to groups of tokens, where the last of a group is in the batch: from
/// what is kept of them at full precision.
fn storeGroups(run: *Run, index: usize) void {
    const h = &run.model.hyper;
    const rows = run.batch.rows[0..run.batch.len];
    const any = for (rows) |row| {
        if (row.sequence.pool.layout.rounds_groups) break true;
    } else false;
    if (!any) return;
    run.sync();
    const share = run.split(run.batch.len * h.kv_heads);
    for (share.from..share.to) |task| {
        const row = rows[task / h.kv_heads];
        const kv_head = task % h.kv_heads;
        const pool = row.sequence.pool;
        if (!pool.layout.groups(index, kv_head)) continue;
        const count = pool.layout.keyGroup(index, kv_head);
        if ((row.position + 1) % count != 0) continue;
        const first = row.position + 1 - count;
        const keys = run.group(count * h.head_dim_k);
        row.sequence.exact.?.readRange(run.model.kernels, .key, first, row.position + 1, index, kv_head, h.head_dim_k, keys);
        const to = pool.keys(row.sequence.table[first / cache.page_len], index, kv_head);
        const format = pool.layout.code(.key, index, kv_head);
        run.model.kernels.kv_store(format, @backingInt(kernel.KvSide.key), keys.ptr, keys.len, to, first % cache.page_len);
    }
}

/// One KV head of one token, and the query heads that share it.
const Head = struct {
    run: *const Run,
    index: usize,
    row: usize,
    kv_head: usize,
    q: []f32, // [group, head_dim_k]
    key: []f32, // [head_dim_k]
    value: []f32, // [head_dim_v]

    fn of(run: *const Run, index: usize, task: usize) Head {
        const h = &run.model.hyper;
        const r = task / h.kv_heads;
        const kv_head = task % h.kv_heads;
        const q_len = h.group() * h.head_dim_k;
        return .{
            .run = run,
            .index = index,
            .row = r,
            .kv_head = kv_head,
            .q = run.row(run.buffers.q, h.heads * h.head_dim_k, r)[kv_head * q_len ..][0..q_len],
            .key = run.row(run.buffers.k, h.kv_heads * h.head_dim_k, r)[kv_head * h.head_dim_k ..][0..h.head_dim_k],
            .value = run.row(run.buffers.v, h.kv_heads * h.head_dim_v, r)[kv_head * h.head_dim_v ..][0..h.head_dim_v],
        };
    }

    /// All that comes before a key and a value are stored, where nobody looks in between.
    fn makeReady(head: Head, layer: *const Layer) void {
        head.normalise(layer);
        head.rotate();
        head.turn();
    }

    fn normalise(head: Head, layer: *const Layer) void {
        const h = &head.run.model.hyper;
        const k = head.run.model.kernels;
        if (layer.attn_q.bias) |bias| k.add(head.q.ptr, bias[head.kv_head * head.q.len ..].ptr, head.q.len);
        if (layer.attn_k.bias) |bias| k.add(head.key.ptr, bias[head.kv_head * h.head_dim_k ..].ptr, head.key.len);
        if (layer.attn_v.bias) |bias| k.add(head.value.ptr, bias[head.kv_head * h.head_dim_v ..].ptr, head.value.len);
        if (layer.attn_q_norm) |weight| for (0..h.group()) |head_in_group| {
            const one = head.q[head_in_group * h.head_dim_k ..].ptr;
            k.rms_norm(one, weight.ptr, h.head_dim_k, h.norm_eps, one);
        };
        if (layer.attn_k_norm) |weight| k.rms_norm(head.key.ptr, weight.ptr, h.head_dim_k, h.norm_eps, head.key.ptr);
    }

    /// Of keys only those that are stored so; the others are rotated when they are read.
    fn rotate(head: Head) void {
        head.rope(head.q, head.angles().ptr);
        if (!head.early()) head.rotateKey(head.key);
    }

    fn early(head: Head) bool {
        return head.run.batch.rows[head.row].sequence.pool.layout.early(head.index, head.kv_head);
    }

    /// Where a key is kept while somebody sees it rotated.
    fn earlyKey(head: Head) []f32 {
        const h = &head.run.model.hyper;
        const row = head.run.row(head.run.buffers.early_keys, h.kv_heads * h.head_dim_k, head.row);
        return row[head.kv_head * h.head_dim_k ..][0..h.head_dim_k];
    }

    fn rotateKey(head: Head, key: []f32) void {
        head.rope(key, head.angles().ptr);
    }

    fn rotateBack(head: Head, key: []f32) void {
        const square: f32 = @floatCast(head.frequencies().magnitude * head.frequencies().magnitude);
        var storage: [rope_file.dim_max / 2][2]f32 = undefined;
        for (storage[0..head.angles().len], head.angles()) |*to, pair| to.* = .{ pair[0] / square, -pair[1] / square };
        head.rope(key, &storage);
    }

    fn rope(head: Head, heads: []f32, pairs: [*]const [2]f32) void {
        const dim = head.run.model.hyper.head_dim_k;
        const turning = &head.frequencies().rope;
        head.run.model.kernels.rope(heads.ptr, heads.len / dim, dim, turning.dim, @backingInt(turning.style), @ptrCast(pairs));
    }

    fn frequencies(head: Head) *const rope_file.Frequencies {
        const h = &head.run.model.hyper;
        return &head.run.model.frequencies[@intFromBool(h.slides(head.index) and h.rope_local != null)];
    }

    /// Of the row's position.
    fn angles(head: Head) []const [2]f32 {
        const h = &head.run.model.hyper;
        const of_rows = head.run.buffers.angles[@intFromBool(h.slides(head.index) and h.rope_local != null)];
        const pairs = head.frequencies().short.len;
        return of_rows[head.row * pairs ..][0..pairs];
    }

    /// Hadamard rotations. Products of queries and keys stay as they are: keys that are rotated when they are
    /// read are turned back before.
    fn turn(head: Head) void {
        const k = head.run.model.kernels;
        const layout = &head.run.batch.rows[head.row].sequence.pool.layout;
        if (layout.rotates(.key, head.index, head.kv_head)) {
            if (!head.early()) k.hadamard(head.q.ptr, head.q.len / head.key.len, head.key.len);
            k.hadamard(head.key.ptr, 1, head.key.len);
        }
        if (layout.rotates(.value, head.index, head.kv_head)) k.hadamard(head.value.ptr, 1, head.value.len);
    }

    /// At full precision, where the layer has such tokens.
    fn keep(head: Head) void {
        const token = head.run.batch.rows[head.row];
        const exact = if (token.sequence.exact) |*held| held else return;
        if (!exact.takes(head.index, token.position)) return;
        const k = head.run.model.kernels;
        exact.store(k, .key, token.position, head.index, head.kv_head, head.key);
        exact.store(k, .value, token.position, head.index, head.kv_head, head.value);
    }

    fn store(head: Head) void {
        const k = head.run.model.kernels;
        const token = head.run.batch.rows[head.row];
        const pool = token.sequence.pool;
        const page = token.sequence.table[token.position / cache.page_len];
        const place = token.position % cache.page_len;
        const keys = pool.keys(page, head.index, head.kv_head);
        const values = pool.values(page, head.index, head.kv_head);
        const key_format = pool.layout.code(.key, head.index, head.kv_head);
        const value_format = pool.layout.code(.value, head.index, head.kv_head);
        if (!pool.layout.groups(head.index, head.kv_head)) {
            k.kv_store(key_format, @backingInt(kernel.KvSide.key), head.key.ptr, head.key.len, keys, place);
        }
        k.kv_store(value_format, @backingInt(kernel.KvSide.value), head.value.ptr, head.value.len, values, place);
    }
};
