//! KV cache format int4, after KIVI: integers of 4 bits with an f16 scale and an f16 minimum for 32 of them, which are
//! 32 tokens of one channel in keys and 32 values of one token in values: 5 bits a value. Keys are rounded when a
//! group of tokens is whole, so that a layer needs 32 recent tokens at full precision. GGUF has no such tensor type:
//! the wire id is our own. How it lies says `kernel/attention/channels.zig`.

pub const name = "int4";
pub const id = 1003;
/// Values that share a scale and a minimum.
pub const unit = 32;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count * 4 / 8 + count / unit * 4;
}
