//! Qwen2 and Qwen2.5 (Yang et al. 2024): LLaMA's block with rotary positions on halves and biases
//! on the projections to queries, keys and values.

const block = @import("block/block.zig");

pub const names = .{"qwen2"};
pub const rope_style = .halves;
pub const activation = .silu;
pub const tensors: []const block.Slot = &(block.common ++ block.qkv(.required));

pub fn hyperparameters(h: *block.Hyper, reader: block.Reader) block.Error!void {
    _ = h;
    _ = reader;
}

pub fn forward(run: *block.Run) void {
    block.embed(run);
    for (run.layers(), 0..) |*layer, i| {
        if (block.cancelled(run)) return;
        block.attention(run, layer, i); // x += attention(norm(x))
        block.gatedMlp(run, layer, i); // x += down(silu(gate(norm(x))) * up(norm(x)))
    }
}
