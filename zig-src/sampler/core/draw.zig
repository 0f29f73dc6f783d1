//! The final draw: inversion of the cumulative distribution. With the members of the set in
//! ascending order of id and a uniform u in [0, 1), the choice is the first member at which the
//! cumulative mass exceeds u times the total. A member of mass 0 is never chosen.

const std = @import("std");
const sweep = @import("sweep.zig");
const Candidates = @import("candidates.zig").Candidates;
const assert = std.debug.assert;

/// The index of the chosen member.
pub fn pick(set: *Candidates, u: f64) usize {
    assert(u >= 0);
    assert(u < 1);
    const target = u * set.mass();
    var before: f64 = 0;
    var last: usize = 0;
    for (set.block_mass[0..sweep.blockCount(set.len())], 0..) |block_mass, block| {
        if (block_mass == 0) continue;
        last = block;
        if (before + block_mass > target) break;
        before += block_mass;
    }
    return pickInBlock(set, last, target - before);
}

fn pickInBlock(set: *Candidates, block: usize, target: f64) usize {
    const start = block * sweep.block_len;
    var sum: f64 = 0;
    // The mass of the block was summed in another order, so the target can lie a rounding error
    // beyond the sum found here; the last member with mass is then the one meant.
    var last = start;
    for (set.weightsOfBlock(block), start..) |weight, index| {
        if (weight == 0) continue;
        last = index;
        sum += weight;
        if (sum > target) break;
    }
    return last;
}
