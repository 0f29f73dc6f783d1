//! The search behind the encoders of the K formats: integers, group scales and group minima that
//! bring a block of 256 values back with little error.
//!
//! For each group a scale (and minimum) is found by weighted least squares: several starting scales
//! each give integers by rounding, the integers give the best scale in closed form, and the best
//! pair is improved by alternating the two until the error stops falling. The group scales are then
//! stored as small codes times one f16; of the codes on either side of a scale the one with the
//! smaller error after rounding the values again is taken.
//!
//! Groups are vectors of floats, integers too, and sums are folded in a fixed order, so that the
//! bytes don't depend on the CPU that the encoder was compiled for.
//!
//! The weight of a value x is |x| + rms: large weights of a model matter more, and small ones still
//! count. Inputs are finite (`round.finite`), and every division is guarded, so the result is
//! defined for all of them.

const std = @import("std");
const round = @import("round.zig");

/// value = d * codes[g] * q, integers and codes signed.
pub const SymmetricSpec = struct { len: usize, q_min: i8, q_max: i8, code_min: i8, code_max: i8 };

pub fn Symmetric(comptime spec: SymmetricSpec) type {
    return struct { d: f16, codes: [256 / spec.len]i8, q: [256]i8 };
}

pub fn symmetric(comptime spec: SymmetricSpec, x: *const [256]f32) Symmetric(spec) {
    const V = @Vector(spec.len, f32);
    var scales: [256 / spec.len]f32 = undefined;
    for (&scales, 0..) |*scale, g| {
        const group: V = x[g * spec.len ..][0..spec.len].*;
        scale.* = fitScale(spec, group, weights(group));
    }
    var out: Symmetric(spec) = undefined;
    out.d = @floatCast(round.extreme(&scales) / spec.code_min);
    const d: f32 = out.d;
    const inv = round.inverse(d);
    for (&out.codes, scales, 0..) |*code, scale, g| {
        const group: V = x[g * spec.len ..][0..spec.len].*;
        const w = weights(group);
        var best: V = @splat(0);
        var least = std.math.inf(f32);
        code.* = 0;
        for ([2]f32{ @floor(scale * inv), @ceil(scale * inv) }) |near| {
            const candidate = round.nearest(near, spec.code_min, spec.code_max);
            const s = d * @as(f32, @floatFromInt(candidate));
            const q = integers(group, spec.q_min, spec.q_max, .{ .scale = s });
            const err = squaredError(group, w, q, .{ .scale = s });
            if (err >= least) continue;
            least = err;
            best = q;
            code.* = @intCast(candidate);
        }
        out.q[g * spec.len ..][0..spec.len].* = @as(@Vector(spec.len, i8), @trunc(best));
    }
    return out;
}

/// value = d * scale_codes[g] * u - dmin * min_codes[g], everything unsigned.
pub const AffineSpec = struct { len: usize, u_max: u8, code_max: u8 };

pub fn Affine(comptime spec: AffineSpec) type {
    const n = 256 / spec.len;
    return struct { d: f16, dmin: f16, scale_codes: [n]u8, min_codes: [n]u8, u: [256]u8 };
}

pub fn affine(comptime spec: AffineSpec, x: *const [256]f32) Affine(spec) {
    const n = 256 / spec.len;
    var scales: [n]f32 = undefined;
    var mins: [n]f32 = undefined;
    for (&scales, &mins, 0..) |*scale, *min, g| {
        const group: @Vector(spec.len, f32) = x[g * spec.len ..][0..spec.len].*;
        const line = fitLine(spec, group, weights(group));
        scale.* = line.scale;
        min.* = -line.offset;
    }
    var out: Affine(spec) = undefined;
    out.d = @floatCast(std.mem.max(f32, &scales) / spec.code_max);
    out.dmin = @floatCast(std.mem.max(f32, &mins) / spec.code_max);
    for (scales, mins, 0..) |scale, min, g| {
        const group: @Vector(spec.len, f32) = x[g * spec.len ..][0..spec.len].*;
        const found = nearestCodes(spec, group, out.d, out.dmin, .{ .scale = scale, .offset = -min });
        out.scale_codes[g] = found.scale;
        out.min_codes[g] = found.min;
        out.u[g * spec.len ..][0..spec.len].* = found.u;
    }
    return out;
}

