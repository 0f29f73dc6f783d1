//! A file says at its beginning what it is.

const std = @import("std");
const tree_file = @import("core/tree.zig");
const File = tree_file.File;

pub const why = "a file opens with what it is and promises";

pub const bad = [_][]const File{
    &.{.{ .path = "zig-src/a.zig", .text = "const std = @import(\"std\");\n" }},
    &.{.{ .path = "zig-src/a.zig", .text = "//! \n\nconst a = 1;\n" }},
    &.{.{ .path = "src/a.ts", .text = "export const a = 1;\n/** Too late. */\n" }},
    &.{.{ .path = "tools/a.py", .text = "#!/usr/bin/env python3\nimport os\n" }},
};

pub const good = [_][]const File{
    &.{.{ .path = "zig-src/a.zig", .text = "//! What it is.\n\nconst a = 1;\n" }},
    &.{.{ .path = "src/a.ts", .text = "import { b } from \"./b.ts\";\n\n/** What it is. */\nexport const a = b;\n" }},
    &.{.{ .path = "src/a.ts", .text = "#!/usr/bin/env -S deno run\n// What it is.\nlet a = 1;\n" }},
    &.{.{ .path = "src/a.ts", .text = "import type {\n  B,\n} from \"./b.ts\";\n/** It. */\nlet a = 1;\n" }},
    &.{.{ .path = "tools/a.py", .text = "#!/usr/bin/env python3\n\"\"\"What it is.\"\"\"\n" }},
};

pub fn check(tree: tree_file.Tree, report: *tree_file.Report) !void {
    for (tree.files) |file| {
        if (file.is("zig") and !opensWithDoc(file.text)) {
            try report.add(file, 1, "expected `//!` and what the file is", .{});
        }
        if (file.is("ts") and !hasCommentBeforeCode(file.text)) {
            try report.add(file, 1, "expected a comment that says what the file is before its code", .{});
        }
        if (file.is("py") and !opensWithDocstring(file.text)) {
            try report.add(file, 1, "expected a docstring that says what the file is", .{});
        }
    }
}

fn opensWithDoc(text: []const u8) bool {
    if (!std.mem.startsWith(u8, text, "//! ")) return false;
    const end = std.mem.findScalar(u8, text, '\n') orelse text.len;
    return std.mem.trim(u8, text[4..end], " ").len > 0;
}

/// Imports may stand before it: a file of one symbol is documented by the symbol.
fn hasCommentBeforeCode(text: []const u8) bool {
    var lines = std.mem.splitScalar(u8, text, '\n');
    var in_import = false;
    while (lines.next()) |line| {
        if (in_import) {
            in_import = !std.mem.endsWith(u8, line, ";");
            continue;
        }
        if (line.len == 0 or std.mem.startsWith(u8, line, "#!")) continue;
        if (std.mem.startsWith(u8, line, "import ")) {
            in_import = !std.mem.endsWith(u8, line, ";");
            continue;
        }
        return std.mem.startsWith(u8, line, "/*") or std.mem.startsWith(u8, line, "// ");
    }
    return false;
}

fn opensWithDocstring(text: []const u8) bool {
    var lines = std.mem.splitScalar(u8, text, '\n');
    while (lines.next()) |line| {
        if (line.len == 0 or line[0] == '#') continue;
        return std.mem.startsWith(u8, line, "\"\"\"") or std.mem.startsWith(u8, line, "r\"\"\"");
    }
    return true;
}
