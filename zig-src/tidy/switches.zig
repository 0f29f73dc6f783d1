//! What differs between members of a registry is said in the members. A `switch` that names them
//! elsewhere is a place that the next member must be added to, and will be forgotten.

const std = @import("std");
const tree_file = @import("core/tree.zig");
const zig_text = @import("core/zig_text.zig");
const File = tree_file.File;

pub const why = "no switch over the tags of a registry outside of its umbrella and folder";

/// The registries whose tags are held together by this rule, by umbrella.
const guarded = [_][]const u8{ "zig-src/quant", "zig-src/arch", "zig-src/sampler" };

/// Member names that are ordinary words of other enums too (number types, cache formats).
const ordinary = [_][]const u8{ "f16", "f32", "f64", "bf16", "i8", "i16", "i32", "i64" };

const umbrella: File = .{
    .path = "zig-src/quant.zig",
    .text = "pub const all = .{ @import(\"quant/q4_0.zig\"), @import(\"quant/f32.zig\") };\n" ++
        "fn f(x: F) u8 {\n    return switch (x) { .q4_0 => 1, .f32 => 2 };\n}\n",
};

pub const bad = [_][]const File{
    &.{ umbrella, .{ .path = "zig-src/a.zig", .text = "fn f(x: F) u8 {\n    return switch (x) { .q4_0 => 1, else => 2 };\n}\n" } },
    &.{ umbrella, .{ .path = "zig-src/a.zig", .text = "fn f(x: F) u8 {\n    return switch (x) { .q4_0, .f32 => 1 };\n}\n" } },
};

pub const good = [_][]const File{
    &.{ umbrella, .{ .path = "zig-src/a.zig", .text = "const a: [2]F = .{ .q4_0, .f32 };\n" } },
    &.{ umbrella, .{ .path = "zig-src/a.zig", .text = "fn f(x: F) u8 {\n    return switch (x) { .f32 => 1, inline else => |y| g(y) };\n}\n" } },
    &.{ umbrella, .{ .path = "zig-src/quant/q4_0.zig", .text = "fn f(x: F) u8 {\n    return switch (x) { .q4_0 => 1, else => 2 };\n}\n" } },
};

pub fn check(tree: tree_file.Tree, report: *tree_file.Report) !void {
    for (try zig_text.registries(report.arena, tree)) |registry| {
        const stem = registry.umbrella.path[0 .. registry.umbrella.path.len - ".zig".len];
        const is_guarded = for (guarded) |path| {
            if (std.mem.eql(u8, path, stem)) break true;
        } else false;
        if (!is_guarded) continue;
        for (tree.files) |file| {
            if (!file.is("zig") or !file.in("zig-src/")) continue;
            if (std.mem.eql(u8, file.path, registry.umbrella.path)) continue;
            if (file.in(stem) and file.path[stem.len] == '/') continue;
            try checkFile(file, registry, report);
        }
    }
}

/// A prong that names a member: `.name`, perhaps with others after a comma, then `=>`.
fn checkFile(file: File, registry: zig_text.Registry, report: *tree_file.Report) !void {
    var tokens: std.zig.Tokenizer = .init(file.text);
    var after_period = false;
    var named: ?struct { text: []const u8, offset: usize } = null;
    while (true) {
        const token = tokens.next();
        const text = file.text[token.loc.start..token.loc.end];
        switch (token.tag) {
            .eof => return,
            .identifier => {
                if (!after_period) {
                    named = null;
                } else if (isMember(registry, text)) {
                    named = .{ .text = text, .offset = token.loc.start };
                }
            },
            .comma, .period => {},
            .equal_angle_bracket_right => {
                if (named) |member| {
                    const line = file.lineAt(member.offset);
                    try report.add(file, line, "expected no switch over members of {s}, found .{s}", .{
                        registry.umbrella.path, member.text,
                    });
                }
                named = null;
            },
            else => named = null,
        }
        after_period = token.tag == .period;
    }
}

fn isMember(registry: zig_text.Registry, name: []const u8) bool {
    for (ordinary) |word| if (std.mem.eql(u8, word, name)) return false;
    for (registry.members) |import| {
        const file_name = std.fs.path.basenamePosix(import.path);
        if (std.mem.eql(u8, file_name[0 .. file_name.len - ".zig".len], name)) return true;
    }
    return false;
}
