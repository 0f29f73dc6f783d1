//! Files that lie. Each is made here, each gets the error that names its lie and a sentence with
//! what was expected and what was found, and none may allocate more than its size justifies.

const std = @import("std");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Error = @import("cursor.zig").Error;
const File = @import("file.zig").File;
const forge = @import("forge.zig");
const reader = @import("reader.zig");
const value = @import("value.zig");
const Forge = forge.Forge;
const gpa = std.testing.allocator;

const f32_id = 0;
const q4_0_id = 2;
const u64_max = std.math.maxInt(u64);

const Case = struct {
    name: []const u8,
    expected: Error,
    make: *const fn (*Forge) anyerror!void,
};

/// A file of one metadata entry or one tensor, with the lie in it.
const cases = [_]Case{
    .{ .name = "empty", .expected = error.EmptyFile, .make = empty },
    .{ .name = "three bytes", .expected = error.Truncated, .make = threeBytes },
    .{ .name = "another format's magic", .expected = error.BadMagic, .make = otherMagic },
    .{ .name = "escape codes as magic", .expected = error.BadMagic, .make = escapeMagic },
    .{ .name = "version 0", .expected = error.UnsupportedVersion, .make = version(0) },
    .{ .name = "version 1", .expected = error.UnsupportedVersion, .make = version(1) },
    .{ .name = "version 4", .expected = error.UnsupportedVersion, .make = version(4) },
    .{ .name = "version 4, big endian", .expected = error.UnsupportedVersion, .make = version(0x04000000) },
    .{ .name = "largest version", .expected = error.UnsupportedVersion, .make = version(0xffffffff) },
    .{ .name = "largest tensor count", .expected = error.CountTooLarge, .make = counts(u64_max, 0) },
    .{ .name = "tensor count of 2^63", .expected = error.CountTooLarge, .make = counts(1 << 63, 0) },
    .{ .name = "one tensor too many", .expected = error.CountTooLarge, .make = counts(1, 0) },
    .{ .name = "largest entry count", .expected = error.CountTooLarge, .make = counts(0, u64_max) },
    .{ .name = "one entry too many", .expected = error.CountTooLarge, .make = counts(0, 1) },
    .{ .name = "key past the end", .expected = error.StringPastEnd, .make = keyLength(1000) },
    .{ .name = "key of 2^64 - 1 bytes", .expected = error.StringPastEnd, .make = keyLength(u64_max) },
    .{ .name = "key of 2^16 bytes", .expected = error.NameTooLong, .make = longKey },
    .{ .name = "string past the end", .expected = error.StringPastEnd, .make = stringLength(5) },
    .{ .name = "string that wraps around", .expected = error.StringPastEnd, .make = stringLength(u64_max - 8) },
    .{ .name = "value type 13", .expected = error.UnknownValueType, .make = valueType(13) },
    .{ .name = "value type 2^32 - 1", .expected = error.UnknownValueType, .make = valueType(0xffffffff) },
    .{ .name = "array of an unknown type", .expected = error.UnknownValueType, .make = unknownElement },
    .{ .name = "bool of 2", .expected = error.InvalidBool, .make = badBool },
    .{ .name = "bool of 255 in an array", .expected = error.InvalidBool, .make = badBools },
    .{ .name = "bool of 2 in an array", .expected = error.InvalidBool, .make = boolOfTwo },
    .{ .name = "array of 2^64 - 1 bytes", .expected = error.CountTooLarge, .make = arrayCount(.uint8, u64_max) },
    .{ .name = "array whose size wraps around", .expected = error.CountTooLarge, .make = arrayCount(.uint64, 1 << 61) },
    .{ .name = "one number more than there is room for", .expected = error.CountTooLarge, .make = arrayCount(.uint64, 4) },
    .{ .name = "one string more than there is room for", .expected = error.CountTooLarge, .make = arrayCount(.string, 4) },
    .{ .name = "array of 2^60 strings", .expected = error.CountTooLarge, .make = arrayCount(.string, 1 << 60) },
    .{ .name = "array of 2^60 arrays", .expected = error.CountTooLarge, .make = arrayCount(.array, 1 << 60) },
    .{ .name = "array's string past the end", .expected = error.StringPastEnd, .make = arrayStringPastEnd },
    .{ .name = "arrays nested 17 deep", .expected = error.NestedTooDeep, .make = nested(reader.nesting_max + 1) },
    .{ .name = "arrays nested 100,000 deep", .expected = error.NestedTooDeep, .make = nested(100_000) },
    .{ .name = "wide arrays of arrays", .expected = error.CountTooLarge, .make = wideNested },
    .{ .name = "duplicate key", .expected = error.DuplicateKey, .make = duplicateKey },
    .{ .name = "duplicate empty key", .expected = error.DuplicateKey, .make = duplicateEmptyKey },
    .{ .name = "two alignments", .expected = error.DuplicateKey, .make = twoAlignments },
    .{ .name = "alignment 0", .expected = error.BadAlignment, .make = alignment(0) },
    .{ .name = "alignment 4", .expected = error.BadAlignment, .make = alignment(4) },
    .{ .name = "alignment 24", .expected = error.BadAlignment, .make = alignment(24) },
    .{ .name = "alignment 2^31", .expected = error.BadAlignment, .make = alignment(1 << 31) },
    .{ .name = "alignment 2^32 - 1", .expected = error.BadAlignment, .make = alignment(0xffffffff) },
    .{ .name = "alignment as a string", .expected = error.BadAlignment, .make = alignmentString },
    .{ .name = "negative alignment", .expected = error.BadAlignment, .make = alignmentNegative },
    .{ .name = "alignment beyond the data", .expected = error.TensorPastEnd, .make = alignmentBeyondData },
    .{ .name = "tensor name past the end", .expected = error.StringPastEnd, .make = tensorNameLength(1 << 40) },
    .{ .name = "tensor name that wraps around", .expected = error.StringPastEnd, .make = tensorNameLength(u64_max) },
    .{ .name = "no dimensions", .expected = error.ZeroDimension, .make = shape(&.{}, f32_id) },
    .{ .name = "first dimension 0", .expected = error.ZeroDimension, .make = shape(&.{0}, f32_id) },
    .{ .name = "last dimension 0", .expected = error.ZeroDimension, .make = shape(&.{ 4, 4, 0 }, f32_id) },
    .{ .name = "five dimensions", .expected = error.TooManyDimensions, .make = shape(&.{ 1, 1, 1, 1, 1 }, f32_id) },
    .{ .name = "dimension count of 2^32 - 1", .expected = error.TooManyDimensions, .make = dimensionCount },
    .{ .name = "row that overflows", .expected = error.ShapeOverflow, .make = shape(&.{u64_max}, f32_id) },
    .{ .name = "rows that overflow", .expected = error.ShapeOverflow, .make = shape(&.{ 1 << 32, 1 << 32 }, f32_id) },
    .{ .name = "count that overflows, not bytes", .expected = error.ShapeOverflow, .make = shape(&.{ 1 << 32, 1 << 32 }, q4_0_id) },
    .{ .name = "shape that wraps to 0", .expected = error.ShapeOverflow, .make = shape(&.{ 1 << 32, 1 << 16, 1 << 16 }, f32_id) },
    .{ .name = "part of a block", .expected = error.NotWholeBlocks, .make = shape(&.{33}, q4_0_id) },
    .{ .name = "rows that are half blocks", .expected = error.NotWholeBlocks, .make = shape(&.{ 16, 2 }, q4_0_id) },
    .{ .name = "withdrawn tensor type", .expected = error.UnknownTensorType, .make = shape(&.{32}, 4) },
    .{ .name = "unknown tensor type", .expected = error.UnknownTensorType, .make = shape(&.{32}, 0xffffffff) },
    .{ .name = "offset off the alignment", .expected = error.OffsetMisaligned, .make = offset(4) },
    .{ .name = "largest offset", .expected = error.OffsetMisaligned, .make = offset(u64_max) },
    .{ .name = "offset whose end wraps around", .expected = error.TensorPastEnd, .make = offset(u64_max - 31) },
    .{ .name = "offset just behind the data", .expected = error.TensorPastEnd, .make = offset(32) },
    .{ .name = "tensor longer than the data", .expected = error.TensorPastEnd, .make = shape(&.{9}, f32_id) },
    .{ .name = "tensor of 2^60 bytes", .expected = error.TensorPastEnd, .make = shape(&.{1 << 58}, f32_id) },
    .{ .name = "duplicate tensor", .expected = error.DuplicateTensor, .make = duplicateTensor },
    .{ .name = "two tensors in one place", .expected = error.OverlappingTensors, .make = overlap(&.{ 0, 0 }) },
    .{ .name = "overlap in ascending order", .expected = error.OverlappingTensors, .make = overlap(&.{ 0, 32 }) },
    .{ .name = "overlap in descending order", .expected = error.OverlappingTensors, .make = overlap(&.{ 32, 0 }) },
    .{ .name = "a circle of overlaps", .expected = error.OverlappingTensors, .make = overlap(&.{ 64, 96, 32, 64 }) },
    .{ .name = "overlap of the first and the last", .expected = error.OverlappingTensors, .make = overlap(&.{ 0, 128, 64, 192, 32 }) },
};

