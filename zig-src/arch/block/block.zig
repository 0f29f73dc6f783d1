//! The blocks that families are built from. Every function here is executed by all members of the
//! team at once (`Run.member` says which one); each does its share and `run.sync()` separates the
//! steps. Rows of the residual stream belong to the same member throughout, so that steps which
//! only touch a member's own rows need no barrier between them.

const std = @import("std");
const kernel = @import("../../kernel.zig");
const probe = @import("../../probe.zig");
const quant = @import("../../quant.zig");
const attend = @import("attend.zig");
const attention_mass = @import("../../engine/attention_mass.zig");
const hyper = @import("hyper.zig");
const layer_table = @import("layer.zig");
const store = @import("store.zig");

const Weight = @import("../../engine/weight.zig").Weight;
pub const Run = @import("../../engine/run.zig").Run;
pub const Hyper = hyper.Hyper;
pub const Reader = hyper.Reader;
pub const Error = hyper.Error;
pub const Slot = layer_table.Slot;
pub const Layer = layer_table.Layer;
pub const common = layer_table.common;
pub const qkv = layer_table.qkv;
pub const qk_norm = layer_table.qk_norm;

/// x = embeddings of the tokens, scaled; and the angles of their positions.
pub fn embed(run: *Run) void {
    const model = run.model;
    const table = &model.token_embd;
    const share = run.rows();
    for (share.from..share.to) |r| {
        const token = run.batch.rows[r];
        const x = run.row(run.buffers.x, model.hyper.embd, r);
        run.count(.{ .weight_bytes = table.row(token.id).len });
        quant.decodeRow(table.format, table.row(token.id), x);
        if (model.hyper.embd_scale != 1) for (x) |*value| {
            value.* *= model.hyper.embd_scale;
        };
        for (run.buffers.angles, &model.frequencies) |angles, *frequencies| {
            const pairs = frequencies.short.len;
            frequencies.at(token.position + token.ahead, token.context, angles[r * pairs ..][0..pairs]);
        }
    }
    run.observe(.embed, 0, run.buffers.x, model.hyper.embd);
}

/// Whether the batch has been given up; the same answer for all members. It is polled once a layer.
pub fn cancelled(run: *const Run) bool {
    return run.batch.abandoned;
}

/// x += attention(norm(x))
pub fn attention(run: *Run, layer: *const Layer, index: usize) void {
    const buffers = run.buffers;
    const h = &run.model.hyper;
    run.enter(index);
    run.observe(.resid_pre, index, buffers.x, h.embd);
    normalise(run, layer.attn_norm, &.{ &layer.attn_q.weight, &layer.attn_k.weight, &layer.attn_v.weight });
    run.sync();
    // Between the first and the second barrier nobody reads the flag.
    if (run.member == 0) run.batch.poll();
    run.matmul(.residual, &layer.attn_q.weight, buffers.q, &layer.attn_k.weight); // [n_tokens, heads * head_dim_k]
    run.matmul(.residual, &layer.attn_k.weight, buffers.k, &layer.attn_v.weight); // [n_tokens, kv_heads * head_dim_k]
    run.matmul(.residual, &layer.attn_v.weight, buffers.v, &layer.attn_output.weight); // [n_tokens, kv_heads * head_dim_v]
    run.sync();
    const stores = store.goesWithAttention(run, index);
    if (!stores) {
        store.rotateAndStore(run, layer, index);
        run.sync();
    }
    attend.attend(run, layer, index, stores); // buffers.attn [n_tokens, heads * head_dim_v]
    attention_mass.add(run, index);
    run.sync();
    if (!attend.preparesHeads(run, index)) {
        const share = run.rows();
        const width = h.heads * h.head_dim_v;
        run.observe(.z, index, buffers.attn, width);
        for (share.from..share.to) |r| run.prepare(run.row(buffers.attn, width, r), r, run.batch.len, &.{&layer.attn_output.weight});
        run.sync();
    }
    run.matmul(.residual, &layer.attn_output.weight, buffers.projected, &layer.ffn_gate.weight); // [n_tokens, embd]
    run.sync();
    addToResidual(run, layer.attn_output.bias, layer.post_attention_norm, .attn_out, index);
    run.observe(.resid_mid, index, buffers.x, h.embd);
}

/// x += down(act(gate(norm(x))) * up(norm(x)))
pub fn gatedMlp(run: *Run, layer: *const Layer, index: usize) void {
    const buffers = run.buffers;
    normalise(run, layer.ffn_norm, &.{ &layer.ffn_gate.weight, &layer.ffn_up.weight });
    run.sync();
    gateUp(run, layer, index);
    run.sync();
    if (run.observes(.mlp_act, index)) observeActivations(run, layer, index);
    run.matmul(.hidden, &layer.ffn_down.weight, buffers.projected, behindLayer(run, index)); // [n_tokens, embd]
    run.sync();
    addToResidual(run, layer.ffn_down.bias, layer.post_ffw_norm, .mlp_out, index);
    run.observe(.resid_post, index, buffers.x, run.model.hyper.embd);
}

/// The weight that is read behind those of a layer.
fn behindLayer(run: *const Run, index: usize) *const Weight {
    const layers = run.layers();
    return if (index + 1 < layers.len) &layers[index + 1].attn_q.weight else &run.model.output;
}

/// And behind the output head, by the next batch.
fn behindHead(run: *const Run) *const Weight {
    return &run.layers()[0].attn_q.weight;
}

