//! The vectors that the models' authors and converters publish: a vocabulary `NAME.gguf`, texts
//! `NAME.gguf.inp` and the tokens expected of them `NAME.gguf.out`. The directory comes from
//! VITRINE_DATA (default `../shared/data`, seen from the root of the repository); without it the
//! test says so and is skipped.

const std = @import("std");
const testing = std.testing;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const gguf = @import("../gguf.zig");
const Tokenizer = @import("../tokenizer.zig").Tokenizer;

const separator = "\n__ggml_vocab_test__\n";

fn dataPath(gpa: std.mem.Allocator) ![]u8 {
    const root = if (std.c.getenv("VITRINE_DATA")) |value| std.mem.span(value) else "../shared/data";
    return std.fs.path.join(gpa, &.{ root, "vocab" });
}

test "published vectors" {
    const gpa = testing.allocator;
    const io = testing.io;
    const path = try dataPath(gpa);
    defer gpa.free(path);
    var dir = std.Io.Dir.cwd().openDir(io, path, .{ .iterate = true }) catch {
        std.debug.print("skipped: no vectors in {s}\n", .{path});
        return error.SkipZigTest;
    };
    defer dir.close(io);
    var vocabularies: usize = 0;
    var entries = dir.iterate();
    while (try entries.next(io)) |entry| {
        if (!std.mem.endsWith(u8, entry.name, ".gguf.out")) continue;
        const name = try std.fs.path.join(gpa, &.{ path, entry.name[0 .. entry.name.len - ".out".len] });
        defer gpa.free(name);
        try expectVectors(gpa, io, name);
        vocabularies += 1;
    }
    try testing.expect(vocabularies > 0);
}

fn expectVectors(gpa: std.mem.Allocator, io: std.Io, name: []const u8) !void {
    const input = try readBeside(gpa, io, name, ".inp");
    defer gpa.free(input);
    const output = try readBeside(gpa, io, name, ".out");
    defer gpa.free(output);
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}: {s}\n", .{ name, diag.text() });
    const file = try gguf.File.open(gpa, name, &diag);
    defer file.close();
    const tokenizer = try Tokenizer.init(gpa, file, &diag);
    defer tokenizer.deinit();

    var ids: std.ArrayList(u32) = .empty;
    defer ids.deinit(gpa);
    var line: std.ArrayList(u8) = .empty;
    defer line.deinit(gpa);
    var texts = std.mem.splitSequence(u8, input, separator);
    var lines = std.mem.splitScalar(u8, output, '\n');
    var wrong: usize = 0;
    while (texts.next()) |text| {
        const expected = lines.next() orelse return error.MissingLine;
        ids.clearRetainingCapacity();
        line.clearRetainingCapacity();
        try tokenizer.encode(gpa, text, .{ .add_special = false, .parse_special = false }, &ids);
        for (ids.items) |id| try line.print(gpa, " {d}", .{id});
        if (std.mem.eql(u8, line.items, expected)) continue;
        wrong += 1;
        std.debug.print("{s}: \"{f}\"\n  expected{s}\n  found   {s}\n", .{ name, std.zig.fmtString(text), expected, line.items });
    }
    try testing.expectEqual(0, wrong);
}

fn readBeside(gpa: std.mem.Allocator, io: std.Io, name: []const u8, suffix: []const u8) ![]u8 {
    const path = try std.mem.concat(gpa, u8, &.{ name, suffix });
    defer gpa.free(path);
    return std.Io.Dir.cwd().readFileAlloc(io, path, gpa, .limited(1 << 24));
}
