//! A function of the host decides. The engine asks it (`probe/gate.zig`); what is here serves when nobody
//! answers: the youngest tokens stay.

const evict = @import("../evict.zig");

pub const name = "script";
pub const id = 5;
/// The options say it.
pub const scoring: ?evict.Scoring = null;

pub fn keep(options: evict.Options, tokens: evict.Tokens, kept: []bool) void {
    for (kept, 0..) |*is, i| is.* = i + options.budget >= tokens.len();
}