fn Codes(comptime n: usize) type {
    return struct { scale: u8, min: u8, u: @Vector(n, u8) };
}

/// Of the four pairs of codes around a line, the one with the least error.
fn nearestCodes(
    comptime spec: AffineSpec,
    x: @Vector(spec.len, f32),
    d: f32,
    dmin: f32,
    line: Line,
) Codes(spec.len) {
    const w = weights(x);
    const scale = line.scale * round.inverse(d);
    const min = -line.offset * round.inverse(dmin);
    var out: Codes(spec.len) = .{ .scale = 0, .min = 0, .u = @splat(0) };
    var least = std.math.inf(f32);
    for ([2]f32{ @floor(scale), @ceil(scale) }) |near_scale| {
        for ([2]f32{ @floor(min), @ceil(min) }) |near_min| {
            const scale_code: u8 = @intCast(round.nearest(near_scale, 0, spec.code_max));
            const min_code: u8 = @intCast(round.nearest(near_min, 0, spec.code_max));
            const candidate: Line = .{
                .scale = d * @as(f32, @floatFromInt(scale_code)),
                .offset = -dmin * @as(f32, @floatFromInt(min_code)),
            };
            const u = integers(x, 0, spec.u_max, candidate);
            const err = squaredError(x, w, u, candidate);
            if (err >= least) continue;
            least = err;
            out = .{ .scale = scale_code, .min = min_code, .u = @trunc(u) };
        }
    }
    return out;
}

/// The values that a group can take: scale * q + offset.
const Line = struct { scale: f32, offset: f32 = 0 };

fn weights(x: anytype) @TypeOf(x) {
    const V = @TypeOf(x);
    const rms = @sqrt(sum(x * x) / @typeInfo(V).vector.len);
    return @abs(x) + @as(V, @splat(rms));
}

/// Folds halves onto each other, so that the order is the same on every CPU.
fn sum(v: anytype) f32 {
    const n = @typeInfo(@TypeOf(v)).vector.len;
    if (n == 1) return v[0];
    const all: [n]f32 = v;
    const low: @Vector(n / 2, f32) = all[0 .. n / 2].*;
    const high: @Vector(n / 2, f32) = all[n / 2 ..].*;
    return sum(low + high);
}

/// The integers nearest to (x - offset) / scale within [low, high].
fn integers(x: anytype, comptime low: f32, comptime high: f32, line: Line) @TypeOf(x) {
    const V = @TypeOf(x);
    const inv: V = @splat(round.inverse(line.scale));
    const exact = (x - @as(V, @splat(line.offset))) * inv;
    const within = @min(@max(exact, @as(V, @splat(low))), @as(V, @splat(high)));
    // Beside 1.5 * 2^23 floats are one apart, so the addition rounds to an integer.
    const magic: V = @splat(0x1.8p23);
    return (within + magic) - magic;
}

fn squaredError(x: anytype, w: @TypeOf(x), q: @TypeOf(x), line: Line) f32 {
    const V = @TypeOf(x);
    const miss = @as(V, @splat(line.scale)) * q + @as(V, @splat(line.offset)) - x;
    return sum(w * miss * miss);
}

/// How far the starting points spread around the scale that just covers the group, in steps of a
/// tenth of an integer: a smaller scale cuts extremes off and renders all else finer.
const spread = 10;

/// Alternations after the best starting point. Most groups settle in two or three.
const alternations_max = 6;

/// The scale s for which s * q comes nearest to the group. Its sign is free.
fn fitScale(
    comptime spec: SymmetricSpec,
    x: @Vector(spec.len, f32),
    w: @Vector(spec.len, f32),
) f32 {
    const extreme = round.extreme(&@as([spec.len]f32, x));
    var best: f32 = 0;
    var least = squaredError(x, w, @splat(0), .{ .scale = 0 });
    for ([2]f32{ spec.q_min, spec.q_max }) |end| {
        for (0..2 * spread + 1) |i| {
            const step = (@as(f32, @floatFromInt(i)) - spread) / 10;
            improveScale(spec, x, w, extreme / (end + step), &best, &least);
        }
    }
    for (0..alternations_max) |_| {
        const before = least;
        improveScale(spec, x, w, best, &best, &least);
        if (least >= before) break;
    }
    return best;
}

