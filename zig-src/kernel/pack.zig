//! Packing: rows of a file into panels (see `layout.zig`), and f32 rows into activations.

const std = @import("std");
const quant = @import("../quant.zig");
const layout = @import("layout.zig");
const table = @import("table.zig");
const by_row = @import("pack/rows.zig");
const by_sixteen = @import("pack/sixteen.zig");

const panel_rows = layout.panel_rows;
const unit = layout.unit;

/// Packs up to 16 rows; the rows that are missing become zeros.
pub fn panel(format: quant.Format, precision: table.Precision, cols: usize, source: [*]const u8, n_rows: usize, into: [*]u8) void {
    @setEvalBranchQuota(200_000);
    switch (format) {
        inline else => |tag| {
            const has_integers = comptime layout.classOf(tag) != null;
            if (comptime by_sixteen.of(tag)) |pack| {
                if (n_rows == panel_rows and (precision == .int8 or !has_integers)) return pack(cols, source, into);
            }
            by_row.panel(tag, precision, cols, source, n_rows, into);
        },
    }
}

/// One token's activations; see `layout.Act`.
pub fn activations(precision: table.Precision, x: [*]const f32, cols: usize, into: [*]u8) void {
    if (precision == .int8) {
        const acts: [*]align(4) layout.Act = @ptrCast(@alignCast(into));
        const whole = cols / unit;
        for (0..whole) |i| acts[i] = quantise(x[i * unit ..][0..unit].*);
        if (cols % unit != 0) {
            var last: [unit]f32 = @splat(0);
            @memcpy(last[0 .. cols % unit], x[whole * unit .. cols]);
            acts[whole] = quantise(last);
        }
    }
    const floats_at = layout.floatsAt(precision, cols);
    @memcpy(into[floats_at..][0 .. 4 * cols], @as([*]const u8, @ptrCast(x))[0 .. 4 * cols]);
}

fn quantise(x: @Vector(unit, f32)) layout.Act {
    const F = @Vector(unit, f32);
    const largest = @reduce(.Max, @abs(x));
    // A maximum passes over NaN, which must stay visible in the result.
    const d = if (@reduce(.Or, x != x)) std.math.nan(f32) else largest / 127;
    // A subnormal d has no finite inverse: such a block is zero next to anything that matters.
    const inverse: f32 = if (d >= std.math.floatMin(f32)) 127 / largest else 0;
    // Adding 1.5 * 2^23 rounds to the nearest even integer and leaves it in the low bits.
    const magic = 12582912;
    const shifted = x * @as(F, @splat(inverse)) + @as(F, @splat(magic));
    const whole = @as(@Vector(unit, i32), @bitCast(shifted)) -% @as(@Vector(unit, i32), @splat(@bitCast(@as(f32, magic))));
    const q: @Vector(unit, i8) = @truncate(whole);
    const words: [unit]i32 = whole;
    const low = @reduce(.Add, @as(@Vector(unit / 2, i32), words[0 .. unit / 2].*));
    const high = @reduce(.Add, @as(@Vector(unit / 2, i32), words[unit / 2 ..].*));
    return .{
        .q = @bitCast(q),
        .d = d,
        .sums = .{ d * @as(f32, @floatFromInt(low)), d * @as(f32, @floatFromInt(high)) },
        .sum = d * @as(f32, @floatFromInt(low + high)),
        .start_half = .{ -8 * low, -8 * high },
        .start8 = -8 * (low + high),
        .start128 = -128 * (low + high),
    };
}
