//! What only real files show: mapping and its fallback, things that are not files, split sets
//! that disagree, a file that changes under the reader, and vocabularies made by others.

const std = @import("std");
const builtin = @import("builtin");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Error = @import("cursor.zig").Error;
const File = @import("file.zig").File;
const Forge = @import("forge.zig").Forge;
const Mapping = @import("mapping.zig").Mapping;
const split = @import("split.zig");
const Writer = @import("writer.zig").Writer;
const expectEqual = std.testing.expectEqual;
const expectEqualStrings = std.testing.expectEqualStrings;
const gpa = std.testing.allocator;
const io = std.testing.io;

/// A folder of its own for each test.
const Folder = struct {
    tmp: std.testing.TmpDir,
    paths: std.heap.ArenaAllocator,

    fn init() Folder {
        return .{ .tmp = std.testing.tmpDir(.{}), .paths = .init(gpa) };
    }

    fn deinit(f: *Folder) void {
        f.paths.deinit();
        f.tmp.cleanup();
    }

    fn path(f: *Folder, name: []const u8) ![]const u8 {
        return std.fs.path.join(f.paths.allocator(), &.{ ".zig-cache", "tmp", &f.tmp.sub_path, name });
    }
};

fn expectRefused(path: []const u8, expected: Error) !void {
    for ([_]Mapping.Options{ .{ .map = true }, .{ .map = false } }) |options| {
        var diag: Diagnostic = .{};
        if (File.openWith(gpa, path, options, &diag)) |file| {
            file.close();
            return error.TestExpectedError;
        } else |found| {
            errdefer std.debug.print("{s}: {t}: {s}\n", .{ path, found, diag.text() });
            try expectEqual(expected, found);
            try std.testing.expect(std.mem.find(u8, diag.text(), "expected ") != null);
            try std.testing.expect(std.mem.find(u8, diag.text(), "found ") != null);
        }
    }
}

test "mapped and read give the same" {
    var folder: Folder = .init();
    defer folder.deinit();
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}\n", .{diag.text()});
    var data: [4096]f32 = undefined;
    for (&data, 0..) |*x, i| x.* = @floatFromInt(i);
    const path = try folder.path("m\u{f6}del.gguf");
    for ([_]std.lang.Endian{ .little, .big }) |endian| {
        var w: Writer = try .init(gpa, .{ .endian = endian }, &diag);
        defer w.deinit();
        try w.add("general.name", []const u8, "ours");
        try w.addTensor("t", &.{ 64, 64 }, .f32, std.mem.sliceAsBytes(&data));
        try w.writeFile(path);
        const in_memory = try w.toBytes(gpa);
        defer gpa.free(in_memory);
        for ([_]bool{ true, false }) |map| {
            const file: *File = try .openWith(gpa, path, .{ .map = map }, &diag);
            defer file.close();
            if (!map) try expectEqual(.read, std.meta.activeTag(file.sources[0].mapping.kind));
            if (map and builtin.os.tag == .linux) try expectEqual(.mapped, std.meta.activeTag(file.sources[0].mapping.kind));
            try std.testing.expectEqualSlices(u8, in_memory, file.sources[0].mapping.bytes);
            try expectEqualStrings("ours", file.getString("general.name").?);
            const t = file.findTensor("t").?;
            file.advise(.will_need);
            try std.testing.expectEqualSlices(u8, std.mem.sliceAsBytes(&data), t.bytes);
            file.advise(.dont_need);
            try std.testing.expectEqualSlices(u8, std.mem.sliceAsBytes(&data), t.bytes);
        }
    }
}

