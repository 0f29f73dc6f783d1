//! softmax(cap(q k^T scale)) v for one query vector over one KV head: Vaswani and others,
//! "Attention is all you need" (2017). `reference` is the textbook's three passes.

const std = @import("std");
const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "attention";
/// The result is a mean of values, so that the scale is their largest magnitude. Scores of up to
/// some tens carry a few units of 2^-24 into the exponent.
pub const tolerance: Tolerance = .{ .absolute = 1e-7, .relative = 1e-5 };
/// The same where weights of a block are rounded to 16 bits, each by up to 1/65534 of the largest, before they meet
/// values of 8 bits, which are rounded by up to 1/254 themselves. Random weights come to 5.1e-5 at the worst.
pub const tolerance_rounded: Tolerance = .{ .absolute = 1e-7, .relative = 1e-4 };

pub fn check(positions: usize, head_dim_k: usize, head_dim_v: usize, keys: usize, values: usize) error{Shape}!void {
    if (positions == 0 or head_dim_k == 0 or head_dim_v == 0) return error.Shape;
    if (keys != positions * head_dim_k or values != positions * head_dim_v) return error.Shape;
}

/// `weights` is working space of one value a position.
pub fn reference(q: []const f32, keys: []const f32, values: []const f32, scale: f32, cap: f32, weights: []f32, out: []f32) void {
    var top: f32 = -std.math.inf(f32);
    for (weights, 0..) |*weight, p| {
        var dot: f32 = 0;
        for (q, keys[p * q.len ..][0..q.len]) |a, b| dot += a * b;
        dot *= scale;
        weight.* = if (cap == 0) dot else cap * std.math.tanh(dot / cap);
        top = @max(top, weight.*);
    }
    var total: f32 = 0;
    for (weights) |*weight| {
        weight.* = @exp(weight.* - top);
        total += weight.*;
    }
    @memset(out, 0);
    for (weights, 0..) |weight, p| {
        for (values[p * out.len ..][0..out.len], out) |value, *to| to.* += weight / total * value;
    }
}
