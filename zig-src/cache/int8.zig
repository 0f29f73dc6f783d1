//! KV cache format int8: signed 8-bit integers and one f16 scale for the whole head of one position: 8.125 bits
//! a value where heads have 128. Integers are x / scale to nearest, halves away from zero, and the scale is the
//! largest magnitude / 127, as in q8_0 with another group. GGUF has no such tensor type: the wire id is our own.

pub const name = "int8";
pub const id = 1002;
/// Heads are multiples of it, because queries are rounded in groups of 32.
pub const unit = 32;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count + 2;
}
