//! The set that a chain narrows down: the tokens that may still be drawn, with their logits.
//!
//! A set is always in ascending order of token id. Every selection keeps that order, so ties go
//! to the lowest id and the draw does not depend on the path that led to the set.
//!
//! Temperature is not multiplied into the logits but kept beside them as `beta` = 1/T: the
//! distribution of a set is softmax(logits · beta). Selections that look at the order of logits
//! alone are then exact whatever the temperature, and nobody writes 128 thousand products to keep
//! forty of them. A stage that computes with scaled logits asks for them with `edit`.
//!
//! At the start a set is the whole vocabulary and borrows the model's logits; nothing is copied
//! before a selection has thrown most of it away. All memory is taken by `init`.

const std = @import("std");
const sweep = @import("sweep.zig");
const select = @import("select.zig");
const assert = std.debug.assert;

const lanes = sweep.lanes;
const F = @Vector(lanes, f32);

pub const Error = error{
    /// A logit is NaN or +inf, so there is no distribution.
    NotANumber,
    /// No token with a logit above -inf is left.
    NoCandidates,
    /// A stage is a function, and nobody is there who has it.
    NoHost,
    /// A stage goes by logits of another session that nobody has given.
    NoGuide,
    /// A stage wants tokens to be evaluated, and nobody can.
    NoSession,
    /// A stage waits until the tokens that it named have been evaluated.
    LookAhead,
};

