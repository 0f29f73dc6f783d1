//! A registry is an umbrella file with a list of imports from the folder of its name. Every file
//! of the folder is a member, and the folder has a page that says how to add one.

const std = @import("std");
const tree_file = @import("core/tree.zig");
const zig_text = @import("core/zig_text.zig");
const File = tree_file.File;

pub const why = "a registry lists its whole folder, and the folder says how to add a member";

const umbrella: File = .{
    .path = "zig-src/a.zig",
    .text = "pub const all = .{ @import(\"a/b.zig\") };\ntest { _ = @import(\"a/c.zig\"); }\n",
};
const member: File = .{ .path = "zig-src/a/b.zig", .text = "" };
const page: File = .{ .path = "zig-src/a/README.md", .text = "To add a member…\n" };

pub const bad = [_][]const File{
    &.{ umbrella, member },
    &.{ umbrella, member, page, .{ .path = "zig-src/a/c.zig", .text = "" } },
};

pub const good = [_][]const File{
    &.{ umbrella, member, page, .{ .path = "zig-src/a/core/c.zig", .text = "" } },
    &.{.{ .path = "zig-src/a.zig", .text = "const b = @import(\"a/b.zig\");\n" }},
};

pub fn check(tree: tree_file.Tree, report: *tree_file.Report) !void {
    for (try zig_text.registries(report.arena, tree)) |registry| {
        const readme = try std.fmt.allocPrint(report.arena, "{s}/README.md", .{registry.folder});
        if (tree.find(readme) == null) {
            try report.add(registry.umbrella, 0, "expected a page {s} on how to add a member", .{readme});
        }
        for (tree.files) |file| {
            if (!file.is("zig")) continue;
            const folder = std.fs.path.dirnamePosix(file.path) orelse continue;
            if (!std.mem.eql(u8, folder, registry.folder)) continue;
            const listed = for (registry.members) |import| {
                if (std.mem.eql(u8, import.path, file.path)) break true;
            } else false;
            if (listed) continue;
            try report.add(file, 0, "expected to be in the registry of {s}", .{registry.umbrella.path});
        }
    }
}
