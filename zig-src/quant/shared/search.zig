//! The search behind the encoders of the K formats: integers, group scales and group minima that
//! bring a block of 256 values back with little error.
//!
//! For each group a scale (and minimum) is found by weighted least squares: several starting scales
//! each give integers by rounding, the integers give the best scale in closed form, and the best
//! pair is improved by alternating the two until the error stops falling. The group scales are then
//! stored as small codes times one f16; of the codes on either side of a scale the one with the
//! smaller error after rounding the values again is taken.
//!
//! The weight of a value x is |x| + rms: large weights of a model matter more, and small ones still
//! count. Inputs are finite (`round.finite`), and every division is guarded, so the result is
//! defined for all of them.

const std = @import("std");
const round = @import("round.zig");

/// value = d * codes[g] * q, integers and codes signed.
pub const SymmetricSpec = struct { len: usize, q_min: i32, q_max: i32, code_min: i32, code_max: i32 };

pub fn Symmetric(comptime spec: SymmetricSpec) type {
    return struct { d: f16, codes: [256 / spec.len]i8, q: [256]i8 };
}

pub fn symmetric(comptime spec: SymmetricSpec, x: *const [256]f32) Symmetric(spec) {
    var scales: [256 / spec.len]f32 = undefined;
    for (&scales, 0..) |*scale, g| {
        const group = x[g * spec.len ..][0..spec.len];
        scale.* = fitScale(spec, group, &weights(spec.len, group));
    }
    var out: Symmetric(spec) = undefined;
    out.d = @floatCast(round.extreme(&scales) / spec.code_min);
    const d: f32 = out.d;
    const inv = round.inverse(d);
    for (&out.codes, scales, 0..) |*code, scale, g| {
        const group = x[g * spec.len ..][0..spec.len];
        const w = weights(spec.len, group);
        const to = out.q[g * spec.len ..][0..spec.len];
        code.* = 0;
        to.* = @splat(0);
        var least = std.math.inf(f32);
        for ([2]f32{ @floor(scale * inv), @ceil(scale * inv) }) |near| {
            const candidate = round.nearest(near, spec.code_min, spec.code_max);
            const s = d * @as(f32, @floatFromInt(candidate));
            const q = integers(spec.len, spec.q_min, spec.q_max, group, s, 0);
            const err = squaredError(spec.len, group, &w, &q, s, 0);
            if (err >= least) continue;
            least = err;
            code.* = @intCast(candidate);
            for (to, q) |*kept, value| kept.* = @intCast(value);
        }
    }
    return out;
}

/// value = d * scale_codes[g] * u - dmin * min_codes[g], everything unsigned.
pub const AffineSpec = struct { len: usize, u_max: i32, code_max: i32 };

pub fn Affine(comptime spec: AffineSpec) type {
    const n = 256 / spec.len;
    return struct { d: f16, dmin: f16, scale_codes: [n]u8, min_codes: [n]u8, u: [256]u8 };
}

pub fn affine(comptime spec: AffineSpec, x: *const [256]f32) Affine(spec) {
    const n = 256 / spec.len;
    var scales: [n]f32 = undefined;
    var mins: [n]f32 = undefined;
    for (&scales, &mins, 0..) |*scale, *min, g| {
        const group = x[g * spec.len ..][0..spec.len];
        const line = fitLine(spec, group, &weights(spec.len, group));
        scale.* = line.scale;
        min.* = -line.offset;
    }
    var out: Affine(spec) = undefined;
    out.d = @floatCast(std.mem.max(f32, &scales) / spec.code_max);
    out.dmin = @floatCast(std.mem.max(f32, &mins) / spec.code_max);
    for (0..n) |g| {
        const found = nearestCodes(spec, x[g * spec.len ..][0..spec.len], out.d, out.dmin, .{
            .scale = scales[g],
            .offset = -mins[g],
        });
        out.scale_codes[g] = @intCast(found.scale);
        out.min_codes[g] = @intCast(found.min);
        for (out.u[g * spec.len ..][0..spec.len], found.u) |*to, value| to.* = @intCast(value);
    }
    return out;
}

fn Codes(comptime spec: AffineSpec) type {
    return struct { scale: i32, min: i32, u: [spec.len]i32 };
}