test "every lie has its error" {
    inline for (.{ .little, .big }) |endian| {
        for (&cases) |*case| {
            var f: Forge = .{ .gpa = gpa, .endian = endian };
            defer f.deinit();
            try case.make(&f);
            expectRefused(f.bytes.items, case.expected) catch |err| {
                std.debug.print("case: {s}, {t} endian\n", .{ case.name, @as(std.lang.Endian, endian) });
                return err;
            };
        }
    }
}

fn expectRefused(bytes: []const u8, expected: ?Error) !void {
    var diag: Diagnostic = .{};
    var budget: forge.Budget = .forFile(gpa, bytes.len);
    if (File.openBytes(budget.allocator(), bytes, &diag)) |file| {
        file.close();
        return error.TestExpectedError;
    } else |found| {
        errdefer std.debug.print("found {t}: {s}\n", .{ found, diag.text() });
        try std.testing.expect(!budget.refused);
        try std.testing.expectEqual(0, budget.live);
        if (expected) |e| try std.testing.expectEqual(e, found);
        try std.testing.expect(std.mem.find(u8, diag.text(), "expected ") != null);
        try std.testing.expect(std.mem.find(u8, diag.text(), "found ") != null);
        for (diag.text()) |c| try std.testing.expect(!std.ascii.isControl(c));
    }
}

