//! Sets of characters, and characters that are only begun: a token may end in the middle of one. A
//! byte that begins or continues a character is taken if some member of the set has it there, so that
//! overlong forms, surrogates and what is above U+10FFFF are never begun (Unicode, table 3-7).

const std = @import("std");

/// First and last character, both included.
pub const Range = struct { first: u21, last: u21 };

pub const code_max = 0x10FFFF;

/// Bytes, one bit each.
pub const Bytes = [4]u64;

pub fn hasByte(set: *const Bytes, byte: u8) bool {
    return set[byte >> 6] >> @intCast(byte & 63) & 1 != 0;
}

pub fn addByte(set: *Bytes, byte: u8) void {
    set[byte >> 6] |= @as(u64, 1) << @intCast(byte & 63);
}

/// Groups of bytes that a node of the vocabulary has bits for. Two bytes are of one group when grammars
/// seldom tell them apart.
pub const group = struct {
    pub const wide = 62; // a byte of a whole or begun character above U+007F
    pub const broken = 63; // a byte of no character
    pub const count_ascii = ascii_count;

    pub fn of(byte: u7) u6 {
        return ascii[byte];
    }

    const ascii_count = blk: {
        var most: u6 = 0;
        for (ascii) |number| most = @max(most, number);
        break :blk most + 1;
    };

    const ascii: [128]u6 = blk: {
        var table: [128]u6 = undefined;
        var next: u6 = 9;
        for (&table, 0..) |*number, byte| number.* = switch (byte) {
            '\t' => 1,
            '\n' => 2,
            '\r' => 3,
            0x00...0x08, 0x0B, 0x0C, 0x0E...0x1F => 0,
            'a'...'f' => 4,
            'g'...'z' => 5,
            'A'...'F' => 6,
            'G'...'Z' => 7,
            '1'...'9' => 8,
            else => single: {
                defer next += 1;
                break :single next;
            },
        };
        break :blk table;
    };
};

pub const Class = struct {
    /// Ascending, with gaps between them, without surrogates, at least one.
    ranges: []const Range,
    /// What the UTF-8 of a member may begin with.
    first: Bytes,
    /// The groups of bytes of which every character is a member.
    groups: u64,

    pub fn has(class: *const Class, code: u21) bool {
        return class.meets(.{ .first = code, .last = code });
    }

    /// Whether some member is in `span`.
    pub fn meets(class: *const Class, span: Range) bool {
        // An overlong form can become no character.
        if (span.first > span.last) return false;
        var low: usize = 0;
        var high = class.ranges.len;
        while (low < high) {
            const middle = low + (high - low) / 2;
            if (class.ranges[middle].last < span.first) low = middle + 1 else high = middle;
        }
        return low < class.ranges.len and class.ranges[low].first <= span.last;
    }

    fn covers(class: *const Class, span: Range) bool {
        for (class.ranges) |range| if (range.first <= span.first and range.last >= span.last) return true;
        return false;
    }

    /// The members of `given`, or all other characters; null when there are none. Sorts `given`.
    pub fn init(arena: std.mem.Allocator, given: []Range, negated: bool) error{OutOfMemory}!?Class {
        std.mem.sort(Range, given, {}, lessThan);
        var list: std.ArrayList(Range) = .empty;
        if (negated) {
            var next: u32 = 0;
            for (given) |range| {
                if (range.first > next) try addWithoutSurrogates(arena, &list, next, range.first - 1);
                next = @max(next, @as(u32, range.last) + 1);
            }
            if (next <= code_max) try addWithoutSurrogates(arena, &list, next, code_max);
        } else for (given) |range| try addWithoutSurrogates(arena, &list, range.first, range.last);
        if (list.items.len == 0) return null;
        var class: Class = .{ .ranges = list.items, .first = @splat(0), .groups = 0 };
        class.describe();
        return class;
    }

    fn lessThan(_: void, a: Range, b: Range) bool {
        return a.first < b.first;
    }

    fn addWithoutSurrogates(arena: std.mem.Allocator, list: *std.ArrayList(Range), first: u32, last: u32) error{OutOfMemory}!void {
        if (first < 0xD800) try addRange(arena, list, first, @min(last, 0xD7FF));
        if (last > 0xDFFF) try addRange(arena, list, @max(first, 0xE000), last);
    }

    fn addRange(arena: std.mem.Allocator, list: *std.ArrayList(Range), first: u32, last: u32) error{OutOfMemory}!void {
        if (list.items.len > 0) {
            const before = &list.items[list.items.len - 1];
            if (first <= @as(u32, before.last) + 1) {
                before.last = @max(before.last, @as(u21, @intCast(last)));
                return;
            }
        }
        try list.append(arena, .{ .first = @intCast(first), .last = @intCast(last) });
    }

    fn describe(class: *Class) void {
        var missing: u64 = 0;
        for (0..128) |byte| {
            if (class.has(@intCast(byte))) {
                addByte(&class.first, @intCast(byte));
            } else missing |= @as(u64, 1) << group.of(@intCast(byte));
        }
        for (0xC2..0xF5) |byte| {
            if (class.meets(Partial.begin(@intCast(byte)).?.span())) addByte(&class.first, @intCast(byte));
        }
        class.groups = ((@as(u64, 1) << group.count_ascii) - 1) & ~missing;
        // Surrogates lie in the gap.
        const all_wide = class.covers(.{ .first = 0x80, .last = 0xD7FF }) and class.covers(.{ .first = 0xE000, .last = code_max });
        if (all_wide) class.groups |= @as(u64, 1) << group.wide;
    }
};

