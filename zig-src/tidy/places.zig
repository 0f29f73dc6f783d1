//! The repository names no place of the machine it was written on and no package registry: both
//! differ for the reader, whose package manager knows its own.

const std = @import("std");
const tree_file = @import("core/tree.zig");
const File = tree_file.File;

pub const why = "no paths of one machine, no hosts of package registries";

/// Put together, so that this file is not found by its own rule.
const places = [_][]const u8{
    "/wo" ++ "rk/",
    "/ro" ++ "ot/",
    "/ho" ++ "me/",
    "pypi" ++ ".org",
    "pythonhosted" ++ ".org",
    "registry." ++ "npmjs",
    "registry." ++ "yarnpkg",
    "npm" ++ ".jsr.io",
    "crates" ++ ".io",
    "proxy." ++ "golang.org",
};

pub const bad = [_][]const File{
    &.{.{ .path = "tools/a.py", .text = "open('" ++ places[0] ++ "data')\n" }},
    &.{.{ .path = "zig-src/a.zig", .text = "const a = \"" ++ places[1] ++ "x\";\n" }},
    &.{.{ .path = "docs/a.md", .text = "Look into `" ++ places[2] ++ "me/models`.\n" }},
    &.{.{ .path = "setup", .text = "pip install -i https://" ++ places[3] ++ "/simple x\n" }},
    &.{.{ .path = "package-lock.json", .text = "\"resolved\": \"https://" ++ places[5] ++ ".org/x\"\n" }},
};

pub const good = [_][]const File{
    &.{.{ .path = "docs/a.md", .text = "Its network/ro folder; homework/ is elsewhere: ~/.cache/vitrine.\n" }},
    &.{.{ .path = "setup", .text = "pip install ziglang==0.17.1\n" }},
};

pub fn check(tree: tree_file.Tree, report: *tree_file.Report) !void {
    for (tree.files) |file| {
        for (places) |place| {
            var from: usize = 0;
            while (std.mem.findPos(u8, file.text, from, place)) |at| {
                from = at + place.len;
                // `frame` + a place that begins with `/` is a relative path, and harmless.
                if (place[0] == '/' and at > 0 and isPathByte(file.text[at - 1])) continue;
                try report.add(file, file.lineAt(at), "expected nothing of one machine or registry, found {s}", .{place});
            }
        }
    }
}

fn isPathByte(c: u8) bool {
    return std.ascii.isAlphanumeric(c) or c == '_' or c == '.' or c == '-' or c == '}' or c == '~';
}
