//! KV cache format q4_0: signed 4-bit integers and one f16 scale for 32 values of a head, 4.5 bits a value,
//! rounded as in the GGUF tensor type whose wire id it has.

pub const name = "q4_0";
pub const id = 2;
/// Values of a head that share a scale.
pub const unit = 32;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count / unit * 18;
}
