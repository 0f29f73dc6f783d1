//! IEEE 754 double precision, decoded to the nearest f32.

pub const name = "f64";
pub const id = 28;
pub const block_len = 1;
pub const block_bytes = 8;

pub const Block = extern struct { value: f64 };

pub fn decodeBlock(block: *align(1) const Block, out: *[1]f32) void {
    out[0] = @floatCast(block.value);
}
