//! Activations: f32 rows made ready for products (see `layout.zig`).

const std = @import("std");
const dot = @import("dot.zig");
const layout = @import("layout.zig");
const table = @import("table.zig");

const unit = layout.unit;
const Act = layout.Act;

/// One row, or a part of one, of those that a product takes together.
pub fn prepare(args: *const table.PrepareArgs) void {
    const precision: table.Precision = @fromBackingInt(@intCast(args.precision));
    const row: layout.ActRow = .of(args.token, args.n_tokens, args.act_stride);
    if (precision == .int8 and args.kinds & table.kind_integer != 0) integers(args, row);
    if (precision == .float or args.kinds & table.kind_float != 0) floats(args, row, layout.floatsAt(precision, args.cols));
}

fn integers(args: *const table.PrepareArgs, row: layout.ActRow) void {
    const units = (args.cols + unit - 1) / unit;
    var col = args.from;
    while (col < args.to) : (col += unit) {
        const x: @Vector(unit, f32) = if (col + unit <= args.cols) args.x[col..][0..unit].* else last: {
            var last: [unit]f32 = @splat(0);
            @memcpy(last[0 .. args.cols - col], args.x[col..args.cols]);
            break :last last;
        };
        const act = quantise(x);
        if (layout.forTiles(args.n_tokens)) {
            const q: *[unit]i8 = @ptrCast(args.acts + row.tileAt(col / unit));
            const factors: *layout.Factors = @ptrCast(@alignCast(args.acts + row.factorsAt(units, col / unit)));
            const halves: *layout.Halves = @ptrCast(@alignCast(args.acts + row.halvesAt(units, col / unit)));
            q.* = @bitCast(act.q);
            factors.* = act.factors;
            halves.* = act.sums;
        } else {
            const to: *Act = @ptrCast(@alignCast(args.acts + row.unitAt(col / unit)));
            to.* = act;
        }
    }
}

fn floats(args: *const table.PrepareArgs, row: layout.ActRow, floats_at: usize) void {
    const to: [*]f32 = @ptrCast(@alignCast(args.acts + row.floatAt(floats_at, args.from)));
    const x = args.x[args.from..args.to];
    if (row.width == 1) {
        @memcpy(to[0..x.len], x);
    } else for (x, 0..) |value, i| to[i * row.width] = value;
}

/// 32 activations, rounded to 8 bits.
pub fn quantise(x: @Vector(unit, f32)) Act {
    const F = @Vector(unit, f32);
    const I = @Vector(unit, i32);
    // Magnitudes are in the order of their bits, NaN above all: integers have no cases to tell apart.
    const largest: f32 = @bitCast(@reduce(.Max, @as(I, @bitCast(@abs(x)))));
    const d = if (largest != largest) std.math.nan(f32) else largest / 127;
    // A subnormal d has no finite inverse: such a block is zero next to anything that matters.
    const inverse: f32 = if (d >= std.math.floatMin(f32)) 127 / largest else 0;
    // Adding the magic number rounds to the nearest even integer and leaves it in the low bits.
    const shifted = x * @as(F, @splat(inverse)) + @as(F, @splat(layout.magic_value));
    // What isn't a number leaves any bits; d says so then.
    const bits: @Vector(unit, u32) = @bitCast(shifted);
    const q: @Vector(unit, i8) = @bitCast(@as(@Vector(unit, u8), @truncate(bits)));
    const low, const high = dot.halves(q);
    const counts: @Vector(4, i32) = .{ 1, low + high, low, high };
    const sums = @as(@Vector(4, f32), @floatFromInt(counts)) * @as(@Vector(4, f32), @splat(d));
    const shifts: @Vector(4, u5) = .{ 3, 7, @ctz(@as(u8, dot.zero_of_half)), @ctz(@as(u8, dot.zero_of_half)) };
    const zeros = @as(@Vector(4, i32), .{ low + high, low + high, low, high }) << shifts;
    const starts = @as(@Vector(4, i32), @splat(layout.magic)) - zeros;
    return .{
        .q = @bitCast(q),
        .factors = .{ .d = sums[0], .sum = sums[1] },
        .sums = .{ sums[2], sums[3] },
        .start8 = starts[0],
        .start128 = starts[1],
        .start_half = .{ starts[2], starts[3] },
    };
}
