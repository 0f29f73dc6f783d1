//! What the writer writes, the reader reads: every value type, every tensor format, both byte
//! orders, both versions. So that the two cannot agree on a mistake, one file is also compared
//! with bytes written out by hand from the specification.

const std = @import("std");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const quant = @import("../quant.zig");
const File = @import("file.zig").File;
const Mapping = @import("mapping.zig").Mapping;
const value = @import("value.zig");
const Writer = @import("writer.zig").Writer;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;
const expectEqualStrings = std.testing.expectEqualStrings;
const gpa = std.testing.allocator;

const every: [4]Writer.Options = .{
    .{ .version = 2, .endian = .little },
    .{ .version = 2, .endian = .big },
    .{ .version = 3, .endian = .little, .alignment = 64 },
    .{ .version = 3, .endian = .big, .alignment = 8 },
};

fn addSample(w: *Writer) !void {
    try w.add("u8", u8, 200);
    try w.add("i8", i8, -100);
    try w.add("u16", u16, 0xfedc);
    try w.add("i16", i16, -0x1234);
    try w.add("u32", u32, 0xfedcba98);
    try w.add("i32", i32, -0x12345678);
    try w.add("f32", f32, -1.5e-30);
    try w.add("true", bool, true);
    try w.add("false", bool, false);
    try w.add("string", []const u8, "caf\u{e9} \x00\xff");
    try w.add("empty", []const u8, "");
    try w.add("u64", u64, 0xfedcba9876543210);
    try w.add("i64", i64, std.math.minInt(i64));
    try w.add("f64", f64, 1.0 / 3.0);
    try w.addArray("u8s", u8, &.{ 1, 255 });
    try w.addArray("i8s", i8, &.{ 1, -1 });
    try w.addArray("u16s", u16, &.{ 1, 0xff00 });
    try w.addArray("i16s", i16, &.{ 1, -2 });
    try w.addArray("u32s", u32, &.{ 1, 0xff000000 });
    try w.addArray("i32s", i32, &.{ 1, -3 });
    try w.addArray("f32s", f32, &.{ 0.25, -7 });
    try w.addArray("bools", bool, &.{ true, false, true });
    try w.addArray("strings", []const u8, &.{ "a", "", "\u{2581}the", "a" });
    try w.addArray("u64s", u64, &.{ 1, std.math.maxInt(u64) });
    try w.addArray("i64s", i64, &.{ 1, -4 });
    try w.addArray("f64s", f64, &.{ 0.125, -1e300 });
    try w.addArray("nothing", u32, &.{});
    try w.addArray("no strings", []const u8, &.{});
    try w.addArray("nested", []const u16, &.{ &.{ 1, 2, 3 }, &.{}, &.{0x0405} });
    try w.addArray("nested strings", []const []const []const u8, &.{
        &.{ &.{ "x", "yy" }, &.{} },
        &.{},
        &.{ &.{""}, &.{ "zzz", "w", "v" } },
    });
}

