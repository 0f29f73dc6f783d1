//! What a cache may look like: whether a model's heads can be stored as a layout says, and whether two
//! layouts are the same.

const std = @import("std");
const cache = @import("../cache.zig");
const kernel = @import("../kernel.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const Error = error{ BadOption, Foreign };

/// Whether a cache can be as the layout says.
pub fn check(layout: cache.Layout, diag: *Diagnostic) Error!void {
    try checkFormats(layout, diag);
    try checkWindows(layout, diag);
}

/// Whether sequences of the one layout can be of the other one.
pub fn expectSame(expected: cache.Layout, found: cache.Layout, diag: *Diagnostic) Error!void {
    for (0..expected.layers) |layer| for (0..expected.kv_heads) |head| {
        for ([_]kernel.KvSide{ .key, .value }) |side| {
            const wanted = expected.format(side, layer, head);
            const has = found.format(side, layer, head);
            if (expected.rotates(side, layer, head) != found.rotates(side, layer, head)) {
                diag.set("expected a cache that is stored as this session's, found {t}s of layer {d}, KV head {d}, that are rotated in one only", .{
                    side, layer, head,
                });
                return error.Foreign;
            }
            if (side == .key and expected.early(layer, head) != found.early(layer, head)) {
                diag.set("expected a cache that is stored as this session's, found keys of layer {d}, KV head {d}, that are stored before " ++
                    "their rotary embedding in one only", .{ layer, head });
                return error.Foreign;
            }
            if (wanted == has and expected.options(side, layer, head) == found.options(side, layer, head)) continue;
            if (wanted == has) {
                diag.set("expected a cache that is stored as this session's, found {t}s of layer {d}, KV head {d}, in {t} with other options", .{
                    side, layer, head, has,
                });
                return error.Foreign;
            }
            diag.set("expected a cache that is stored as this session's, where {t}s of layer {d}, KV head {d}, are {t}, found {t}", .{
                side, layer, head, wanted, has,
            });
            return error.Foreign;
        }
    };
    for (0..expected.layers) |layer| {
        const wanted = expected.window(layer);
        const has = found.window(layer);
        if (std.meta.eql(wanted, has) and (!wanted.any() or expected.exact_format == found.exact_format)) continue;
        diag.set("expected a cache that keeps {d} sinks and {d} recent tokens of layer {d} in {t}, found {d} and {d} in {t}", .{
            wanted.sinks, wanted.recent, layer, expected.exact_format, has.sinks, has.recent, found.exact_format,
        });
        return error.Foreign;
    }
}

fn checkWindows(layout: cache.Layout, diag: *Diagnostic) Error!void {
    if (layout.windows.len != 0 and layout.windows.len != layout.layers) {
        diag.set("expected windows of {d} layers, found {d}", .{ layout.layers, layout.windows.len });
        return error.BadOption;
    }
    for (layout.windows, 0..) |window, layer| if (window.sinks > window_max or window.recent > window_max) {
        diag.set("expected up to {d} tokens of layer {d} at full precision, found {d} sinks and {d} recent ones", .{
            window_max, layer, window.sinks, window.recent,
        });
        return error.BadOption;
    };
    for (0..layout.layers) |layer| for (0..layout.kv_heads) |kv_head| {
        const recent = layout.window(layer).recent;
        const count = layout.keyGroup(layer, kv_head);
        if (!layout.groups(layer, kv_head) or recent >= count) continue;
        diag.set("expected at least {d} recent tokens at full precision in layer {d}, because keys in {t} are rounded so many at a time, found {d}", .{
            count, layer, layout.format(.key, layer, kv_head), recent,
        });
        return error.BadOption;
    };
    switch (layout.exact_format) {
        .f16, .f32 => {},
        else => {
            diag.set("expected f16 or f32 for tokens at full precision, found {t}", .{layout.exact_format});
            return error.BadOption;
        },
    }
}

/// As long as a context can be.
const window_max = 1 << 20;

/// Whether heads of the layout can be stored as it says.
fn checkFormats(layout: cache.Layout, diag: *Diagnostic) Error!void {
    const heads = @as(usize, layout.layers) * layout.kv_heads;
    if (layout.formats.len == 0) {
        try expectWholeUnits("keys", layout.key_format, layout.head_dim_k, diag);
        return expectWholeUnits("values", layout.value_format, layout.head_dim_v, diag);
    }
    if (layout.formats.len != heads) {
        diag.set("expected cache formats of {d} layers of {d} KV heads, {d} in all, found {d}", .{
            layout.layers, layout.kv_heads, heads, layout.formats.len,
        });
        return error.BadOption;
    }
    for (layout.formats) |pair| {
        try expectWholeUnits("keys", pair.key, layout.head_dim_k, diag);
        try expectWholeUnits("values", pair.value, layout.head_dim_v, diag);
        try checkOptions(.key, pair.key, pair.key_options, layout.head_dim_k, diag);
        try checkOptions(.value, pair.value, pair.value_options, layout.head_dim_v, diag);
        if (pair.rotate_key) try expectRotatable("keys", layout.head_dim_k, diag);
        if (pair.rotate_value) try expectRotatable("values", layout.head_dim_v, diag);
    }
}

/// Whether one side of a head can be stored with these options.
pub fn checkOptions(side: kernel.KvSide, format: cache.Format, options: kernel.KvOptions, head_dim: u32, diag: *Diagnostic) error{BadOption}!void {
    if (options == kernel.KvOptions{}) return;
    if (options.unused != 0) {
        diag.set("expected options of cache formats that there are, found others", .{});
        return error.BadOption;
    }
    if (!cache.inGroups(format)) {
        diag.set("expected int8_channel, int4 or int2 for {t}s with groups, symmetry or outliers, found {t}", .{ side, format });
        return error.BadOption;
    }
    const len = options.groupLen();
    const most: usize = if (side == .key) cache.channel_group_max else kernel.group_max;
    if (len > most) {
        diag.set("expected groups of at most {d} for {t}s, found {d}", .{ most, side, len });
        return error.BadOption;
    }
    if (head_dim % len != 0) {
        diag.set("expected heads of a multiple of {d} values for {t}s in {t} with groups of so many, found {d}", .{ len, side, format, head_dim });
        return error.BadOption;
    }
    if (options.outliers == 0) return;
    if (options.outliers > outliers_max) {
        diag.set("expected at most {d} outliers of a thousand {t}s, found {d}", .{ outliers_max, side, options.outliers });
        return error.BadOption;
    }
    if (head_dim > kernel.outliers.head_max) {
        diag.set("expected heads of at most {d} values for {t}s with outliers, found {d}", .{ kernel.outliers.head_max, side, head_dim });
        return error.BadOption;
    }
}

/// Outliers of a thousand values: beyond it another format takes less.
const outliers_max = 250;

fn expectRotatable(what: []const u8, head_dim: u32, diag: *Diagnostic) Error!void {
    if (std.math.isPowerOfTwo(head_dim)) return;
    diag.set("expected heads of a power of two of values to rotate {s} by a Hadamard matrix, found {d}", .{ what, head_dim });
    return error.BadOption;
}

fn expectWholeUnits(what: []const u8, format: cache.Format, head_dim: u32, diag: *Diagnostic) Error!void {
    const unit = cache.formatUnit(format);
    if (head_dim % unit == 0) return;
    diag.set("expected a cache format for {s} that takes heads of {d} values, found {t}, whose scales belong to {d} values each", .{
        what, head_dim, format, unit,
    });
    return error.BadOption;
}
