//! The tokens of a vocabulary by what they stand for: a tree of bytes in which every token has its
//! place, laid out in the order of a walk, so that going down is the next node and leaving a branch out
//! is one jump. Made once for a model, and read by any number of threads.

const std = @import("std");
const chars = @import("chars.zig");
const Partial = chars.Partial;

/// Tokens that stand for more bytes are never allowed by a grammar.
pub const bytes_max = 1024;

pub const Node = struct {
    /// Groups of the bytes of the node and all below it.
    groups: u64,
    /// The node behind the branch.
    end: u32,
    /// The first token of the branch, in `ids`; those that end at this node come first.
    first: u32,
    /// Bytes of the longest token of the branch from this node on, its own one included.
    depth: u16,
    byte: u8,
};

pub const Vocabulary = struct {
    arena: std.heap.ArenaAllocator,
    count: u32,
    /// A walk: node 0 has no byte; the last one is behind all branches.
    nodes: []const Node,
    /// Tokens in the order of their bytes.
    ids: []const u32,
    /// Bits of those tokens.
    all: []const u64,
    /// Tokens that end the text.
    ends: []const u32,
    text: []const u8,
    offsets: []const u32, // [count + 1]

    /// `source` has `count`, `bytesOf(id)` and `isEnd(id)`; it is read during the call only.
    pub fn init(gpa: std.mem.Allocator, source: anytype) error{OutOfMemory}!Vocabulary {
        var arena: std.heap.ArenaAllocator = .init(gpa);
        errdefer arena.deinit();
        const keep = arena.allocator();
        const count: u32 = source.count;
        var ids: std.ArrayList(u32) = .empty;
        var ends: std.ArrayList(u32) = .empty;
        var total: usize = 0;
        for (0..count) |id| total += usable(source.bytesOf(@intCast(id))).len;
        const text = try keep.alloc(u8, total);
        const offsets = try keep.alloc(u32, @as(usize, count) + 1);
        const all = try keep.alloc(u64, wordsOf(count));
        @memset(all, 0);
        offsets[0] = 0;
        for (0..count) |number| {
            const id: u32 = @intCast(number);
            const is_end = source.isEnd(id);
            const bytes = if (is_end) "" else usable(source.bytesOf(id));
            @memcpy(text[offsets[id]..][0..bytes.len], bytes);
            offsets[id + 1] = offsets[id] + @as(u32, @intCast(bytes.len));
            if (is_end) try ends.append(keep, id);
            if (bytes.len == 0) continue;
            try ids.append(keep, id);
            all[id / 64] |= @as(u64, 1) << @intCast(id % 64);
        }
        var vocabulary: Vocabulary = .{
            .arena = undefined,
            .count = count,
            .nodes = &.{},
            .ids = ids.items,
            .all = all,
            .ends = ends.items,
            .text = text,
            .offsets = offsets,
        };
        try sort(gpa, &vocabulary, ids.items);
        vocabulary.nodes = try Builder.run(gpa, keep, &vocabulary);
        vocabulary.arena = arena;
        return vocabulary;
    }

    pub fn deinit(vocabulary: *Vocabulary) void {
        vocabulary.arena.deinit();
        vocabulary.* = undefined;
    }

    /// Nothing for a token that no grammar allows by its bytes.
    pub fn bytesOf(vocabulary: *const Vocabulary, id: u32) []const u8 {
        return vocabulary.text[vocabulary.offsets[id]..vocabulary.offsets[id + 1]];
    }

    pub fn isEnd(vocabulary: *const Vocabulary, id: u32) bool {
        return std.mem.findScalar(u32, vocabulary.ends, id) != null;
    }

    /// Words of a set of tokens.
    pub fn words(vocabulary: *const Vocabulary) usize {
        return wordsOf(vocabulary.count);
    }

    fn wordsOf(count: u32) usize {
        return (@as(usize, count) + 63) / 64;
    }

    fn usable(bytes: []const u8) []const u8 {
        return if (bytes.len <= bytes_max) bytes else "";
    }
};

const Key = struct { prefix: u64, id: u32 };

/// By bytes, of equal ones by id. The first eight bytes decide most comparisons.
fn sort(gpa: std.mem.Allocator, vocabulary: *const Vocabulary, ids: []u32) error{OutOfMemory}!void {
    const keys = try gpa.alloc(Key, ids.len);
    defer gpa.free(keys);
    for (ids, keys) |id, *key| {
        var prefix: [8]u8 = @splat(0);
        const bytes = vocabulary.bytesOf(id);
        const len = @min(bytes.len, prefix.len);
        @memcpy(prefix[0..len], bytes[0..len]);
        key.* = .{ .prefix = std.mem.readInt(u64, &prefix, .big), .id = id };
    }
    std.mem.sortUnstable(Key, keys, vocabulary, struct {
        fn lessThan(of: *const Vocabulary, a: Key, b: Key) bool {
            if (a.prefix != b.prefix) return a.prefix < b.prefix;
            return switch (std.mem.order(u8, of.bytesOf(a.id), of.bytesOf(b.id))) {
                .lt => true,
                .gt => false,
                .eq => a.id < b.id,
            };
        }
    }.lessThan);
    for (keys, ids) |key, *id| id.* = key.id;
}

