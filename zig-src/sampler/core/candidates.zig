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
const masks = @import("mask.zig");
const remove = @import("remove.zig");
const select = @import("select.zig");
const untouched_memory = @import("untouched_memory.zig");
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

/// What a scan of a row finds where all are numbers and one is above -inf.
pub const Known = struct {
    max: f32,
    /// Of each block of `sweep.block_len` logits.
    block_max: []const f32,
};

/// A row of logits, one for each token of the vocabulary. It is borrowed until the next one.
pub const Row = struct {
    values: union(enum) {
        single: []const f32,
        /// In 16 bits; `room` gets them.
        half: struct { bits: []align(1) const u16, room: []f32 },
    },
    known: ?Known = null,
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
    /// Not null: the logits in 16 bits, of which `values` has only the blocks that somebody needed.
    half: ?[]align(1) const u16,
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
    /// The block that `weights` are of, for the set and temperature that `total` is of; null for none.
    weights_block: ?usize,
    weights: [sweep.block_len]f32,
    /// The `beta` for which `exponents` belongs to the set with that mass; 0 for none.
    mean_beta: f32,
    exponents: f64,

    /// Far enough from the ends of f32 that a difference of logits times beta is never NaN.
    pub const beta_min = 1e-30;
    pub const beta_max = 1e30;

    pub fn init(gpa: std.mem.Allocator, vocab: u32) error{OutOfMemory}!Candidates {
        assert(vocab > 0);
        const blocks = sweep.blockCount(vocab);
        const ids = try untouched_memory.alloc(u32, gpa, vocab);
        errdefer untouched_memory.free(gpa, ids);
        const floats = try untouched_memory.alloc(f32, gpa, 2 * @as(usize, vocab) + 2 * blocks);
        return .{
            .ids = ids,
            .logits = floats[0..vocab],
            .probs = floats[vocab..][0..vocab],
            .block_max = floats[2 * @as(usize, vocab) ..][0..blocks],
            .block_mass = floats[2 * @as(usize, vocab) + blocks ..][0..blocks],
            .values = &.{},
            .half = null,
            .passes = .compiled,
            .whole = true,
            .beta = 1,
            .temperature = 1,
            .max = 0,
            .maxima_known = false,
            .mass_beta = 0,
            .total = 0,
            .weights_block = null,
            .weights = undefined,
            .mean_beta = 0,
            .exponents = 0,
        };
    }

    pub fn deinit(set: *Candidates, gpa: std.mem.Allocator) void {
        untouched_memory.free(gpa, set.logits.ptr[0 .. 2 * set.logits.len + 2 * set.block_max.len]);
        untouched_memory.free(gpa, set.ids);
        set.* = undefined;
    }

    /// Makes the set the whole vocabulary again. `values` is borrowed until the next `begin`.
    pub fn begin(set: *Candidates, values: []const f32) Error!void {
        try set.beginRow(.{ .values = .{ .single = values } });
    }

    /// The same for any row. Of one that is known no pass is made, and of one in 16 bits only what somebody needs
    /// is widened then, all with `widen`.
    pub fn beginRow(set: *Candidates, row: Row) Error!void {
        switch (row.values) {
            .single => |values| set.beginAs(values, true),
            .half => |half| {
                assert(half.bits.len == half.room.len);
                set.beginAs(half.room, true);
                if (row.known == null) return try set.scanned(set.passes.scanHalf(half.bits, half.room, set.block_max));
                set.half = half.bits;
            },
        }
        if (row.known) |known| set.take(known) else try set.rescan();
    }

    fn take(set: *Candidates, known: Known) void {
        assert(std.math.isFinite(known.max));
        @memcpy(set.block_max, known.block_max);
        set.max = known.max;
        set.maxima_known = true;
        set.mass_beta = 0;
    }

    /// Makes the set some tokens of the vocabulary, in ascending order of id; both are copied.
    pub fn beginSome(set: *Candidates, ids: []const u32, values: []const f32) Error!void {
        assert(ids.len == values.len);
        assert(values.len <= set.logits.len);
        @memcpy(set.ids[0..ids.len], ids);
        @memcpy(set.logits[0..values.len], values);
        set.beginAs(set.logits[0..values.len], false);
        try set.rescan();
    }

    fn beginAs(set: *Candidates, values: []const f32, whole: bool) void {
        assert(!whole or values.len == set.logits.len);
        set.values = values;
        set.half = null;
        set.whole = whole;
        set.beta = 1;
        set.temperature = 1;
    }

    /// Fills `values`, for stages that read them.
    pub fn widen(set: *Candidates) void {
        const bits = set.half orelse return;
        // The pass is that of the processor, and finds the same maxima again.
        _ = set.passes.scanHalf(bits, @constCast(set.values), set.block_max);
        set.half = null;
    }

    /// Fills one block.
    fn widenBlock(set: *Candidates, block: usize) void {
        const bits = set.half orelse return;
        const start = block * sweep.block_len;
        const end = @min(start + sweep.block_len, bits.len);
        var block_max: [1]f32 = undefined;
        _ = set.passes.scanHalf(bits[start..end], @constCast(set.values[start..end]), &block_max);
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
            set.total = if (set.half) |bits|
                set.passes.massHalf(bits, set.max, set.beta, set.block_mass)
            else
                set.passes.mass(set.values, set.max, set.beta, set.block_mass);
            set.mass_beta = set.beta;
            set.weights_block = null;
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
            set.weights_block = null;
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

    /// The weights of the members of a block, for the set that `mass` was asked of last.
    pub fn weightsOfBlock(set: *Candidates, block: usize) []const f32 {
        assert(set.mass_beta == set.beta);
        const start = block * sweep.block_len;
        const values = set.values[start..@min(start + sweep.block_len, set.values.len)];
        if (set.weights_block != block) {
            set.widenBlock(block);
            set.passes.weightsOf(values, set.max, set.beta, &set.weights);
            set.weights_block = block;
        }
        return set.weights[0..values.len];
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
            set.widenBlock(block);
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
        const kept = set.passes.gather(.{
            .values = set.values.ptr,
            .half = if (set.half) |bits| bits.ptr else null,
            .ids = if (set.whole) null else set.ids.ptr,
            .len = set.values.len,
            .block_max = set.maxima().ptr,
            .bound = @max(cut_.threshold, -std.math.floatMax(f32)),
            .to_values = set.logits.ptr,
            .to_ids = set.ids.ptr,
        });
        assert(kept > 0);
        set.values = set.logits[0..kept];
        set.half = null;
        set.whole = false;
        set.maxima_known = false;
        set.mass_beta = 0;
        if (cut_.ties < kept) set.limitTies(cut_);
    }

    /// Removes members that are equal to the threshold, but for the first.
    fn limitTies(set: *Candidates, cut_: select.Cut) void {
        var ties = cut_.ties;
        var kept: usize = 0;
        for (set.values, set.ids[0..set.values.len]) |x, token| {
            const is_tie = x == cut_.threshold;
            if (is_tie and ties == 0) continue;
            ties -= @intFromBool(is_tie);
            set.logits[kept] = x;
            set.ids[kept] = token;
            kept += 1;
        }
        assert(kept > 0);
        set.values = set.logits[0..kept];
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

    pub const removeFrom = remove.removeFrom;

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

    pub const keepBits = masks.keepBits;

    /// Moves the members of some neighbours that stay to `kept` and on, which is never beyond the place they are
    /// read from. Returns the new number kept.
    pub fn keepFew(set: *Candidates, start: usize, mask: u16, kept_before: usize) usize {
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
    pub fn keepMany(set: *Candidates, start: usize, mask: u16, kept_before: usize) usize {
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
        set.half = null;
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

    pub fn rescan(set: *Candidates) Error!void {
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
