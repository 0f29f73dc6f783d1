//! The library is loaded into other people's programs, whose standard error is not ours. Tests
//! print, and programs: files with a `main`. A file that only tests use says so by its name, or
//! takes `std.testing.failPrint`.

const std = @import("std");
const tree_file = @import("core/tree.zig");
const File = tree_file.File;

pub const why = "only tests and programs print";

const print = "std.debug." ++ "print";

pub const bad = [_][]const File{
    &.{.{ .path = "zig-src/a.zig", .text = "fn f() void {\n    " ++ print ++ "(\"x\", .{});\n}\ntest {}\n" }},
};

pub const good = [_][]const File{
    &.{.{ .path = "zig-src/a.zig", .text = "test \"a\" {\n    " ++ print ++ "(\"x\", .{});\n}\n" }},
    &.{.{ .path = "zig-src/a_test.zig", .text = "fn f() void {\n    " ++ print ++ "(\"x\", .{});\n}\n" }},
    &.{.{ .path = "zig-src/a/tests/b.zig", .text = "fn f() void {\n    " ++ print ++ "(\"x\", .{});\n}\n" }},
    &.{.{ .path = "zig-src/a.zig", .text = "pub fn main() void {\n    " ++ print ++ "(\"x\", .{});\n}\n" }},
    &.{.{ .path = "tools/a.zig", .text = "fn f() void {\n    " ++ print ++ "(\"x\", .{});\n}\n" }},
};

pub fn check(tree: tree_file.Tree, report: *tree_file.Report) !void {
    for (tree.files) |file| {
        if (!file.is("zig") or !file.in("zig-src/") or isTestFile(file.path)) continue;
        if (std.mem.find(u8, file.text, print) == null) continue;
        if (std.mem.find(u8, file.text, "\npub fn main(") != null) continue;
        if (std.mem.startsWith(u8, file.text, "pub fn main(")) continue;
        const ast: std.zig.Ast = try .parse(report.arena, file.text, .{ .mode = .zig });
        var from: usize = 0;
        while (std.mem.findPos(u8, file.text, from, print)) |at| {
            from = at + print.len;
            if (isInTest(&ast, at)) continue;
            try report.add(file, file.lineAt(at), "expected {s} in tests and programs only", .{print});
        }
    }
}

fn isTestFile(path: []const u8) bool {
    if (std.mem.endsWith(u8, path, "_test.zig")) return true;
    if (std.mem.endsWith(u8, path, "_tests.zig")) return true;
    return std.mem.find(u8, path, "/tests/") != null or std.mem.find(u8, path, "/test_") != null;
}

fn isInTest(ast: *const std.zig.Ast, offset: usize) bool {
    for (0..ast.nodes.len) |index| {
        const node: std.zig.Ast.Node.Index = @fromBackingInt(@intCast(index));
        if (ast.nodeTag(node) != .test_decl) continue;
        const start = ast.tokenStart(ast.firstToken(node));
        const end = ast.tokenStart(ast.lastToken(node));
        if (start <= offset and offset < end) return true;
    }
    return false;
}