pub const Candidates = struct {
    /// Own memory, one place a token of the vocabulary.
    ids: []u32,
    logits: []f32,
    /// Scratch of selections; holds probabilities after `probabilities`.
    probs: []f32,
    block_max: []f32,
    block_mass: []f32,

    /// The logits of the set, in ascending order of id: the model's own row or a part of
    /// `logits`.
    values: []const f32,
    /// Who makes the passes over all values.
    passes: sweep.Passes,
    /// The set is still every token, and ids are indices.
    whole: bool,
    /// 1/T, the product of all temperatures so far; between `beta_min` and `beta_max`.
    beta: f32,
    /// The product of all temperatures so far, also of those that `edit` has multiplied in.
    temperature: f64,
    /// The highest logit of the set; always finite.
    max: f32,
    /// `block_max` belongs to the set as it is.
    maxima_known: bool,
    /// The `beta` for which `total` and `block_mass` belong to the set as it is; 0 for none.
    mass_beta: f32,
    total: f64,
    /// The `beta` for which `exponents` belongs to the set with that mass; 0 for none.
    mean_beta: f32,
    exponents: f64,

    /// Far enough from the ends of f32 that a difference of logits times beta is never NaN.
    pub const beta_min = 1e-30;
    pub const beta_max = 1e30;

    pub fn init(gpa: std.mem.Allocator, vocab: u32) error{OutOfMemory}!Candidates {
        assert(vocab > 0);
        const blocks = sweep.blockCount(vocab);
        const ids = try gpa.alloc(u32, vocab);
        errdefer gpa.free(ids);
        const floats = try gpa.alloc(f32, 2 * @as(usize, vocab) + 2 * blocks);
        return .{
            .ids = ids,
            .logits = floats[0..vocab],
            .probs = floats[vocab..][0..vocab],
            .block_max = floats[2 * @as(usize, vocab) ..][0..blocks],
            .block_mass = floats[2 * @as(usize, vocab) + blocks ..][0..blocks],
            .values = &.{},
            .passes = .compiled,
            .whole = true,
            .beta = 1,
            .temperature = 1,
            .max = 0,
            .maxima_known = false,
            .mass_beta = 0,
            .total = 0,
            .mean_beta = 0,
            .exponents = 0,
        };
    }

    pub fn deinit(set: *Candidates, gpa: std.mem.Allocator) void {
        gpa.free(set.logits.ptr[0 .. 2 * set.logits.len + 2 * set.block_max.len]);
        gpa.free(set.ids);
        set.* = undefined;
    }

    /// Makes the set the whole vocabulary again. `values` is borrowed until the next `begin`.
    pub fn begin(set: *Candidates, values: []const f32) Error!void {
        assert(values.len == set.logits.len);
        set.values = values;
        set.whole = true;
        set.beta = 1;
        set.temperature = 1;
        try set.rescan();
    }

    /// As `begin`, for logits in 16 bits; `values` gets them and is borrowed until the next one.
    pub fn beginHalf(set: *Candidates, bits: []align(1) const u16, values: []f32) Error!void {
        assert(values.len == set.logits.len);
        set.values = values;
        set.whole = true;
        set.beta = 1;
        set.temperature = 1;
        try set.scanned(set.passes.scanHalf(bits, values, set.block_max));
    }

    /// Makes the set some tokens of the vocabulary, in ascending order of id; both are copied.
    pub fn beginSome(set: *Candidates, ids: []const u32, values: []const f32) Error!void {
        assert(ids.len == values.len);
        assert(values.len <= set.logits.len);
        @memcpy(set.ids[0..ids.len], ids);
        @memcpy(set.logits[0..values.len], values);
        set.values = set.logits[0..values.len];
        set.whole = false;
        set.beta = 1;
        set.temperature = 1;
        try set.rescan();
    }

    pub fn len(set: *const Candidates) usize {
        return set.values.len;
    }

    pub fn id(set: *const Candidates, index: usize) u32 {
        return if (set.whole) @intCast(index) else set.ids[index];
    }

    /// Where a token stands; null when it is not among the members.
    pub fn indexOf(set: *const Candidates, token: u32) ?usize {
        if (set.whole) return if (token < set.values.len) token else null;
        const ids = set.ids[0..set.values.len];
        const index = std.sort.lowerBound(u32, ids, token, order);
        return if (index < ids.len and ids[index] == token) index else null;
    }

    fn order(token: u32, member: u32) std.math.Order {
        return std.math.order(token, member);
    }

    /// Divides all logits by `temperature`, which is positive.
    pub fn heat(set: *Candidates, temperature: f64) void {
        assert(temperature > 0);
        set.beta = @floatCast(std.math.clamp(set.beta / temperature, beta_min, beta_max));
        set.temperature *= temperature;
    }

    /// Σ exp((logit - max) · beta), computed once for a set and a temperature.
    pub fn mass(set: *Candidates) f64 {
        if (set.mass_beta != set.beta) {
            set.total = set.passes.mass(set.values, set.max, set.beta, set.block_mass);
            set.mass_beta = set.beta;
            set.mean_beta = 0;
        }
        return set.total;
    }

    /// How many members have a logit above -inf.
    pub fn finiteCount(set: *const Candidates) usize {
        return set.passes.countFrom(set.values, -std.math.floatMax(f32));
    }

    /// The lowest logit above -inf.
    pub fn lowestLogit(set: *const Candidates) f32 {
        return set.passes.lowestFinite(set.values);
    }

    /// The mean of (logit - max) · beta under the distribution: at most 0.
    pub fn meanExponent(set: *Candidates) f64 {
        if (set.mass_beta != set.beta) {
            const found = set.passes.moments(set.values, set.max, set.beta, set.block_mass);
            set.total = found.mass;
            set.mass_beta = set.beta;
            set.exponents = found.exponents;
        } else if (set.mean_beta != set.beta) {
            set.exponents = set.passes.exponents(set.values, set.max, set.beta);
        }
        set.mean_beta = set.beta;
        return @min(0, set.exponents / set.total);
    }

    /// Shannon's entropy of the distribution in nats: -Σ p ln p.
    pub fn entropy(set: *Candidates) f64 {
        const mean = set.meanExponent();
        return @max(0, @log(set.mass()) - mean);
    }

    /// The unnormalised probability of one member: 1 for the best.
    pub fn weight(set: *const Candidates, index: usize) f32 {
        return sweep.weight(set.values[index], set.max, set.beta);
    }

    /// The members below this logit, were they all just below it, would not add up to a share of
    /// 1 - p. So those above have more than p. The half leaves room for rounding.
    pub fn lowestOfMass(set: *Candidates, p: f64) f32 {
        const each = 0.5 * (1 - p) * set.mass() / @as(f64, @floatFromInt(set.values.len));
        return @floatCast(set.max + @log(each) / set.beta);
    }

    /// The maximum of each block of `sweep.block_len` members.
    pub fn maxima(set: *Candidates) []const f32 {
        if (!set.maxima_known) {
            const found = set.passes.scan(set.values, set.block_max);
            assert(!found.nan);
            assert(found.max == set.max);
            set.maxima_known = true;
        }
        return set.block_max[0..sweep.blockCount(set.values.len)];
    }

    /// The index of the highest logit, the lowest id among equals.
    pub fn best(set: *Candidates) usize {
        for (set.maxima(), 0..) |block_max, block| {
            if (block_max != set.max) continue;
            const start = block * sweep.block_len;
            return start + std.mem.findScalar(f32, set.values[start..], set.max).?;
        }
        unreachable;
    }

    /// The cut of which at least `target` of `measure` stays, for `keep`. `lowest` is a value
    /// that the cut is known not to fall below, or -inf.
    pub fn cut(set: *Candidates, measure: select.Measure, target: f64, lowest: f32) select.Cut {
        return select.cut(.{
            .values = set.values,
            .block_max = set.maxima(),
            .highest = set.max,
            .lowest = lowest,
            .passes = set.passes,
        }, measure, target, set.probs);
    }

    /// Removes all but what `cut` keeps. At least the best member must stay.
    pub fn keep(set: *Candidates, cut_: select.Cut) void {
        assert(cut_.threshold <= set.max);
        const block_max = set.maxima();
        var kept: usize = 0;
        var ties = cut_.ties;
        for (block_max, 0..) |top, block| {
            if (top < cut_.threshold) continue;
            const start = block * sweep.block_len;
            const end = @min(start + sweep.block_len, set.values.len);
            kept = set.keepRange(start, end, cut_.threshold, &ties, kept);
        }
        assert(kept > 0);
        set.values = set.logits[0..kept];
        set.whole = false;
        set.maxima_known = false;
        set.mass_beta = 0;
    }

    /// Keeps the members of an unnormalised probability of at least `lowest`, a share of the best
    /// one's, and in any case those as probable as the best.
    pub fn keepFrom(set: *Candidates, lowest: f64) void {
        if (lowest <= 0) return;
        // A ratio of probabilities is a difference of logits.
        const threshold: f32 = @floatCast(@min(0, @log(lowest) / set.beta) + set.max);
        const ties = if (threshold == -std.math.inf(f32)) 0 else set.values.len;
        set.keep(.{ .threshold = threshold, .ties = ties });
    }

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
            const mask = set.maskBelow(i, lowest) | if (last -% i < lanes) @as(u16, 1) << @intCast(last - i) else 0;
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
        var x = none;
        if (start + lanes <= set.values.len) {
            x = set.values[start..][0..lanes].*;
        } else {
            var padded: [lanes]f32 = none;
            @memcpy(padded[0 .. set.values.len - start], set.values[start..]);
            x = padded;
        }
        return @as(u16, @bitCast(x < @as(F, @splat(bound)))) & @as(u16, @bitCast(x > none));
    }

    /// Keeps the members for whose logits `stays` is true, in ascending order of id. Blocks without
    /// a logit of at least `lowest` are not read.
    pub fn keepWhere(
        set: *Candidates,
        lowest: f64,
        context: anytype,
        comptime stays: fn (@TypeOf(context), logit: f32) bool,
    ) Error!void {
        var kept: usize = 0;
        for (set.maxima(), 0..) |block_max, block| {
            if (block_max < lowest) continue;
            const start = block * sweep.block_len;
            for (start..@min(start + sweep.block_len, set.values.len)) |index| {
                if (stays(context, set.values[index])) kept = set.keepFew(index, 1, kept);
            }
        }
        set.values = set.logits[0..kept];
        set.whole = false;
        try set.rescan();
    }

    /// Keeps the tokens whose bits are set; a token beyond the words is not kept.
    pub fn keepBits(set: *Candidates, words: []const u64) Error!void {
        var kept: usize = 0;
        if (set.whole and set.lacksFew(words)) return set.dropRest(words);
        if (set.whole) {
            var at: usize = 0;
            for (words) |word| {
                // Each word is four pieces of `lanes` members.
                for (0..64 / lanes) |part| {
                    const mask: u16 = @truncate(word >> @intCast(part * lanes));
                    const start = at + part * lanes;
                    if (mask == 0 or start >= set.values.len) continue;
                    const there = @min(lanes, set.values.len - start);
                    const inside = if (there == lanes) mask else mask & ((@as(u16, 1) << @intCast(there)) - 1);
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

    /// Moves the members of one block that stay to `kept` and on, which is never beyond the place
    /// they are read from. Returns the new number kept.
    fn keepRange(
        set: *Candidates,
        start: usize,
        end: usize,
        threshold: f32,
        ties: *usize,
        kept_before: usize,
    ) usize {
        var kept = kept_before;
        var i = start;
        while (i + lanes <= end) : (i += lanes) {
            const x: F = set.values[i..][0..lanes].*;
            const mask = above(x, threshold, ties);
            if (mask == 0) continue;
            kept = if (@popCount(mask) > lanes / 4)
                set.keepMany(i, mask, kept)
            else
                set.keepFew(i, mask, kept);
        }
        for (i..end) |index| {
            const x = set.values[index];
            if (x < threshold) continue;
            if (x == threshold) {
                if (ties.* == 0) continue;
                ties.* -= 1;
            }
            kept = set.keepFew(index, 1, kept);
        }
        return kept;
    }

    fn keepFew(set: *Candidates, start: usize, mask: u16, kept_before: usize) usize {
        var kept = kept_before;
        var rest = mask;
        while (rest != 0) : (rest &= rest - 1) {
            const index = start + @ctz(rest);
            const token = set.id(index);
            set.logits[kept] = set.values[index];
            set.ids[kept] = token;
            kept += 1;
        }
        return kept;
    }

    /// As `keepFew`, without a branch for each member: all are written, and one that does not
    /// stay is written over. The last write is at most at the place that is read.
    fn keepMany(set: *Candidates, start: usize, mask: u16, kept_before: usize) usize {
        const values: [lanes]f32 = set.values[start..][0..lanes].*;
        const tokens: [lanes]u32 = if (set.whole)
            std.simd.iota(u32, lanes) + @as(@Vector(lanes, u32), @splat(@intCast(start)))
        else
            set.ids[start..][0..lanes].*;
        var kept = kept_before;
        inline for (0..lanes) |lane| {
            set.logits[kept] = values[lane];
            set.ids[kept] = tokens[lane];
            kept += mask >> lane & 1;
        }
        return kept;
    }

    /// Removes all but one member.
    pub fn keepOnly(set: *Candidates, index: usize) void {
        const token = set.id(index);
        set.logits[0] = set.values[index];
        set.ids[0] = token;
        set.values = set.logits[0..1];
        set.whole = false;
        set.max = set.logits[0];
        set.maxima_known = false;
        set.mass_beta = 0;
    }

    /// The logits with the temperature multiplied in, for a stage that writes them; `edited` must
    /// follow. A logit of -inf takes a token out.
    pub fn edit(set: *Candidates) []f32 {
        const count = set.values.len;
        for (set.logits[0..count], set.values) |*to, from| to.* = from * set.beta;
        return set.rewrite();
    }

    /// Room for new logits at no temperature, all of which the stage writes; `edited` must follow. Where the
    /// set has its own logits already, they are still there.
    pub fn rewrite(set: *Candidates) []f32 {
        const count = set.values.len;
        if (set.whole) for (set.ids[0..count], 0..) |*token, index| {
            token.* = @intCast(index);
        };
        set.values = set.logits[0..count];
        set.whole = false;
        set.beta = 1;
        return set.logits[0..count];
    }

    pub fn edited(set: *Candidates) Error!void {
        try set.rescan();
    }

    /// Whether the members are the whole vocabulary with the model's own logits, whatever the temperature.
    pub fn untouched(set: *const Candidates) bool {
        return set.whole and set.values.ptr != set.logits.ptr;
    }

    /// Writes single logits, without a pass over all of them: `change` for each, then `changed`. Logits are
    /// at no temperature; a distance in the distribution is one of logits times `beta`.
    pub fn change(set: *Candidates, index: usize, logit: f32) void {
        const block_max = set.own();
        const before = set.logits[index];
        set.logits[index] = logit;
        const block = index / sweep.block_len;
        // NaN stays, for `changed` to find.
        if (logit >= block_max[block] or logit != logit) {
            block_max[block] = logit;
        } else if (before == block_max[block]) {
            const start = block * sweep.block_len;
            const end = @min(start + sweep.block_len, set.values.len);
            _ = set.passes.scan(set.values[start..end], set.block_max[block..][0..1]);
        }
    }

    /// Makes the logits the set's own, as they are, and their maxima known.
    fn own(set: *Candidates) []f32 {
        _ = set.maxima();
        if (set.values.ptr != set.logits.ptr) {
            @memcpy(set.logits[0..set.values.len], set.values);
            set.values = set.logits[0..set.values.len];
        }
        return set.block_max[0..sweep.blockCount(set.values.len)];
    }

    pub fn changed(set: *Candidates) Error!void {
        set.mass_beta = 0;
        var max = -std.math.inf(f32);
        for (set.maxima()) |found| {
            if (found != found) return error.NotANumber;
            if (found > max) max = found;
        }
        if (max == std.math.inf(f32)) return error.NotANumber;
        if (max == -std.math.inf(f32)) return error.NoCandidates;
        set.max = max;
    }

    /// The normalised distribution in `probs`, valid until the next selection.
    pub fn probabilities(set: *Candidates) []const f32 {
        const total = set.mass();
        const out = set.probs[0..set.values.len];
        for (out, 0..) |*p, index| p.* = @floatCast(set.weight(index) / total);
        return out;
    }

    fn rescan(set: *Candidates) Error!void {
        try set.scanned(set.passes.scan(set.values, set.block_max));
    }

    fn scanned(set: *Candidates, found: sweep.Scan) Error!void {
        set.maxima_known = false;
        set.mass_beta = 0;
        if (found.nan or found.max == std.math.inf(f32)) return error.NotANumber;
        if (found.max == -std.math.inf(f32)) return error.NoCandidates;
        set.max = found.max;
        set.maxima_known = true;
    }

    /// The first member whose logit is NaN or +inf, for the text of an error.
    pub fn firstInvalid(set: *const Candidates) ?usize {
        for (set.values, 0..) |x, index| {
            if (x != x or x == std.math.inf(f32)) return index;
        }
        return null;
    }
};

/// Which of the values are above the threshold, and of those that are equal to it the first `ties`, which
/// are taken off that number.
pub inline fn above(x: F, threshold: f32, ties: *usize) u16 {
    const higher: u16 = @bitCast(x > @as(F, @splat(threshold)));
    const equal: u16 = @bitCast(x == @as(F, @splat(threshold)));
    return if (equal == 0) higher else higher | firstBits(equal, ties);
}

/// The lowest `limit` bits of `mask`, which are taken off the limit.
fn firstBits(mask: u16, limit: *usize) u16 {
    if (@popCount(mask) <= limit.*) {
        limit.* -= @popCount(mask);
        return mask;
    }
    var kept: u16 = 0;
    var rest = mask;
    while (limit.* > 0) : (limit.* -= 1) {
        kept |= rest & -%rest;
        rest &= rest - 1;
    }
    return kept;
}