/// A whole small file: metadata of all shapes, two tensors. Returns the length that it needs.
fn wholeFile(f: *Forge) !usize {
    try f.header(2, 4);
    try f.keyUint(reader.alignment_key, 64);
    try f.key("name", .string);
    try f.string("tiny");
    try f.key("tokens", .array);
    try f.arrayOf(.string, 2);
    try f.string("a");
    try f.string("bc");
    try f.key("nested", .array);
    try f.arrayOf(.array, 2);
    try f.arrayOf(.bool, 3);
    try f.raw("\x00\x01\x00");
    try f.arrayOf(.float64, 1);
    try f.int(u64, 0);
    try f.tensor("first", &.{ 4, 2 }, f32_id, 0);
    try f.tensor("second", &.{32}, q4_0_id, 64);
    try f.data(64, 64 + 18);
    return f.bytes.items.len;
}

test "a file cut at any byte is refused" {
    inline for (.{ .little, .big }) |endian| {
        var f: Forge = .{ .gpa = gpa, .endian = endian };
        defer f.deinit();
        const needed = try wholeFile(&f);
        var diag: Diagnostic = .{};
        const whole: *File = try .openBytes(gpa, f.bytes.items, &diag);
        whole.close();
        for (0..needed) |len| {
            // On the heap, so that a read past the cut is caught by the allocator's guard or by
            // a sanitiser, not hidden by the bytes behind it.
            const cut = try gpa.dupe(u8, f.bytes.items[0..len]);
            defer gpa.free(cut);
            try expectRefused(cut, switch (len) {
                0 => error.EmptyFile,
                1...15 => error.Truncated,
                else => null,
            });
        }
        try expectRefused(f.bytes.items[0 .. needed - 1], error.TensorPastEnd);
    }
}

