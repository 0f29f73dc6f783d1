//! The weights of one transformer layer, and the table that says which of them a family has.
//! Matrices are `Linear` (packed for the kernels), vectors are plain f32.

const std = @import("std");
const Hyper = @import("hyper.zig").Hyper;
const Weight = @import("../../engine/weight.zig").Weight;

/// y = W x + b; W has the shape [rows (outputs), cols (inputs)].
pub const Linear = struct {
    weight: Weight,
    bias: ?[]const f32 = null,
};

pub const Layer = struct {
    attn_norm: []const f32, // [embd]
    attn_q: Linear, // [heads * head_dim_k, embd]
    attn_k: Linear, // [kv_heads * head_dim_k, embd]
    attn_v: Linear, // [kv_heads * head_dim_v, embd]
    attn_output: Linear, // [embd, heads * head_dim_v]
    attn_q_norm: ?[]const f32 = null, // [head_dim_k]
    attn_k_norm: ?[]const f32 = null, // [head_dim_k]
    post_attention_norm: ?[]const f32 = null, // [embd]
    ffn_norm: []const f32, // [embd]
    ffn_gate: Linear, // [ff, embd]
    ffn_up: Linear, // [ff, embd]
    ffn_down: Linear, // [embd, ff]
    post_ffw_norm: ?[]const f32 = null, // [embd]
};

/// A dimension of a tensor, in terms of the hyperparameters.
pub const Dim = enum {
    embd,
    ff,
    q,
    k,
    v,
    o,
    head_k,

    pub fn of(dim: Dim, h: *const Hyper) u32 {
        return switch (dim) {
            .embd => h.embd,
            .ff => h.ff,
            .q => h.heads * h.head_dim_k,
            .k => h.kv_heads * h.head_dim_k,
            .v => h.kv_heads * h.head_dim_v,
            .o => h.heads * h.head_dim_v,
            .head_k => h.head_dim_k,
        };
    }
};

/// One tensor of a layer: GGUF name `blk.<layer>.<name>.weight`, for a matrix with an optional
/// `.bias` beside it.
pub const Slot = struct {
    name: []const u8,
    /// Outputs; null for a vector.
    rows: ?Dim = null,
    /// Inputs of a matrix, length of a vector.
    cols: Dim,
    bias: Bias = .none,

    pub const Bias = enum { none, optional, required };
};

/// What every family in the registry has.
pub const common = [_]Slot{
    .{ .name = "attn_norm", .cols = .embd },
    .{ .name = "attn_output", .rows = .embd, .cols = .o, .bias = .optional },
    .{ .name = "ffn_norm", .cols = .embd },
    .{ .name = "ffn_gate", .rows = .ff, .cols = .embd, .bias = .optional },
    .{ .name = "ffn_up", .rows = .ff, .cols = .embd, .bias = .optional },
    .{ .name = "ffn_down", .rows = .embd, .cols = .ff, .bias = .optional },
};

/// The projections to queries, keys and values.
pub fn qkv(bias: Slot.Bias) [3]Slot {
    return .{
        .{ .name = "attn_q", .rows = .q, .cols = .embd, .bias = bias },
        .{ .name = "attn_k", .rows = .k, .cols = .embd, .bias = bias },
        .{ .name = "attn_v", .rows = .v, .cols = .embd, .bias = bias },
    };
}

/// RMS norms of every query and key head (Henry et al. 2020, "Query-Key Normalization").
pub const qk_norm = [_]Slot{
    .{ .name = "attn_q_norm", .cols = .head_k },
    .{ .name = "attn_k_norm", .cols = .head_k },
};

comptime {
    // A slot is the field of `Layer` with its name.
    for (common ++ qkv(.none) ++ qk_norm) |slot| std.debug.assert(@hasField(Layer, slot.name));
}
