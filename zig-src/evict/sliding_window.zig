//! The first tokens and the last ones: Xiao et al. 2023, "Efficient Streaming Language Models with Attention
//! Sinks" (StreamingLLM). Without sinks it is a plain window.

const evict = @import("../evict.zig");

pub const name = "sliding_window";
pub const id = 1;
pub const scoring: ?evict.Scoring = .none;

pub fn keep(options: evict.Options, tokens: evict.Tokens, kept: []bool) void {
    for (kept, 0..) |*is, i| is.* = i < options.sinks or i + options.recent >= tokens.len();
}