/// Of the four pairs of codes around a line, the one with the least error.
fn nearestCodes(
    comptime spec: AffineSpec,
    group: *const [spec.len]f32,
    d: f32,
    dmin: f32,
    line: Line,
) Codes(spec) {
    const w = weights(spec.len, group);
    const scale = line.scale * round.inverse(d);
    const min = -line.offset * round.inverse(dmin);
    var out: Codes(spec) = .{ .scale = 0, .min = 0, .u = @splat(0) };
    var least = std.math.inf(f32);
    for ([2]f32{ @floor(scale), @ceil(scale) }) |near_scale| {
        for ([2]f32{ @floor(min), @ceil(min) }) |near_min| {
            const scale_code = round.nearest(near_scale, 0, spec.code_max);
            const min_code = round.nearest(near_min, 0, spec.code_max);
            const s = d * @as(f32, @floatFromInt(scale_code));
            const o = -dmin * @as(f32, @floatFromInt(min_code));
            const u = integers(spec.len, 0, spec.u_max, group, s, o);
            const err = squaredError(spec.len, group, &w, &u, s, o);
            if (err >= least) continue;
            least = err;
            out = .{ .scale = scale_code, .min = min_code, .u = u };
        }
    }
    return out;
}

fn weights(comptime n: usize, x: *const [n]f32) [n]f32 {
    var square: f32 = 0;
    for (x) |value| square += value * value;
    const rms = @sqrt(square / n);
    var out: [n]f32 = undefined;
    for (&out, x) |*w, value| w.* = @abs(value) + rms;
    return out;
}

/// The integers nearest to (x - offset) / scale.
fn integers(
    comptime n: usize,
    comptime low: i32,
    comptime high: i32,
    x: *const [n]f32,
    scale: f32,
    offset: f32,
) [n]i32 {
    const inv = round.inverse(scale);
    var out: [n]i32 = undefined;
    for (&out, x) |*q, value| q.* = round.nearest((value - offset) * inv, low, high);
    return out;
}

fn squaredError(
    comptime n: usize,
    x: *const [n]f32,
    w: *const [n]f32,
    q: *const [n]i32,
    scale: f32,
    offset: f32,
) f32 {
    var sum: f32 = 0;
    for (x, w, q) |value, weight, i| {
        const miss = scale * @as(f32, @floatFromInt(i)) + offset - value;
        sum += weight * miss * miss;
    }
    return sum;
}

/// How far the starting points spread around the scale that just covers the group, in steps of a
/// tenth of an integer: a smaller scale cuts extremes off and renders all else finer.
const spread = 10;

/// Alternations after the best starting point. Most groups settle in two or three.
const alternations_max = 6;

/// The scale s for which s * q comes nearest to the group. Its sign is free.
fn fitScale(comptime spec: SymmetricSpec, x: *const [spec.len]f32, w: *const [spec.len]f32) f32 {
    const extreme = round.extreme(x);
    var best: f32 = 0;
    var least = squaredError(spec.len, x, w, &@splat(0), 0, 0);
    for ([2]f32{ spec.q_min, spec.q_max }) |end| {
        for (0..2 * spread + 1) |i| {
            const step = (@as(f32, @floatFromInt(i)) - spread) / 10;
            const start = extreme / (end + step);
            const s = rescale(spec, x, w, start);
            const q = integers(spec.len, spec.q_min, spec.q_max, x, s, 0);
            const err = squaredError(spec.len, x, w, &q, s, 0);
            if (err < least) {
                least = err;
                best = s;
            }
        }
    }
    for (0..alternations_max) |_| {
        const s = rescale(spec, x, w, best);
        const q = integers(spec.len, spec.q_min, spec.q_max, x, s, 0);
        const err = squaredError(spec.len, x, w, &q, s, 0);
        if (err >= least) break;
        least = err;
        best = s;
    }
    return best;
}

/// Rounds with one scale and returns the least-squares scale for the integers so found.
fn rescale(
    comptime spec: SymmetricSpec,
    x: *const [spec.len]f32,
    w: *const [spec.len]f32,
    scale: f32,
) f32 {
    const q = integers(spec.len, spec.q_min, spec.q_max, x, scale, 0);
    var qx: f32 = 0;
    var qq: f32 = 0;
    for (x, w, q) |value, weight, i| {
        const int: f32 = @floatFromInt(i);
        qx += weight * int * value;
        qq += weight * int * int;
    }
    return qx * round.inverse(qq);
}

