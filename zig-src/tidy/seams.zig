//! What may know of what. The lower parts of the house stand alone, so that each can be read,
//! tested and compiled by itself; and one folder alone knows on which runtime it runs.

const std = @import("std");
const tree_file = @import("core/tree.zig");
const zig_text = @import("core/zig_text.zig");
const File = tree_file.File;

pub const why = "lower parts know nothing of higher ones, only src/ffi knows its runtime";

/// What each part must not import, with all that is in its folder.
const above = [_]struct { part: []const u8, parts: []const []const u8 }{
    .{ .part = "grammar", .parts = &.{ "engine", "capi", "arch", "backend", "cache", "kernel", "gguf", "tokenizer", "sampler" } },
    .{ .part = "sampler", .parts = &.{ "engine", "capi", "arch", "backend", "cache", "kernel", "gguf", "tokenizer" } },
    .{ .part = "quant", .parts = &.{ "engine", "capi", "arch", "backend", "cache", "kernel", "gguf" } },
    .{ .part = "gguf", .parts = &.{ "engine", "capi", "arch", "backend", "cache", "kernel", "tokenizer" } },
    .{ .part = "tokenizer", .parts = &.{ "engine", "capi", "arch", "backend", "cache", "kernel" } },
    .{ .part = "op", .parts = &.{ "engine", "capi", "arch", "backend", "gguf" } },
    .{ .part = "kernel", .parts = &.{ "engine", "capi", "arch", "gguf", "tokenizer" } },
    .{ .part = "engine", .parts = &.{"capi"} },
};

pub const bad = [_][]const File{
    &.{.{ .path = "zig-src/sampler/a.zig", .text = "const e = @import(\"../engine.zig\");\n" }},
    &.{.{ .path = "zig-src/quant.zig", .text = "const e = @import(\"capi/session.zig\");\n" }},
    &.{.{ .path = "src/a.ts", .text = "const text = Deno.readTextFileSync(path);\n" }},
    &.{.{ .path = "mod.ts", .text = "import { dlopen } from \"bun:ffi\";\n" }},
};

pub const good = [_][]const File{
    &.{.{ .path = "zig-src/engine/a.zig", .text = "const e = @import(\"../sampler.zig\");\n" }},
    &.{.{ .path = "zig-src/quantity.zig", .text = "const e = @import(\"engine.zig\");\n" }},
    &.{.{ .path = "src/a.ts", .text = "// Works under Bun and under Deno. Both\nlet a = 1;\n" }},
    &.{.{ .path = "src/ffi/deno.ts", .text = "const a = Deno.dlopen(path, symbols);\n" }},
};

pub fn check(tree: tree_file.Tree, report: *tree_file.Report) !void {
    for (tree.files) |file| {
        if (file.is("zig")) try checkImports(file, report);
        const is_portable = file.is("ts") and (file.in("src/") or file.in("mod.ts"));
        if (is_portable and !file.in("src/ffi/")) try checkRuntime(file, report);
    }
}

fn checkImports(file: File, report: *tree_file.Report) !void {
    for (above) |rule| {
        if (!isOf(rule.part, file.path)) continue;
        for (try zig_text.imports(report.arena, file)) |import| {
            for (rule.parts) |part| {
                if (!isOf(part, import.path)) continue;
                const line = file.lineAt(import.offset);
                try report.add(file, line, "expected {s} to know nothing of {s}", .{ rule.part, part });
            }
        }
    }
}

/// The umbrella of a part, or a file of its folder.
fn isOf(part: []const u8, path: []const u8) bool {
    const root = "zig-src/";
    if (!std.mem.startsWith(u8, path, root)) return false;
    const rest = path[root.len..];
    if (!std.mem.startsWith(u8, rest, part)) return false;
    const after = rest[part.len..];
    return std.mem.eql(u8, after, ".zig") or std.mem.startsWith(u8, after, "/");
}

fn checkRuntime(file: File, report: *tree_file.Report) !void {
    for ([_][]const u8{ "Deno.", "Bun.", "bun:" }) |name| {
        var from: usize = 0;
        while (std.mem.findPos(u8, file.text, from, name)) |at| {
            from = at + name.len;
            // A full stop after the name in a sentence is followed by a space or a line's end.
            const next = if (from < file.text.len) file.text[from] else ' ';
            if (!std.ascii.isAlphabetic(next)) continue;
            try report.add(file, file.lineAt(at), "expected no runtime outside of src/ffi, found {s}{c}…", .{ name, next });
        }
    }
}
