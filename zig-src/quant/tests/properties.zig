//! What holds of every registered format, whatever its layout: the decomposition, byte order, round
//! trips, and encoders that stop for no input.

const std = @import("std");
const quant = @import("../../quant.zig");
const Format = quant.Format;

/// A row of random bytes with finite scales. The caller frees.
fn randomRow(gpa: std.mem.Allocator, comptime M: type, random: std.Random, blocks: usize) ![]u8 {
    const bytes = try gpa.alloc(u8, blocks * M.block_bytes);
    random.bytes(bytes);
    const row: []align(1) M.Block = @ptrCast(bytes);
    const fields = @typeInfo(M.Block).@"struct";
    for (row) |*block| {
        inline for (fields.field_names, fields.field_types) |name, Field| {
            if (@typeInfo(Field) == .float) @field(block, name) = @floatCast(random.floatNorm(f32));
        }
    }
    return bytes;
}

test "the integers of a block stay within their declared range and give its values" {
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(3);
    inline for (quant.formats) |M| {
        if (M.block_len == 1) continue;
        const bytes = try randomRow(gpa, M, prng.random(), 64);
        defer gpa.free(bytes);
        for (@as([]align(1) const M.Block, @ptrCast(bytes))) |*block| {
            const len = M.groups.len;
            var out: [M.block_len]f32 = undefined;
            var q: [M.block_len]i8 = undefined;
            var scale: [M.block_len / len]f32 = undefined;
            var offset: [M.block_len / len]f32 = undefined;
            M.decodeBlock(block, &out);
            M.decodeGroups(block, &q, &scale, &offset);
            for (out, q, 0..) |value, int, i| {
                try std.testing.expect(int >= M.groups.q_min);
                try std.testing.expect(int <= M.groups.q_max);
                try std.testing.expect(@as(i16, int) - M.q_min < 1 << M.q_bits);
                // The super-scale of IQ1_M isn't a field, so random bytes can make it a NaN.
                if (std.math.isNan(scale[i / len])) {
                    try std.testing.expect(std.math.isNan(value));
                    continue;
                }
                // In f64 the product and the sum are exact, so rounding to f32 happens once here
                // and at most twice there.
                const product = @as(f64, scale[i / len]) * @as(f64, @floatFromInt(int));
                const exact = product + offset[i / len];
                const bound = (@abs(product) + @abs(exact)) * 0x1p-24;
                if (std.math.isInf(value)) {
                    try std.testing.expect(@abs(exact) > std.math.floatMax(f32));
                } else {
                    try std.testing.expectApproxEqAbs(exact, value, bound);
                }
                if (!M.groups.offset) try std.testing.expectEqual(0, offset[i / len]);
            }
        }
    }
}

test "swapping bytes twice changes nothing, once changes what it should" {
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(4);
    inline for (quant.formats) |M| {
        const format: Format = @fromBackingInt(@intCast(M.id));
        const bytes = try randomRow(gpa, M, prng.random(), 3);
        defer gpa.free(bytes);
        const foreign = try gpa.dupe(u8, bytes);
        defer gpa.free(foreign);
        // A foreign row, written from the field list of the block and not by the code under test.
        var at: usize = 0;
        for (0..3) |_| {
            inline for (comptime fieldWidths(M.Block)) |width| {
                std.mem.reverse(u8, foreign[at..][0..width]);
                at += width;
            }
        }
        quant.swapEndian(format, foreign);
        try std.testing.expectEqualSlices(u8, bytes, foreign);
        quant.swapEndian(format, foreign);
        quant.swapEndian(format, foreign);
        try std.testing.expectEqualSlices(u8, bytes, foreign);
    }
}

/// The widths of all numbers of a block in order.
fn fieldWidths(comptime Block: type) []const usize {
    @setEvalBranchQuota(20_000);
    var widths: []const usize = &.{};
    for (@typeInfo(Block).@"struct".field_types) |Field| switch (@typeInfo(Field)) {
        .array => |array| for (0..array.len) |_| {
            widths = widths ++ .{@sizeOf(array.child)};
        },
        else => widths = widths ++ .{@sizeOf(Field)},
    };
    return widths;
}

