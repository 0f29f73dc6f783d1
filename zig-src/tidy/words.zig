//! Nothing is left for later in a comment, and nothing that was tried stays as a comment.

const std = @import("std");
const tree_file = @import("core/tree.zig");
const File = tree_file.File;

pub const why = "no unfinished business, no code in comments, no banners";

/// Put together, so that this file is not found by its own rule.
const unfinished = [_][]const u8{ "TO" ++ "DO", "FIX" ++ "ME", "XX" ++ "X", "HA" ++ "CK" };

pub const bad = [_][]const File{
    &.{.{ .path = "zig-src/a.zig", .text = "// " ++ unfinished[0] ++ ": later\n" }},
    &.{.{ .path = "docs/a.md", .text = "It works. (" ++ unfinished[1] ++ ")\n" }},
    &.{.{ .path = "zig-src/a.zig", .text = "    // const a = b;\n" }},
    &.{.{ .path = "src/a.ts", .text = "  // if (a) {\n" }},
    &.{.{ .path = "src/a.ts", .text = "// foo.bar(1, 2);\n" }},
    &.{.{ .path = "src/a.ts", .text = "// a.b = c;\n" }},
    &.{.{ .path = "tools/a.py", .text = "# import numpy\n" }},
    &.{.{ .path = "zig-src/a.zig", .text = "// --" ++ "---- helpers\n" }},
    &.{.{ .path = "src/a.ts", .text = "// ==" ++ "== helpers ====\n" }},
};

pub const good = [_][]const File{
    &.{.{ .path = "zig-src/a.zig", .text = "// If the value is small, it is returned (see f);\n// else not.\n" }},
    &.{.{ .path = "zig-src/a.zig", .text = "/// pub const a = 1;\nconst todo_list = 1;\n" }},
    &.{.{ .path = "zig-src/a.zig", .text = "// for this reason the table is short\n" }},
    &.{.{ .path = "docs/a.md", .text = "| a |\n|---" ++ "---|\n" }},
    &.{.{ .path = "tools/a.py", .text = "# import what the test needs, nothing else\n" }},
};

pub fn check(tree: tree_file.Tree, report: *tree_file.Report) !void {
    for (tree.files) |file| {
        if (!file.isSource() and !file.is("md")) continue;
        var lines = std.mem.splitScalar(u8, file.text, '\n');
        var number: usize = 0;
        while (lines.next()) |line| {
            number += 1;
            for (unfinished) |word| {
                if (!containsWord(line, word)) continue;
                try report.add(file, number, "expected finished work, found {s}", .{word});
            }
            if (file.isGenerated()) continue;
            const comment = file.plainComment(line) orelse continue;
            if (file.is("md")) continue;
            if (isCode(file, comment)) try report.add(file, number, "expected prose, found code in a comment", .{});
            if (isBanner(comment)) try report.add(file, number, "expected prose, found a banner", .{});
        }
    }
}

fn containsWord(line: []const u8, word: []const u8) bool {
    var from: usize = 0;
    while (std.mem.findPos(u8, line, from, word)) |at| {
        from = at + word.len;
        const before = at == 0 or !isNameByte(line[at - 1]);
        const after = from == line.len or !isNameByte(line[from]);
        if (before and after) return true;
    }
    return false;
}

fn isNameByte(c: u8) bool {
    return std.ascii.isAlphanumeric(c) or c == '_';
}

fn isCode(file: File, comment: []const u8) bool {
    if (comment.len == 0) return false;
    if (file.is("py")) return isPythonCode(comment);
    const last = comment[comment.len - 1];
    if (std.mem.eql(u8, comment, "}") or std.mem.eql(u8, comment, "});")) return true;
    const openings = [_][]const u8{
        "const ",  "var ",     "let ",   "pub ",   "fn ",     "return ", "if (",
        "while (", "for (",    "try ",   "defer ", "import ", "export ", "function ",
        "} else",  "switch (", "await ",
    };
    for (openings) |opening| {
        if (std.mem.startsWith(u8, comment, opening)) return last == ';' or last == '{';
    }
    if (last != ';') return false;
    // A call or an assignment: a dotted name, then `(` or ` = ` and its like.
    const end = for (comment, 0..) |c, index| {
        if (!isNameByte(c) and c != '.') break index;
    } else return false;
    if (end == 0) return false;
    const rest = comment[end..];
    if (rest[0] == '(') return std.mem.endsWith(u8, rest, ");");
    return std.mem.startsWith(u8, rest, " = ") or std.mem.startsWith(u8, rest, " += ");
}

fn isPythonCode(comment: []const u8) bool {
    for ([_][]const u8{ "import ", "from " }) |opening| {
        if (!std.mem.startsWith(u8, comment, opening)) continue;
        // `import numpy` or `from a import b`, not a sentence.
        return std.mem.countScalar(u8, comment, ' ') == 1 or std.mem.find(u8, comment, " import ") != null;
    }
    for ([_][]const u8{ "def ", "if ", "for ", "while ", "with ", "return " }) |opening| {
        if (!std.mem.startsWith(u8, comment, opening)) continue;
        return std.mem.endsWith(u8, comment, ":") and std.mem.findScalar(u8, comment, '(') != null;
    }
    return false;
}

fn isBanner(comment: []const u8) bool {
    if (comment.len == 0) return false;
    var run: usize = 1;
    for (1..comment.len) |index| {
        run = if (comment[index] == comment[index - 1]) run + 1 else 1;
        if (run >= 4 and std.mem.findScalar(u8, "-=*#~_/+", comment[index]) != null) return true;
    }
    return std.mem.find(u8, comment, "──") != null;
}