test "things that are no model file" {
    var folder: Folder = .init();
    defer folder.deinit();
    try expectRefused(try folder.path("missing.gguf"), error.FileNotFound);
    try expectRefused("", error.FileNotFound);
    try folder.tmp.dir.writeFile(io, .{ .sub_path = "empty.gguf", .data = "" });
    try expectRefused(try folder.path("empty.gguf"), error.EmptyFile);
    try expectRefused(try folder.path("empty.gguf/below"), error.FileNotFound);
    try folder.tmp.dir.createDirPath(io, "folder.gguf");
    try expectRefused(try folder.path("folder.gguf"), error.NotAFile);
    try folder.tmp.dir.writeFile(io, .{ .sub_path = "text.gguf", .data = "This is not a model.\n" });
    try expectRefused(try folder.path("text.gguf"), error.BadMagic);
    try expectRefused("a\x00b.gguf", error.CannotOpen);
    const long: [8192]u8 = @splat('x');
    try expectRefused(&long, error.CannotOpen);
    if (builtin.os.tag == .windows) {
        std.debug.print("skipped: devices and pipes have no paths here\n", .{});
    } else {
        try expectRefused("/dev/null", error.NotAFile);
        // Opening a pipe that nobody writes would wait for ever.
        const pipe = try folder.path("pipe.gguf");
        const pipe_z = try gpa.dupeSentinel(u8, pipe, 0);
        defer gpa.free(pipe_z);
        try expectEqual(0, mkfifo(pipe_z, 0o600));
        try expectRefused(pipe, error.NotAFile);
    }
}

extern "c" fn mkfifo(path: [*:0]const u8, mode: std.c.mode_t) c_int;

/// What one file of a set says about itself; null leaves the key out.
const Claim = struct {
    number: ?u16,
    count: ?u16 = 3,
    tensors: ?i32 = 3,
    tensor: []const u8,
};

fn writePiece(folder: *Folder, name: []const u8, claim: Claim) !void {
    const bytes = try pieceBytes(claim);
    defer gpa.free(bytes);
    try folder.tmp.dir.writeFile(io, .{ .sub_path = name, .data = bytes });
}

fn pieceBytes(claim: Claim) ![]u8 {
    var diag: Diagnostic = .{};
    var w: Writer = try .init(gpa, .{}, &diag);
    defer w.deinit();
    if (claim.number == 0) try w.add("general.name", []const u8, "in three pieces");
    if (claim.number) |n| try w.add(split.number_key, u16, n);
    if (claim.count) |n| try w.add(split.count_key, u16, n);
    if (claim.tensors) |n| try w.add(split.tensors_key, i32, n);
    const values: [8]f32 = @splat(@floatFromInt(claim.tensor[0]));
    try w.addTensor(claim.tensor, &.{8}, .f32, std.mem.sliceAsBytes(&values));
    return w.toBytes(gpa);
}

const first: Claim = .{ .number = 0, .tensor = "a" };
const second: Claim = .{ .number = 1, .tensor = "b" };
const third: Claim = .{ .number = 2, .tensor = "c" };
const set_names: [3][]const u8 = .{ "m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf" };

test "a split set opens as one" {
    var folder: Folder = .init();
    defer folder.deinit();
    for (set_names, [_]Claim{ first, second, third }) |name, claim| try writePiece(&folder, name, claim);
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}\n", .{diag.text()});
    const file: *File = try .open(gpa, try folder.path(set_names[0]), &diag);
    defer file.close();
    try expectEqual(3, file.tensors.len);
    try expectEqual(96, file.data_bytes);
    try expectEqualStrings("in three pieces", file.getString("general.name").?);
    for ([_][]const u8{ "a", "b", "c" }) |name| {
        const t = file.findTensor(name).?;
        const value: f32 = @bitCast(t.bytes[0..4].*);
        try expectEqual(@as(f32, @floatFromInt(name[0])), value);
        file.advise(.will_need);
    }
}