test "big-endian values decode to what was written" {
    // The bytes are written out as they stand in a big-endian file.
    var f32_row = [_]u8{ 0x3f, 0xc0, 0, 0, 0xc0, 0, 0, 0 };
    var out: [2]f32 = undefined;
    toNative(.f32, &f32_row);
    quant.decodeRow(.f32, &f32_row, &out);
    try std.testing.expectEqual([2]f32{ 1.5, -2 }, out);

    var q8_0_row = [_]u8{ 0x3e, 0x00, 1, 0xfe } ++ @as([30]u8, @splat(0));
    var values: [32]f32 = undefined;
    toNative(.q8_0, &q8_0_row);
    quant.decodeRow(.q8_0, &q8_0_row, &values);
    try std.testing.expectEqual([4]f32{ 1.5, -3, 0, 0 }, values[0..4].*);
}

fn toNative(format: Format, bytes: []u8) void {
    if (@import("builtin").target.cpu.arch.endian() == .little) quant.swapEndian(format, bytes);
}

/// The largest error of a round trip as a fraction of the range of the block's values: half a step
/// of the integers, with as much again for rounded scales and for values that a search gives up.
fn errorMax(comptime M: type) f32 {
    // Under a scale that is a power of two a value just below 8 becomes 6.
    if (!@hasField(M.Block, "d")) return 0.25;
    // Uneven levels lie as far apart as sixteen even ones would at most, and end earlier above zero.
    if (@hasDecl(M, "levels")) return 2.2 / 15.0;
    const levels: f32 = @as(i16, M.groups.q_max) - M.groups.q_min;
    return if (M.block_len == 32) 1.1 / levels else 2.2 / levels;
}

test "encoding and decoding stays near, and a second time changes little" {
    var prng: std.Random.DefaultPrng = .init(5);
    const random = prng.random();
    inline for (quant.formats) |M| {
        if (M.block_len == 1 or !@hasDecl(M, "encodeBlock")) continue;
        for ([_]f32{ 1e-2, 1, 1e3 }) |size| for (0..40) |_| {
            var in: [M.block_len]f32 = undefined;
            for (&in) |*x| x.* = size * random.floatNorm(f32);
            var block: M.Block = undefined;
            var out: [M.block_len]f32 = undefined;
            M.encodeBlock(&in, &block);
            M.decodeBlock(&block, &out);
            const least, const greatest = std.mem.minMax(f32, &in);
            for (in, out) |x, y| {
                try std.testing.expect(@abs(x - y) <= errorMax(M) * (greatest - least));
            }
            // What a block can hold, it keeps.
            var again: [M.block_len]f32 = undefined;
            M.encodeBlock(&out, &block);
            M.decodeBlock(&block, &again);
            for (out, again) |x, y| {
                try std.testing.expect(@abs(x - y) <= errorMax(M) * (greatest - least));
            }
        };
    }
}

test "constant blocks come back" {
    inline for (quant.formats) |M| {
        if (M.block_len == 1 or !@hasDecl(M, "encodeBlock")) continue;
        for ([_]f32{ 0, 1, -1, 0.03, -700 }) |constant| {
            var block: M.Block = undefined;
            var out: [M.block_len]f32 = undefined;
            M.encodeBlock(&@splat(constant), &block);
            M.decodeBlock(&block, &out);
            // Scales of one byte have few bits of fraction, or none; a float of two bits ends at 6.
            const tolerance = if (@hasField(M.Block, "d")) 0.005 else 0.25;
            for (out) |y| try std.testing.expectApproxEqRel(constant, y, tolerance);
        }
    }
}

