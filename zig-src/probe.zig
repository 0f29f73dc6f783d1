//! Hook points: named activations that can be observed while a batch passes through the model.
//! The names are the same for all families and are declared where the value is produced
//! (`arch/block/block.zig`). Without an observer a hook point costs one branch.

const std = @import("std");

/// The values that can be observed. Indexed ones exist once per layer.
pub const Point = enum(u32) {
    /// Embeddings as they enter the first layer, scaled: [n_tokens, embd].
    embed = 0,
    /// What attention adds to the residual stream, after its post-norm: [n_tokens, embd].
    attn_out = 1,
    /// What the MLP adds to the residual stream, after its post-norm: [n_tokens, embd].
    mlp_out = 2,
    /// The residual stream behind the layer: [n_tokens, embd].
    resid_post = 3,

    pub fn perLayer(point: Point) bool {
        return point != .embed;
    }
};

/// Writes the canonical name, such as "embed" or "blocks.3.resid_post".
pub fn writeName(writer: *std.Io.Writer, point: Point, layer: u32) std.Io.Writer.Error!void {
    if (!point.perLayer()) return writer.writeAll(@tagName(point));
    try writer.print("blocks.{d}.{s}", .{ layer, @tagName(point) });
}

/// Receives rows while all members of the team wait: it should be quick, and it must not call the
/// engine.
pub const Observer = struct {
    context: *anyopaque,
    /// `values` is [n_tokens, width]; `position` is that of the first row. Valid during the call.
    observe: *const fn (context: *anyopaque, point: Point, layer: u32, position: u32, values: []const f32, width: u32) void,
};

test "names are canonical" {
    var buffer: [64]u8 = undefined;
    var writer: std.Io.Writer = .fixed(&buffer);
    try writeName(&writer, .resid_post, 3);
    try writer.writeAll(" ");
    try writeName(&writer, .embed, 0);
    try std.testing.expectEqualStrings("blocks.3.resid_post embed", writer.buffered());
}
