//! Plain 32-bit integers, decoded to the nearest f32: exact up to 2^24.

pub const name = "i32";
pub const id = 26;
pub const block_len = 1;
pub const block_bytes = 4;

pub const Block = extern struct { value: i32 };

pub fn decodeBlock(block: *align(1) const Block, out: *[1]f32) void {
    out[0] = @floatFromInt(block.value);
}
