//! The records that a running request leaves in its session's ring. They cross the C ABI as they
//! are: little endian, each a header, then `top_len` pairs of token and log-probability, then
//! `text_len` bytes of UTF-8, padded to a multiple of four.

const std = @import("std");
const sampler = @import("../sampler.zig");

pub const Kind = enum(u32) {
    /// A sampled token.
    token = 1,
    /// Part of the prompt was evaluated: `token` of `position` tokens.
    prefill = 2,
    /// The request is over; `token` is the `Reason`.
    end = 3,
    /// A token of the prompt with the log-probability that the model gave it.
    prompt_token = 4,
    /// A pass that checked a draft of `token` tokens is over, or the first token is there: `flags` guesses
    /// were right, `position` tokens are in the sequence. `wanted` not 0: the request waits for a draft.
    draft = 5,
};

pub const Reason = enum(u32) {
    max_tokens = 0,
    end_of_generation = 1,
    cancelled = 2,
    failed = 3,
    context_full = 4,
};

pub const flag_end_of_generation = 1;

pub const Header = extern struct {
    /// Of the whole record, padding included.
    size: u32 = 0,
    kind: Kind,
    token: u32,
    /// Index of the token in the sequence.
    position: u32,
    /// Natural logarithm, of the model's own distribution.
    logprob: f32 = 0,
    flags: u32 = 0,
    text_len: u32 = 0,
    top_len: u32 = 0,
    /// Of the model's own distribution, in nats; NaN unless the request asked for it.
    entropy: f32 = std.math.nan(f32),
    /// Of a draft: tokens that the next one may have, when the host is asked for it.
    wanted: u32 = 0,
};

/// Bytes of the longest record with so many alternatives and a text of so many bytes.
pub fn bytesMax(top_len: usize, text_len: usize) usize {
    return @sizeOf(Header) + top_len * @sizeOf(sampler.TokenLogprob) + std.mem.alignForward(usize, text_len, 4);
}

comptime {
    std.debug.assert(@sizeOf(Header) == 40);
    std.debug.assert(@sizeOf(sampler.TokenLogprob) == 8);
}
