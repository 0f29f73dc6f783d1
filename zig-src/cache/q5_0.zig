//! KV cache format q5_0: signed 5-bit integers and one f16 scale for 32 values of a head, 5.5 bits a value,
//! rounded as in the GGUF tensor type whose wire id it has.

pub const name = "q5_0";
pub const id = 6;
/// Values of a head that share a scale.
pub const unit = 32;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count / unit * 22;
}