/// The beginning of a character; 0 as a number when none is begun.
pub const Partial = packed struct(u32) {
    value: u21 = 0,
    /// Bytes that are still to come.
    left: u2 = 0,
    /// Bytes of the whole character.
    len: u3 = 0,
    unused: u6 = 0,

    pub fn begin(byte: u8) ?Partial {
        return switch (byte) {
            0xC2...0xDF => .{ .value = byte & 0x1F, .left = 1, .len = 2 },
            0xE0...0xEF => .{ .value = byte & 0x0F, .left = 2, .len = 3 },
            0xF0...0xF4 => .{ .value = byte & 0x07, .left = 3, .len = 4 },
            else => null,
        };
    }

    /// With one more byte.
    pub fn next(partial: Partial, byte: u8) ?Partial {
        if (byte & 0xC0 != 0x80) return null;
        return .{
            .value = (partial.value << 6) | (byte & 0x3F),
            .left = partial.left - 1,
            .len = partial.len,
        };
    }

    /// The characters that it may become.
    pub fn span(partial: Partial) Range {
        const shift: u5 = @as(u5, 6) * partial.left;
        const low = partial.value << shift;
        const least = ([_]u21{ 0, 0, 0x80, 0x800, 0x10000 })[partial.len];
        return .{ .first = @max(low, least), .last = low | ((@as(u21, 1) << shift) - 1) };
    }
};

fn expectClass(given: []const Range, negated: bool, expected: []const Range) !Class {
    var buffer: [8]Range = undefined;
    @memcpy(buffer[0..given.len], given);
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    var class = (try Class.init(arena.allocator(), buffer[0..given.len], negated)).?;
    try std.testing.expectEqualSlices(Range, expected, class.ranges);
    class.ranges = &.{};
    return class;
}

test "ranges are joined, turned round, and have no surrogates" {
    _ = try expectClass(&.{ .{ .first = 'c', .last = 'f' }, .{ .first = 'a', .last = 'b' }, .{ .first = 'd', .last = 'z' } }, false, &.{
        .{ .first = 'a', .last = 'z' },
    });
    const most = try expectClass(&.{.{ .first = '"', .last = '"' }}, true, &.{
        .{ .first = 0, .last = '!' }, .{ .first = '#', .last = 0xD7FF }, .{ .first = 0xE000, .last = code_max },
    });
    try std.testing.expect(most.groups >> group.wide & 1 == 1 and most.groups >> group.of('"') & 1 == 0);
    try std.testing.expect(most.groups >> group.of('a') & 1 == 1 and most.groups >> group.broken & 1 == 0);
    try std.testing.expect(hasByte(&most.first, 0xF4) and !hasByte(&most.first, 0xF5) and !hasByte(&most.first, 0xC1));
    var all = [_]Range{.{ .first = 0, .last = code_max }};
    try std.testing.expectEqual(null, try Class.init(std.testing.failing_allocator, &all, true));
}

test "a byte is taken when some member of the set has it there" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    var given = [_]Range{ .{ .first = 0xE9, .last = 0xE9 }, .{ .first = 0x0800, .last = 0x0900 }, .{ .first = 0xE000, .last = 0xE000 } };
    const class = (try Class.init(arena.allocator(), &given, false)).?;
    var text: [4]u8 = undefined;
    for (0..code_max + 1) |number| {
        const code: u21 = @intCast(number);
        if (number % 97 != 0 and !class.has(code)) continue;
        const len = std.unicode.utf8Encode(code, &text) catch continue;
        if (len == 1) continue;
        var partial = Partial.begin(text[0]).?;
        var alive = class.meets(partial.span());
        for (text[1..len]) |byte| {
            partial = partial.next(byte).?;
            alive = alive and class.meets(partial.span());
        }
        try std.testing.expectEqual(class.has(code), alive);
        try std.testing.expectEqual(0, partial.left);
    }
    // Overlong forms, surrogates, and what is too high.
    var any = [_]Range{.{ .first = 0, .last = code_max }};
    const all = (try Class.init(arena.allocator(), &any, false)).?;
    try std.testing.expect(!all.meets(Partial.begin(0xE0).?.next(0x9F).?.span()));
    try std.testing.expect(!all.meets(Partial.begin(0xED).?.next(0xA0).?.span()));
    try std.testing.expect(!all.meets(Partial.begin(0xF4).?.next(0x90).?.span()));
    try std.testing.expect(all.meets(Partial.begin(0xF4).?.next(0x8F).?.span()));
}
