//! Plain 8-bit integers. GGUF files use the integer types for tables, never for weights.

pub const name = "i8";
pub const id = 24;
pub const block_len = 1;
pub const block_bytes = 1;

pub const Block = extern struct { value: i8 };

pub fn decodeBlock(block: *align(1) const Block, out: *[1]f32) void {
    out[0] = @floatFromInt(block.value);
}
