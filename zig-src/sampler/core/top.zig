//! The K most probable tokens of the model's own distribution, with log-probabilities: what
//! `--logprobs` prints. Nothing is allocated and the vocabulary is not sorted; a heap of K is
//! kept over one pass, in the caller's memory.

const std = @import("std");
const sweep = @import("sweep.zig");

pub const TokenLogprob = extern struct { token: u32, logprob: f32 };

/// What places of `out` hold when there are fewer tokens than places.
pub const none: TokenLogprob = .{ .token = std.math.maxInt(u32), .logprob = -std.math.inf(f32) };

/// What the passes found out of a row of logits.
pub const Row = struct {
    block_max: []f32,
    max: f32,
    log_mass: f64,

    pub fn init(gpa: std.mem.Allocator, vocab: u32) error{OutOfMemory}!Row {
        return .{ .block_max = try gpa.alloc(f32, sweep.blockCount(vocab)), .max = 0, .log_mass = 0 };
    }

    pub fn deinit(row: *Row, gpa: std.mem.Allocator) void {
        gpa.free(row.block_max);
    }
};

/// Fills `out` in descending order of log-probability, ascending id among equals. A logit that is
/// no finite number is never among them.
pub fn topLogprobs(passes: sweep.Passes, logits: []const f32, out: []TokenLogprob) void {
    if (out.len == 0) return;
    const heap = fill(passes, logits, null, out);
    @memset(out[heap.len..], none);
    if (heap.len == 0) return;
    sortHeap(heap);
    const max = heap[0].logprob;
    const log_mass = logMass(passes, logits, max);
    for (heap) |*entry| entry.logprob = logprob(entry.logprob, max, log_mass);
}

/// As `topLogprobs`, for a row that the passes have been over, with the same bits.
pub fn topOfRow(logits: []const f32, row: *const Row, out: []TokenLogprob) void {
    if (out.len == 0) return;
    const heap = fill(.compiled, logits, row.block_max, out);
    @memset(out[heap.len..], none);
    sortHeap(heap);
    for (heap) |*entry| entry.logprob = logprob(entry.logprob, row.max, row.log_mass);
}

/// ln softmax, in f64 because a small difference of large logits is what counts.
pub fn logprob(logit: f32, max: f32, log_mass: f64) f32 {
    return @floatCast(@as(f64, logit) - max - log_mass);
}

fn logMass(passes: sweep.Passes, logits: []const f32, max: f32) f64 {
    var total: f64 = 0;
    var start: usize = 0;
    while (start < logits.len) : (start += sweep.block_len) {
        var block_mass: [1]f32 = undefined;
        const end = @min(start + sweep.block_len, logits.len);
        total += passes.mass(logits[start..end], max, 1, &block_mass);
    }
    return @log(total);
}

/// A heap of the best with the worst of them at the root; `logprob` holds the logit meanwhile.
fn fill(passes: sweep.Passes, logits: []const f32, maxima: ?[]const f32, out: []TokenLogprob) []TokenLogprob {
    var count: usize = 0;
    var worst: f32 = -std.math.inf(f32);
    var start: usize = 0;
    while (start < logits.len) : (start += sweep.block_len) {
        const block = logits[start..@min(start + sweep.block_len, logits.len)];
        var block_max: [1]f32 = undefined;
        const highest = if (maxima) |known| known[start / sweep.block_len] else passes.scan(block, &block_max).max;
        if (!(highest > worst)) continue;
        for (block, start..) |x, token| {
            // An equal logit loses to those before it, whose ids are lower. NaN compares false.
            if (!(x > worst) or x == std.math.inf(f32)) continue;
            const entry: TokenLogprob = .{ .token = @intCast(token), .logprob = x };
            if (count < out.len) {
                out[count] = entry;
                count += 1;
                siftUp(out[0..count]);
            } else {
                out[0] = entry;
                siftDown(out);
            }
            if (count == out.len) worst = out[0].logprob;
        }
    }
    return out[0..count];
}

fn isWorse(a: TokenLogprob, b: TokenLogprob) bool {
    if (a.logprob != b.logprob) return a.logprob < b.logprob;
    return a.token > b.token;
}