const Line = struct { scale: f32, offset: f32 };

/// The line s * u + o nearest to the group, with s >= 0 and o <= 0 as the formats store them.
fn fitLine(comptime spec: AffineSpec, x: *const [spec.len]f32, w: *const [spec.len]f32) Line {
    const low = @min(0, std.mem.min(f32, x));
    const range = std.mem.max(f32, x) - low;
    var best: Line = .{ .scale = 0, .offset = low };
    var least = squaredError(spec.len, x, w, &@splat(0), 0, low);
    for (0..2 * spread + 1) |i| {
        const step = (@as(f32, @floatFromInt(i)) - spread) / 10;
        const start: Line = .{ .scale = range / (spec.u_max + step), .offset = low };
        improve(spec, x, w, start, &best, &least);
    }
    for (0..alternations_max) |_| {
        const before = least;
        improve(spec, x, w, best, &best, &least);
        if (least >= before) break;
    }
    return best;
}

/// Rounds with one line, solves for the line that fits the integers, and keeps it if it is better.
fn improve(
    comptime spec: AffineSpec,
    x: *const [spec.len]f32,
    w: *const [spec.len]f32,
    from: Line,
    best: *Line,
    least: *f32,
) void {
    const u = integers(spec.len, 0, spec.u_max, x, from.scale, from.offset);
    const line = solve(spec.len, x, w, &u);
    if (line.scale < 0) return;
    const again = integers(spec.len, 0, spec.u_max, x, line.scale, line.offset);
    const err = squaredError(spec.len, x, w, &again, line.scale, line.offset);
    if (err >= least.*) return;
    least.* = err;
    best.* = line;
}

/// Weighted linear regression of x on u; where the offset would be positive, through the origin.
fn solve(comptime n: usize, x: *const [n]f32, w: *const [n]f32, u: *const [n]i32) Line {
    var sum_w: f32 = 0;
    var sum_u: f32 = 0;
    var sum_uu: f32 = 0;
    var sum_x: f32 = 0;
    var sum_ux: f32 = 0;
    for (x, w, u) |value, weight, i| {
        const int: f32 = @floatFromInt(i);
        sum_w += weight;
        sum_u += weight * int;
        sum_uu += weight * int * int;
        sum_x += weight * value;
        sum_ux += weight * int * value;
    }
    const inv = round.inverse(sum_w * sum_uu - sum_u * sum_u);
    const line: Line = .{
        .scale = (sum_w * sum_ux - sum_x * sum_u) * inv,
        .offset = (sum_uu * sum_x - sum_u * sum_ux) * inv,
    };
    if (line.offset <= 0) return line;
    return .{ .scale = sum_ux * round.inverse(sum_uu), .offset = 0 };
}

test "values on a line are found exactly" {
    const spec: AffineSpec = .{ .len = 16, .u_max = 15, .code_max = 63 };
    var x: [16]f32 = undefined;
    for (&x, 0..) |*value, i| value.* = 0.5 * @as(f32, @floatFromInt(i)) - 2;
    const line = fitLine(spec, &x, &weights(16, &x));
    try std.testing.expectApproxEqAbs(0.5, line.scale, 1e-5);
    try std.testing.expectApproxEqAbs(-2, line.offset, 1e-4);
}

test "a lone large value may take either end of the range" {
    const spec: SymmetricSpec = .{ .len = 16, .q_min = -4, .q_max = 3, .code_min = -32, .code_max = 31 };
    var x: [16]f32 = @splat(0);
    x[3] = 6;
    try std.testing.expectApproxEqAbs(6, @abs(fitScale(spec, &x, &weights(16, &x))) * 4, 2.1);
    const all = symmetric(spec, &(@as([240]f32, @splat(0)) ++ x));
    try std.testing.expectApproxEqAbs(
        6,
        @as(f32, all.d) * @as(f32, @floatFromInt(@as(i32, all.codes[15]) * all.q[243])),
        0.01,
    );
}
