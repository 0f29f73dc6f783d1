//! Zig files are called in snake_case, whatever they hold.

const tree_file = @import("core/tree.zig");
const File = tree_file.File;

pub const why = "file names are snake_case";

pub const bad = [_][]const File{
    &.{.{ .path = "zig-src/TopK.zig", .text = "" }},
    &.{.{ .path = "zig-src/a/top-k.zig", .text = "" }},
    &.{.{ .path = "zig-src/Quant/q4_0.zig", .text = "" }},
};

pub const good = [_][]const File{
    &.{.{ .path = "zig-src/quant/q4_0.zig", .text = "" }},
    &.{.{ .path = "zig-src/quant/README.md", .text = "" }},
    &.{.{ .path = "LICENSE", .text = "" }},
};

pub fn check(tree: tree_file.Tree, report: *tree_file.Report) !void {
    for (tree.files) |file| {
        if (!file.is("zig") or !file.in("zig-src/")) continue;
        for (file.path["zig-src/".len..]) |c| switch (c) {
            'a'...'z', '0'...'9', '_', '/', '.' => {},
            else => {
                try report.add(file, 0, "expected a name in snake_case, found '{c}'", .{c});
                break;
            },
        };
    }
}
