//! An open model: one GGUF file, or a set of split files that are shown as one. Everything that
//! it hands out is a view into its bytes and ends with `close`.

const std = @import("std");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const cursor = @import("cursor.zig");
const names = @import("names.zig");
const reader = @import("reader.zig");
const split = @import("split.zig");
const tensor_table = @import("tensor.zig");
const value = @import("value.zig");
const Allocator = std.mem.Allocator;
const Error = cursor.Error;
const Mapping = @import("mapping.zig").Mapping;
const shown = @import("mapping.zig").shown;
const Tensor = tensor_table.Tensor;

pub const File = struct {
    gpa: Allocator,
    version: u32,
    big_endian: bool,
    alignment: u32,
    /// In the file's order. Of a split model, the first file's.
    metadata: []const value.Entry,
    /// In the file's order; of a split model, file after file.
    tensors: []const Tensor,
    /// All tensors together, without padding.
    data_bytes: u64,
    /// All files together.
    file_bytes: u64,
    sources: []Source,
    tensor_names: names.Table,

    /// One file on disk.
    pub const Source = struct {
        mapping: Mapping,
        part: reader.Part,

        fn close(s: *Source, gpa: Allocator) void {
            s.part.deinit(gpa);
            s.mapping.close(gpa);
        }
    };

    /// Maps the file and, if it is the first of a split set, all others.
    pub fn open(gpa: Allocator, path: []const u8, diag: *Diagnostic) Error!*File {
        return openWith(gpa, path, .{}, diag);
    }

    pub fn openWith(gpa: Allocator, path: []const u8, options: Mapping.Options, diag: *Diagnostic) Error!*File {
        var sources: std.ArrayList(Source) = .empty;
        errdefer closeAll(gpa, &sources);
        try sources.ensureTotalCapacity(gpa, 1);
        sources.appendAssumeCapacity(try openSource(gpa, path, options, diag));
        const count = try split.countOf(&sources.items[0].part, diag);
        if (count > 1) {
            const name = try split.nameOf(path, &sources.items[0].part, count, diag);
            for (1..count) |i| {
                // One at a time: the count is only a claim until the files are there.
                try sources.ensureUnusedCapacity(gpa, 1);
                sources.appendAssumeCapacity(try openFollower(gpa, name, @intCast(i), options, diag));
            }
        }
        return assemble(gpa, &sources, diag);
    }

    /// A whole file in memory, which must outlive the result.
    pub fn openBytes(gpa: Allocator, bytes: []const u8, diag: *Diagnostic) Error!*File {
        return openPieces(gpa, &.{bytes}, diag);
    }

    /// All files of a set in memory, in order.
    pub fn openPieces(gpa: Allocator, pieces: []const []const u8, diag: *Diagnostic) Error!*File {
        std.debug.assert(pieces.len > 0);
        var sources: std.ArrayList(Source) = .empty;
        errdefer closeAll(gpa, &sources);
        try sources.ensureTotalCapacityPrecise(gpa, pieces.len);
        for (pieces, 0..) |bytes, i| {
            sources.appendAssumeCapacity(.{ .mapping = .borrow(bytes), .part = try reader.parse(gpa, bytes, diag) });
            const count = try split.countOf(&sources.items[0].part, diag);
            if (count != pieces.len) {
                diag.set("metadata key \"{s}\": expected all {d} files of the set, found {d}", .{ split.count_key, count, pieces.len });
                return error.MissingSplit;
            }
            if (count > 1) try split.check(&sources.items[i].part, @intCast(i), count, diag);
        }
        return assemble(gpa, &sources, diag);
    }

    pub fn close(file: *File) void {
        const gpa = file.gpa;
        file.tensor_names.deinit(gpa);
        // A single file's tensors are its part's own.
        if (file.sources.len > 1) gpa.free(file.tensors);
        for (file.sources) |*source| source.close(gpa);
        gpa.free(file.sources);
        gpa.destroy(file);
    }

    pub fn get(file: *const File, key: []const u8) ?value.Value {
        return file.sources[0].part.get(key);
    }

    pub fn getString(file: *const File, key: []const u8) ?[]const u8 {
        return (file.get(key) orelse return null).asString();
    }

    /// Any integer type; null when it is negative.
    pub fn getUint(file: *const File, key: []const u8) ?u64 {
        return (file.get(key) orelse return null).asUint();
    }

    pub fn getInt(file: *const File, key: []const u8) ?i64 {
        return (file.get(key) orelse return null).asInt();
    }

    /// Floats and integers of every width.
    pub fn getFloat(file: *const File, key: []const u8) ?f64 {
        return (file.get(key) orelse return null).asFloat();
    }

    pub fn getBool(file: *const File, key: []const u8) ?bool {
        return (file.get(key) orelse return null).asBool();
    }

    pub fn getArray(file: *const File, key: []const u8) ?value.Array {
        return (file.get(key) orelse return null).asArray();
    }

    /// An array of strings, or null.
    pub fn getStrings(file: *const File, key: []const u8) ?value.Array {
        const array = file.getArray(key) orelse return null;
        return if (array.element == .string) array else null;
    }

    /// An array of integers or floats, or null.
    pub fn getNumbers(file: *const File, key: []const u8) ?value.Array {
        const array = file.getArray(key) orelse return null;
        return if (array.element.isNumber()) array else null;
    }

    pub fn findTensor(file: *const File, name: []const u8) ?*const Tensor {
        const i = file.tensor_names.find(file, name) orelse return null;
        return &file.tensors[i];
    }

    /// A hint about the pages of all bytes; see `Mapping.Advice`.
    pub fn advise(file: *const File, advice: Mapping.Advice) void {
        for (file.sources) |*source| source.mapping.advise(source.mapping.bytes, advice);
    }

    /// For `names.Table`.
    pub fn nameAt(file: *const File, i: u32) []const u8 {
        return file.tensors[i].name;
    }
};

