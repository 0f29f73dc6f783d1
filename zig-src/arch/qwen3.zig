//! Qwen3, dense (Yang et al. 2025): Qwen2 without biases and with an RMS norm on every query and
//! key head before the rotation. The head size is a hyperparameter of its own.

const block = @import("block/block.zig");

pub const names = .{"qwen3"};
pub const rope_style = .halves;
pub const activation = .silu;
pub const tensors: []const block.Slot = &(block.common ++ block.qkv(.optional) ++ block.qk_norm);

pub fn hyperparameters(h: *block.Hyper, reader: block.Reader) block.Error!void {
    _ = h;
    _ = reader;
}

pub fn forward(run: *block.Run) void {
    block.embed(run);
    for (run.layers(), 0..) |*layer, i| {
        if (block.cancelled(run)) return;
        block.attention(run, layer, i); // x += attention(norm(x)), heads of q and k normalised
        block.gatedMlp(run, layer, i); // x += down(silu(gate(norm(x))) * up(norm(x)))
    }
}
