//! What the end of the prompt looks at, cut once, when the prompt has been read: Li et al. 2024, "SnapKV: LLM
//! Knows What You are Looking for Before Generation". Scores are pooled (the maximum over neighbours), so that
//! what is looked at keeps its surroundings. The tokens whose queries were counted stay.

const evict = @import("../evict.zig");

pub const name = "snap_kv";
pub const id = 3;
pub const scoring: ?evict.Scoring = .prompt_end;

pub fn keep(options: evict.Options, tokens: evict.Tokens, kept: []bool) void {
    const older = tokens.len() -| options.window;
    @memset(kept[older..], true);
    const reach = options.pooling / 2;
    for (tokens.pooled[0..older], 0..) |*pooled, i| {
        pooled.* = 0;
        for (tokens.scores[i -| reach..@min(older, i + reach + 1)]) |score| pooled.* = @max(pooled.*, score);
    }
    evict.keepHighest(tokens.pooled[0..older], options.budget -| options.window, tokens.indices, kept);
}
