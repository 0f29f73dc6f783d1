//! Compares every family of pre-tokenizers with what another engine makes of the published
//! patterns: golden/pretokenizer.txt, written by tools/golden_pretokenizer.py, which describes
//! the format.

const std = @import("std");
const testing = std.testing;
const pre = @import("pre.zig");

const golden = @embedFile("golden/pretokenizer.txt");

test "families split as the published patterns do" {
    const gpa = testing.allocator;
    var text: std.ArrayList(u8) = .empty;
    defer text.deinit(gpa);
    var words: std.ArrayList([]const u8) = .empty;
    defer words.deinit(gpa);
    var spelled: std.ArrayList(u8) = .empty;
    defer spelled.deinit(gpa);
    var seen: std.EnumSet(pre.Family) = .empty;
    var wrong: usize = 0;
    var lines = std.mem.tokenizeScalar(u8, golden, '\n');
    while (lines.next()) |line| {
        const gap = std.mem.indexOfScalar(u8, line, ' ') orelse line.len;
        if (std.mem.eql(u8, line[0..gap], "text")) {
            const parsed = try std.json.parseFromSlice([]const u8, gpa, line[gap + 1 ..], .{});
            defer parsed.deinit();
            text.clearRetainingCapacity();
            try text.appendSlice(gpa, parsed.value);
            continue;
        }
        const family = std.meta.stringToEnum(pre.Family, line[0..gap]) orelse return error.UnknownFamily;
        seen.insert(family);
        words.clearRetainingCapacity();
        try pre.split(gpa, family, text.items, &words);
        spelled.clearRetainingCapacity();
        for (words.items) |word| {
            if (word.len < 36) {
                try spelled.append(gpa, "0123456789abcdefghijklmnopqrstuvwxyz"[word.len]);
            } else try spelled.print(gpa, "({d})", .{word.len});
        }
        const expected = if (gap < line.len) line[gap + 1 ..] else "";
        if (std.mem.eql(u8, expected, spelled.items)) continue;
        wrong += 1;
        if (wrong < 40) std.debug.print("{s}: \"{f}\": expected {s}, found {s}\n", .{
            @tagName(family), std.zig.fmtString(text.items), expected, spelled.items,
        });
    }
    try testing.expectEqual(0, wrong);
    // A family without golden splits would go unchecked.
    try testing.expectEqual(pre.families.len, seen.count());
}
