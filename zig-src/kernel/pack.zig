//! Packing: rows of a file into panels (see `layout.zig`).

const quant = @import("../quant.zig");
const layout = @import("layout.zig");
const table = @import("table.zig");
const by_row = @import("pack/rows.zig");
const by_sixteen = @import("pack/sixteen.zig");

const panel_rows = layout.panel_rows;

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
