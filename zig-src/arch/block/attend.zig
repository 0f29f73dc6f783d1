//! Queries, keys and values of one layer between its projections: rotation, the store into the KV
//! cache, and attention over what is stored. Every function here is executed by all members of the
//! team at once.

const cache = @import("../../cache.zig");
const kernel = @import("../../kernel.zig");
const Layer = @import("layer.zig").Layer;
const Run = @import("../../engine/run.zig").Run;

/// Biases, head norms and rotation of q and k; k and v go to the cache. One task is one KV head of
/// one token with the query heads that share it.
pub fn rotateAndStore(run: *Run, layer: *const Layer, index: usize) void {
    const h = &run.model.hyper;
    const k = run.model.kernels;
    const group = h.group();
    const local = h.slides(index) and h.rope_local != null;
    const frequencies = &run.model.frequencies[@intFromBool(local)];
    const angles = run.buffers.angles[@intFromBool(local)];
    const pairs = frequencies.short.len;

    const share = run.split(run.batch.len * h.kv_heads);
    for (share.from..share.to) |task| {
        const r = task / h.kv_heads;
        const kv_head = task % h.kv_heads;
        const token = run.batch.rows[r];
        const angle: [*]const f32 = @ptrCast(angles[r * pairs ..].ptr);
        const q_from = kv_head * group * h.head_dim_k;
        const q = run.row(run.buffers.q, h.heads * h.head_dim_k, r)[q_from..][0 .. group * h.head_dim_k];
        const key = run.row(run.buffers.k, h.kv_heads * h.head_dim_k, r)[kv_head * h.head_dim_k ..][0..h.head_dim_k];
        const value = run.row(run.buffers.v, h.kv_heads * h.head_dim_v, r)[kv_head * h.head_dim_v ..][0..h.head_dim_v];

        if (layer.attn_q.bias) |bias| k.add(q.ptr, bias[q_from..].ptr, q.len);
        if (layer.attn_k.bias) |bias| k.add(key.ptr, bias[kv_head * h.head_dim_k ..].ptr, key.len);
        if (layer.attn_v.bias) |bias| k.add(value.ptr, bias[kv_head * h.head_dim_v ..].ptr, value.len);
        if (layer.attn_q_norm) |weight| for (0..group) |head_in_group| {
            const one = q[head_in_group * h.head_dim_k ..].ptr;
            k.rms_norm(one, weight.ptr, h.head_dim_k, h.norm_eps, one);
        };
        if (layer.attn_k_norm) |weight| k.rms_norm(key.ptr, weight.ptr, h.head_dim_k, h.norm_eps, key.ptr);
        k.rope(q.ptr, group, h.head_dim_k, frequencies.rope.dim, @backingInt(frequencies.rope.style), angle);
        k.rope(key.ptr, 1, h.head_dim_k, frequencies.rope.dim, @backingInt(frequencies.rope.style), angle);

        const layout = token.sequence.pool.layout;
        k.kv_store(@backingInt(layout.key_format), key.ptr, key.len, token.sequence.keyAt(token.position, index, kv_head));
        k.kv_store(@backingInt(layout.value_format), value.ptr, value.len, token.sequence.valueAt(token.position, index, kv_head));
    }
}

/// Softmax(q k) v over the cached positions, one task per token and KV head. Tasks are dealt out in
/// turn, because later tokens have more positions to look at.
pub fn attend(run: *Run, index: usize) void {
    const h = &run.model.hyper;
    const group = h.group();
    const tasks = run.batch.len * h.kv_heads;
    var task: usize = run.member;
    while (task < tasks and !run.batch.unwanted()) : (task += run.members) {
        const r = task / h.kv_heads;
        const kv_head = task % h.kv_heads;
        const token = run.batch.rows[r];
        const to = token.position + 1;
        const from = if (h.slides(index)) to -| h.window else 0;
        const layout = token.sequence.pool.layout;
        const pages = run.pages();
        for (from / cache.page_len..(to - 1) / cache.page_len + 1) |page| {
            pages.keys[page] = token.sequence.pool.keys(token.sequence.table[page], index, kv_head);
            pages.values[page] = token.sequence.pool.values(token.sequence.table[page], index, kv_head);
        }
        const args: kernel.AttentionArgs = .{
            .q = run.row(run.buffers.q, h.heads * h.head_dim_k, r)[kv_head * group * h.head_dim_k ..].ptr,
            .q_stride = h.head_dim_k,
            .group = group,
            .head_dim_k = h.head_dim_k,
            .head_dim_v = h.head_dim_v,
            .key_format = @backingInt(layout.key_format),
            .value_format = @backingInt(layout.value_format),
            .key_pages = pages.keys.ptr,
            .value_pages = pages.values.ptr,
            .page_len = cache.page_len,
            .from = from,
            .to = to,
            .scale = h.attn_scale,
            .softcap = h.attn_softcap,
            .out = run.row(run.buffers.attn, h.heads * h.head_dim_v, r)[kv_head * group * h.head_dim_v ..].ptr,
            .out_stride = h.head_dim_v,
        };
        run.model.kernels.attention(&args);
    }
}