const Builder = struct {
    nodes: std.ArrayList(Node) = .empty,
    parents: std.ArrayList(u32) = .empty,
    /// The nodes that are open, by depth, and the character that is begun there.
    path: [bytes_max + 1]u32 = undefined,
    partials: [bytes_max + 1]Partial = undefined,
    depth: usize = 0,

    fn run(gpa: std.mem.Allocator, keep: std.mem.Allocator, vocabulary: *const Vocabulary) error{OutOfMemory}![]const Node {
        const builder = try gpa.create(Builder);
        defer gpa.destroy(builder);
        builder.* = .{};
        defer builder.parents.deinit(gpa);
        defer builder.nodes.deinit(gpa);
        try builder.nodes.ensureTotalCapacity(gpa, 4 * vocabulary.ids.len + 2);
        try builder.parents.ensureTotalCapacity(gpa, 4 * vocabulary.ids.len + 2);
        builder.path[0] = 0;
        builder.partials[0] = .{};
        try builder.add(gpa, 0, 0, 0, 0);
        var before: []const u8 = "";
        for (vocabulary.ids, 0..) |id, rank| {
            const bytes = vocabulary.bytesOf(id);
            builder.close(std.mem.findDiff(u8, before, bytes) orelse bytes.len);
            for (bytes[builder.depth..]) |byte| try builder.open(gpa, byte, @intCast(rank));
            before = bytes;
        }
        builder.close(0);
        const last: u32 = @intCast(builder.nodes.items.len);
        builder.nodes.items[0].end = last;
        try builder.add(gpa, 0, @intCast(vocabulary.ids.len), 0, 0);
        builder.sum();
        return keep.dupe(Node, builder.nodes.items);
    }

    fn add(builder: *Builder, gpa: std.mem.Allocator, byte: u8, rank: u32, groups: u64, parent: u32) error{OutOfMemory}!void {
        try builder.nodes.append(gpa, .{ .groups = groups, .end = 0, .first = rank, .depth = 0, .byte = byte });
        try builder.parents.append(gpa, parent);
    }

    fn open(builder: *Builder, gpa: std.mem.Allocator, byte: u8, rank: u32) error{OutOfMemory}!void {
        const group = chars.group;
        const before = builder.partials[builder.depth];
        var partial: Partial = .{};
        var number: u6 = group.broken;
        if (before.len != 0) {
            if (before.next(byte)) |next| {
                const span = next.span();
                const is_surrogate = span.first >= 0xD800 and span.last <= 0xDFFF;
                if (span.first <= span.last and span.first <= chars.code_max and !is_surrogate) {
                    number = group.wide;
                    if (next.left > 0) partial = next;
                }
            }
        } else if (byte < 0x80) {
            number = group.of(@intCast(byte));
        } else if (Partial.begin(byte)) |begun| {
            number = group.wide;
            partial = begun;
        }
        const parent = builder.path[builder.depth];
        builder.depth += 1;
        builder.path[builder.depth] = @intCast(builder.nodes.items.len);
        builder.partials[builder.depth] = partial;
        try builder.add(gpa, byte, rank, @as(u64, 1) << number, parent);
    }

    fn close(builder: *Builder, depth: usize) void {
        while (builder.depth > depth) : (builder.depth -= 1) {
            builder.nodes.items[builder.path[builder.depth]].end = @intCast(builder.nodes.items.len);
        }
    }

    /// What branches have, from their ends on.
    fn sum(builder: *Builder) void {
        const nodes = builder.nodes.items;
        var at = nodes.len - 1;
        while (at > 1) {
            at -= 1;
            nodes[at].depth += 1;
            const parent = &nodes[builder.parents.items[at]];
            parent.groups |= nodes[at].groups;
            parent.depth = @max(parent.depth, nodes[at].depth);
        }
    }
};

/// A vocabulary of given texts, for tests.
pub const Texts = struct {
    texts: []const []const u8,
    count: u32,
    end: ?u32 = null,

    pub fn of(texts: []const []const u8, end: ?u32) Texts {
        return .{ .texts = texts, .count = @intCast(texts.len), .end = end };
    }

    pub fn bytesOf(source: Texts, id: u32) []const u8 {
        return source.texts[id];
    }

    pub fn isEnd(source: Texts, id: u32) bool {
        return source.end == id;
    }
};

test "every token is found on its way, and branches know their bytes" {
    const texts = [_][]const u8{ "ab", "a", "", "b\xC3\xA9", "abc", "</s>", "ab", "\x80", "b\xC3\xC3", "b\xC3" };
    var vocabulary: Vocabulary = try .init(std.testing.allocator, Texts.of(&texts, 5));
    defer vocabulary.deinit();
    try std.testing.expectEqualSlices(u32, &.{ 1, 0, 6, 4, 9, 3, 8, 7 }, vocabulary.ids);
    try std.testing.expectEqualSlices(u32, &.{5}, vocabulary.ends);
    try std.testing.expectEqual(0b1111011011, vocabulary.all[0]);
    const nodes = vocabulary.nodes;
    try std.testing.expectEqual(9, nodes.len - 1);
    try std.testing.expectEqual(9, nodes[0].end);
    var bytes: [9]u8 = undefined;
    for (nodes[1..9], bytes[1..]) |node, *byte| byte.* = node.byte;
    try std.testing.expectEqualStrings("abcb\xC3\xA9\xC3\x80", bytes[1..]);
    try std.testing.expectEqual(4, nodes[1].end);
    try std.testing.expectEqual(3, nodes[1].depth);
    try std.testing.expectEqual(3, nodes[0].depth);
    // "ab" twice, then "abc".
    try std.testing.expectEqual(1, nodes[2].first);
    try std.testing.expectEqual(3, nodes[3].first);
    const group = chars.group;
    const wide = @as(u64, 1) << group.wide;
    const broken = @as(u64, 1) << group.broken;
    try std.testing.expectEqual(@as(u64, 1) << group.of('a') | @as(u64, 1) << group.of('b'), nodes[1].groups);
    try std.testing.expectEqual(@as(u64, 1) << group.of('b') | wide | broken, nodes[4].groups);
    try std.testing.expectEqual(wide, nodes[6].groups);
    try std.testing.expectEqual(broken, nodes[8].groups);
}