test "encoders take any float and write finite values" {
    const inf = std.math.inf(f32);
    const nan = std.math.nan(f32);
    var prng: std.Random.DefaultPrng = .init(6);
    const random = prng.random();
    inline for (quant.formats) |M| {
        if (M.block_len == 1 or !@hasDecl(M, "encodeBlock")) continue;
        for (0..200) |round| {
            var in: [M.block_len]f32 = undefined;
            for (&in) |*x| x.* = switch (round % 8) {
                0 => @bitCast(random.int(u32)),
                1 => nan,
                2 => if (random.boolean()) inf else -inf,
                3 => std.math.floatTrueMin(f32) * random.float(f32) * 10,
                4 => std.math.floatMax(f32) * random.floatNorm(f32),
                5 => if (random.uintLessThan(u8, 10) == 0) nan else random.floatNorm(f32),
                6 => 1e-30 * random.floatNorm(f32),
                else => std.math.floatMax(f16) * random.float(f32),
            };
            var block: M.Block = undefined;
            var out: [M.block_len]f32 = undefined;
            M.encodeBlock(&in, &block);
            M.decodeBlock(&block, &out);
            for (in, out) |x, y| {
                try std.testing.expect(std.math.isFinite(y));
                try std.testing.expect(@abs(y) < 2 * 65504);
                // Infinity lands near the limit and NaN counts as 0.
                if (round % 8 == 2) try std.testing.expect(x * y > 0);
                if (round % 8 == 1) try std.testing.expectEqual(0, y);
            }
        }
    }
}

test "plain floats: infinity, overflow and NaN survive encoding" {
    const inf = std.math.inf(f32);
    const in = [_]f32{ inf, -inf, 65504, 65520, 0x1p-24, -0.0, std.math.nan(f32) };
    var bytes: [in.len * 4]u8 = undefined;
    var out: [in.len]f32 = undefined;
    inline for (.{ Format.f32, Format.f16, Format.bf16 }) |format| {
        const row = bytes[0..try quant.rowBytes(format, in.len)];
        try quant.encodeRow(format, &in, row);
        quant.decodeRow(format, row, &out);
        try std.testing.expectEqual([2]f32{ inf, -inf }, out[0..2].*);
        // 65520 is the least value that f16 can't hold; bf16 rounds it by less than a hundredth.
        if (format == .f16) {
            try std.testing.expectEqual(inf, out[3]);
        } else {
            try std.testing.expectApproxEqRel(65520, out[3], 0.01);
        }
        try std.testing.expectEqual(0x1p-24, out[4]);
        try std.testing.expect(std.math.signbit(out[5]) and out[5] == 0);
        try std.testing.expect(std.math.isNan(out[6]));
    }
}

test "rows of part of a block, and formats without an encoder, are refused" {
    inline for (quant.formats) |M| {
        const format: Format = @fromBackingInt(@intCast(M.id));
        try std.testing.expectEqual(M.block_bytes * 3, try quant.rowBytes(format, M.block_len * 3));
        if (M.block_len > 1) {
            for ([_]u64{ 1, M.block_len - 1, M.block_len + 1 }) |n| {
                try std.testing.expectError(error.NotWholeBlocks, quant.rowBytes(format, n));
            }
        }
        if (M.block_bytes > M.block_len) {
            const most = std.math.maxInt(u64) / M.block_len * M.block_len;
            try std.testing.expectError(error.Overflow, quant.rowBytes(format, most));
        }
        if (!quant.info(format).can_encode) {
            const values: [M.block_len]f32 = @splat(0);
            var bytes: [M.block_bytes]u8 = undefined;
            try std.testing.expectError(error.CannotEncode, quant.encodeRow(format, &values, &bytes));
        }
    }
}

test "rows decode at any address" {
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(8);
    inline for (quant.formats) |M| {
        const format: Format = @fromBackingInt(@intCast(M.id));
        const bytes = try randomRow(gpa, M, prng.random(), 2);
        defer gpa.free(bytes);
        var expected: [2 * M.block_len]f32 = undefined;
        quant.decodeRow(format, bytes, &expected);
        var shifted: [2 * M.block_bytes + 8]u8 = undefined;
        for (1..8) |at| {
            @memcpy(shifted[at..][0..bytes.len], bytes);
            var out: [2 * M.block_len]f32 = undefined;
            quant.decodeRow(format, shifted[at..][0..bytes.len], &out);
            try std.testing.expectEqualSlices(u8, std.mem.asBytes(&expected), std.mem.asBytes(&out));
        }
    }
}
