//! KV cache format f8_e4m3: 8-bit floats with 4 bits of exponent and 3 of fraction, as OCP's "8-bit
//! Floating Point Specification" (2023) has them: no infinity, up to 448. Values are rounded to nearest
//! even; what is larger becomes the largest. There is no scale: keys and values of most models lie well
//! within the range.

pub const name = "f8_e4m3";
/// Above the numbers of GGUF tensor types, which has no such one.
pub const id = 1000;
/// Values of a head that share a scale.
pub const unit = 1;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count;
}
