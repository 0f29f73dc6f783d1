//! KV cache format f32: single precision: what the forward pass computes in.
//! The attention kernels read it directly; the wire id is that of the GGUF tensor type.

pub const name = "f32";
pub const id = 0;
/// Values of a head that share a scale.
pub const unit = 1;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return 4 * count;
}
