//! Models in several files: "NAME-00001-of-00003.gguf" and so on, as llama.cpp's gguf-split
//! writes them. Every file is a GGUF file of its own with its own tensors. The first one holds
//! the model's metadata; all of them hold three keys that say how the set fits together, and
//! that is what is checked here. A file without these keys is a whole model, whatever its name.

const std = @import("std");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const cursor = @import("cursor.zig");
const reader = @import("reader.zig");
const Error = cursor.Error;
const shown = @import("mapping.zig").shown;

/// This file's position, from 0.
pub const number_key = "split.no";
pub const count_key = "split.count";
/// Tensors in all files together.
pub const tensors_key = "split.tensors.count";

/// The counter is a u16 in the files that exist.
pub const count_max = 65535;

pub const Name = struct {
    /// What precedes "-00001-of-00003.gguf", directories included.
    stem: []const u8,
    /// From 1.
    number: u32,
    count: u32,

    const tail_len = "-00001-of-00003.gguf".len;

    pub fn parse(path: []const u8) ?Name {
        if (path.len < tail_len) return null;
        const tail = path[path.len - tail_len ..];
        if (tail[0] != '-') return null;
        if (!std.mem.eql(u8, tail[6..10], "-of-")) return null;
        if (!std.mem.eql(u8, tail[15..], ".gguf")) return null;
        return .{
            .stem = path[0 .. path.len - tail_len],
            .number = digits(tail[1..6]) orelse return null,
            .count = digits(tail[10..15]) orelse return null,
        };
    }

    pub fn pathOf(n: Name, gpa: std.mem.Allocator, number: u32) error{OutOfMemory}![]u8 {
        return std.fmt.allocPrint(gpa, "{s}-{d:0>5}-of-{d:0>5}.gguf", .{ n.stem, number, n.count });
    }

    fn digits(text: *const [5]u8) ?u32 {
        var n: u32 = 0;
        for (text) |c| {
            if (!std.ascii.isDigit(c)) return null;
            n = n * 10 + (c - '0');
        }
        return n;
    }
};

/// How many files the set has, as its first file says; 1 for a model in one file.
pub fn countOf(part: *const reader.Part, diag: *Diagnostic) Error!u32 {
    const found = part.get(count_key) orelse return 1;
    const n = found.asUint() orelse {
        diag.set("metadata key \"{s}\": expected an unsigned integer, found a value of type {t}", .{ count_key, found });
        return error.SplitMismatch;
    };
    if (n > count_max) {
        diag.set("metadata key \"{s}\": expected at most {d} files, found {d}", .{ count_key, @as(u32, count_max), n });
        return error.SplitMismatch;
    }
    return @max(1, @as(u32, @intCast(n)));
}

/// The first file's name must follow the scheme, or the others cannot be found.
pub fn nameOf(path: []const u8, part: *const reader.Part, count: u32, diag: *Diagnostic) Error!Name {
    const base = std.fs.path.basename(path);
    const name = Name.parse(path) orelse {
        diag.set("{f}: expected a name that ends in -00001-of-{d:0>5}.gguf, found another name for a file that says it is one of {d}", .{ shown(base), count, count });
        return error.BadSplitName;
    };
    if (name.number != 1) {
        diag.set("{f}: expected the first file of the set, -00001-of-{d:0>5}.gguf, found file {d}", .{ shown(base), name.count, name.number });
        return error.NotFirstSplit;
    }
    if (name.count != count) {
        diag.set("{f}: expected {d} files by the name, found {d} by \"{s}\"", .{ shown(base), name.count, count, count_key });
        return error.SplitMismatch;
    }
    try check(part, 0, count, diag);
    return name;
}

/// Each file must say that it is the one its place asks for.
pub fn check(part: *const reader.Part, position: u32, count: u32, diag: *Diagnostic) Error!void {
    try expectUint(part, count_key, count, diag);
    try expectUint(part, number_key, position, diag);
}

/// All files agree on the number of tensors, and it is the number that was found.
pub fn checkTensors(part: *const reader.Part, total: u64, diag: *Diagnostic) Error!void {
    try expectUint(part, tensors_key, total, diag);
}

fn expectUint(part: *const reader.Part, key: []const u8, expected: u64, diag: *Diagnostic) Error!void {
    const found = part.get(key) orelse {
        diag.set("metadata key \"{s}\": expected {d}, found no such key", .{ key, expected });
        return error.SplitMismatch;
    };
    const n = found.asUint() orelse {
        diag.set("metadata key \"{s}\": expected {d}, found a value of type {t} that is no unsigned integer", .{ key, expected, found });
        return error.SplitMismatch;
    };
    if (n != expected) {
        diag.set("metadata key \"{s}\": expected {d}, found {d}", .{ key, expected, n });
        return error.SplitMismatch;
    }
}

test "names of split files" {
    const name = Name.parse("dir/model-q4-00002-of-00013.gguf").?;
    try std.testing.expectEqualStrings("dir/model-q4", name.stem);
    try std.testing.expectEqual(2, name.number);
    try std.testing.expectEqual(13, name.count);
    const path = try name.pathOf(std.testing.allocator, 3);
    defer std.testing.allocator.free(path);
    try std.testing.expectEqualStrings("dir/model-q4-00003-of-00013.gguf", path);
    for ([_][]const u8{ "", "a.gguf", "-0001-of-00003.gguf", "a-0000x-of-00003.gguf", "a-00001_of_00003.gguf", "a-00001-of-00003.bin" }) |other| {
        try std.testing.expectEqual(null, Name.parse(other));
    }
}