fn checkSample(f: *const File) !void {
    try expectEqual(200, f.getUint("u8"));
    try expectEqual(-100, f.getInt("i8"));
    try expectEqual(null, f.getUint("i8"));
    try expectEqual(0xfedc, f.getUint("u16"));
    try expectEqual(-0x1234, f.getInt("i16"));
    try expectEqual(0xfedcba98, f.getUint("u32"));
    try expectEqual(-0x12345678, f.getInt("i32"));
    try expectEqual(@as(f64, @as(f32, -1.5e-30)), f.getFloat("f32"));
    try expectEqual(true, f.getBool("true"));
    try expectEqual(false, f.getBool("false"));
    try expectEqualStrings("caf\u{e9} \x00\xff", f.getString("string").?);
    try expectEqualStrings("", f.getString("empty").?);
    try expectEqual(0xfedcba9876543210, f.getUint("u64"));
    try expectEqual(null, f.getInt("u64"));
    try expectEqual(std.math.minInt(i64), f.getInt("i64"));
    try expectEqual(1.0 / 3.0, f.getFloat("f64"));
    try expectEqual(200.0, f.getFloat("u8"));

    try expectEqual(255, f.getArray("u8s").?.uint(1));
    try expectEqual(-1, f.getArray("i8s").?.int(1));
    try expectEqual(0xff00, f.getArray("u16s").?.uint(1));
    try expectEqual(-2, f.getArray("i16s").?.int(1));
    try expectEqual(0xff000000, f.getArray("u32s").?.uint(1));
    try expectEqual(-3, f.getArray("i32s").?.int(1));
    try expectEqual(-7.0, f.getNumbers("f32s").?.float(1));
    try expectEqual(null, f.getStrings("f32s"));
    try expectEqual(false, f.getArray("bools").?.bool(1));
    try expectEqual(true, f.getArray("bools").?.bool(2));
    try expectEqual(std.math.maxInt(u64), f.getArray("u64s").?.uint(1));
    try expectEqual(std.math.maxInt(i64), f.getArray("u64s").?.int(1));
    try expectEqual(-4, f.getArray("i64s").?.int(1));
    try expectEqual(-1e300, f.getArray("f64s").?.float(1));
    try expectEqual(0, f.getArray("nothing").?.len);
    try expectEqual(0, f.getStrings("no strings").?.len);
    const strings = f.getStrings("strings").?;
    try expectEqual(4, strings.len);
    for ([_][]const u8{ "a", "", "\u{2581}the", "a" }, 0..) |s, i| try expectEqualStrings(s, strings.string(i));

    const nested = f.getArray("nested").?;
    try expectEqual(3, nested.len);
    try expectEqual(3, nested.array(0).len);
    try expectEqual(3, nested.array(0).uint(2));
    try expectEqual(0, nested.array(1).len);
    try expectEqual(0x0405, nested.array(2).uint(0));
    const deep = f.getArray("nested strings").?;
    try expectEqual(3, deep.len);
    try expectEqualStrings("yy", deep.array(0).array(0).string(1));
    try expectEqual(0, deep.array(0).array(1).len);
    try expectEqual(0, deep.array(1).len);
    try expectEqualStrings("", deep.array(2).array(0).string(0));
    try expectEqual(3, deep.array(2).array(1).len);
    try expectEqualStrings("v", deep.array(2).array(1).string(2));
    try expectEqual(null, f.get("absent"));
}

test "every value type, version and byte order" {
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}\n", .{diag.text()});
    for (every) |options| {
        var w: Writer = try .init(gpa, options, &diag);
        defer w.deinit();
        try addSample(&w);
        const bytes = try w.toBytes(gpa);
        defer gpa.free(bytes);
        const f: *File = try .openBytes(gpa, bytes, &diag);
        defer f.close();
        try expectEqual(options.version, f.version);
        try expectEqual(options.endian == .big, f.big_endian);
        try expectEqual(options.alignment, f.alignment);
        try checkSample(f);

        // Copying value by value into the other byte order loses nothing.
        var other = options;
        other.endian = if (options.endian == .big) .little else .big;
        var copy: Writer = try .init(gpa, other, &diag);
        defer copy.deinit();
        for (f.metadata) |entry| {
            if (!std.mem.eql(u8, entry.key, "general.alignment")) try copy.addValue(entry.key, entry.value);
        }
        const copied = try copy.toBytes(gpa);
        defer gpa.free(copied);
        try expectEqual(bytes.len, copied.len);
        const g: *File = try .openBytes(gpa, copied, &diag);
        defer g.close();
        try expectEqual(other.endian == .big, g.big_endian);
        try checkSample(g);
    }
}

