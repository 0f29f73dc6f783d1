//! IEEE 754 half precision. Encoding rounds to nearest even and overflows to infinity.

pub const name = "f16";
pub const id = 1;
pub const block_len = 1;
pub const block_bytes = 2;

pub const Block = extern struct { value: f16 };

pub fn decodeBlock(block: *align(1) const Block, out: *[1]f32) void {
    out[0] = block.value;
}

pub fn encodeBlock(in: *const [1]f32, block: *align(1) Block) void {
    block.value = @floatCast(in[0]);
}
