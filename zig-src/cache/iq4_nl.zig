//! KV cache format iq4_nl: indices into sixteen fixed levels, denser near zero, and one f16 scale for 32
//! values of a head, 4.5 bits a value, rounded as in the GGUF tensor type whose wire id it has.

pub const name = "iq4_nl";
pub const id = 20;
/// Values of a head that share a scale.
pub const unit = 32;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count / unit * 18;
}
