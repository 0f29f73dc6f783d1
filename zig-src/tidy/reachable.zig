//! Zig compiles and tests only what is imported. A file that nobody imports is dead, and looks
//! alive; an import of a file that git doesn't track works only here.

const std = @import("std");
const tree_file = @import("core/tree.zig");
const zig_text = @import("core/zig_text.zig");
const File = tree_file.File;

pub const why = "every Zig file is reachable from what the build names, every import is tracked";

const build_root: File = .{ .path = "build.zig", .text = "const a = @import(\"build/a.zig\");\n" };
const build_part: File = .{ .path = "build/a.zig", .text = "const roots = .{\"root.zig\"};\n" };

pub const bad = [_][]const File{
    &.{ build_root, build_part, .{ .path = "zig-src/root.zig", .text = "" }, .{ .path = "zig-src/lost.zig", .text = "" } },
    &.{ build_root, build_part, .{ .path = "zig-src/root.zig", .text = "const a = @import(\"gone.zig\");" } },
};

pub const good = [_][]const File{
    &.{
        build_root,
        build_part,
        .{ .path = "zig-src/root.zig", .text = "const a = @import(\"x/b.zig\");" },
        .{ .path = "zig-src/x/b.zig", .text = "test { _ = @import(\"c.zig\"); }" },
        .{ .path = "zig-src/x/c.zig", .text = "" },
    },
};

pub fn check(tree: tree_file.Tree, report: *tree_file.Report) !void {
    var reached: std.array_hash_map.String(void) = .empty;
    try reached.put(report.arena, "build.zig", {});
    var index: usize = 0;
    while (index < reached.count()) : (index += 1) {
        const file = tree.find(reached.keys()[index]) orelse continue;
        for (try zig_text.imports(report.arena, file)) |import| {
            if (tree.find(import.path) == null) {
                const line = file.lineAt(import.offset);
                try report.add(file, line, "expected a tracked file, found import of {s}", .{import.path});
            }
            try reached.put(report.arena, import.path, {});
        }
        if (!file.in("build")) continue;
        try addNamed(tree, file, report.arena, &reached);
    }
    for (tree.files) |file| {
        if (!file.is("zig") or reached.contains(file.path)) continue;
        try report.add(file, 0, "expected to be imported by something that the build names", .{});
    }
}

/// The build names its roots in strings, from the repository's root or from `zig-src`.
fn addNamed(
    tree: tree_file.Tree,
    file: File,
    arena: std.mem.Allocator,
    reached: *std.array_hash_map.String(void),
) !void {
    var tokens: std.zig.Tokenizer = .init(file.text);
    while (true) {
        const token = tokens.next();
        if (token.tag == .eof) return;
        if (token.tag != .string_literal) continue;
        const text = file.text[token.loc.start + 1 .. token.loc.end - 1];
        if (!std.mem.endsWith(u8, text, ".zig")) continue;
        const below = try std.fmt.allocPrint(arena, "zig-src/{s}", .{text});
        for ([_][]const u8{ text, below }) |path| {
            if (tree.find(path)) |found| try reached.put(arena, found.path, {});
        }
    }
}
