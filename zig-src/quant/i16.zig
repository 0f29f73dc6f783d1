//! Plain 16-bit integers. GGUF files use the integer types for tables, never for weights.

pub const name = "i16";
pub const id = 25;
pub const block_len = 1;
pub const block_bytes = 2;

pub const Block = extern struct { value: i16 };

pub fn decodeBlock(block: *align(1) const Block, out: *[1]f32) void {
    out[0] = @floatFromInt(block.value);
}