test "every tensor format and byte order" {
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}\n", .{diag.text()});
    var prng: std.Random.DefaultPrng = .init(3);
    for (std.enums.values(quant.Format)) |format| {
        const info = quant.info(format);
        const row: u64 = 2 * info.block_len;
        const data = try gpa.alloc(u8, 3 * 2 * info.block_bytes);
        defer gpa.free(data);
        prng.random().bytes(data);
        for (every) |options| {
            var w: Writer = try .init(gpa, options, &diag);
            defer w.deinit();
            try w.addTensor("a", &.{ row, 3 }, format, data);
            try w.addTensor("b", &.{ info.block_len, 1, 1, 1 }, format, data[0..info.block_bytes]);
            const bytes = try w.toBytes(gpa);
            defer gpa.free(bytes);
            const f: *File = try .openBytes(gpa, bytes, &diag);
            defer f.close();
            try expectEqual(2, f.tensors.len);
            const a = f.findTensor("a").?;
            try expectEqual(format, a.format);
            try expectEqual(2, a.n_dims);
            try expectEqual([4]u64{ row, 3, 1, 1 }, a.dims);
            try expectEqual(3 * row, a.count());
            try std.testing.expectEqualSlices(u8, data, a.bytes);
            const b = f.findTensor("b").?;
            try expectEqual(4, b.n_dims);
            try std.testing.expectEqualSlices(u8, data[0..info.block_bytes], b.bytes);
            try expectEqual(null, f.findTensor("c"));
            try expectEqual(data.len + info.block_bytes, f.data_bytes);
            try expectEqual(bytes.len, f.file_bytes);
        }
    }
}

test "the bytes are those of the specification" {
    const by_hand = "GGUF" ++ "\x03\x00\x00\x00" // version
    ++ "\x01\x00\x00\x00\x00\x00\x00\x00" // tensors
    ++ "\x02\x00\x00\x00\x00\x00\x00\x00" // metadata entries
    ++ "\x01\x00\x00\x00\x00\x00\x00\x00" ++ "k" ++ "\x04\x00\x00\x00" ++ "\x2a\x00\x00\x00" // k: u32 = 42
    ++ "\x01\x00\x00\x00\x00\x00\x00\x00" ++ "s" ++ "\x09\x00\x00\x00" // s: an array
    ++ "\x08\x00\x00\x00" ++ "\x02\x00\x00\x00\x00\x00\x00\x00" // of two strings
    ++ "\x02\x00\x00\x00\x00\x00\x00\x00" ++ "hi" ++ "\x00\x00\x00\x00\x00\x00\x00\x00" // "hi" and ""
    ++ "\x01\x00\x00\x00\x00\x00\x00\x00" ++ "t" ++ "\x02\x00\x00\x00" // tensor t, 2 dimensions
    ++ "\x02\x00\x00\x00\x00\x00\x00\x00" ++ "\x01\x00\x00\x00\x00\x00\x00\x00" // 2 by 1
    ++ "\x00\x00\x00\x00" ++ "\x00\x00\x00\x00\x00\x00\x00\x00"; // F32 at offset 0
    const padding: [(32 - by_hand.len % 32) % 32]u8 = @splat(0);
    const tail: [24]u8 = @splat(0);
    const whole = by_hand ++ padding ++ "\x00\x00\x80\x3f\x00\x00\x00\xc0" ++ tail;

    var diag: Diagnostic = .{};
    var w: Writer = try .init(gpa, .{}, &diag);
    defer w.deinit();
    try w.add("k", u32, 42);
    try w.addArray("s", []const u8, &.{ "hi", "" });
    const data: [2]f32 = .{ 1, -2 };
    try w.addTensor("t", &.{ 2, 1 }, .f32, std.mem.sliceAsBytes(&data));
    const bytes = try w.toBytes(gpa);
    defer gpa.free(bytes);
    if (@import("builtin").cpu.arch.endian() == .little) try std.testing.expectEqualSlices(u8, whole, bytes);

    const f: *File = try .openBytes(gpa, whole, &diag);
    defer f.close();
    try expectEqual(42, f.getUint("k"));
    try expectEqualStrings("hi", f.getStrings("s").?.string(0));
    try std.testing.expectEqualSlices(u8, std.mem.sliceAsBytes(&data), f.findTensor("t").?.bytes);
}

