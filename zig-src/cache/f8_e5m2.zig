//! KV cache format f8_e5m2: 8-bit floats with 5 bits of exponent and 2 of fraction, as OCP's "8-bit
//! Floating Point Specification" (2023) has them: the upper half of an f16. Values are rounded to
//! nearest even; what is larger than 57344 becomes 57344.

pub const name = "f8_e5m2";
/// Above the numbers of GGUF tensor types, which has no such one.
pub const id = 1001;
/// Values of a head that share a scale.
pub const unit = 1;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count;
}
