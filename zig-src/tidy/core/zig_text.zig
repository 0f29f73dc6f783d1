//! What several rules read out of a Zig file by its tokens: imports, and lists of imports.

const std = @import("std");
const tree_file = @import("tree.zig");
const File = tree_file.File;

pub const Import = struct {
    /// Of the file imported, from the repository's root.
    path: []const u8,
    offset: usize,
    /// It stands in a list `= .{ … }`, as the members of a registry do.
    in_list: bool,
};

/// All imports of files, not of modules.
pub fn imports(arena: std.mem.Allocator, file: File) ![]const Import {
    var found: std.ArrayList(Import) = .empty;
    var tokens: std.zig.Tokenizer = .init(file.text);
    var previous: std.zig.Token.Tag = .invalid;
    var before_previous: std.zig.Token.Tag = .invalid;
    var depth: usize = 0;
    var list_depth: usize = 0;
    var after_import: usize = 0;
    while (true) {
        const token = tokens.next();
        const text = file.text[token.loc.start..token.loc.end];
        switch (token.tag) {
            .eof => return found.items,
            .l_brace => {
                depth += 1;
                const opens_list = previous == .period and before_previous == .equal;
                if (opens_list and list_depth == 0) list_depth = depth;
            },
            .r_brace => {
                if (depth == list_depth) list_depth = 0;
                depth -|= 1;
            },
            .builtin => after_import = if (std.mem.eql(u8, text, "@import")) 2 else 0,
            .string_literal => if (after_import == 1 and std.mem.endsWith(u8, text, ".zig\"")) {
                try found.append(arena, .{
                    .path = try resolve(arena, file.path, text[1 .. text.len - 1]),
                    .offset = token.loc.start,
                    .in_list = list_depth != 0,
                });
            },
            else => {},
        }
        if (token.tag != .builtin) after_import -|= 1;
        before_previous = previous;
        previous = token.tag;
    }
}

/// `path` as seen from the folder of `importer`.
fn resolve(arena: std.mem.Allocator, importer: []const u8, path: []const u8) ![]const u8 {
    const folder = std.fs.path.dirnamePosix(importer) orelse "";
    var parts: std.ArrayList([]const u8) = .empty;
    for ([_][]const u8{ folder, path }) |whole| {
        var each = std.mem.tokenizeScalar(u8, whole, '/');
        while (each.next()) |part| {
            if (std.mem.eql(u8, part, ".")) continue;
            if (std.mem.eql(u8, part, "..") and parts.items.len > 0) {
                _ = parts.pop();
            } else try parts.append(arena, part);
        }
    }
    return std.mem.join(arena, "/", parts.items);
}

/// A folder of members beside the umbrella that lists them.
pub const Registry = struct {
    umbrella: File,
    /// Without a slash at its end.
    folder: []const u8,
    members: []const Import,
};

/// Every `x.zig` that has a list of imports from the folder `x` beside it.
pub fn registries(arena: std.mem.Allocator, tree: tree_file.Tree) ![]const Registry {
    var found: std.ArrayList(Registry) = .empty;
    for (tree.files) |file| {
        if (!file.is("zig") or !file.in("zig-src/")) continue;
        const all = try imports(arena, file);
        var folder: ?[]const u8 = null;
        var members: std.ArrayList(Import) = .empty;
        for (all) |import| {
            if (!import.in_list) continue;
            const parent = std.fs.path.dirnamePosix(import.path) orelse continue;
            const beside = file.path[0 .. file.path.len - ".zig".len];
            if (!std.mem.startsWith(u8, parent, beside)) continue;
            if (parent.len > beside.len and parent[beside.len] != '/') continue;
            if (folder == null) folder = parent;
            if (std.mem.eql(u8, folder.?, parent)) try members.append(arena, import);
        }
        if (folder) |path| try found.append(arena, .{
            .umbrella = file,
            .folder = path,
            .members = members.items,
        });
    }
    return found.items;
}

test "imports are resolved, and lists recognised" {
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const found = try imports(arena_state.allocator(), .{
        .path = "zig-src/a/b.zig",
        .text =
        \\const std = @import("std");
        \\const c = @import("../c.zig").C;
        \\pub const all = .{
        \\    @import("b/d.zig"),
        \\    .{ 1, @import("b/e.zig") },
        \\};
        \\test { _ = @import("./f.zig"); }
        ,
    });
    const expected = [_]struct { []const u8, bool }{
        .{ "zig-src/c.zig", false },
        .{ "zig-src/a/b/d.zig", true },
        .{ "zig-src/a/b/e.zig", true },
        .{ "zig-src/a/f.zig", false },
    };
    try std.testing.expectEqual(expected.len, found.len);
    for (expected, found) |pair, import| {
        try std.testing.expectEqualStrings(pair[0], import.path);
        try std.testing.expectEqual(pair[1], import.in_list);
    }
}