test "split sets that disagree" {
    const Set = struct { expected: Error, claims: [3]?Claim };
    const sets = [_]Set{
        .{ .expected = error.MissingSplit, .claims = .{ first, null, third } },
        .{ .expected = error.MissingSplit, .claims = .{ first, second, null } },
        .{ .expected = error.SplitMismatch, .claims = .{ first, third, second } },
        .{ .expected = error.SplitMismatch, .claims = .{ second, second, third } },
        .{ .expected = error.SplitMismatch, .claims = .{ first, .{ .number = null, .tensor = "b" }, third } },
        .{ .expected = error.SplitMismatch, .claims = .{ first, .{ .number = 1, .count = null, .tensor = "b" }, third } },
        .{ .expected = error.SplitMismatch, .claims = .{ first, .{ .number = 1, .count = 2, .tensor = "b" }, third } },
        .{ .expected = error.SplitMismatch, .claims = .{ .{ .number = 0, .count = 2, .tensor = "a" }, second, third } },
        .{ .expected = error.SplitMismatch, .claims = .{ .{ .number = 0, .count = 65535, .tensor = "a" }, second, third } },
        .{ .expected = error.SplitMismatch, .claims = .{ first, second, .{ .number = 2, .tensors = 4, .tensor = "c" } } },
        .{ .expected = error.SplitMismatch, .claims = .{ first, second, .{ .number = 2, .tensors = -3, .tensor = "c" } } },
        .{ .expected = error.SplitMismatch, .claims = .{ .{ .number = 0, .tensors = null, .tensor = "a" }, second, third } },
        .{ .expected = error.DuplicateTensor, .claims = .{ first, second, .{ .number = 2, .tensor = "a" } } },
    };
    for (sets, 0..) |set, i| {
        errdefer std.debug.print("set {d}\n", .{i});
        var folder: Folder = .init();
        defer folder.deinit();
        for (set_names, set.claims) |name, claim| if (claim) |c| try writePiece(&folder, name, c);
        try expectRefused(try folder.path(set_names[0]), set.expected);
    }
}

test "split files under the wrong name, and a whole file under a split name" {
    var folder: Folder = .init();
    defer folder.deinit();
    for (set_names, [_]Claim{ first, second, third }) |name, claim| try writePiece(&folder, name, claim);
    try expectRefused(try folder.path(set_names[1]), error.NotFirstSplit);
    try writePiece(&folder, "renamed.gguf", first);
    try expectRefused(try folder.path("renamed.gguf"), error.BadSplitName);
    try folder.tmp.dir.writeFile(io, .{ .sub_path = set_names[2], .data = "GGUF" });
    try expectRefused(try folder.path(set_names[0]), error.Truncated);
    try folder.tmp.dir.deleteFile(io, set_names[1]);
    try folder.tmp.dir.createDirPath(io, set_names[1]);
    try expectRefused(try folder.path(set_names[0]), error.NotAFile);

    try writePiece(&folder, "w-00001-of-00002.gguf", .{ .number = null, .count = null, .tensors = null, .tensor = "a" });
    var diag: Diagnostic = .{};
    const file: *File = try .open(gpa, try folder.path("w-00001-of-00002.gguf"), &diag);
    file.close();
}

fn openSet(allocator: std.mem.Allocator, path: []const u8, map: bool) !void {
    var diag: Diagnostic = .{};
    const file: *File = try .openWith(allocator, path, .{ .map = map }, &diag);
    file.close();
}

test "no leak when memory runs out while a set is opened" {
    var folder: Folder = .init();
    defer folder.deinit();
    for (set_names, [_]Claim{ first, second, third }) |name, claim| try writePiece(&folder, name, claim);
    const path = try folder.path(set_names[0]);
    for ([_]bool{ true, false }) |map| try std.testing.checkAllAllocationFailures(gpa, openSet, .{ path, map });
}

