//! Packing of every format by every variant against packing row by row.

const std = @import("std");
const by_row = @import("../pack/rows.zig");
const by_sixteen = @import("../pack/sixteen.zig");
const kernel = @import("../../kernel.zig");
const layout = @import("../layout.zig");
const quant = @import("../../quant.zig");
const variants = @import("variants.zig");

const gpa = std.testing.allocator;

fn sameBytes(table: *const kernel.Table, random: std.Random) !void {
    inline for (comptime std.enums.values(quant.Format)) |format| {
        const block_len = quant.info(format).block_len;
        // Odd numbers of blocks, so that panels end with padding; single values in tails.
        const cols: []const usize = if (block_len == 1) &.{ 1, 7, 16, 67 } else &.{ block_len, 3 * block_len, 8 * block_len };
        for (cols) |n| for ([_]usize{ 16, 15, 1 }) |rows| {
            errdefer std.debug.print("{t} [{d}, {d}]\n", .{ format, rows, n });
            try samePanel(format, .int8, table, random, n, rows);
            try samePanel(format, .float, table, random, n, rows);
        };
    }
}

fn samePanel(
    comptime format: quant.Format,
    precision: kernel.Precision,
    table: *const kernel.Table,
    random: std.Random,
    cols: usize,
    rows: usize,
) !void {
    const row_bytes: usize = @intCast(try quant.rowBytes(format, cols));
    // Exactly as long as the rows, and at an odd address: a read past the end is found.
    const memory = try gpa.alloc(u8, 1 + rows * row_bytes);
    defer gpa.free(memory);
    const decoded = try gpa.alloc(f32, rows * cols);
    defer gpa.free(decoded);
    variants.fillBlocks(random, format, memory[1..], decoded);
    const bytes = table.packed_bytes(@backingInt(format), @backingInt(precision), rows, cols);
    const got = try gpa.alignedAlloc(u8, .@"64", bytes + 64);
    defer gpa.free(got);
    const want = try gpa.alignedAlloc(u8, .@"64", bytes);
    defer gpa.free(want);
    @memset(got, 0xa5);
    table.pack(@backingInt(format), @backingInt(precision), cols, memory[1..].ptr, rows, got.ptr);
    by_row.panel(format, precision, cols, memory[1..].ptr, rows, want.ptr);
    try std.testing.expectEqualSlices(u8, want, got[0..bytes]);
    try std.testing.expect(std.mem.allEqual(u8, got[bytes..], 0xa5));
}

test "panels are those of packing row by row" {
    try variants.each(sameBytes);
}

test "scales and integers take each byte of a panel once" {
    @setEvalBranchQuota(200_000);
    inline for (comptime std.enums.values(quant.Format)) |format| if (comptime layout.classOf(format)) |class| {
        const span = comptime class.span();
        for ([_]usize{ 1, 2, 3, 5 }) |blocks| {
            errdefer std.debug.print("{t}, {d} blocks\n", .{ format, blocks });
            const units = blocks * span;
            const taken = try gpa.alloc(u8, units * comptime class.unitBytes());
            defer gpa.free(taken);
            @memset(taken, 0);
            for (0..units) |unit| {
                for (taken[class.dataAt(units, unit)..][0..comptime class.dataBytes()]) |*byte| byte.* += 1;
                if (unit % span != 0) continue;
                for (taken[class.recordAt(unit)..][0..comptime class.scaleBytes()]) |*byte| byte.* += 1;
            }
            try std.testing.expect(std.mem.allEqual(u8, taken, 1));
        }
    };
}

test "formats that people use are packed sixteen rows at a time" {
    inline for (.{ "f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q5_k", "q6_k" }) |name| {
        try std.testing.expect(comptime by_sixteen.of(@field(quant.Format, name)) != null);
    }
    // Others may be; none without integers of its own may take this way.
    try std.testing.expect(comptime layout.classOf(.i32) == null and by_sixteen.of(.i32) == null);
}
