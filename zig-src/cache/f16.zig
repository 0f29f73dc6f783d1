//! KV cache format f16: IEEE half precision: 11 significant bits, the usual choice.
//! The attention kernels read it directly; the wire id is that of the GGUF tensor type.

pub const name = "f16";
pub const id = 1;
/// Values of a head that share a scale.
pub const unit = 1;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return 2 * count;
}
