//! Pages that several sessions of a model share, and no more of them. `full_pool.zig` says what happens
//! when there are none left.

const cache = @import("../cache.zig");
const layouts = @import("layouts.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Model = @import("model.zig").Model;
const session_module = @import("session.zig");
const Error = session_module.Error;
const Session = session_module.Session;

/// More than the memory of any machine has.
const pages_max = 1 << 24;

pub const Options = struct {
    /// 0: as many as fit into `bytes`.
    pages: u32 = 0,
    bytes: f64 = 0,
    when_full: cache.WhenFull = .fail,
    key_format: cache.Format = .f16,
    value_format: cache.Format = .f16,
    /// As in a session's options.
    head_formats: []const cache.Layout.Pair = &.{},
    windows: []const cache.Layout.Window = &.{},
    exact_format: cache.Format = .f16,
};

/// Its memory is set aside, and taken when it is used. Pair with `release`; sessions hold it too.
pub fn create(model: *const Model, options: Options, diag: *Diagnostic) Error!*cache.Pool {
    if (model.family == null) {
        diag.set("expected a model with weights, found a vocabulary only", .{});
        return error.VocabularyOnly;
    }
    errdefer if (diag.text().len == 0) diag.set("expected memory for a pool of pages, found that the system has not that much", .{});
    var layout = model.cacheLayout(options.key_format, options.value_format);
    layout.formats = options.head_formats;
    layout.windows = options.windows;
    layout.exact_format = options.exact_format;
    layout.chunk = @max(model.options.batch_rows, cache.Exact.chunk_evicting);
    try layouts.check(layout, diag);
    const page_bytes = layout.pageBytes();
    if (options.pages == 0 and !(options.bytes >= @as(f64, @floatFromInt(page_bytes)))) {
        diag.set("expected a pool of at least one page of {d} bytes, found {d} bytes", .{ page_bytes, options.bytes });
        return error.BadOption;
    }
    const fit = if (options.pages != 0) @as(f64, @floatFromInt(options.pages)) else options.bytes / @as(f64, @floatFromInt(page_bytes));
    if (fit >= pages_max + 1) {
        diag.set("expected a pool of at most {d} pages of {d} bytes, found {d} pages", .{ pages_max, page_bytes, fit });
        return error.BadOption;
    }
    return cache.Pool.createLimited(model.gpa, layout, .{ .pages = @intFromFloat(fit), .when_full = options.when_full }, diag);
}
