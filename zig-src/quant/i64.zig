//! Plain 64-bit integers, decoded to the nearest f32: exact up to 2^24.

pub const name = "i64";
pub const id = 27;
pub const block_len = 1;
pub const block_bytes = 8;

pub const Block = extern struct { value: i64 };

pub fn decodeBlock(block: *align(1) const Block, out: *[1]f32) void {
    out[0] = @floatFromInt(block.value);
}
