//! What the rules look at: the repository's text files with their paths, and the report that they
//! write to. The files are those that git tracks; without git, those of a walk that leaves out
//! the folders which `.gitignore` names.

const std = @import("std");

pub const File = struct {
    /// From the repository's root, with `/`.
    path: []const u8,
    text: [:0]const u8,

    pub fn is(file: File, comptime extension: []const u8) bool {
        return std.mem.endsWith(u8, file.path, "." ++ extension);
    }

    pub fn in(file: File, folder: []const u8) bool {
        return std.mem.startsWith(u8, file.path, folder);
    }

    /// Written by people in a language with comments; not data and not prose.
    pub fn isSource(file: File) bool {
        if (file.is("zig") or file.is("ts") or file.is("py")) return true;
        if (file.is("sh") or file.is("c") or file.is("h")) return true;
        return std.mem.startsWith(u8, file.text, "#!");
    }

    /// Made by a program, which says so in the first lines.
    pub fn isGenerated(file: File) bool {
        if (std.mem.find(u8, file.path, ".gen.") != null) return true;
        var lines = std.mem.splitScalar(u8, file.text, '\n');
        for (0..3) |_| {
            const line = lines.next() orelse return false;
            if (std.mem.find(u8, line, "enerated by") != null) return true;
        }
        return false;
    }

    /// The text of a line's comment when the line is nothing else: `// text`, `# text`. Doc
    /// comments are not meant; they may show code.
    pub fn plainComment(file: File, line: []const u8) ?[]const u8 {
        const trimmed = std.mem.trim(u8, line, " ");
        if (file.is("py") or file.is("sh") or std.mem.startsWith(u8, file.text, "#!")) {
            if (std.mem.startsWith(u8, trimmed, "#") and !std.mem.startsWith(u8, trimmed, "#!")) {
                return std.mem.trim(u8, trimmed[1..], " ");
            }
        }
        if (!std.mem.startsWith(u8, trimmed, "//")) return null;
        const rest = trimmed[2..];
        if (std.mem.startsWith(u8, rest, "!")) return null;
        if (std.mem.startsWith(u8, rest, "/") and !std.mem.startsWith(u8, rest, "//")) return null;
        return std.mem.trim(u8, rest, " ");
    }

    pub fn lineAt(file: File, offset: usize) usize {
        return 1 + std.mem.countScalar(u8, file.text[0..offset], '\n');
    }
};

pub const Tree = struct {
    files: []const File,

    pub fn find(tree: Tree, path: []const u8) ?File {
        for (tree.files) |file| if (std.mem.eql(u8, file.path, path)) return file;
        return null;
    }
};

pub const Report = struct {
    arena: std.mem.Allocator,
    findings: std.ArrayList([]const u8) = .empty,

    /// `line` is 0 when the whole file is meant.
    pub fn add(
        report: *Report,
        file: File,
        line: usize,
        comptime format: []const u8,
        args: anytype,
    ) !void {
        const what = try std.fmt.allocPrint(report.arena, format, args);
        const text = if (line == 0)
            try std.fmt.allocPrint(report.arena, "{s}: {s}", .{ file.path, what })
        else
            try std.fmt.allocPrint(report.arena, "{s}:{d}: {s}", .{ file.path, line, what });
        try report.findings.append(report.arena, text);
    }
};

/// Every text file below the current folder. A file with a zero byte or invalid UTF-8 is data.
pub fn load(arena: std.mem.Allocator, io: std.Io) !Tree {
    const paths = try listTracked(arena, io) orelse try listAll(arena, io);
    var files: std.ArrayList(File) = .empty;
    for (paths) |path| {
        const text = std.Io.Dir.cwd().readFileAllocOptions(
            io,
            path,
            arena,
            .limited(16 << 20),
            .of(u8),
            0,
        ) catch |err| switch (err) {
            // Tracked and just removed, or a link to nothing.
            error.FileNotFound => continue,
            // No text that people write is as long as that.
            error.StreamTooLong => continue,
            else => return err,
        };
        if (std.mem.findScalar(u8, text, 0) != null) continue;
        if (!std.unicode.utf8ValidateSlice(text)) continue;
        try files.append(arena, .{ .path = path, .text = text });
    }
    return .{ .files = files.items };
}

/// Null when there is no git or this is no checkout.
pub fn listTracked(arena: std.mem.Allocator, io: std.Io) !?[]const []const u8 {
    const result = std.process.run(arena, io, .{
        .argv = &.{ "git", "ls-files", "-z" },
        .stdout_limit = .limited(16 << 20),
    }) catch |err| switch (err) {
        error.FileNotFound => return null,
        else => return err,
    };
    if (!result.term.success()) return null;
    var paths: std.ArrayList([]const u8) = .empty;
    var each = std.mem.tokenizeScalar(u8, result.stdout, 0);
    while (each.next()) |path| try paths.append(arena, path);
    return paths.items;
}

const ignored_folders = [_][]const u8{
    ".git", ".venv", "node_modules", ".zig-cache", "zig-out", "zig-pkg",
};

pub fn listAll(arena: std.mem.Allocator, io: std.Io) ![]const []const u8 {
    var dir = try std.Io.Dir.cwd().openDir(io, ".", .{ .iterate = true });
    defer dir.close(io);
    var walker = try dir.walkSelectively(arena);
    defer walker.deinit();
    var paths: std.ArrayList([]const u8) = .empty;
    while (try walker.next(io)) |entry| switch (entry.kind) {
        .directory => {
            const ignored = for (ignored_folders) |folder| {
                if (std.mem.eql(u8, entry.basename, folder)) break true;
            } else false;
            if (!ignored) try walker.enter(io, entry);
        },
        .file => {
            const path = try arena.dupe(u8, entry.path);
            std.mem.replaceScalar(u8, path, '\\', '/');
            try paths.append(arena, path);
        },
        else => {},
    };
    return paths.items;
}
