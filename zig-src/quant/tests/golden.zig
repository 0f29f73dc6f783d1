//! Every format against other readers, and every encoder against another encoder, through the
//! values in `golden/quant.json`; `tools/golden_quant.py` makes that file and says how.

const std = @import("std");
const quant = @import("../../quant.zig");
const Sha256 = std.crypto.hash.sha2.Sha256;
const big_endian = @import("builtin").target.cpu.arch.endian() == .big;

const Golden = struct {
    blocks: usize,
    decode: []const Decoded,
    encode: []const Encoded,
};

const Decoded = struct {
    name: []const u8,
    id: u32,
    block_len: u32,
    block_bytes: u32,
    /// Offsets in a block of bytes whose bit 6 is cleared, so that scales are finite.
    clear: []const u32,
    /// The values of the first block: little-endian f32 in hexadecimal.
    first: []const u8,
    /// Of all values as little-endian f32, -0 replaced by 0.
    sha256: []const u8,
};

const Encoded = struct {
    name: []const u8,
    gaussian: Reference,
    outliers: Reference,
    shifted: Reference,

    const Reference = struct {
        rmse: f64,
        /// Of the encoded bytes, for formats whose reference encoder has one right answer.
        sha256: ?[]const u8 = null,
    };
};

/// Whoever calls this frees with `deinit`.
fn read() !std.json.Parsed(Golden) {
    const text = @embedFile("../golden/quant.json");
    return std.json.parseFromSlice(Golden, std.testing.allocator, text, .{});
}

/// The same blocks as the script makes. The caller frees.
fn randomBlocks(gpa: std.mem.Allocator, of: Decoded, blocks: usize) ![]u8 {
    const bytes = try gpa.alloc(u8, blocks * of.block_bytes);
    var random: std.Random.SplitMix64 = .init(of.id);
    for (0..bytes.len / 8) |i| std.mem.writeInt(u64, bytes[8 * i ..][0..8], random.next(), .little);
    for (0..blocks) |i| {
        for (of.clear) |at| bytes[i * of.block_bytes + at] &= 0xbf;
    }
    return bytes;
}

fn hexDigest(bytes: []const u8) [64]u8 {
    var digest: [Sha256.digest_length]u8 = undefined;
    Sha256.hash(bytes, &digest, .{});
    return std.fmt.bytesToHex(digest, .lower);
}

fn checkDecoded(gpa: std.mem.Allocator, of: Decoded, blocks: usize) !void {
    const format = quant.fromId(of.id) orelse return error.UnknownId;
    const info = quant.info(format);
    try std.testing.expectEqualStrings(of.name, info.name);
    try std.testing.expectEqual(of.block_len, info.block_len);
    try std.testing.expectEqual(of.block_bytes, info.block_bytes);

    const bytes = try randomBlocks(gpa, of, blocks);
    defer gpa.free(bytes);
    if (big_endian) quant.swapEndian(format, bytes);
    const values = try gpa.alloc(f32, blocks * info.block_len);
    defer gpa.free(values);
    quant.decodeRow(format, bytes, values);
    for (values, 0..) |*value, i| {
        value.* += 0;
        if (i >= info.block_len) continue;
        const expected = try std.fmt.parseInt(u32, of.first[8 * i ..][0..8], 16);
        if (@as(u32, @bitCast(value.*)) == @byteSwap(expected)) continue;
        std.debug.print("{s}: expected value {d} to be {d}, found {d}\n", .{
            of.name, i, @as(f32, @bitCast(@byteSwap(expected))), value.*,
        });
        return error.Different;
    }
    if (big_endian) quant.swapEndian(.f32, std.mem.sliceAsBytes(values));
    try std.testing.expectEqualStrings(of.sha256, &hexDigest(std.mem.sliceAsBytes(values)));
}

test "every format decodes to the values that other readers find" {
    const gpa = std.testing.allocator;
    const golden = try read();
    defer golden.deinit();
    var seen: std.EnumSet(quant.Format) = .empty;
    for (golden.value.decode) |of| {
        checkDecoded(gpa, of, golden.value.blocks) catch |err| {
            std.debug.print("{s}: {s}\n", .{ of.name, @errorName(err) });
            return err;
        };
        seen.insert(quant.fromId(of.id).?);
    }
    try std.testing.expectEqual(quant.formats.len, seen.count());
}

fn inputs(gpa: std.mem.Allocator) ![3][]f32 {
    const n = 65536;
    var sets: [3][]f32 = undefined;
    var made: usize = 0;
    errdefer for (sets[0..made]) |set| gpa.free(set);
    for (&sets) |*set| {
        set.* = try gpa.alloc(f32, n);
        made += 1;
    }
    var random: std.Random.SplitMix64 = .init(7);
    for (0..n) |i| {
        var sum: i64 = 0;
        for (0..2) |_| {
            const word = random.next();
            for (0..4) |k| sum += @as(u16, @truncate(word >> @intCast(16 * k)));
        }
        const value = @as(f32, @floatFromInt(sum - 262140)) / 65536;
        sets[0][i] = value;
        sets[1][i] = if (i % 61 == 0) value * 8 else value;
        sets[2][i] = value + 1.5;
    }
    return sets;
}

/// How much larger our error may be. Five in a hundred is a fiftieth of a bit.
const rmse_ratio_max = 1.05;

/// Our root-mean-square error after a round trip, as a multiple of the reference's.
fn errorRatio(
    gpa: std.mem.Allocator,
    name: []const u8,
    values: []const f32,
    reference: Encoded.Reference,
) !f64 {
    const format = std.meta.stringToEnum(quant.Format, name) orelse return error.UnknownName;
    const bytes = try gpa.alloc(u8, try quant.rowBytes(format, values.len));
    defer gpa.free(bytes);
    const back = try gpa.alloc(f32, values.len);
    defer gpa.free(back);
    try quant.encodeRow(format, values, bytes);
    quant.decodeRow(format, bytes, back);
    var square: f64 = 0;
    for (values, back) |x, y| square += (@as(f64, x) - y) * (@as(f64, x) - y);
    const rmse = @sqrt(square / @as(f64, @floatFromInt(values.len)));
    if (reference.sha256) |sha| {
        if (big_endian) quant.swapEndian(format, bytes);
        try std.testing.expectEqualStrings(sha, &hexDigest(bytes));
    }
    return rmse / reference.rmse;
}

test "every block encoder is as good as another one" {
    const gpa = std.testing.allocator;
    const golden = try read();
    defer golden.deinit();
    const sets = try inputs(gpa);
    defer for (sets) |set| gpa.free(set);
    for (golden.value.encode) |of| {
        for (sets, [_][]const u8{ "gaussian", "outliers", "shifted" }, [_]Encoded.Reference{
            of.gaussian, of.outliers, of.shifted,
        }) |set, kind, reference| {
            const ratio = try errorRatio(gpa, of.name, set, reference);
            if (ratio <= rmse_ratio_max) continue;
            std.debug.print("{s}, {s}: expected at most {d} of the reference error, found {d:.4}\n", .{
                of.name, kind, rmse_ratio_max, ratio,
            });
            return error.WorseThanReference;
        }
    }
    comptime var encoders = 0;
    inline for (quant.formats) |M| {
        if (M.block_len > 1 and @hasDecl(M, "encodeBlock")) encoders += 1;
    }
    try std.testing.expectEqual(encoders, golden.value.encode.len);
}
