//! The rules of style that a machine can hold, as a test over every text file that git tracks.
//! Runs from the repository's root. Each rule proves first that it can fail: it carries samples
//! that it must find and samples that it must pass.

const std = @import("std");
const tree_file = @import("tidy/core/tree.zig");
const zig_text = @import("tidy/core/zig_text.zig");

/// The registry of rules.
pub const rules = .{
    @import("tidy/headers.zig"),
    @import("tidy/names.zig"),
    @import("tidy/sizes.zig"),
    @import("tidy/words.zig"),
    @import("tidy/whitespace.zig"),
    @import("tidy/places.zig"),
    @import("tidy/prints.zig"),
    @import("tidy/reachable.zig"),
    @import("tidy/registries.zig"),
    @import("tidy/switches.zig"),
    @import("tidy/seams.zig"),
};

comptime {
    for (rules) |rule| {
        if (rule.bad.len == 0) @compileError(@typeName(rule) ++ " has no sample that it catches");
        if (rule.good.len == 0) @compileError(@typeName(rule) ++ " has no sample that it passes");
    }
}

fn check(arena: std.mem.Allocator, comptime rule: type, tree: tree_file.Tree) ![]const []const u8 {
    var report: tree_file.Report = .{ .arena = arena };
    try rule.check(tree, &report);
    return report.findings.items;
}

test "every rule finds what is wrong and passes what is right" {
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    var failures: usize = 0;
    inline for (rules) |rule| {
        for (rule.bad, 0..) |files, index| {
            const findings = try check(arena, rule, .{ .files = files });
            if (findings.len > 0) continue;
            failures += 1;
            std.debug.print("{s}: expected a finding in bad[{d}], found none\n", .{ @typeName(rule), index });
        }
        for (rule.good, 0..) |files, index| {
            for (try check(arena, rule, .{ .files = files })) |finding| {
                failures += 1;
                std.debug.print("{s}: expected nothing in good[{d}], found {s}\n", .{ @typeName(rule), index, finding });
            }
        }
    }
    try std.testing.expectEqual(0, failures);
}

test "the repository keeps the rules" {
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const tree = try tree_file.load(arena, std.testing.io);
    // A tree that lacks this file was read from the wrong place, and would break no rule.
    try std.testing.expect(tree.find("zig-src/tidy.zig") != null);
    var failures: usize = 0;
    inline for (rules) |rule| {
        const findings = try check(arena, rule, tree);
        if (findings.len > 0) std.debug.print("{s}:\n", .{rule.why});
        for (findings) |finding| std.debug.print("  {s}\n", .{finding});
        failures += findings.len;
    }
    try std.testing.expectEqual(0, failures);
}

test "the registries of the house are seen as such" {
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const tree = try tree_file.load(arena, std.testing.io);
    const found = try zig_text.registries(arena, tree);
    const names = [_][]const u8{
        "quant", "arch", "op", "sampler", "backend", "cache", "capi", "tokenizer/pre", "tidy",
    };
    for (names) |name| {
        const folder = try std.fmt.allocPrint(arena, "zig-src/{s}", .{name});
        for (found) |registry| {
            if (std.mem.eql(u8, registry.folder, folder)) break;
        } else {
            std.debug.print("{s}: expected a registry, found no list of imports from it\n", .{folder});
            return error.TestRegistryMissed;
        }
    }
}

test "a walk finds what git tracks" {
    var arena_state: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    const tracked = try tree_file.listTracked(arena, std.testing.io) orelse {
        std.debug.print("skipped: no git here, so there is nothing to compare the walk with\n", .{});
        return error.SkipZigTest;
    };
    var walked: std.array_hash_map.String(void) = .empty;
    for (try tree_file.listAll(arena, std.testing.io)) |path| try walked.put(arena, path, {});
    for (tracked) |path| {
        std.Io.Dir.cwd().access(std.testing.io, path, .{}) catch continue;
        try std.testing.expect(walked.contains(path));
    }
}

test {
    _ = tree_file;
    _ = zig_text;
}
