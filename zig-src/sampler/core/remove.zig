//! Takes the most probable members out of a set, but for the least probable of them.

const std = @import("std");
const sweep = @import("sweep.zig");
const Candidates = @import("candidates.zig").Candidates;

const lanes = sweep.lanes;
const F = @Vector(lanes, f32);

/// Removes the members with a logit of at least `bound`, all but the lowest of them and, of equal
/// ones, that of the highest id. With fewer than two, nothing.
pub fn removeFrom(set: *Candidates, bound: f32) void {
    var lowest = std.math.inf(f32);
    var last: usize = 0;
    var found: usize = 0;
    for (set.maxima(), 0..) |block_max, block| {
        if (block_max < bound) continue;
        const start = block * sweep.block_len;
        for (set.values[start..@min(start + sweep.block_len, set.values.len)], start..) |x, index| {
            if (x < bound or x == -std.math.inf(f32)) continue;
            found += 1;
            if (x > lowest) continue;
            lowest = x;
            last = index;
        }
    }
    if (found < 2) return;
    var kept: usize = 0;
    var i: usize = 0;
    while (i < set.values.len) : (i += lanes) {
        const mask = maskBelow(set, i, lowest) | if (last -% i < lanes) @as(u16, 1) << @intCast(last - i) else 0;
        if (mask == 0) continue;
        const many = @popCount(mask) > lanes / 4 and i + lanes <= set.values.len;
        kept = if (many) set.keepMany(i, mask, kept) else set.keepFew(i, mask, kept);
    }
    set.values = set.logits[0..kept];
    set.whole = false;
    set.max = lowest;
    set.maxima_known = false;
    set.mass_beta = 0;
}

/// Which of the members from `start` on have a logit below `bound` and above -inf.
fn maskBelow(set: *const Candidates, start: usize, bound: f32) u16 {
    const none: F = @splat(-std.math.inf(f32));
    const x = sweep.loadPadded(set.values[start..]);
    return @as(u16, @bitCast(x < @as(F, @splat(bound)))) & @as(u16, @bitCast(x > none));
}
