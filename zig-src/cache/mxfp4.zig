//! KV cache format mxfp4: four-bit floats (e2m1) and one power of two (e8m0) for 32 values of a head, 4.25
//! bits a value, rounded as in the GGUF tensor type whose wire id it has. Open Compute Project, "OCP
//! Microscaling Formats (MX) Specification", version 1.0.

pub const name = "mxfp4";
pub const id = 39;
/// Values of a head that share a scale.
pub const unit = 32;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count / unit * 17;
}
