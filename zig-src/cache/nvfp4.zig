//! KV cache format nvfp4: four-bit floats (e2m1) and one 8-bit float (e4m3) for 16 values of a head, 4.5
//! bits a value, rounded as in the GGUF tensor type whose wire id it has.
//!
//! The format has a second scale for a whole tensor, which takes the magnitudes to where e4m3 is fine. A
//! cache grows by a token at a time and can't know its largest value beforehand, so that this scale is 1
//! here: values go up to 2688, and groups whose largest magnitude is below about 0.1 lose precision.

pub const name = "nvfp4";
pub const id = 40;
/// Values of a head that are multiplied together; two scales belong to them.
pub const unit = 32;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count / unit * 18;
}
