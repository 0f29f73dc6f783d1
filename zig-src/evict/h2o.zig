//! Heavy hitters and the youngest tokens: Zhang et al. 2023, "H2O: Heavy-Hitter Oracle for Efficient
//! Generative Inference of Large Language Models". The score is the attention of all queries so far.

const evict = @import("../evict.zig");

pub const name = "h2o";
pub const id = 2;
pub const scoring: ?evict.Scoring = .sum;

pub fn keep(options: evict.Options, tokens: evict.Tokens, kept: []bool) void {
    const older = tokens.len() -| options.recent;
    @memset(kept[older..], true);
    evict.keepHighest(tokens.scores[0..older], options.budget -| options.recent, tokens.indices, kept);
}
