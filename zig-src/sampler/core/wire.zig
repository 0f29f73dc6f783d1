//! Stages in bytes: records of 32 bytes, little endian, one a stage. The data of a stage, of any length, is
//! in the records behind it, the last of them filled up with zeros. So one pointer and a number of
//! records say everything, and no length goes unchecked.

const std = @import("std");
const stage = @import("stage.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const StageSpec = stage.StageSpec;

pub const Record = extern struct {
    id: u32,
    /// Bytes of data in the records that follow.
    data_length: u32 = 0,
    p: [StageSpec.slots]f32 = @splat(0),

    comptime {
        if (@sizeOf(Record) != 32) @compileError("a stage takes 32 bytes on the wire");
    }
};

/// Of one chain, all its data together.
pub const data_bytes_max = 1 << 24;

/// The stages of `records`, which their data points into. `nameOf` tells an id's name for messages.
pub fn read(
    records: []align(1) const Record,
    out: []StageSpec,
    comptime nameOf: fn (id: u32) ?[]const u8,
    diag: *Diagnostic,
) error{BadSampler}![]StageSpec {
    const bytes = std.mem.sliceAsBytes(records);
    var count: usize = 0;
    var data_bytes: u64 = 0;
    var at: usize = 0;
    while (at < records.len) : (count += 1) {
        if (count == out.len) {
            diag.set("expected at most {d} sampler stages, found more", .{out.len});
            return error.BadSampler;
        }
        const record = records[at];
        at += 1;
        const length = record.data_length;
        const left = bytes.len - at * @sizeOf(Record);
        const name = nameOf(record.id) orelse "unknown";
        if (length > left) {
            diag.set("sampler stage {d} ({s}): expected {d} bytes of data behind it, found {d}", .{ count + 1, name, length, left });
            return error.BadSampler;
        }
        data_bytes += length;
        if (data_bytes > data_bytes_max) {
            diag.set("sampler stage {d} ({s}): expected at most {d} bytes of data in a chain, found {d}", .{
                count + 1, name, data_bytes_max, data_bytes,
            });
            return error.BadSampler;
        }
        const data = bytes[at * @sizeOf(Record) ..];
        at += std.math.divCeil(usize, length, @sizeOf(Record)) catch unreachable;
        if (std.mem.findNone(u8, data[length .. data.len - (records.len - at) * @sizeOf(Record)], "\x00") != null) {
            diag.set("sampler stage {d} ({s}): expected zeros behind {d} bytes of data, found others", .{ count + 1, name, length });
            return error.BadSampler;
        }
        out[count] = .{ .id = record.id, .p = record.p, .data = data[0..length] };
    }
    return out[0..count];
}

fn testName(id: u32) ?[]const u8 {
    return if (id == 7) "seven" else null;
}

test "data of any length follows its stage" {
    var diag: Diagnostic = .{};
    var records: [6]Record = @splat(.{ .id = 0 });
    const bytes = std.mem.sliceAsBytes(&records);
    records[0] = .{ .id = 3, .p = .{ 1, 2, 3, 4, 5, 6 } };
    records[1] = .{ .id = 7, .data_length = 33 };
    for (bytes[64..][0..33], 0..) |*byte, i| byte.* = @intCast(i + 1);
    records[4] = .{ .id = 7, .data_length = 32 };
    @memset(bytes[160..], 9);
    var out: [4]StageSpec = undefined;
    const found = try read(&records, &out, testName, &diag);
    try std.testing.expectEqual(3, found.len);
    try std.testing.expectEqual([_]f32{ 1, 2, 3, 4, 5, 6 }, found[0].p);
    try std.testing.expectEqualSlices(u8, bytes[64..][0..33], found[1].data);
    try std.testing.expectEqualSlices(u8, bytes[160..], found[2].data);
    try std.testing.expectEqual(0, (try read(&.{}, &out, testName, &diag)).len);
}

test "hostile lengths are refused by the stage" {
    var diag: Diagnostic = .{};
    var out: [2]StageSpec = undefined;
    var records: [3]Record = @splat(.{ .id = 7 });
    try std.testing.expectError(error.BadSampler, read(&records, &out, testName, &diag));
    try std.testing.expectEqualStrings("expected at most 2 sampler stages, found more", diag.text());
    for ([_]u32{ 65, 0xffff_ffff }) |length| {
        records[0].data_length = length;
        try std.testing.expectError(error.BadSampler, read(&records, &out, testName, &diag));
        try std.testing.expectStringStartsWith(diag.text(), "sampler stage 1 (seven): expected ");
        try std.testing.expectStringEndsWith(diag.text(), " bytes of data behind it, found 64");
    }
    records[0].data_length = 1;
    records[1].p[5] = 1;
    try std.testing.expectError(error.BadSampler, read(&records, &out, testName, &diag));
    try std.testing.expectEqualStrings("sampler stage 1 (seven): expected zeros behind 1 bytes of data, found others", diag.text());
    records[0] = .{ .id = 8, .data_length = 33 };
    try std.testing.expectError(error.BadSampler, read(records[0..2], &out, testName, &diag));
    try std.testing.expectEqualStrings("sampler stage 1 (unknown): expected 33 bytes of data behind it, found 32", diag.text());
}
