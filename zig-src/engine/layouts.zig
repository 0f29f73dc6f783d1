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
            if (wanted == has) continue;
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
        if (!layout.groups(layer, kv_head) or recent >= cache.channel_group) continue;
        diag.set("expected at least {d} recent tokens at full precision in layer {d}, because keys in {t} are rounded so many at a time, found {d}", .{
            cache.channel_group, layer, layout.format(.key, layer, kv_head), recent,
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
        if (pair.rotate_key) try expectRotatable("keys", layout.head_dim_k, diag);
        if (pair.rotate_value) try expectRotatable("values", layout.head_dim_v, diag);
    }
}

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