/// Allocates as usual, but changes the file with the second allocation. The first is the list of
/// files; the second is the reader's first table, and comes between its two passes.
const Saboteur = struct {
    inner: std.mem.Allocator,
    bytes: []u8,
    at: usize,
    to: u8,
    calls: usize = 0,

    fn allocator(s: *Saboteur) std.mem.Allocator {
        return .{ .ptr = s, .vtable = &.{ .alloc = alloc, .resize = std.mem.Allocator.noResize, .remap = std.mem.Allocator.noRemap, .free = free } };
    }

    fn alloc(context: *anyopaque, len: usize, alignment: std.mem.Alignment, ra: usize) ?[*]u8 {
        const s: *Saboteur = @ptrCast(@alignCast(context));
        s.calls += 1;
        if (s.calls == 2) s.bytes[s.at] = s.to;
        return s.inner.rawAlloc(len, alignment, ra);
    }

    fn free(context: *anyopaque, memory: []u8, alignment: std.mem.Alignment, ra: usize) void {
        const s: *Saboteur = @ptrCast(@alignCast(context));
        s.inner.rawFree(memory, alignment, ra);
    }
};

test "a file that changes between the passes" {
    var f: Forge = .{ .gpa = gpa };
    defer f.deinit();
    try f.header(0, 4);
    try f.key("k", .array);
    try f.arrayOf(.string, 1);
    try f.string("a string of some length");
    try f.key("l", .array);
    try f.arrayOf(.string, 2);
    try f.string("");
    try f.string("tail!");
    // If the count of this one grows to 1, the key behind it reads as its string, and the index
    // has no place left for it.
    try f.key("z", .array);
    try f.arrayOf(.string, 0);
    try f.keyUint("n", 1);
    const original = try gpa.dupe(u8, f.bytes.items);
    defer gpa.free(original);
    // Any bit of it: a crash, a leak or a write past a table would show here.
    var changed: usize = 0;
    for (24..original.len) |at| {
        for (0..8) |bit| {
            @memcpy(f.bytes.items, original);
            var saboteur: Saboteur = .{ .inner = gpa, .bytes = f.bytes.items, .at = at, .to = original[at] ^ (@as(u8, 1) << @intCast(bit)) };
            var diag: Diagnostic = .{};
            if (File.openBytes(saboteur.allocator(), f.bytes.items, &diag)) |file| {
                file.close();
            } else |err| {
                if (err == error.FileChanged) changed += 1;
            }
        }
    }
    // At least the counts that ask for a longer index.
    try std.testing.expect(changed >= 3);
}

test "vocabularies made by others" {
    const set = std.testing.environ.getAlloc(gpa, "VITRINE_DATA") catch |err| switch (err) {
        error.EnvironmentVariableMissing => null,
        else => |e| return e,
    };
    defer if (set) |s| gpa.free(s);
    const base = set orelse "../shared/data";
    const known = [_]struct { file: []const u8, model: []const u8, tokens: usize, last: []const u8 }{
        .{ .file = "ggml-vocab-gpt-2.gguf", .model = "gpt2", .tokens = 50257, .last = "<|endoftext|>" },
        .{ .file = "ggml-vocab-llama-spm.gguf", .model = "llama", .tokens = 32000, .last = "\u{7ed9}" },
        .{ .file = "ggml-vocab-bert-bge.gguf", .model = "bert", .tokens = 30522, .last = "" },
    };
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}\n", .{diag.text()});
    for (known) |k| {
        const path = try std.fs.path.join(gpa, &.{ base, "vocab", k.file });
        defer gpa.free(path);
        const file = File.open(gpa, path, &diag) catch |err| switch (err) {
            error.FileNotFound => {
                std.debug.print("skipped: {s} (set VITRINE_DATA to the development data)\n", .{diag.text()});
                continue;
            },
            else => |e| return e,
        };
        defer file.close();
        try expectEqualStrings(k.model, file.getString("tokenizer.ggml.model").?);
        const tokens = file.getStrings("tokenizer.ggml.tokens").?;
        try expectEqual(k.tokens, tokens.len);
        if (k.last.len > 0) try expectEqualStrings(k.last, tokens.string(k.tokens - 1));
        try expectEqual(0, file.tensors.len);
    }
}
