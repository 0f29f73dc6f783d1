//! Packed files: the same bits with and without, files that must be refused and made anew, files that
//! are not ours to touch, disks that refuse, and loads that write at once.

const std = @import("std");
const builtin = @import("builtin");
const gguf = @import("../gguf.zig");
const split = @import("../gguf/split.zig");
const loader = @import("loader.zig");
const memory = @import("../memory.zig");
const packed_file = @import("packed_file.zig");
const tiny_model = @import("tiny_model.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const model_module = @import("model.zig");
const Model = model_module.Model;
const Progress = model_module.Progress;
const Session = @import("session.zig").Session;
const expect = std.testing.expect;
const expectEqual = std.testing.expectEqual;
const gpa = std.testing.allocator;
const io = std.testing.io;

const name = "model.gguf";
const kept = "model.packed";

const Fixture = struct {
    tmp: std.testing.TmpDir,
    paths: std.heap.ArenaAllocator,

    fn init(shape: tiny_model.Shape) !Fixture {
        var tmp = std.testing.tmpDir(.{});
        errdefer tmp.cleanup();
        try tiny_model.write(gpa, tmp.dir, name, shape);
        return .{ .tmp = tmp, .paths = .init(gpa) };
    }

    fn deinit(fixture: *Fixture) void {
        fixture.paths.deinit();
        fixture.tmp.cleanup();
    }

    fn path(fixture: *Fixture, file: []const u8) ![]const u8 {
        return std.fs.path.join(fixture.paths.allocator(), &.{ ".zig-cache", "tmp", &fixture.tmp.sub_path, file });
    }

    fn loadWith(fixture: *Fixture, allocator: std.mem.Allocator, options: model_module.Options, packed_name: ?[]const u8) !*Model {
        var progress: Progress = .{};
        var diag: Diagnostic = .{};
        errdefer expect(diag.text().len != 0) catch unreachable;
        var all = options;
        if (packed_name) |file| all.packed_path = try fixture.path(file);
        const model = try Model.load(allocator, try fixture.path(name), all, &progress, &diag);
        expectEqual(progress.bytes_total.load(.monotonic), progress.bytes_done.load(.monotonic)) catch unreachable;
        return model;
    }

    fn load(fixture: *Fixture, packed_name: ?[]const u8) !*Model {
        return fixture.loadWith(gpa, .{ .threads = 2 }, packed_name);
    }

    /// Loads, and expects that state; a note that is expected must contain the words.
    fn expectState(fixture: *Fixture, options: model_module.Options, packed_name: []const u8, state: packed_file.State, words: []const u8) !void {
        const model = try fixture.loadWith(gpa, options, packed_name);
        defer model.destroy() catch unreachable;
        errdefer std.debug.print("found {t}: {s}\n", .{ model.packed_state, model.info().packed_note });
        try expectEqual(state, model.info().packed_state);
        try expectEqual(words.len == 0, model.info().packed_note.len == 0);
        try expect(std.mem.find(u8, model.info().packed_note, words) != null);
    }

    fn bytes(fixture: *Fixture, file: []const u8) ![]u8 {
        return fixture.tmp.dir.readFileAlloc(io, file, fixture.paths.allocator(), .unlimited);
    }

    fn put(fixture: *Fixture, file: []const u8, data: []const u8) !void {
        try fixture.tmp.dir.writeFile(io, .{ .sub_path = file, .data = data });
    }

    fn exists(fixture: *Fixture, file: []const u8) bool {
        _ = fixture.tmp.dir.statFile(io, file, .{}) catch return false;
        return true;
    }

    fn setTime(fixture: *Fixture, nanoseconds: i96) !void {
        const file = try fixture.tmp.dir.openFile(io, name, .{ .mode = .read_write });
        defer file.close(io);
        try file.setTimestamps(io, .{ .modify_timestamp = .{ .new = .{ .nanoseconds = nanoseconds } } });
    }
};

/// Logits behind some tokens; the caller frees them.
fn logits(model: *Model) ![]f32 {
    var diag: Diagnostic = .{};
    const session = try Session.create(model, .{}, &diag);
    defer session.destroy();
    try session.start(.{ .tokens = &.{ 1, 30, 31, 32, 7, 9, 60 }, .max_tokens = 3, .ignore_eog = true }, &diag);
    session.wait();
    return gpa.dupe(f32, @ptrCast(session.logits));
}

test "mapped weights give the bits of packed ones" {
    for ([_]tiny_model.Shape{
        .{ .format = .q4_0 },
        .{ .format = .q4_k, .embd = 256, .ff = 512, .heads = 16 },
        .{ .format = .f16 },
        .{ .architecture = "gemma3", .window = 8 },
    }) |shape| {
        var fixture: Fixture = try .init(shape);
        defer fixture.deinit();
        for ([_]model_module.Options{ .{ .threads = 1 }, .{ .threads = 2 }, .{ .threads = 2, .precision = .float } }) |options| {
            const file = if (options.precision == .float) "float.packed" else kept;
            const is_first = !fixture.exists(file);
            const plain = try fixture.loadWith(gpa, options, null);
            defer plain.destroy() catch unreachable;
            try expectEqual(.off, plain.packed_state);
            const expected = try logits(plain);
            defer gpa.free(expected);
            for (0..2) |round| {
                const model = try fixture.loadWith(gpa, options, file);
                defer model.destroy() catch unreachable;
                try expectEqual(if (is_first and round == 0) packed_file.State.written else .mapped, model.packed_state);
                try expectEqual(plain.info().weights_bytes, model.info().weights_bytes);
                try std.testing.expectEqualSlices(u8, plain.panels, model.panels);
                const found = try logits(model);
                defer gpa.free(found);
                try std.testing.expectEqualSlices(u32, @ptrCast(expected), @ptrCast(found));
            }
        }
    }
}

test "any changed byte, and any other length, is refused" {
    var fixture: Fixture = try .init(.{ .layers = 1 });
    defer fixture.deinit();
    const model = try fixture.load(kept);
    defer model.destroy() catch unreachable;
    const whole = try fixture.bytes(kept);
    const weights = try loader.matrices(model);
    defer gpa.free(weights);
    var progress: Progress = .{};
    var file: packed_file.PackedFile = try .init(model, weights, kept, &progress);
    defer file.deinit();
    var note: Diagnostic = .{};
    try expect(try file.accept(whole, &note));

    var random: std.Random.DefaultPrng = .init(3);
    const payload_at = whole.len - model.panels.len;
    for (0..file.header.len + 500) |i| {
        const at = if (i < file.header.len) i else payload_at + random.random().uintLessThan(usize, model.panels.len);
        const bit = @as(u8, 1) << random.random().int(u3);
        whole[at] ^= bit;
        defer whole[at] ^= bit;
        note = .{};
        errdefer std.debug.print("byte {d}\n", .{at});
        try expect(!try file.accept(whole, &note));
        try expect(std.mem.find(u8, note.text(), "expected ") != null);
        try expect(std.mem.find(u8, note.text(), "found ") != null);
    }
    for (0..1000) |i| {
        const len = if (i < 400) i else random.random().uintLessThan(usize, whole.len);
        try expect(!try file.accept(whole[0..len], &note));
    }
    const longer = try std.mem.concat(gpa, u8, &.{ whole, "x" });
    defer gpa.free(longer);
    try expect(!try file.accept(longer, &note));
    try expect(try file.accept(whole, &note));
}

test "what is damaged is made anew" {
    var fixture: Fixture = try .init(.{});
    defer fixture.deinit();
    try fixture.expectState(.{}, kept, .written, "expected a file, found none");
    const whole = try fixture.bytes(kept);
    const Damage = struct { at: usize, len: usize, words: []const u8 };
    for ([_]Damage{
        .{ .at = whole.len - 1, .len = whole.len, .words = "agree with their checksums" },
        .{ .at = 200, .len = whole.len, .words = "a damaged one" },
        .{ .at = 8, .len = whole.len, .words = "expected version" },
        .{ .at = 12, .len = whole.len, .words = "byte order" },
        .{ .at = whole.len, .len = whole.len - 1, .words = "expected a file of" },
        .{ .at = whole.len, .len = 20, .words = "expected a header of" },
        .{ .at = whole.len, .len = 0, .words = "found an empty one" },
    }) |damage| {
        const copy = try gpa.dupe(u8, whole);
        defer gpa.free(copy);
        if (damage.at < copy.len) copy[damage.at] ^= 0x10;
        try fixture.put(kept, copy[0..damage.len]);
        try fixture.expectState(.{}, kept, .written, damage.words);
        try std.testing.expectEqualSlices(u8, whole, try fixture.bytes(kept));
        try fixture.expectState(.{}, kept, .mapped, "");
    }
}

test "the packed weights of another model, or of another state of it" {
    var fixture: Fixture = try .init(.{});
    defer fixture.deinit();
    try fixture.setTime(1_000_000_000);
    try fixture.expectState(.{}, kept, .written, "found none");
    try fixture.expectState(.{}, kept, .mapped, "");
    try fixture.setTime(1_000_000_001);
    try fixture.expectState(.{}, kept, .written, "another time of modification");
    const Change = struct { shape: tiny_model.Shape, words: []const u8 };
    for ([_]Change{
        .{ .shape = .{ .seed = 2 }, .words = "other weights" },
        .{ .shape = .{ .seed = 2, .context = 256 }, .words = "other metadata" },
        .{ .shape = .{ .layers = 3 }, .words = "another size" },
    }) |change| {
        try tiny_model.write(gpa, fixture.tmp.dir, name, change.shape);
        try fixture.setTime(1_000_000_001);
        try fixture.expectState(.{}, kept, .written, change.words);
        try fixture.expectState(.{}, kept, .mapped, "");
    }
    try fixture.expectState(.{ .precision = .float }, kept, .written, "precision");
}

test "what is not ours is left as it is" {
    var fixture: Fixture = try .init(.{});
    defer fixture.deinit();
    const before = try fixture.bytes(name);
    try fixture.expectState(.{}, name, .unsaved, "found another kind of file");
    try std.testing.expectEqualSlices(u8, before, try fixture.bytes(name));
    try fixture.tmp.dir.createDir(io, "folder", .default_dir);
    try fixture.expectState(.{}, "folder", .unsaved, "found a directory");
    try fixture.expectState(.{}, "nowhere/model.packed", .unsaved, "no such folder");
    try fixture.expectState(.{}, name ++ "/model.packed", .unsaved, "no such folder");
    try fixture.tmp.dir.createDir(io, kept ++ ".vitrine-partial", .default_dir);
    try fixture.expectState(.{}, kept, .unsaved, "NotAFile");
}

test "a disk that takes no more" {
    if (builtin.os.tag != .linux) return error.SkipZigTest;
    var fixture: Fixture = try .init(.{});
    defer fixture.deinit();
    // A limit of the process stands for a full disk; without a handler it would end the process.
    const ignore: std.posix.Sigaction = .{ .handler = .{ .handler = std.posix.SIG.IGN }, .mask = std.posix.sigemptyset(), .flags = 0 };
    var handler: std.posix.Sigaction = undefined;
    std.posix.sigaction(.XFSZ, &ignore, &handler);
    defer std.posix.sigaction(.XFSZ, &handler, null);
    const limits = try std.posix.getrlimit(.FSIZE);
    defer std.posix.setrlimit(.FSIZE, limits) catch unreachable;
    for ([_]u64{ 0, 100, (2 << 20) + 5000 }) |bytes| {
        try std.posix.setrlimit(.FSIZE, .{ .cur = bytes, .max = limits.max });
        try fixture.expectState(.{}, kept, .unsaved, "expected to write the packed weights");
        try expect(!fixture.exists(kept));
        try expect(!fixture.exists(kept ++ ".vitrine-partial"));
    }
    try std.posix.setrlimit(.FSIZE, limits);
    try fixture.expectState(.{}, kept, .written, "found none");
}

test "a file that another load is writing, and what a dead one left" {
    var fixture: Fixture = try .init(.{});
    defer fixture.deinit();
    try fixture.put(kept ++ ".vitrine-partial", &@as([9000]u8, @splat(0x55)));
    {
        const other = try fixture.tmp.dir.openFile(io, kept ++ ".vitrine-partial", .{ .mode = .read_write, .lock = .exclusive });
        defer other.close(io);
        try fixture.expectState(.{}, kept, .unsaved, "another load that is writing it");
        try expect(fixture.exists(kept ++ ".vitrine-partial"));
    }
    try fixture.expectState(.{}, kept, .written, "found none");
    try expect(!fixture.exists(kept ++ ".vitrine-partial"));
    try fixture.expectState(.{}, kept, .mapped, "");
}

test "loads at once leave one whole file" {
    var fixture: Fixture = try .init(.{});
    defer fixture.deinit();
    const Load = struct {
        fn run(path: []const u8, packed_path: []const u8, counts: *[4]std.atomic.Value(u32)) void {
            var progress: Progress = .{};
            var diag: Diagnostic = .{};
            const model = Model.load(std.heap.smp_allocator, path, .{ .threads = 1, .packed_path = packed_path }, &progress, &diag) catch return;
            _ = counts[@backingInt(model.packed_state)].fetchAdd(1, .monotonic);
            model.destroy() catch unreachable;
        }
    };
    const path = try fixture.path(name);
    const packed_path = try fixture.path(kept);
    var whole: ?[]const u8 = null;
    for (0..20) |_| {
        var counts: [4]std.atomic.Value(u32) = @splat(.init(0));
        var threads: [4]std.Thread = undefined;
        for (&threads) |*thread| thread.* = try std.Thread.spawn(.{}, Load.run, .{ path, packed_path, &counts });
        for (threads) |thread| thread.join();
        var loaded: u32 = 0;
        for (&counts) |*count| loaded += count.load(.monotonic);
        try expectEqual(threads.len, loaded);
        try expect(counts[@backingInt(packed_file.State.written)].load(.monotonic) >= 1);
        const found = try fixture.bytes(kept);
        if (whole) |before| try std.testing.expectEqualSlices(u8, before, found);
        whole = found;
        try expect(!fixture.exists(kept ++ ".vitrine-partial"));
        try fixture.tmp.dir.deleteFile(io, kept);
    }
}

test "cancelled while it checks or writes" {
    var fixture: Fixture = try .init(.{});
    defer fixture.deinit();
    const model = try fixture.load(kept);
    defer model.destroy() catch unreachable;
    const weights = try loader.matrices(model);
    defer gpa.free(weights);
    var progress: Progress = .{ .cancel = .init(true) };
    var note: Diagnostic = .{};
    {
        var file: packed_file.PackedFile = try .init(model, weights, try fixture.path(kept), &progress);
        defer file.deinit();
        try std.testing.expectError(error.Cancelled, file.open(&note));
    }
    var file: packed_file.PackedFile = try .init(model, weights, try fixture.path("other.packed"), &progress);
    defer file.deinit();
    try std.testing.expectError(error.Cancelled, file.write(model.panels, &note));
    try expect(!fixture.exists("other.packed"));
    try expect(!fixture.exists("other.packed.vitrine-partial"));
}

test "memory that runs out leaves nothing behind" {
    const Attempt = struct {
        fn load(allocator: std.mem.Allocator, fixture: *Fixture, is_there: bool) !void {
            if (!is_there) fixture.tmp.dir.deleteFile(io, kept) catch {};
            const model = try fixture.loadWith(allocator, .{ .threads = 1 }, kept);
            defer model.destroy() catch unreachable;
            try expectEqual(if (is_there) packed_file.State.mapped else .written, model.packed_state);
        }
    };
    var fixture: Fixture = try .init(.{ .layers = 1 });
    defer fixture.deinit();
    try std.testing.checkAllAllocationFailures(gpa, Attempt.load, .{ &fixture, false });
    try std.testing.checkAllAllocationFailures(gpa, Attempt.load, .{ &fixture, true });
    try expect(!fixture.exists(kept ++ ".vitrine-partial"));
}

test "mapped weights are in memory once, and go with the model" {
    var fixture: Fixture = try .init(.{ .layers = 1, .embd = 1024, .ff = 3072, .heads = 8, .head_dim = 16, .format = .f32 });
    defer fixture.deinit();
    (try fixture.load(kept)).destroy() catch unreachable;
    const before = memory.residentBytes() orelse return error.SkipZigTest;
    const model = try fixture.load(kept);
    try expectEqual(.mapped, model.packed_state);
    const bytes = model.panels.len;
    try expect(bytes > 32 << 20);
    const loaded = memory.residentBytes().?;
    try model.destroy();
    const after = memory.residentBytes().?;
    errdefer std.debug.print("{d} bytes of weights: {d} before, {d} loaded, {d} after\n", .{ bytes, before, loaded, after });
    try expect(loaded -| before < bytes + bytes / 10 + (4 << 20));
    try expect(loaded -| before > bytes - (4 << 20));
    try expect(after -| before < 4 << 20);
}

/// Writes the model of `path` as a set of two files.
fn writeSplit(arena: std.mem.Allocator, path: []const u8, stem: []const u8) !void {
    var diag: Diagnostic = .{};
    const file = try gguf.File.open(gpa, path, &diag);
    defer file.close();
    const half = file.tensors.len / 2;
    for ([_][]const gguf.Tensor{ file.tensors[0..half], file.tensors[half..] }, 0..) |tensors, i| {
        var writer: gguf.Writer = try .init(arena, .{}, &diag);
        if (i == 0) for (file.metadata) |entry| try writer.addValue(entry.key, entry.value);
        try writer.add(split.number_key, u16, @intCast(i));
        try writer.add(split.count_key, u16, 2);
        try writer.add(split.tensors_key, i32, @intCast(file.tensors.len));
        for (tensors) |*tensor| try writer.addTensor(tensor.name, tensor.dims[0..tensor.n_dims], tensor.format, tensor.bytes);
        try writer.writeFile(try std.fmt.allocPrint(arena, "{s}-{d:0>5}-of-00002.gguf", .{ stem, i + 1 }));
    }
}

test "a split model" {
    var fixture: Fixture = try .init(.{});
    defer fixture.deinit();
    const arena = fixture.paths.allocator();
    const stem = try fixture.path("split");
    try writeSplit(arena, try fixture.path(name), stem);
    const first = try std.mem.concat(arena, u8, &.{ stem, "-00001-of-00002.gguf" });
    const plain = try fixture.load(null);
    defer plain.destroy() catch unreachable;
    var progress: Progress = .{};
    var diag: Diagnostic = .{};
    for ([_]packed_file.State{ .written, .mapped }) |state| {
        const model = try Model.load(gpa, first, .{ .threads = 2, .packed_path = try fixture.path(kept) }, &progress, &diag);
        defer model.destroy() catch unreachable;
        try expectEqual(state, model.packed_state);
        try std.testing.expectEqualSlices(u8, plain.panels, model.panels);
    }
    // The second file alone is another one now.
    const second = try std.mem.concat(arena, u8, &.{ "split", "-00002-of-00002.gguf" });
    const bytes = try fixture.bytes(second);
    bytes[bytes.len - 1] ^= 1;
    try fixture.put(second, bytes);
    const model = try Model.load(gpa, first, .{ .threads = 2, .packed_path = try fixture.path(kept) }, &progress, &diag);
    defer model.destroy() catch unreachable;
    try expectEqual(.written, model.packed_state);
}
