//! LLaMA 1 to 3, Mistral, TinyLlama, SmolLM2 and the many models of the same shape (Touvron et al.
//! 2023; Jiang et al. 2023): RMS norm before attention and before a SwiGLU MLP, rotary positions
//! on adjacent pairs (the converter permutes the rows of q and k for that), grouped-query
//! attention, optional biases, tied or separate output matrix.

const block = @import("block/block.zig");

pub const names = .{"llama"};
pub const rope_style = .adjacent;
pub const activation = .silu;
pub const tensors: []const block.Slot = &(block.common ++ block.qkv(.optional));

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
