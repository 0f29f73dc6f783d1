//! How the heads of a cache are stored, and which tokens are at full precision: the numbers that stand behind
//! the options of a session or a pool.

const abi = @import("abi.zig");
const cache = @import("../../cache.zig");
const errors = @import("errors.zig");
const session_file = @import("../session.zig");
const table = @import("table.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const Error = errors.Error;

/// How heads are stored, and which tokens are at full precision.
pub const Stored = struct {
    formats: []cache.Layout.Pair,
    windows: []cache.Layout.Window,

    pub fn of(numbers: []align(1) const u32, window_layers: u32, diag: *Diagnostic) Error!Stored {
        if (numbers.len / 2 < window_layers) {
            diag.set("expected sinks and recent tokens of {d} layers, two numbers each, found {d}", .{ window_layers, numbers.len });
            return error.InvalidArgument;
        }
        const first = numbers.len - 2 * @as(usize, window_layers);
        const formats = try headFormats(numbers[0..first], diag);
        errdefer table.gpa.free(formats);
        return .{ .formats = formats, .windows = try layerWindows(numbers[first..]) };
    }

    pub fn deinit(stored: Stored) void {
        table.gpa.free(stored.formats);
        table.gpa.free(stored.windows);
    }
};

/// The caller frees.
fn headFormats(ids: []align(1) const u32, diag: *Diagnostic) Error![]cache.Layout.Pair {
    if (ids.len % 2 != 0) {
        diag.set("expected formats of keys and values, two a head, found {d}", .{ids.len});
        return error.InvalidArgument;
    }
    const pairs = try table.gpa.alloc(cache.Layout.Pair, ids.len / 2);
    errdefer table.gpa.free(pairs);
    const rotate = @backingInt(abi.CacheFormatFlags.rotate);
    const early = @backingInt(abi.CacheFormatFlags.before_rope);
    for (pairs, 0..) |*pair, i| {
        const key = try session_file.storedHead(ids[2 * i] & ~(rotate | early), "the format of keys", diag);
        const value = try session_file.storedHead(ids[2 * i + 1] & ~rotate, "the format of values", diag);
        pair.* = .{
            .key = key.format,
            .value = value.format,
            .rotate_key = ids[2 * i] & rotate != 0,
            .early_key = ids[2 * i] & early != 0,
            .rotate_value = ids[2 * i + 1] & rotate != 0,
            .key_options = key.options,
            .value_options = value.options,
        };
    }
    return pairs;
}

/// The caller frees.
fn layerWindows(counts: []align(1) const u32) Error![]cache.Layout.Window {
    const windows = try table.gpa.alloc(cache.Layout.Window, counts.len / 2);
    for (windows, 0..) |*window, i| window.* = .{ .sinks = counts[2 * i], .recent = counts[2 * i + 1] };
    return windows;
}
