//! Hook points: named activations that can be seen and replaced while a batch passes through the model.
//! The names are the same for all families and are declared where the value is produced
//! (`arch/block/`). Without an observer a hook point costs one branch.

const std = @import("std");
const gate_file = @import("probe/gate.zig");

pub const Gate = gate_file.Gate;
pub const Offer = gate_file.Offer;

/// The values that can be observed, with their width. Indexed ones exist once per layer.
pub const Point = enum(u32) {
    /// Embeddings as they enter the first layer, scaled: [n_tokens, embd].
    embed = 0,
    /// What attention adds to the residual stream, after its post-norm: [n_tokens, embd].
    attn_out = 1,
    /// What the MLP adds to the residual stream, after its post-norm: [n_tokens, embd].
    mlp_out = 2,
    /// The residual stream behind the layer: [n_tokens, embd].
    resid_post = 3,
    /// The residual stream before the layer: [n_tokens, embd].
    resid_pre = 4,
    /// The residual stream between attention and MLP: [n_tokens, embd].
    resid_mid = 5,
    /// Queries after their rotation: [n_tokens, heads, head_dim_k].
    q = 6,
    /// Keys before their rotation, after their norm: [n_tokens, kv_heads, head_dim_k].
    k_pre = 7,
    /// Keys after their rotation, before they are stored: [n_tokens, kv_heads, head_dim_k].
    k = 8,
    /// Values before they are stored: [n_tokens, kv_heads, head_dim_v].
    v = 9,
    /// What the heads of attention found, before the output matrix: [n_tokens, heads, head_dim_v].
    z = 10,
    /// Keys as the cache is about to round them, behind their Hadamard rotation if they have one; tokens at
    /// full precision have their own already: [n_tokens, kv_heads, head_dim_k].
    k_stored = 12,
    /// The same of values: [n_tokens, kv_heads, head_dim_v].
    v_stored = 13,
    /// Keys of a group of tokens, when its last one is there, as they are at full precision; what is left of
    /// them takes the place of what the cache has: [32, kv_heads, head_dim_k]. Only where a layer keeps that
    /// many recent tokens.
    k_group = 14,
    /// Activations of the MLP, act(gate) * up, before the down matrix: [n_tokens, ff].
    mlp_act = 11,

    pub fn perLayer(point: Point) bool {
        return point != .embed;
    }

    pub fn bit(point: Point) u32 {
        return @as(u32, 1) << @intCast(@backingInt(point));
    }
};

/// Writes the canonical name, such as "embed" or "blocks.3.resid_post".
pub fn writeName(writer: *std.Io.Writer, point: Point, layer: u32) std.Io.Writer.Error!void {
    if (!point.perLayer()) return writer.writeAll(@tagName(point));
    try writer.print("blocks.{d}.{s}", .{ layer, @tagName(point) });
}

/// Receives rows while all members of the team wait: it must not call the engine.
pub const Observer = struct {
    context: *anyopaque,
    /// Whether the point is to be shown; the same answer throughout a request.
    wants: *const fn (context: *anyopaque, point: Point, layer: u32) bool,
    /// `values` is [n_tokens, width] and may be written to; `position` is that of the first row. Valid
    /// during the call.
    observe: *const fn (context: *anyopaque, point: Point, layer: u32, position: u32, values: []f32, width: u32) void,
};

test "names are canonical" {
    var buffer: [64]u8 = undefined;
    var writer: std.Io.Writer = .fixed(&buffer);
    try writeName(&writer, .resid_post, 3);
    try writer.writeAll(" ");
    try writeName(&writer, .embed, 0);
    try std.testing.expectEqualStrings("blocks.3.resid_post embed", writer.buffered());
}

test {
    _ = gate_file;
}