test "tables stay within the promised multiple of the file" {
    // The smallest entries there are, in large numbers: the worst that a header can ask for.
    var f: Forge = .{ .gpa = gpa };
    defer f.deinit();
    const n = 3000;
    try f.header(n, n);
    for (0..n) |i| {
        try f.string(std.mem.asBytes(&@as(u16, @intCast(i))));
        try f.int(u32, @backingInt(value.Type.uint8));
        try f.int(u8, 1);
    }
    for (0..n) |i| try f.tensor(std.mem.asBytes(&@as(u16, @intCast(i))), &.{1}, f32_id, (n - 1 - i) * 32);
    try f.data(32, n * 32);
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}\n", .{diag.text()});
    var budget: forge.Budget = .forFile(gpa, f.bytes.items.len);
    const file: *File = try .openBytes(budget.allocator(), f.bytes.items, &diag);
    defer file.close();
    try std.testing.expect(!budget.refused);
    try std.testing.expectEqual(n, file.metadata.len);
    try std.testing.expectEqual(@as(u64, 32) * (n - 1 - 7), file.findTensor(&.{ 7, 0 }).?.offset);
}

test "arrays nested as deep as allowed, and an array of many empty ones" {
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}\n", .{diag.text()});
    var f: Forge = .{ .gpa = gpa };
    defer f.deinit();
    try f.header(0, 2);
    try f.key("deep", .array);
    for (0..reader.nesting_max - 1) |_| try f.arrayOf(.array, 1);
    try f.arrayOf(.uint8, 1);
    try f.int(u8, 7);
    try f.key("wide", .array);
    try f.arrayOf(.array, 5000);
    for (0..5000) |_| try f.arrayOf(.array, 0);
    var budget: forge.Budget = .forFile(gpa, f.bytes.items.len);
    const file: *File = try .openBytes(budget.allocator(), f.bytes.items, &diag);
    defer file.close();
    var inner = file.getArray("deep").?;
    for (0..reader.nesting_max - 1) |_| inner = inner.array(0);
    try std.testing.expectEqual(7, inner.uint(0));
    try std.testing.expectEqual(5000, file.getArray("wide").?.len);
    try std.testing.expectEqual(0, file.getArray("wide").?.array(4999).len);
}

fn empty(_: *Forge) !void {}

fn threeBytes(f: *Forge) !void {
    try f.raw("GGU");
}

fn otherMagic(f: *Forge) !void {
    try f.raw("GGML");
    try f.int(u32, 3);
    try f.int(u64, 0);
    try f.int(u64, 0);
}

fn escapeMagic(f: *Forge) !void {
    try f.raw("\x1b[2J\x03\x00\x00\x00");
}

fn version(comptime v: u32) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.raw(reader.magic);
            try f.int(u32, v);
            try f.int(u64, 0);
            try f.int(u64, 0);
        }
    }.make;
}

fn counts(comptime tensors: u64, comptime entries: u64) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.header(tensors, entries);
            try f.raw("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00");
        }
    }.make;
}

fn keyLength(comptime len: u64) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.header(0, 1);
            try f.int(u64, len);
            try f.raw("key.and.some.more.bytes");
        }
    }.make;
}

fn longKey(f: *Forge) !void {
    try f.header(0, 1);
    try f.int(u64, 1 << 16);
    try f.bytes.appendNTimes(f.gpa, 'k', 1 << 16);
    try f.int(u32, 0);
    try f.int(u8, 0);
}

fn stringLength(comptime len: u64) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.header(0, 1);
            try f.key("k", .string);
            try f.int(u64, len);
            try f.raw("four");
        }
    }.make;
}

fn valueType(comptime id: u32) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.header(0, 1);
            try f.string("k");
            try f.int(u32, id);
            try f.int(u64, 0);
        }
    }.make;
}

fn unknownElement(f: *Forge) !void {
    try f.header(0, 1);
    try f.key("k", .array);
    try f.int(u32, 77);
    try f.int(u64, 0);
}

fn badBool(f: *Forge) !void {
    try f.header(0, 1);
    try f.key("k", .bool);
    try f.int(u8, 2);
}

fn badBools(f: *Forge) !void {
    try f.header(0, 1);
    try f.key("k", .array);
    try f.arrayOf(.bool, 3);
    try f.raw("\x00\x01\xff");
}

