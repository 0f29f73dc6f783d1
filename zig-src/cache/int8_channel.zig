//! KV cache format int8_channel: int4 and int2 with 8 bits, integers with an f16 scale and an f16 minimum for 32 of
//! them, which are 32 tokens of one channel in keys and 32 values of one token in values: 9 bits a value. Options
//! change the group (to 64 where a policy names none and heads are multiples of it), leave the minimum out, and keep
//! outliers. GGUF has no such tensor type: the wire id is our own.
//! How it lies says `kernel/attention/channels.zig`.

pub const name = "int8_channel";
pub const id = 1005;
/// Values that share a scale and a minimum.
pub const unit = 32;

/// Bytes of a head of `count` values.
pub fn bytes(count: u64) u64 {
    return count + count / unit * 4;
}
