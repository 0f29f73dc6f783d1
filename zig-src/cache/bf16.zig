//! KV cache format bf16: the upper half of an f32: 8 significant bits and the range of an f32.
//! The attention kernels read it directly; the wire id is that of the GGUF tensor type.

pub const name = "bf16";
pub const id = 30;
/// Values of a head that share a scale.
pub const unit = 1;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return 2 * count;
}
