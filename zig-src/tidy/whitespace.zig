//! No tab, no space at the end of a line, no carriage return, one line feed at the end.

const std = @import("std");
const tree_file = @import("core/tree.zig");
const File = tree_file.File;

pub const why = "whitespace that nobody sees";

pub const bad = [_][]const File{
    &.{.{ .path = "zig-src/a.zig", .text = "const a = 1; \n" }},
    &.{.{ .path = "src/a.ts", .text = "\tlet a = 1;\n" }},
    &.{.{ .path = "docs/a.md", .text = "a\r\n" }},
    &.{.{ .path = "zig-src/a.zig", .text = "const a = 1;" }},
    &.{.{ .path = "zig-src/a.zig", .text = "const a = 1;\n\n" }},
};

pub const good = [_][]const File{
    &.{.{ .path = "zig-src/a.zig", .text = "const a = 1;\n" }},
    &.{.{ .path = "docs/a.md", .text = "" }},
    &.{.{ .path = "tests/golden/a.txt", .text = "a \n" }},
};

pub fn check(tree: tree_file.Tree, report: *tree_file.Report) !void {
    for (tree.files) |file| {
        if (!file.isSource() and !file.is("md")) continue;
        var lines = std.mem.splitScalar(u8, file.text, '\n');
        var number: usize = 0;
        while (lines.next()) |line| {
            number += 1;
            if (std.mem.findScalar(u8, line, '\t') != null) {
                try report.add(file, number, "expected spaces, found a tab", .{});
            }
            if (std.mem.endsWith(u8, line, "\r")) {
                try report.add(file, number, "expected a line feed alone, found a carriage return", .{});
            } else if (std.mem.endsWith(u8, line, " ")) {
                try report.add(file, number, "expected no space at the end of the line", .{});
            }
        }
        if (file.text.len == 0) continue;
        if (!std.mem.endsWith(u8, file.text, "\n")) {
            try report.add(file, number, "expected a line feed at the end of the file", .{});
        } else if (std.mem.endsWith(u8, file.text, "\n\n")) {
            try report.add(file, number - 1, "expected no empty line at the end of the file", .{});
        }
    }
}