fn siftUp(heap: []TokenLogprob) void {
    var child = heap.len - 1;
    while (child > 0) {
        const parent = (child - 1) / 2;
        if (!isWorse(heap[child], heap[parent])) return;
        std.mem.swap(TokenLogprob, &heap[child], &heap[parent]);
        child = parent;
    }
}

fn siftDown(heap: []TokenLogprob) void {
    var parent: usize = 0;
    while (2 * parent + 1 < heap.len) {
        var child = 2 * parent + 1;
        if (child + 1 < heap.len and isWorse(heap[child + 1], heap[child])) child += 1;
        if (!isWorse(heap[child], heap[parent])) return;
        std.mem.swap(TokenLogprob, &heap[child], &heap[parent]);
        parent = child;
    }
}

/// In descending order of logits, which are finite; ascending id among equals. `scratch` has room for as many.
pub fn sortDescending(entries: []TokenLogprob, scratch: []TokenLogprob) void {
    if (entries.len > sort_max and distribute(entries, scratch)) {
        @memcpy(entries, scratch[0..entries.len]);
        // Only neighbours are left to compare.
        for (entries[1..], 1..) |entry, place| {
            var i = place;
            while (i > 0 and isWorse(entries[i - 1], entry)) : (i -= 1) entries[i] = entries[i - 1];
            entries[i] = entry;
        }
        return;
    }
    std.sort.pdq(TokenLogprob, entries, {}, struct {
        fn isBetter(_: void, a: TokenLogprob, b: TokenLogprob) bool {
            return isWorse(b, a);
        }
    }.isBetter);
}

const sort_max = 32;
const buckets = 512;
/// A bucket of more is a sign of values that are far apart.
const neighbours_max = 24;

/// Throws the entries into buckets of equal width, the highest first. False when one has too many.
fn distribute(entries: []const TokenLogprob, scratch: []TokenLogprob) bool {
    var high = entries[0].logprob;
    var low = high;
    for (entries) |entry| {
        high = @max(high, entry.logprob);
        low = @min(low, entry.logprob);
    }
    const scale = (buckets - 1) / (high - low);
    if (!std.math.isFinite(scale)) return false;
    // How many there are, each one place further on; then where each begins.
    var begins: [buckets + 1]u32 = @splat(0);
    for (entries) |entry| begins[bucketOf(entry, high, scale) + 1] += 1;
    for (begins) |count| if (count > neighbours_max) return false;
    for (begins[1..], begins[0..buckets]) |*begin, before| begin.* += before;
    for (entries) |entry| {
        const begin = &begins[bucketOf(entry, high, scale)];
        scratch[begin.*] = entry;
        begin.* += 1;
    }
    return true;
}

fn bucketOf(entry: TokenLogprob, high: f32, scale: f32) usize {
    return @intFromFloat(@min((high - entry.logprob) * scale, buckets - 1));
}

/// Heap sort: the worst goes to the end, one after another.
fn sortHeap(heap: []TokenLogprob) void {
    var end = heap.len;
    while (end > 1) {
        end -= 1;
        std.mem.swap(TokenLogprob, &heap[0], &heap[end]);
        siftDown(heap[0..end]);
    }
}

test "sorted entries are those of a full sort, whatever the logits" {
    const reference = @import("reference.zig");
    var prng: std.Random.DefaultPrng = .init(9);
    const random = prng.random();
    var values: [700]f32 = undefined;
    var found: [values.len]TokenLogprob = undefined;
    var scratch: [values.len]TokenLogprob = undefined;
    for (0..300) |round| {
        const len = 1 + random.uintLessThan(usize, values.len);
        reference.fillRandom(random, round, values[0..len]);
        var count: usize = 0;
        for (values[0..len], 0..) |x, token| if (std.math.isFinite(x)) {
            found[count] = .{ .token = @intCast(token), .logprob = x };
            count += 1;
        };
        const entries = found[0..count];
        sortDescending(entries, &scratch);
        if (count == 0) continue;
        for (entries[1..], entries[0 .. count - 1]) |later, earlier| try std.testing.expect(isWorse(later, earlier));
        for (entries) |entry| try std.testing.expectEqual(values[entry.token], entry.logprob);
    }
}
