//! Products of every format in both precisions: near the reference, and the same bits for any
//! number of tokens, any share of the panels and any way to read them.

const std = @import("std");
const cpu = @import("../../backend/cpu.zig");
const kernel = @import("../../kernel.zig");
const layout = @import("../layout.zig");
const op = @import("../../op.zig");
const quant = @import("../../quant.zig");
const variants = @import("variants.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;

const gpa = std.testing.allocator;
/// More than two tiles of the widest kernel, and an odd rest.
const tokens_max = 31;

/// Three whole tiles of AMX, and a rest.
const tokens_of_tiles = 53;

/// A weight with its packed form and some tokens.
const Case = struct {
    format: quant.Format,
    precision: kernel.Precision,
    rows: usize,
    cols: usize,
    blocks: []u8,
    decoded: []f32, // [rows, cols]
    x: []f32, // [tokens, cols]
    panels: []align(64) u8,
    acts: []align(64) u8,
    act_stride: usize,
    reading: kernel.Reading = .abreast,

    fn init(table: *const kernel.Table, random: std.Random, format: quant.Format, precision: kernel.Precision, rows: usize, cols: usize) !Case {
        return initTokens(table, random, format, precision, rows, cols, tokens_max);
    }

    fn initTokens(
        table: *const kernel.Table,
        random: std.Random,
        format: quant.Format,
        precision: kernel.Precision,
        rows: usize,
        cols: usize,
        tokens: usize,
    ) !Case {
        const row_bytes: usize = @intCast(try quant.rowBytes(format, cols));
        try op.matmul.check(format, cols, row_bytes, cols);
        const stride = std.mem.alignForward(usize, table.act_bytes(@backingInt(precision), cols), 64);
        var case: Case = .{
            .format = format,
            .precision = precision,
            .rows = rows,
            .cols = cols,
            .blocks = try gpa.alloc(u8, rows * row_bytes),
            .decoded = try gpa.alloc(f32, rows * cols),
            .x = try gpa.alloc(f32, tokens * cols),
            .panels = try gpa.alignedAlloc(u8, .@"64", table.packed_bytes(@backingInt(format), @backingInt(precision), rows, cols)),
            .acts = try gpa.alignedAlloc(u8, .@"64", tokens * stride),
            .act_stride = stride,
        };
        variants.fillBlocks(random, format, case.blocks, case.decoded);
        variants.fill(random, case.x);
        // A block of zeros and one with a single value.
        @memset(case.x[0..@min(cols, 32)], 0);
        if (cols > 40) @memset(case.x[33..@min(cols, 64)], 0);
        case.pack(table, row_bytes);
        return case;
    }

    fn pack(case: *Case, table: *const kernel.Table, row_bytes: usize) void {
        const panels = (case.rows + kernel.panel_rows - 1) / kernel.panel_rows;
        const bytes = case.panels.len / panels;
        // What lies in the memory before must not matter.
        @memset(case.panels, 0xa5);
        for (0..panels) |p| {
            const from = p * kernel.panel_rows;
            const n = @min(kernel.panel_rows, case.rows - from);
            const rows = case.blocks[from * row_bytes ..].ptr;
            table.pack(@backingInt(case.format), @backingInt(case.precision), case.cols, rows, n, case.panels[p * bytes ..].ptr);
        }
    }

    fn deinit(case: *Case) void {
        inline for (.{ "blocks", "decoded", "x", "panels", "acts" }) |field| gpa.free(@field(case, field));
    }

    /// All tokens, and as many in a block as pass together.
    fn runAtOnce(case: *const Case, table: *const kernel.Table, out: []f32) void {
        const tokens = case.x.len / case.cols;
        case.runBlocks(table, 0, tokens, 0, (case.rows + kernel.panel_rows - 1) / kernel.panel_rows, tokens, out);
    }

    fn run(case: *const Case, table: *const kernel.Table, token: usize, n_tokens: usize, panel_from: usize, panel_to: usize, out: []f32) void {
        // In blocks of tokens as small as they may be.
        case.runBlocks(table, token, n_tokens, panel_from, panel_to, 1, out);
    }

    fn runBlocks(
        case: *const Case,
        table: *const kernel.Table,
        token: usize,
        n_tokens: usize,
        panel_from: usize,
        panel_to: usize,
        together: usize,
        out: []f32,
    ) void {
        // What lies between the rows of fewer tokens must not matter.
        @memset(case.acts, 0xa5);
        var from: usize = 0;
        while (from < case.cols) : (from += 64) for (0..n_tokens) |t| table.prepare(&.{
            .precision = @backingInt(case.precision),
            .kinds = if (quant.info(case.format).block_len > 1) kernel.kind_integer else kernel.kind_float,
            .x = case.x[(token + t) * case.cols ..].ptr,
            .cols = case.cols,
            .from = from,
            .to = @min(from + 64, case.cols),
            .acts = case.acts.ptr,
            .act_stride = case.act_stride,
            .token = t,
            .n_tokens = n_tokens,
        });
        const step = table.block_tokens(@backingInt(case.format), @backingInt(case.precision), case.cols, together);
        var block: usize = 0;
        while (block < n_tokens) : (block += step) table.matmul(&.{
            .format = @backingInt(case.format),
            .precision = @backingInt(case.precision),
            .panels = case.panels.ptr,
            .panel_from = panel_from,
            .panel_to = panel_to,
            .rows = case.rows,
            .cols = case.cols,
            .acts = case.acts.ptr,
            .act_stride = case.act_stride,
            .n_tokens = n_tokens,
            .token_from = block,
            .token_to = @min(block + step, n_tokens),
            .out = out[token * case.rows ..].ptr,
            .out_stride = case.rows,
            .next = case.panels.ptr,
            .next_bytes = 0,
            .reading = case.reading,
        });
    }
};

fn expectNear(case: *const Case, got: []const f32) !void {
    const of = quant.info(case.format);
    const x = try gpa.alloc(f32, case.cols);
    defer gpa.free(x);
    for (0..tokens_max) |t| {
        const exact = case.x[t * case.cols ..][0..case.cols];
        if (case.precision == .int8 and of.block_len > 1) op.matmul.rounded(exact, x) else @memcpy(x, exact);
        for (0..case.rows) |row| {
            const weights = case.decoded[row * case.cols ..][0..case.cols];
            const want = op.matmul.reference(weights, x);
            // With offsets, terms are as large as the largest value of a block, even where the
            // values themselves are small.
            var scale: f32 = if (of.block_len == 1) want.scale else 0;
            if (of.block_len > 1) for (0..case.cols / of.block_len) |b| {
                var largest: f32 = 0;
                var sum: f32 = 0;
                for (weights[b * of.block_len ..][0..of.block_len]) |w| largest = @max(largest, @abs(w));
                for (x[b * of.block_len ..][0..of.block_len]) |value| sum += @abs(value);
                scale += largest * sum;
            };
            const found = got[t * case.rows + row];
            if (op.matmul.tolerance.holds(found, want.value, scale)) continue;
            std.debug.print("row {d} token {d}: expected {e}, found {e}, scale {e}\n", .{ row, t, want.value, found, scale });
            return error.OutOfTolerance;
        }
    }
}

fn everyFormat(table: *const kernel.Table, random: std.Random) !void {
    for (std.enums.values(quant.Format)) |format| {
        for ([_]kernel.Precision{ .float, .int8 }) |precision| {
            const block_len = quant.info(format).block_len;
            const unit: usize = if (block_len == 1) 23 else block_len;
            for ([_][2]usize{ .{ 1, unit }, .{ 16, 3 * unit }, .{ 83, 2 * unit } }) |shape| {
                errdefer std.debug.print("{t} {t} [{d}, {d}]\n", .{ format, precision, shape[0], shape[1] });
                var case: Case = try .init(table, random, format, precision, shape[0], shape[1]);
                defer case.deinit();
                try checkCase(&case, table);
            }
        }
    }
}

fn checkCase(case: *Case, table: *const kernel.Table) !void {
    const panels = (case.rows + kernel.panel_rows - 1) / kernel.panel_rows;
    const whole = try gpa.alloc(f32, tokens_max * case.rows + 1);
    defer gpa.free(whole);
    const parts = try gpa.alloc(f32, tokens_max * case.rows);
    defer gpa.free(parts);
    // One past the end stays as it is: rows that a panel pads are not written.
    whole[tokens_max * case.rows] = 12345;
    case.run(table, 0, tokens_max, 0, panels, whole);
    try std.testing.expectEqual(12345, whole[tokens_max * case.rows]);
    try expectNear(case, whole[0 .. tokens_max * case.rows]);

    for (0..tokens_max) |t| for (0..panels) |p| case.run(table, t, 1, p, p + 1, parts);
    try variants.expectSameBits(parts, whole[0..parts.len]);
    for (kernel.Reading.all) |reading| {
        case.reading = reading;
        // Tokens in growing chunks: 1, 2, 3, … so that tiles fall differently.
        @memset(parts, 0);
        var from: usize = 0;
        var chunk: usize = 1;
        while (from < tokens_max) : (chunk += 1) {
            const n = @min(chunk, tokens_max - from);
            case.run(table, from, n, 0, panels, parts);
            from += n;
        }
        try variants.expectSameBits(parts, whole[0..parts.len]);
    }
}

/// Rows so long that the tokens pass in several blocks, and weights in several chunks.
fn longRows(table: *const kernel.Table, random: std.Random) !void {
    for ([_]quant.Format{ .q4_0, .q6_k, .q8_0, .f16 }) |format| {
        errdefer std.debug.print("{t}\n", .{format});
        var case: Case = try .init(table, random, format, .int8, 35, 256 * 90);
        defer case.deinit();
        try checkCase(&case, table);
    }
}

test "products of long rows" {
    try variants.each(longRows);
}

test "products of every format" {
    try variants.each(everyFormat);
}

test "tiles give the bits of vectors" {
    var diag: Diagnostic = .{};
    const vectors = cpu.chooseNamed("avx512_vnni", &diag) catch return error.SkipZigTest;
    const tiles = cpu.chooseNamed("amx", &diag) catch return error.SkipZigTest;
    var results: [2][tokens_of_tiles * 83]f32 = undefined;
    for (std.enums.values(quant.Format)) |format| {
        errdefer std.debug.print("{t}\n", .{format});
        // Of blocks of 32, a number of units that fills no whole turn of the registers.
        const cols = 27 * quant.info(format).block_len;
        for ([_]*const kernel.Table{ vectors, tiles }, &results) |table, *result| {
            var state: std.Random.DefaultPrng = .init(7);
            var case: Case = try .initTokens(table, state.random(), format, .int8, 83, cols, tokens_of_tiles);
            defer case.deinit();
            case.runAtOnce(table, result);
        }
        try variants.expectSameBits(&results[0], &results[1]);
    }
}

fn packedScales(table: *const kernel.Table, random: std.Random) !void {
    // One activation of 127 with scale 1 makes each result one weight, exactly: packing keeps the
    // values of the format, in both precisions.
    for (std.enums.values(quant.Format)) |format| {
        const cols = quant.info(format).block_len;
        if (cols == 1) continue;
        errdefer std.debug.print("{t}\n", .{format});
        var case: Case = try .init(table, random, format, .int8, 16, cols);
        defer case.deinit();
        var out: [16]f32 = undefined;
        for (0..cols) |col| {
            @memset(case.x[0..cols], 0);
            case.x[col] = 127;
            case.run(table, 0, 1, 0, 1, &out);
            for (out, 0..) |found, row| {
                // Relative to the largest weight, because an offset can cancel a product.
                var largest: f32 = 0;
                for (case.decoded[row * cols ..][0..cols]) |weight| largest = @max(largest, @abs(weight));
                const want = 127 * case.decoded[row * cols + col];
                try std.testing.expectApproxEqAbs(want, found, 127 * 2e-7 * largest);
            }
        }
    }
}

test "packing keeps the values" {
    try variants.each(packedScales);
}

fn badActivations(table: *const kernel.Table, random: std.Random) !void {
    var case: Case = try .init(table, random, .q4_0, .int8, 16, 64);
    defer case.deinit();
    var out: [16]f32 = undefined;
    case.x[5] = 1e-42;
    case.run(table, 0, 1, 0, 1, &out);
    for (out) |value| try std.testing.expect(std.math.isFinite(value));
    // What isn't a number must not come out as one.
    for ([_]f32{ std.math.nan(f32), std.math.inf(f32) }) |bad| {
        case.x[5] = bad;
        case.run(table, 0, 1, 0, 1, &out);
        for (out) |value| try std.testing.expect(!std.math.isFinite(value));
    }
}

test "activations that are tiny, infinite or not a number" {
    try variants.each(badActivations);
}

test "a panel takes little more memory than its rows in the file" {
    // The common formats keep the width of their integers and their scales.
    inline for (.{ .{ "q4_0", 1.0 }, .{ "q4_1", 1.0 }, .{ "q5_0", 1.0 }, .{ "q5_1", 1.0 }, .{ "q8_0", 1.0 }, .{ "q4_k", 1.03 }, .{ "q5_k", 1.03 }, .{ "q6_k", 1.001 } }) |row| {
        const format = @field(quant.Format, row[0]);
        const in_file: f64 = @floatFromInt(try quant.rowBytes(format, 4096) * 16);
        const in_panel: f64 = @floatFromInt(layout.packedBytes(format, .int8, 16, 4096));
        try std.testing.expect(in_panel <= in_file * row[1]);
    }
}