fn openSource(gpa: Allocator, path: []const u8, options: Mapping.Options, diag: *Diagnostic) Error!File.Source {
    var mapping: Mapping = try .open(gpa, path, options, diag);
    errdefer mapping.close(gpa);
    return .{
        .mapping = mapping,
        .part = reader.parse(gpa, mapping.bytes, diag) catch |err| return named(err, path, diag),
    };
}

fn openFollower(gpa: Allocator, name: split.Name, position: u32, options: Mapping.Options, diag: *Diagnostic) Error!File.Source {
    const path = try name.pathOf(gpa, position + 1);
    defer gpa.free(path);
    var source = openSource(gpa, path, options, diag) catch |err| switch (err) {
        error.FileNotFound => {
            diag.set("{f}: expected file {d} of {d} beside the first, found none", .{ shown(std.fs.path.basename(path)), position + 1, name.count });
            return error.MissingSplit;
        },
        else => |e| return e,
    };
    errdefer source.close(gpa);
    split.check(&source.part, position, name.count, diag) catch |err| return named(err, path, diag);
    return source;
}

/// Puts the file's name before the sentence.
fn named(err: Error, path: []const u8, diag: *Diagnostic) Error {
    if (err == error.OutOfMemory) return err;
    const before = diag.*;
    diag.set("{f}: {s}", .{ shown(std.fs.path.basename(path)), before.text() });
    return err;
}

fn closeAll(gpa: Allocator, sources: *std.ArrayList(File.Source)) void {
    for (sources.items) |*source| source.close(gpa);
    sources.deinit(gpa);
}

/// Takes the sources over when it succeeds.
fn assemble(gpa: Allocator, list: *std.ArrayList(File.Source), diag: *Diagnostic) Error!*File {
    const file = try gpa.create(File);
    errdefer gpa.destroy(file);
    const tensors = try joinTensors(gpa, list.items, diag);
    errdefer if (list.items.len > 1) gpa.free(tensors);
    var table: names.Table = try .init(gpa, tensors.len);
    errdefer table.deinit(gpa);

    const first = &list.items[0].part;
    file.* = .{
        .gpa = gpa,
        .version = first.version,
        .big_endian = first.endian == .big,
        .alignment = first.alignment,
        .metadata = first.entries,
        .tensors = tensors,
        .data_bytes = 0,
        .file_bytes = 0,
        .sources = &.{},
        .tensor_names = undefined,
    };
    for (list.items) |*source| file.file_bytes += source.mapping.bytes.len;
    for (tensors, 0..) |*t, i| {
        file.data_bytes += t.bytes.len;
        if (table.add(file, @intCast(i)) == .duplicate) {
            diag.set("tensor \"{f}\": expected every name once, found it again at entry {d}", .{ cursor.printable(t.name), i });
            return error.DuplicateTensor;
        }
    }
    file.sources = try list.toOwnedSlice(gpa);
    file.tensor_names = table;
    return file;
}

fn joinTensors(gpa: Allocator, sources: []const File.Source, diag: *Diagnostic) Error![]Tensor {
    if (sources.len == 1) return sources[0].part.tensors;
    var total: usize = 0;
    for (sources) |*source| total += source.part.tensors.len;
    for (sources) |*source| try split.checkTensors(&source.part, total, diag);
    if (total > names.count_max) {
        diag.set("expected at most {d} tensors, found {d}", .{ @as(u32, names.count_max), total });
        return error.CountTooLarge;
    }
    const all = try gpa.alloc(Tensor, total);
    var n: usize = 0;
    for (sources) |*source| {
        @memcpy(all[n..][0..source.part.tensors.len], source.part.tensors);
        n += source.part.tensors.len;
    }
    return all;
}
