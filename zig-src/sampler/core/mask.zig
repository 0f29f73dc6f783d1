//! What a mask leaves of a set: one bit for each token of the vocabulary, as a grammar makes them.

const std = @import("std");
const sweep = @import("sweep.zig");
const Candidates = @import("candidates.zig").Candidates;
const Error = @import("candidates.zig").Error;

const lanes = sweep.lanes;

/// Keeps the tokens whose bits are set; a token beyond the words is not kept.
pub fn keepBits(set: *Candidates, words: []const u64) Error!void {
    var kept: usize = 0;
    if (set.whole and lacksFew(set, words)) return dropRest(set, words);
    if (set.whole) {
        var at: usize = 0;
        for (words) |word| {
            // Each word is four pieces of `lanes` members.
            for (0..64 / lanes) |part| {
                const bits: u16 = @truncate(word >> @intCast(part * lanes));
                const start = at + part * lanes;
                if (bits == 0 or start >= set.values.len) continue;
                const there = @min(lanes, set.values.len - start);
                const inside = if (there == lanes) bits else bits & ((@as(u16, 1) << @intCast(there)) - 1);
                const many = there == lanes and @popCount(inside) > lanes / 4;
                kept = if (many) set.keepMany(start, inside, kept) else set.keepFew(start, inside, kept);
            }
            at += 64;
        }
    } else for (0..set.values.len) |index| {
        const token = set.id(index);
        if (token / 64 >= words.len) continue;
        if (words[token / 64] >> @intCast(token % 64) & 1 != 0) kept = set.keepFew(index, 1, kept);
    }
    set.values = set.logits[0..kept];
    set.whole = false;
    try set.rescan();
}

/// Whether the words have nearly the whole vocabulary.
fn lacksFew(set: *const Candidates, words: []const u64) bool {
    const count = set.values.len;
    if (words.len < (count + 63) / 64) return false;
    var there: usize = 0;
    for (words[0 .. count / 64]) |word| there += @popCount(word);
    return count - there <= count / 8;
}

/// Takes the tokens out whose bits are not set; the others stay where they are.
fn dropRest(set: *Candidates, words: []const u64) Error!void {
    for (words[0 .. (set.values.len + 63) / 64], 0..) |word, at| {
        var rest = ~word;
        while (rest != 0) : (rest &= rest - 1) {
            const index = at * 64 + @ctz(rest);
            if (index < set.values.len) set.change(index, -std.math.inf(f32));
        }
    }
    try set.changed();
}
