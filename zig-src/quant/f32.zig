//! IEEE 754 single precision: the format everything else decodes to.

pub const name = "f32";
pub const id = 0;
pub const block_len = 1;
pub const block_bytes = 4;

pub const Block = extern struct { value: f32 };

pub fn decodeBlock(block: *align(1) const Block, out: *[1]f32) void {
    out[0] = block.value;
}

pub fn encodeBlock(in: *const [1]f32, block: *align(1) Block) void {
    block.value = in[0];
}