/// Rounds with one scale, solves for the scale that fits the integers, and keeps it if it is
/// better.
fn improveScale(
    comptime spec: SymmetricSpec,
    x: @Vector(spec.len, f32),
    w: @Vector(spec.len, f32),
    from: f32,
    best: *f32,
    least: *f32,
) void {
    const q = integers(x, spec.q_min, spec.q_max, .{ .scale = from });
    const line: Line = .{ .scale = sum(w * q * x) * round.inverse(sum(w * q * q)) };
    const again = integers(x, spec.q_min, spec.q_max, line);
    const err = squaredError(x, w, again, line);
    if (err >= least.*) return;
    least.* = err;
    best.* = line.scale;
}

/// The line nearest to the group, with scale >= 0 and offset <= 0 as the formats store them.
fn fitLine(
    comptime spec: AffineSpec,
    x: @Vector(spec.len, f32),
    w: @Vector(spec.len, f32),
) Line {
    const low = @min(0, @reduce(.Min, x));
    const range = @reduce(.Max, x) - low;
    var best: Line = .{ .scale = 0, .offset = low };
    var least = squaredError(x, w, @splat(0), best);
    for (0..2 * spread + 1) |i| {
        const step = (@as(f32, @floatFromInt(i)) - spread) / 10;
        const start: Line = .{ .scale = range / (spec.u_max + step), .offset = low };
        improveLine(spec, x, w, start, &best, &least);
    }
    for (0..alternations_max) |_| {
        const before = least;
        improveLine(spec, x, w, best, &best, &least);
        if (least >= before) break;
    }
    return best;
}

/// As `improveScale`, for a line.
fn improveLine(
    comptime spec: AffineSpec,
    x: @Vector(spec.len, f32),
    w: @Vector(spec.len, f32),
    from: Line,
    best: *Line,
    least: *f32,
) void {
    const line = solve(x, w, integers(x, 0, spec.u_max, from));
    if (line.scale < 0) return;
    const again = integers(x, 0, spec.u_max, line);
    const err = squaredError(x, w, again, line);
    if (err >= least.*) return;
    least.* = err;
    best.* = line;
}

/// Weighted linear regression of x on u. Where the offset would be positive, or where all integers
/// are the same and no line is determined, the one through the origin.
fn solve(x: anytype, w: @TypeOf(x), u: @TypeOf(x)) Line {
    const wu = w * u;
    const sum_w = sum(w);
    const sum_u = sum(wu);
    const sum_uu = sum(wu * u);
    const sum_x = sum(w * x);
    const sum_ux = sum(wu * x);
    const through_origin: Line = .{ .scale = sum_ux * round.inverse(sum_uu), .offset = 0 };
    const product = sum_w * sum_uu;
    const determinant = product - sum_u * sum_u;
    // What is left when equal numbers of seven digits are subtracted is rounding.
    if (determinant <= product * 1e-6) return through_origin;
    const inv = round.inverse(determinant);
    const line: Line = .{
        .scale = (sum_w * sum_ux - sum_x * sum_u) * inv,
        .offset = (sum_uu * sum_x - sum_u * sum_ux) * inv,
    };
    return if (line.offset <= 0) line else through_origin;
}

test "values on a line are found exactly" {
    const spec: AffineSpec = .{ .len = 16, .u_max = 15, .code_max = 63 };
    var x: [16]f32 = undefined;
    for (&x, 0..) |*value, i| value.* = 0.5 * @as(f32, @floatFromInt(i)) - 2;
    const line = fitLine(spec, x, weights(@as(@Vector(16, f32), x)));
    try std.testing.expectApproxEqAbs(0.5, line.scale, 1e-5);
    try std.testing.expectApproxEqAbs(-2, line.offset, 1e-4);
}

test "a lone large value is kept exactly beside zeros" {
    const all = symmetric(.{
        .len = 16,
        .q_min = -4,
        .q_max = 3,
        .code_min = -32,
        .code_max = 31,
    }, &(@as([255]f32, @splat(0)) ++ .{6}));
    const int: f32 = @floatFromInt(@as(i32, all.codes[15]) * all.q[255]);
    try std.testing.expectApproxEqAbs(6, all.d * int, 0.01);
    try std.testing.expectEqual(@as([255]i8, @splat(0)), all.q[0..255].*);
}
