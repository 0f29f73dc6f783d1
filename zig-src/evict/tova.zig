//! What the last query looks at: Oren et al. 2024, "Transformers are Multi-State RNNs" (TOVA). The token
//! that is looked at least goes, the youngest one excepted.

const evict = @import("../evict.zig");

pub const name = "tova";
pub const id = 4;
pub const scoring: ?evict.Scoring = .last;

pub fn keep(options: evict.Options, tokens: evict.Tokens, kept: []bool) void {
    const older = tokens.len() -| 1;
    @memset(kept[older..], true);
    evict.keepHighest(tokens.scores[0..older], options.budget - 1, tokens.indices, kept);
}
