//! Norms, rotation and activations against the references, at lengths with tails.

const std = @import("std");
const kernel = @import("../../kernel.zig");
const op = @import("../../op.zig");
const variants = @import("variants.zig");

const lengths = [_]usize{ 1, 3, 4, 7, 16, 31, 33, 64, 100, 257, 2048 };
const longest = 2048;

/// Inputs, and two outputs to compare.
const Rows = struct {
    x: [longest]f32 = undefined,
    y: [longest]f32 = undefined,
    z: [longest]f32 = undefined,
    want: [longest]f32 = undefined,
    got: [longest]f32 = undefined,

    fn init(random: std.Random) Rows {
        var rows: Rows = .{};
        variants.fill(random, &rows.x);
        variants.fill(random, &rows.y);
        variants.fill(random, &rows.z);
        return rows;
    }
};

fn norms(table: *const kernel.Table, random: std.Random) !void {
    var rows: Rows = .init(random);
    for (lengths) |n| {
        errdefer std.debug.print("length {d}\n", .{n});
        const x, const w, const b = .{ rows.x[0..n], rows.y[0..n], rows.z[0..n] };
        const want, const got = .{ rows.want[0..n], rows.got[0..n] };
        const rms = op.Member("rms_norm");
        try rms.check(n, n, n);
        rms.reference(x, w, 1e-5, want);
        table.rms_norm(x.ptr, w.ptr, n, 1e-5, got.ptr);
        try rms.tolerance.expectRow(got, want);
        rms.reference(x, null, 1e-5, want);
        @memcpy(got, x);
        table.rms_norm(got.ptr, null, n, 1e-5, got.ptr);
        try rms.tolerance.expectRow(got, want);

        const layer = op.Member("layer_norm");
        try layer.check(n, n, n, n);
        layer.reference(x, w, b, 1e-5, want);
        table.layer_norm(x.ptr, w.ptr, b.ptr, n, 1e-5, got.ptr);
        try layer.tolerance.expectRow(got, want);
        layer.reference(x, w, null, 1e-5, want);
        table.layer_norm(x.ptr, w.ptr, null, n, 1e-5, got.ptr);
        try layer.tolerance.expectRow(got, want);
    }
}

test "norms" {
    try variants.each(norms);
}

fn valueByValue(table: *const kernel.Table, random: std.Random) !void {
    var rows: Rows = .init(random);
    for (lengths) |n| {
        errdefer std.debug.print("length {d}\n", .{n});
        const x, const y, const want, const got = .{ rows.x[0..n], rows.y[0..n], rows.want[0..n], rows.got[0..n] };
        inline for (.{ "silu_mul", "gelu_mul" }) |name| {
            const gate = op.Member(name);
            try gate.check(n, n, n);
            gate.reference(x, y, want);
            @memcpy(got, x);
            @field(table, name)(got.ptr, y.ptr, n, got.ptr);
            try gate.tolerance.expectRow(got, want);
        }
        @memcpy(want, x);
        @memcpy(got, x);
        try op.Member("add").check(n, n);
        op.Member("add").reference(want, y);
        table.add(got.ptr, y.ptr, n);
        try op.Member("add").tolerance.expectRow(got, want);
        try op.Member("scale").check(n);
        op.Member("scale").reference(want, 1.7);
        table.scale(got.ptr, n, 1.7);
        try op.Member("scale").tolerance.expectRow(got, want);
        try op.Member("softcap").check(5);
        op.Member("softcap").reference(want, 5);
        table.softcap(got.ptr, n, 5);
        try op.Member("softcap").tolerance.expectRow(got, want);
    }
}

fn hadamard(table: *const kernel.Table, random: std.Random) !void {
    var rows: Rows = .init(random);
    for ([_]usize{ 1, 2, 4, 8, 16, 32, 64, 128 }) |dim| for ([_]usize{ 1, 3 }) |heads| {
        const n = dim * heads;
        if (n > rows.x.len) continue;
        const want, const got = .{ rows.want[0..n], rows.got[0..n] };
        @memcpy(want, rows.x[0..n]);
        @memcpy(got, rows.x[0..n]);
        try op.Member("hadamard").check(dim);
        op.Member("hadamard").reference(want, dim);
        table.hadamard(got.ptr, heads, dim);
        try std.testing.expectEqualSlices(u32, @ptrCast(want), @ptrCast(got));
        // Its own inverse.
        table.hadamard(got.ptr, heads, dim);
        for (rows.x[0..n], got) |x, y| try std.testing.expectApproxEqAbs(x, y, 1e-5 * (1 + @abs(x)));
    };
    try std.testing.expectError(error.Shape, op.Member("hadamard").check(96));
}

test "Hadamard rotations have the bits of the reference" {
    try variants.each(hadamard);
}

test "activations, sums and caps" {
    try variants.each(valueByValue);
}

fn extremes(table: *const kernel.Table, random: std.Random) !void {
    _ = random;
    const gate = [_]f32{ -200, -88, -1e-20, 0, 1e-20, 88, 200, 1e30, -1e30 };
    const up: [gate.len]f32 = @splat(1);
    var want: [gate.len]f32 = undefined;
    var got: [gate.len]f32 = undefined;
    op.Member("silu_mul").reference(&gate, &up, &want);
    table.silu_mul(&gate, &up, gate.len, &got);
    try op.Member("silu_mul").tolerance.expectRow(&got, &want);
    table.gelu_mul(&gate, &up, gate.len, &got);
    for (gate, got) |x, y| {
        // Far from zero gelu is x, or 0.
        if (x >= 88) try std.testing.expectEqual(x, y);
        if (x <= -88) try std.testing.expectEqual(0, y);
    }
    var bad = [_]f32{ std.math.nan(f32), 1 };
    table.silu_mul(&bad, &up, 2, &got);
    try std.testing.expect(std.math.isNan(got[0]) and !std.math.isNan(got[1]));
    table.softcap(&bad, 2, 30);
    try std.testing.expect(std.math.isNan(bad[0]) and !std.math.isNan(bad[1]));
}

test "activations far from zero" {
    try variants.each(extremes);
}

fn rotation(table: *const kernel.Table, random: std.Random) !void {
    const rope = op.Member("rope");
    var rows: Rows = .init(random);
    for ([_][2]usize{ .{ 64, 64 }, .{ 6, 4 }, .{ 128, 32 }, .{ 20, 20 }, .{ 256, 256 } }) |dims| {
        const head_dim, const rot_dim = dims;
        for ([_]u32{ 0, 1 }) |style| {
            const n = 3 * head_dim;
            @memcpy(rows.want[0..n], rows.x[0..n]);
            @memcpy(rows.got[0..n], rows.x[0..n]);
            for (0..rot_dim / 2) |i| {
                rows.y[2 * i] = @cos(@as(f32, @floatFromInt(i)));
                rows.y[2 * i + 1] = @sin(@as(f32, @floatFromInt(i)));
            }
            try rope.check(n, head_dim, rot_dim, rot_dim);
            rope.reference(rows.want[0..n], head_dim, rot_dim, style, &rows.y);
            table.rope(&rows.got, 3, head_dim, rot_dim, style, &rows.y);
            for (rows.got[0..n], rows.want[0..n]) |got, want| {
                try std.testing.expect(rope.tolerance.holds(got, want, @max(8, @abs(want))));
            }
        }
    }
}

test "rotation" {
    try variants.each(rotation);
}
