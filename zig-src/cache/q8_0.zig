//! KV cache format q8_0: signed 8-bit integers and one f16 scale for 32 values of a head, rounded as
//! in the GGUF tensor type whose wire id it has. Keys are multiplied as integers with a query that is
//! rounded to 8 bits too; values are converted in registers.

pub const name = "q8_0";
pub const id = 8;
/// Values of a head that share a scale.
pub const unit = 32;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count / unit * (unit + 2);
}
