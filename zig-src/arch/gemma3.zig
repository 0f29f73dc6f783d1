//! Gemma 3, text (Gemma Team 2025): embeddings scaled by sqrt(embd), a norm before *and* after
//! attention and MLP, normalised query and key heads, GeGLU, and five layers with a sliding window
//! (and a rotary base of their own) for each layer that sees the whole context. The converter has
//! already added 1 to the norms' weights. Soft caps are taken from the metadata where present.

const block = @import("block/block.zig");

pub const names = .{"gemma3"};
pub const rope_style = .halves;
pub const activation = .gelu;
pub const tensors: []const block.Slot = &(block.common ++ block.qkv(.none) ++ block.qk_norm ++ [_]block.Slot{
    .{ .name = "post_attention_norm", .cols = .embd },
    .{ .name = "post_ffw_norm", .cols = .embd },
});

pub fn hyperparameters(h: *block.Hyper, reader: block.Reader) block.Error!void {
    h.embd_scale = @sqrt(@as(f32, @floatFromInt(h.embd)));
    h.window_period = try reader.periodOr("attention.sliding_window_pattern", 6, 4096);
    h.attn_softcap = @floatCast(try reader.positiveOr("attn_logit_softcapping", 0));
    h.logit_softcap = @floatCast(try reader.positiveOr("final_logit_softcapping", 0));
    // Layers with a window were trained with a base of 10,000 and are never stretched.
    h.rope_local = .{
        .style = rope_style,
        .dim = h.rope.dim,
        .base = try reader.positiveOr("rope.freq_base_swa", 10000),
    };
    // The 27B model divides by the square root of embd / heads instead of the head size
    // (`query_pre_attn_scalar`), which its files don't say; its depth tells it apart.
    if (!reader.has("attention.scale") and h.layers == 62) {
        h.attn_scale = 1 / @sqrt(@as(f32, @floatFromInt(h.embd / h.heads)));
    }
}

pub fn forward(run: *block.Run) void {
    block.embed(run);
    for (run.layers(), 0..) |*layer, i| {
        if (block.cancelled(run)) return;
        block.attention(run, layer, i); // x += norm(attention(norm(x)))
        block.gatedMlp(run, layer, i); // x += norm(down(gelu(gate(norm(x))) * up(norm(x))))
    }
}
