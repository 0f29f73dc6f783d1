//! Saved sessions that were damaged, cut short, or made for something else: each is refused with the
//! reason, and neither the model nor its sessions notice.

const std = @import("std");
const cache = @import("../cache.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Progress = @import("model.zig").Progress;
const restore_module = @import("snapshot_restore.zig");
const session_test = @import("session_test.zig");
const snapshot = @import("snapshot.zig");
const Fixture = session_test.Fixture;
const Save = @import("snapshot_save.zig").Save;
const Session = @import("session.zig").Session;

const gpa = std.testing.allocator;
const io = std.testing.io;

/// A model, a session with forks, and the file that they were saved to.
const Case = struct {
    fixture: Fixture,
    sessions: [2]*Session,
    path_buffer: [std.fs.max_path_bytes]u8 = undefined,
    path: []const u8,
    bytes: []u8,
    diag: Diagnostic = .{},

    fn init(case: *Case) !void {
        case.fixture = try Fixture.init(.{ .layers = 1 }, .{ .threads = 1 });
        errdefer case.fixture.deinit();
        case.diag = .{};
        const len = try case.fixture.folder.dir.realPathFile(io, "model.gguf", &case.path_buffer);
        const name = "/saved";
        const folder = std.fs.path.dirname(case.path_buffer[0..len]).?;
        @memcpy(case.path_buffer[folder.len..][0..name.len], name);
        case.path = case.path_buffer[0 .. folder.len + name.len];
        const formats = [_]cache.Layout.Pair{ .{ .key = .f16, .value = .f8_e4m3 }, .{ .key = .f32, .value = .bf16 } };
        const session = try Session.create(case.fixture.model, .{ .context = 128, .head_formats = &formats }, &case.diag);
        case.sessions[0] = session;
        try session.start(.{ .tokens = &session_test.someTokens(70), .max_tokens = 1, .ignore_eog = true }, &case.diag);
        session.wait();
        try session.fork(case.sessions[1..], &case.diag);
        try case.sessions[1].start(.{ .tokens = &.{ 7, 9 } }, &case.diag);
        case.sessions[1].wait();
        try case.save(case.fixture.model);
        case.bytes = try case.fixture.folder.dir.readFileAlloc(io, "saved", gpa, .unlimited);
    }

    fn deinit(case: *Case) void {
        gpa.free(case.bytes);
        for (case.sessions) |session| session.destroy();
        case.fixture.deinit();
    }

    fn save(case: *Case, model: anytype) !void {
        var job: Save = .init(model);
        defer job.deinit();
        for (case.sessions) |session| try job.add(session, &case.diag);
        var progress: Progress = .{};
        try job.write(case.path, &progress, &case.diag);
    }

    fn write(case: *Case, bytes: []const u8) !void {
        try case.fixture.folder.dir.writeFile(io, .{ .sub_path = "saved", .data = bytes });
    }

    fn restore(case: *Case) !void {
        case.diag.len = 0;
        var progress: Progress = .{};
        var restored = try restore_module.restore(case.fixture.model, case.path, .{}, &progress, &case.diag);
        restored.deinit();
    }

    /// The error, whose text has `reason` in it.
    fn expectRefused(case: *Case, expected: ?anyerror, reason: []const u8) !void {
        const sessions = case.fixture.model.sessions.load(.acquire);
        if (case.restore()) {
            return error.TestUnexpectedResult;
        } else |err| if (expected) |wanted| try std.testing.expectEqual(wanted, err);
        try std.testing.expect(std.mem.startsWith(u8, case.diag.text(), case.path));
        if (std.mem.find(u8, case.diag.text(), reason) == null) {
            std.debug.print("expected a reason with \"{s}\", found {s}\n", .{ reason, case.diag.text() });
            return error.TestUnexpectedResult;
        }
        try std.testing.expectEqual(sessions, case.fixture.model.sessions.load(.acquire));
    }

    fn start(case: *const Case) usize {
        return @sizeOf(snapshot.Preamble) + std.mem.readInt(u32, case.bytes[12..16], .little);
    }

    /// The file with another header, and a checksum that fits.
    fn withHeader(case: *Case, header: []const u8) !void {
        const whole = std.mem.alignForward(usize, @sizeOf(snapshot.Preamble) + header.len, snapshot.alignment);
        const sections = case.bytes[case.start()..];
        const bytes = try gpa.alloc(u8, whole + sections.len);
        defer gpa.free(bytes);
        @memset(bytes[0..whole], ' ');
        @memcpy(bytes[@sizeOf(snapshot.Preamble)..][0..header.len], header);
        @memcpy(bytes[whole..], sections);
        var preamble: snapshot.Preamble = .{ .header_bytes = @intCast(whole - @sizeOf(snapshot.Preamble)), .file_bytes = bytes.len };
        preamble.checksum = preamble.sum(bytes[@sizeOf(snapshot.Preamble)..whole]);
        @memcpy(bytes[0..@sizeOf(snapshot.Preamble)], std.mem.asBytes(&preamble));
        try case.write(bytes);
    }
};

test "snapshot: every byte of the header and a sample of the others is under a checksum" {
    var case: Case = undefined;
    try case.init();
    defer case.deinit();
    try case.restore();
    var at: usize = 0;
    while (at < case.bytes.len) : (at += if (at < case.start()) 1 else 97) {
        const bit = @as(u8, 1) << @intCast(at % 8);
        case.bytes[at] ^= bit;
        try case.write(case.bytes);
        try case.expectRefused(null, "expected");
        case.bytes[at] ^= bit;
    }
    // Zeros that fill up sections count too.
    case.bytes[case.bytes.len - 1] ^= 1;
    const last_bytes = case.bytes.len;
    try case.write(case.bytes[0..last_bytes]);
    try case.expectRefused(error.Damaged, "values of layer 0, KV head 1, with the checksum");
    case.bytes[case.bytes.len - 1] ^= 1;
    try case.write(case.bytes);
    try case.restore();
}

test "snapshot: a file cut short anywhere, or with more behind it" {
    var case: Case = undefined;
    try case.init();
    defer case.deinit();
    const parsed = try std.json.parseFromSlice(snapshot.Header, gpa, case.bytes[@sizeOf(snapshot.Preamble)..case.start()], .{});
    defer parsed.deinit();
    for (parsed.value.sections) |section| {
        for ([_]u64{ section.offset, section.offset + section.bytes, section.end() -| 1 }) |end| {
            try case.write(case.bytes[0..@intCast(case.start() + end)]);
            try case.expectRefused(error.Truncated, "expected a file of");
        }
    }
    for ([_]usize{ 1, 7, 8, 20, 31, 32, 40, case.start() - 1 }) |len| {
        try case.write(case.bytes[0..len]);
        try case.expectRefused(error.Truncated, "expected a");
    }
    try case.write("");
    try case.expectRefused(error.BadMagic, "another kind of file");
    try case.write("GGUF and something else that is longer than a preamble");
    try case.expectRefused(error.BadMagic, "another kind of file");
    const longer = try std.mem.concat(gpa, u8, &.{ case.bytes, "more" });
    defer gpa.free(longer);
    try case.write(longer);
    try case.expectRefused(error.Truncated, "expected a file of");
    std.mem.writeInt(u32, case.bytes[8..12], 2, .little);
    try case.write(case.bytes);
    try case.expectRefused(error.UnsupportedVersion, "expected version 1 of saved sessions, found 2");
}

test "snapshot: headers whose checksum fits, and that lie" {
    var case: Case = undefined;
    try case.init();
    defer case.deinit();
    const header = std.mem.trimEnd(u8, case.bytes[@sizeOf(snapshot.Preamble)..case.start()], " ");
    try case.withHeader(header);
    try case.restore();
    const Lie = struct { []const u8, []const u8, anyerror, []const u8 };
    const lies = [_]Lie{
        .{ "{\"model\"", "[\"model\"", error.Damaged, "can't be read" },
        .{ "\"context\":128", "\"context\":1e2", error.Damaged, "found another" },
        .{ "\"context\":128", "\"context\":0", error.BadOption, "a context from 1" },
        .{ "\"context\":128", "\"context\":70", error.ContextFull, "found 70" },
        .{ "\"context\":128", "\"context\":4294967295", error.BadOption, "a context from 1" },
        .{ "\"context\":128", "\"context\":129,\"extra\":1", error.Damaged, "can't be read" },
        .{ "\"chunk\":256", "\"chunk\":0", error.Damaged, "a sequence that can be" },
        .{ "\"chunk\":256", "\"chunk\":256,\"shift_keep\":4294967295", error.Damaged, "a sequence that can be" },
        .{ "\"tokens\":71,", "\"tokens\":73,", error.Damaged, "a sequence that can be" },
        .{ "\"evaluated\":70", "\"evaluated\":71", error.Damaged, "the pages that the sequences hold" },
        .{ "\"evaluated\":70", "\"evaluated\":0", error.Damaged, "a sequence that can be" },
        .{ "[[0,70]]", "[[0,71]]", error.Damaged, "found another" },
        .{ "\"logits\":true", "\"logits\":false", error.Damaged, "sections" },
        .{ "\"pages\":[0,1]", "\"pages\":[1,0]", error.Damaged, "in the order of their positions" },
        .{ "\"pages\":[0,1]", "\"pages\":[0,0]", error.Damaged, "in the order of their positions" },
        .{ "\"pages\":[0,1]", "\"pages\":[0,9]", error.Damaged, "in the order of their positions" },
        .{ "\"pages\":[64,", "\"pages\":[64,1,", error.Damaged, "the pages that the sequences hold" },
        .{ "\"pages\":[64,", "\"pages\":[4000000000,", error.Damaged, "the pages that the sequences hold" },
        .{ "\"offset\":320", "\"offset\":384", error.Damaged, "found another" },
        .{ "\"heads\":1,\"which\":\"key\"", "\"heads\":2,\"which\":\"key\"", error.Damaged, "rules for 1 layers of 2 KV heads" },
        .{ "\"heads\":1,\"which\":\"key\"", "\"heads\":4294967295,\"which\":\"key\"", error.Damaged, "rules for" },
        .{ "\"heads\":1,\"which\":\"key\"", "\"heads\":0,\"which\":\"key\"", error.Damaged, "found another" },
        .{ "\"layers\":1,\"heads\":2", "\"layers\":1,\"heads\":3", error.Damaged, "found another" },
        .{ "\"format\":\"f32\"}", "\"format\":\"q9_9\"}", error.UnsupportedVersion, "found q9_9" },
        .{ "\"precision\":\"int8\"", "\"precision\":\"float\"", error.Foreign, "precision int8, as the model is loaded, found float" },
        .{ "\"identity\":\"", "\"identity\":\"0", error.Foreign, "this model (llama" },
        .{ "\"logits\":80", "\"logits\":81", error.Damaged, "found another" },
    };
    for (lies) |lie| {
        const from, const to, const expected, const reason = lie;
        const at = std.mem.find(u8, header, from) orelse {
            std.debug.print("{s} is not in {s}\n", .{ from, header });
            return error.TestUnexpectedResult;
        };
        const changed = try std.mem.concat(gpa, u8, &.{ header[0..at], to, header[at + from.len ..] });
        defer gpa.free(changed);
        try case.withHeader(changed);
        try case.expectRefused(expected, reason);
    }
}

test "snapshot: another model, and tokens that it doesn't have" {
    var case: Case = undefined;
    try case.init();
    defer case.deinit();
    var other = try Fixture.init(.{ .layers = 1, .seed = 2 }, .{ .threads = 1 });
    defer other.deinit();
    var progress: Progress = .{};
    try std.testing.expectError(error.Foreign, restore_module.restore(other.model, case.path, .{}, &progress, &case.diag));
    var job: Save = .init(other.model);
    defer job.deinit();
    try std.testing.expectError(error.Foreign, job.add(case.sessions[0], &case.diag));

    // The first section is the tokens of the first sequence, its checksum the first one.
    const start = case.start();
    std.mem.writeInt(u32, case.bytes[start..][0..4], 80, .little);
    const end = std.mem.alignForward(usize, start + 71 * 4, snapshot.alignment);
    const header = try gpa.dupe(u8, std.mem.trimEnd(u8, case.bytes[@sizeOf(snapshot.Preamble)..start], " "));
    defer gpa.free(header);
    const checksum = std.mem.find(u8, header, "\"checksum\":\"").? + 12;
    _ = try std.fmt.bufPrint(header[checksum..][0..8], "{x:0>8}", .{std.hash.XxHash32.hash(0, case.bytes[start..end])});
    try case.withHeader(header);
    try case.expectRefused(error.Damaged, "tokens under 80, found 80 at 0");
}

test "snapshot: what is in the way of a file, and a save that is given up" {
    var case: Case = undefined;
    try case.init();
    defer case.deinit();
    const model = case.fixture.model;
    const folder = case.fixture.folder.dir;
    try case.save(model);
    try case.write("something that somebody needs");
    try std.testing.expectError(error.NotAFile, case.save(model));
    try std.testing.expect(std.mem.find(u8, case.diag.text(), "expected a saved session to replace") != null);
    const kept = try folder.readFileAlloc(io, "saved", gpa, .unlimited);
    defer gpa.free(kept);
    try std.testing.expectEqualStrings("something that somebody needs", kept);
    try folder.deleteFile(io, "saved");
    try folder.createDir(io, "saved", .default_dir);
    try std.testing.expectError(error.NotAFile, case.save(model));
    try case.expectRefused(error.NotAFile, "something that is no file");
    try folder.deleteDir(io, "saved");
    try case.expectRefused(error.FileNotFound, "found no file");

    // Somebody else is writing it.
    {
        const taken = try folder.createFile(io, "saved.vitrine-partial", .{ .lock = .exclusive });
        defer taken.close(io);
        try std.testing.expectError(error.WriteFailed, case.save(model));
        try std.testing.expect(std.mem.find(u8, case.diag.text(), "another one who is writing it") != null);
    }
    // What one left that has died is written over.
    try case.save(model);

    var job: Save = .init(model);
    defer job.deinit();
    try job.add(case.sessions[0], &case.diag);
    var progress: Progress = .{};
    progress.cancel.store(true, .monotonic);
    try std.testing.expectError(error.Cancelled, job.write(case.path, &progress, &case.diag));
    try std.testing.expectError(error.FileNotFound, folder.statFile(io, "saved.vitrine-partial", .{}));
    try std.testing.expectError(error.Cancelled, restore_module.restore(model, case.path, .{}, &progress, &case.diag));
    // The file that was there before is there still.
    try case.restore();
}

test "snapshot: memory that runs out leaves nothing behind" {
    const Attempt = struct {
        fn save(allocator: std.mem.Allocator, case: *Case) !void {
            const model = case.fixture.model;
            const pool = case.sessions[0].sequence.pool;
            const before = model.gpa;
            // Sequences free with what they were made with.
            model.gpa = allocator;
            pool.gpa = allocator;
            defer model.gpa = before;
            defer pool.gpa = before;
            case.diag.len = 0;
            errdefer std.debug.assert(case.diag.text().len != 0);
            try case.save(model);
        }

        fn restore(allocator: std.mem.Allocator, case: *Case) !void {
            const model = case.fixture.model;
            const before = model.gpa;
            model.gpa = allocator;
            defer model.gpa = before;
            errdefer std.debug.assert(case.diag.text().len != 0);
            try case.restore();
        }
    };
    var case: Case = undefined;
    try case.init();
    defer case.deinit();
    // Room for pages is made once and stays with the pool.
    try case.save(case.fixture.model);
    try std.testing.checkAllAllocationFailures(gpa, Attempt.save, .{&case});
    try std.testing.checkAllAllocationFailures(gpa, Attempt.restore, .{&case});
    try std.testing.expectEqual(2, case.fixture.model.sessions.load(.acquire));
    try case.restore();
}