test "offsets may descend and leave gaps, as the specification allows" {
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}\n", .{diag.text()});
    var w: Writer = try .init(gpa, .{}, &diag);
    defer w.deinit();
    const data: [3][8]f32 = .{ @splat(1), @splat(2), @splat(3) };
    for ([_][]const u8{ "x", "y", "z" }, &data) |name, *row| {
        try w.addTensor(name, &.{8}, .f32, std.mem.sliceAsBytes(row));
    }
    const offsets: [3]u64 = .{ 96, 32, 0 };
    for (w.tensors.items, offsets) |*t, offset| t.offset = offset;
    const bytes = try w.toBytes(gpa);
    defer gpa.free(bytes);
    const longer = try std.mem.concat(gpa, u8, &.{ bytes, bytes[bytes.len - 32 ..] });
    defer gpa.free(longer);
    const f: *File = try .openBytes(gpa, longer, &diag);
    defer f.close();
    try std.testing.expectEqualSlices(u8, std.mem.sliceAsBytes(&data[2]), f.findTensor("x").?.bytes);
    try std.testing.expectEqualSlices(u8, std.mem.sliceAsBytes(&data[1]), f.findTensor("y").?.bytes);
    try std.testing.expectEqualSlices(u8, std.mem.sliceAsBytes(&data[0]), f.findTensor("z").?.bytes);
}

test "the writer refuses what the reader would" {
    var diag: Diagnostic = .{};
    try std.testing.expectError(error.BadAlignment, Writer.init(gpa, .{ .alignment = 24 }, &diag));
    try std.testing.expectError(error.UnsupportedVersion, Writer.init(gpa, .{ .version = 1 }, &diag));
    var w: Writer = try .init(gpa, .{}, &diag);
    defer w.deinit();
    try w.add("k", u8, 1);
    try std.testing.expectError(error.DuplicateKey, w.add("k", u8, 1));
    try std.testing.expectError(error.ReservedKey, w.add("general.alignment", u32, 64));
    try w.addTensor("t", &.{1}, .f32, "abcd");
    try std.testing.expectError(error.DuplicateTensor, w.addTensor("t", &.{1}, .f32, "abcd"));
    try std.testing.expectError(error.WrongDataSize, w.addTensor("u", &.{2}, .f32, "abcd"));
    try std.testing.expectError(error.ZeroDimension, w.addTensor("u", &.{ 2, 0 }, .f32, ""));
    try std.testing.expectError(error.ZeroDimension, w.addTensor("u", &.{}, .f32, ""));
    try std.testing.expectError(error.TooManyDimensions, w.addTensor("u", &.{ 1, 1, 1, 1, 1 }, .f32, "abcd"));
    try std.testing.expectError(error.NotWholeBlocks, w.addTensor("u", &.{31}, .q4_0, "abcd"));
    try std.testing.expectError(error.ShapeOverflow, w.addTensor("u", &.{ 1 << 40, 1 << 40 }, .f32, "abcd"));
}

fn openAndClose(allocator: std.mem.Allocator, pieces: []const []const u8) !void {
    var diag: Diagnostic = .{};
    const f: *File = try .openPieces(allocator, pieces, &diag);
    f.close();
}

test "no leak when memory runs out at any allocation" {
    var diag: Diagnostic = .{};
    for (every) |options| {
        var w: Writer = try .init(gpa, options, &diag);
        defer w.deinit();
        try addSample(&w);
        try w.addTensor("t", &.{2}, .f32, "abcdefgh");
        const bytes = try w.toBytes(gpa);
        defer gpa.free(bytes);
        try std.testing.checkAllAllocationFailures(gpa, openAndClose, .{&.{bytes}});
    }
}
