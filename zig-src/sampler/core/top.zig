//! The K most probable tokens of the model's own distribution, with log-probabilities: what
//! `--logprobs` prints. Nothing is allocated and the vocabulary is not sorted; a heap of K is
//! kept over one pass, in the caller's memory.

const std = @import("std");
const sweep = @import("sweep.zig");

pub const TokenLogprob = extern struct { token: u32, logprob: f32 };

/// What places of `out` hold when there are fewer tokens than places.
pub const none: TokenLogprob = .{ .token = std.math.maxInt(u32), .logprob = -std.math.inf(f32) };

/// Fills `out` in descending order of log-probability, ascending id among equals. A logit that is
/// no finite number is never among them.
pub fn topLogprobs(logits: []const f32, out: []TokenLogprob) void {
    if (out.len == 0) return;
    const heap = fill(logits, out);
    @memset(out[heap.len..], none);
    if (heap.len == 0) return;
    sortDescending(heap);
    const log_mass = logMass(logits, heap[0].logprob);
    const max = heap[0].logprob;
    for (heap) |*entry| entry.logprob = logprob(entry.logprob, max, log_mass);
}

/// ln softmax, in f64 because a small difference of large logits is what counts.
pub fn logprob(logit: f32, max: f32, log_mass: f64) f32 {
    return @floatCast(@as(f64, logit) - max - log_mass);
}

fn logMass(logits: []const f32, max: f32) f64 {
    var total: f64 = 0;
    var start: usize = 0;
    while (start < logits.len) : (start += sweep.block_len) {
        var block_mass: [1]f32 = undefined;
        const end = @min(start + sweep.block_len, logits.len);
        total += sweep.mass(logits[start..end], max, 1, &block_mass);
    }
    return @log(total);
}

/// A heap of the best with the worst of them at the root; `logprob` holds the logit meanwhile.
fn fill(logits: []const f32, out: []TokenLogprob) []TokenLogprob {
    var count: usize = 0;
    var worst: f32 = -std.math.inf(f32);
    var start: usize = 0;
    while (start < logits.len) : (start += sweep.block_len) {
        const block = logits[start..@min(start + sweep.block_len, logits.len)];
        var block_max: [1]f32 = undefined;
        if (!(sweep.scan(block, &block_max).max > worst)) continue;
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

/// Heap sort: the worst goes to the end, one after another.
fn sortDescending(heap: []TokenLogprob) void {
    var end = heap.len;
    while (end > 1) {
        end -= 1;
        std.mem.swap(TokenLogprob, &heap[0], &heap[end]);
        siftDown(heap[0..end]);
    }
}