/// They have been prepared already, which is done once more with what they are afterwards.
fn observeActivations(run: *Run, layer: *const Layer, index: usize) void {
    const width = run.model.hyper.ff;
    run.observe(.mlp_act, index, run.buffers.mlp_act, width);
    const share = run.rows();
    for (share.from..share.to) |r| {
        const row = run.row(run.buffers.mlp_act, width, r);
        run.preparePart(.hidden, row, .{ .from = 0, .to = width }, r, run.batch.len, &.{&layer.ffn_down.weight});
    }
    run.sync();
}

/// Activations of the down projection. Who has computed a piece activates and prepares it too, without
/// waiting for the others; a task is two panels, whose 32 outputs are prepared together.
fn gateUp(run: *Run, layer: *const Layer, index: usize) void {
    const h = &run.model.hyper;
    const k = run.model.kernels;
    const weight = &layer.ffn_gate.weight;
    const blocks: Run.Blocks = .of(run, weight, run.batch.len);
    const gates, const ups = run.gateParts();
    const observed = run.observes(.mlp_act, index);
    var pieces = run.dealOut(run.gateTasks(weight, blocks));
    while (pieces.next()) |pair| {
        if (run.batch.unwanted()) return;
        const piece: Run.Piece = .{ .round = pair.round, .from = 2 * pair.from, .to = @min(2 * pair.to, weight.panelCount()) };
        const from = piece.from * kernel.panel_rows;
        const to = @min(piece.to * kernel.panel_rows, h.ff);
        const behind: Run.Next = if (pieces.goesOn(pair)) .{ .weight = weight, .panel = piece.to } else .shareOf(run, &layer.ffn_down.weight);
        run.multiplyPart(weight, gates, to - from, blocks, piece, .{ .weight = &layer.ffn_up.weight, .panel = piece.from });
        run.multiplyPart(&layer.ffn_up.weight, ups, to - from, blocks, piece, behind);
        const rows = blocks.share(piece.round);
        for (rows.from..rows.to, 0..) |r, i| {
            const gate = gates[i * (to - from) ..][0 .. to - from];
            const up = ups[i * (to - from) ..][0 .. to - from];
            if (layer.ffn_gate.bias) |bias| k.add(gate.ptr, bias[from..].ptr, gate.len);
            if (layer.ffn_up.bias) |bias| k.add(up.ptr, bias[from..].ptr, gate.len);
            switch (h.activation) {
                .silu => k.silu_mul(gate.ptr, up.ptr, gate.len, gate.ptr),
                .gelu => k.gelu_mul(gate.ptr, up.ptr, gate.len, gate.ptr),
            }
            if (observed) @memcpy(run.row(run.buffers.mlp_act, h.ff, r)[from..to], gate);
            const row = Run.wholeOf(gate.ptr, from)[0..h.ff];
            run.preparePart(.hidden, row, .{ .from = from, .to = to }, r, run.batch.len, &.{&layer.ffn_down.weight});
        }
    }
}

/// The logits of chosen rows: cap(output(norm(x))). `chosen` are row numbers of the last batch.
pub fn head(run: *Run, chosen: []const u32) void {
    const model = run.model;
    const h = &model.hyper;
    const share = run.split(@intCast(chosen.len));
    for (share.from..share.to) |i| {
        const x = run.row(run.buffers.x, h.embd, chosen[i]);
        model.kernels.rms_norm(x.ptr, model.output_norm.ptr, h.embd, h.norm_eps, run.scratch().ptr);
        run.prepare(run.scratch()[0..h.embd], i, chosen.len, &.{&model.output});
    }
    run.sync();
    run.matmulRows(&model.output, run.buffers.logits, model.logitsStride(), @intCast(chosen.len), behindHead(run)); // [chosen.len, vocab]
    if (h.logit_softcap == 0) return;
    run.sync();
    for (share.from..share.to) |i| {
        const logits = run.buffers.logits[i * model.logitsStride() ..];
        model.kernels.softcap(logits.ptr, model.vocab(), h.logit_softcap);
    }
}

/// Activations of the next products, with `weights`, = norm(x), for this member's rows.
fn normalise(run: *Run, weight: []const f32, weights: []const *const Weight) void {
    const h = &run.model.hyper;
    const share = run.rows();
    for (share.from..share.to) |r| {
        const x = run.row(run.buffers.x, h.embd, r);
        run.model.kernels.rms_norm(x.ptr, weight.ptr, h.embd, h.norm_eps, run.scratch().ptr);
        run.prepare(run.scratch()[0..h.embd], r, run.batch.len, weights);
    }
}

/// x += norm(projected + bias), for this member's rows; `point` names what is added.
fn addToResidual(run: *Run, bias: ?[]const f32, norm: ?[]const f32, point: probe.Point, index: usize) void {
    const h = &run.model.hyper;
    const k = run.model.kernels;
    const share = run.rows();
    for (share.from..share.to) |r| {
        const projected = run.row(run.buffers.projected, h.embd, r);
        if (bias) |b| k.add(projected.ptr, b.ptr, h.embd);
        if (norm) |weight| k.rms_norm(projected.ptr, weight.ptr, h.embd, h.norm_eps, projected.ptr);
    }
    run.observe(point, index, run.buffers.projected, h.embd);
    for (share.from..share.to) |r| {
        const x = run.row(run.buffers.x, h.embd, r);
        k.add(x.ptr, run.row(run.buffers.projected, h.embd, r).ptr, h.embd);
    }
}
