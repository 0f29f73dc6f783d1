//! KV cache format q5_1: unsigned 5-bit integers, one f16 scale and one f16 minimum for 32 values of a head,
//! 6 bits a value, rounded as in the GGUF tensor type whose wire id it has.

pub const name = "q5_1";
pub const id = 7;
/// Values of a head that share a scale and a minimum.
pub const unit = 32;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count / unit * 24;
}