fn boolOfTwo(f: *Forge) !void {
    try f.header(0, 1);
    try f.key("k", .array);
    try f.arrayOf(.bool, 2);
    try f.raw("\x02\x01");
}

fn arrayCount(comptime element: value.Type, comptime len: u64) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.header(0, 1);
            try f.key("k", .array);
            try f.arrayOf(element, len);
            try f.raw("some bytes that are far fewer");
        }
    }.make;
}

fn arrayStringPastEnd(f: *Forge) !void {
    try f.header(0, 1);
    try f.key("k", .array);
    try f.arrayOf(.string, 2);
    try f.string("fine");
    try f.int(u64, 100);
    try f.raw("not a hundred");
}

fn nested(comptime depth: usize) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.header(0, 1);
            try f.key("k", .array);
            for (0..depth - 1) |_| try f.arrayOf(.array, 1);
            try f.arrayOf(.uint8, 0);
        }
    }.make;
}

/// Each level claims as many arrays as the bytes left could hold at most, and more at the end.
fn wideNested(f: *Forge) !void {
    try f.header(0, 1);
    try f.key("k", .array);
    try f.arrayOf(.array, 40);
    for (0..39) |_| try f.arrayOf(.array, 0);
    try f.arrayOf(.array, 1);
}

fn duplicateKey(f: *Forge) !void {
    try f.header(0, 3);
    try f.keyUint("a", 1);
    try f.keyUint("b", 1);
    try f.keyUint("a", 1);
}

fn duplicateEmptyKey(f: *Forge) !void {
    try f.header(0, 2);
    try f.keyUint("", 1);
    try f.keyUint("", 2);
}

fn twoAlignments(f: *Forge) !void {
    try f.header(0, 2);
    try f.keyUint(reader.alignment_key, 32);
    try f.keyUint(reader.alignment_key, 64);
}

fn alignment(comptime v: u32) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.header(1, 1);
            try f.keyUint(reader.alignment_key, v);
            try f.tensor("t", &.{8}, f32_id, 0);
            try f.data(32, 64);
        }
    }.make;
}

fn alignmentString(f: *Forge) !void {
    try f.header(0, 1);
    try f.key(reader.alignment_key, .string);
    try f.string("32");
}

fn alignmentNegative(f: *Forge) !void {
    try f.header(0, 1);
    try f.key(reader.alignment_key, .int32);
    try f.int(i32, -32);
}

fn alignmentBeyondData(f: *Forge) !void {
    try f.header(1, 1);
    try f.keyUint(reader.alignment_key, reader.alignment_max);
    try f.tensor("t", &.{8}, f32_id, 0);
    try f.data(32, 64);
}

fn tensorNameLength(comptime len: u64) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.header(1, 0);
            try f.int(u64, len);
            try f.raw("a name and the rest of the entry");
        }
    }.make;
}

fn shape(comptime dims: []const u64, comptime type_id: u32) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.header(1, 0);
            try f.tensor("blk.0.weight", dims, type_id, 0);
            try f.data(32, 32);
        }
    }.make;
}

fn dimensionCount(f: *Forge) !void {
    try f.header(1, 0);
    try f.string("t");
    try f.int(u32, 0xffffffff);
    try f.data(32, 64);
}

fn offset(comptime at: u64) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.header(1, 0);
            try f.tensor("t", &.{8}, f32_id, at);
            try f.data(32, 32);
        }
    }.make;
}

fn duplicateTensor(f: *Forge) !void {
    try f.header(2, 0);
    try f.tensor("t", &.{8}, f32_id, 0);
    try f.tensor("t", &.{8}, f32_id, 32);
    try f.data(32, 64);
}

/// Tensors of 64 bytes each at these places.
fn overlap(comptime offsets: []const u64) *const fn (*Forge) anyerror!void {
    return struct {
        fn make(f: *Forge) !void {
            try f.header(offsets.len, 0);
            for (offsets, 0..) |at, i| try f.tensor(&.{'a' + @as(u8, @intCast(i))}, &.{16}, f32_id, at);
            try f.data(32, 512);
        }
    }.make;
}
