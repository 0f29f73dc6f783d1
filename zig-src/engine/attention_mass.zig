//! How much attention the tokens of a sequence get, for those who decide which of them stay. Attention
//! itself is fused and keeps no weights, so the products of queries and keys are computed a second time:
//! about what the keys' half of attention costs, in plain vectors rather than in the kernels' own.
//!
//! Sums have one order, whoever computes them: a KV head belongs to one member of the team, layers and
//! rows follow each other, and heads are added up at the end.

const std = @import("std");
const cache = @import("../cache.zig");
const kernel = @import("../kernel.zig");
const Run = @import("run.zig").Run;

const lanes = 16;
const V = @Vector(lanes, f32);

pub const AttentionMass = struct {
    /// By slot: the mean over layers and heads, of the queries that count.
    mass: []f64, // [context]
    /// What the pass adds, by KV head.
    added: []f64, // [kv_heads, context]
    weights: []f32, // [kv_heads, group, context]
    keys: []f32, // [kv_heads, page_len * head_dim_k]
    context: usize,
    kv_heads: usize,
    /// One over layers times heads.
    share: f64,

    pub const Shape = struct { context: usize, layers: usize, heads: usize, kv_heads: usize, head_dim_k: usize };

    pub fn init(gpa: std.mem.Allocator, shape: Shape) error{OutOfMemory}!AttentionMass {
        const mass = try gpa.alloc(f64, shape.context);
        errdefer gpa.free(mass);
        @memset(mass, 0);
        const added = try gpa.alloc(f64, shape.kv_heads * shape.context);
        errdefer gpa.free(added);
        const weights = try gpa.alloc(f32, shape.heads * shape.context);
        errdefer gpa.free(weights);
        return .{
            .mass = mass,
            .added = added,
            .weights = weights,
            .keys = try gpa.alloc(f32, shape.kv_heads * cache.page_len * shape.head_dim_k),
            .context = shape.context,
            .kv_heads = shape.kv_heads,
            .share = 1 / @as(f64, @floatFromInt(shape.layers * shape.heads)),
        };
    }

    pub fn deinit(mass: *AttentionMass, gpa: std.mem.Allocator) void {
        gpa.free(mass.mass);
        gpa.free(mass.added);
        gpa.free(mass.weights);
        gpa.free(mass.keys);
    }

    /// Before the pass.
    pub fn begin(mass: *AttentionMass) void {
        @memset(mass.added, 0);
    }

    /// Behind a pass that counts; the slots from `from` on are new. `replace`: what was before is forgotten.
    pub fn commit(mass: *AttentionMass, from: usize, len: usize, replace: bool) void {
        @memset(mass.mass[if (replace) 0 else from..len], 0);
        for (mass.mass[0..len], 0..) |*sum, slot| for (0..mass.kv_heads) |kv_head| {
            sum.* += mass.added[kv_head * mass.context + slot] * mass.share;
        };
    }

    fn addRow(mass: *AttentionMass, run: *const Run, index: usize, r: usize, kv_head: usize) void {
        const h = &run.model.hyper;
        const row = run.batch.rows[r];
        const dim: usize = h.head_dim_k;
        const group: usize = h.group();
        const to: usize = row.position + 1;
        const from = if (h.slides(index)) to -| h.window else 0;
        const pool = row.sequence.pool;
        const keys = mass.keys[kv_head * cache.page_len * dim ..][0 .. cache.page_len * dim];
        const weights = mass.weights[kv_head * group * mass.context ..][0 .. group * mass.context];
        const q = run.buffers.q[(r * h.heads + kv_head * group) * dim ..][0 .. group * dim];
        var at = from;
        while (at < to) {
            const first = at % cache.page_len;
            const count = @min(cache.page_len - first, to - at);
            const page = pool.keys(row.sequence.table[at / cache.page_len], index, kv_head);
            run.model.kernels.kv_read(pool.layout.code(.key, index, kv_head), @backingInt(kernel.KvSide.key), page, dim, first, first + count, keys.ptr);
            if (row.sequence.exact) |*exact| for (0..count) |i| {
                const position: u32 = @intCast(at + i);
                if (!exact.reads(index, position, row.position + 1)) continue;
                exact.read(run.model.kernels, .key, position, index, kv_head, keys[i * dim ..][0..dim]);
            };
            if (run.keyTurns(row.sequence, index, kv_head)) |turns| {
                if (turns.hadamard != 0) run.model.kernels.hadamard(keys.ptr, count, dim);
                for (0..count) |i| {
                    const angles = turns.angles[at / cache.page_len] + (first + i) * turns.rot_dim;
                    run.model.kernels.rope(keys[i * dim ..].ptr, 1, dim, turns.rot_dim, turns.style, angles);
                }
            }
            for (0..group) |g| for (0..count) |i| {
                const score = dot(q[g * dim ..][0..dim], keys[i * dim ..][0..dim]) * h.attn_scale;
                weights[g * mass.context + at + i] = if (h.attn_softcap == 0) score else h.attn_softcap * std.math.tanh(score / h.attn_softcap);
            };
            at += count;
        }
        const added = mass.added[kv_head * mass.context ..][0..mass.context];
        for (0..group) |g| soften(weights[g * mass.context ..][from..to], added[from..to]);
        run.count(.{
            .key_bytes = (to - from) * (pool.layout.headBytes(.key, index, kv_head) / cache.page_len),
            .flops = 2 * (to - from) * group * dim,
        });
    }
};

/// Adds softmax(scores) to `out`.
fn soften(scores: []f32, out: []f64) void {
    const top = std.mem.max(f32, scores);
    var total: f64 = 0;
    for (scores) |*score| {
        score.* = @exp(score.* - top);
        total += score.*;
    }
    for (scores, out) |score, *sum| sum.* += score / total;
}

fn dot(a: []const f32, b: []const f32) f32 {
    var sums: V = @splat(0);
    var i: usize = 0;
    while (i + lanes <= a.len) : (i += lanes) sums += @as(V, a[i..][0..lanes].*) * @as(V, b[i..][0..lanes].*);
    var sum = @reduce(.Add, sums);
    while (i < a.len) : (i += 1) sum += a[i] * b[i];
    return sum;
}

/// Executed by all members: adds the attention of the layer's queries, where somebody wants to know.
pub fn add(run: *const Run, index: usize) void {
    const share = run.split(run.model.hyper.kv_heads);
    for (run.batch.rows[0..run.batch.len], 0..) |row, r| {
        const mass = row.mass orelse continue;
        for (share.from..share.to) |kv_head| {
            if (run.batch.unwanted()) return;
            mass.addRow(run, index, r, kv_head);
        }
    }
}
