//! The merging that byte-level BPE and SentencePiece's BPE share: of all adjacent pairs that may
//! merge, the one with the lowest rank does, the leftmost of equals, until none is left. Short
//! words are merged in place by looking for the lowest rank each time, which needs no memory;
//! long ones with a heap, so that a word of a megabyte takes n log n steps.
//!
//! `Rules` has `pair(rules, word, left: Part, right: Part) ?Merge`.

const std = @import("std");
const Allocator = std.mem.Allocator;
const pieces = @import("pieces.zig");
const Merge = pieces.Merge;
const none = pieces.none;

/// A stretch of the word and the symbol it has become.
pub const Part = struct { start: u32, end: u32, symbol: u32 };

/// Up to this many parts the quadratic search is the faster one.
const short_max = 48;

const no_merge: Merge = .{ .rank = none, .product = none };

/// Merges what can be merged and returns the parts that are left, at the front of `parts`.
pub fn all(rules: anytype, heap: *Heap, gpa: Allocator, word: []const u8, parts: []Part) error{OutOfMemory}![]Part {
    if (parts.len < 2) return parts;
    if (parts.len <= short_max) return short(rules, word, parts);
    return long(rules, heap, gpa, word, parts);
}

fn short(rules: anytype, word: []const u8, parts: []Part) []Part {
    var merges: [short_max]Merge = undefined; // merges[i] is that of parts i and i + 1
    var len = parts.len;
    for (merges[0 .. len - 1], parts[0 .. len - 1], parts[1..len]) |*merge, left, right| {
        merge.* = rules.pair(word, left, right) orelse no_merge;
    }
    while (len > 1) {
        var best: usize = 0;
        for (merges[0 .. len - 1], 0..) |merge, i| {
            if (merge.rank < merges[best].rank) best = i;
        }
        if (merges[best].rank == none) break;
        parts[best] = .{ .start = parts[best].start, .end = parts[best + 1].end, .symbol = merges[best].product };
        len -= 1;
        // Close the gap. The merge with the next part is computed anew below.
        for (best + 1..len) |i| {
            parts[i] = parts[i + 1];
            merges[i - 1] = merges[i];
        }
        if (best + 1 < len) merges[best] = rules.pair(word, parts[best], parts[best + 1]) orelse no_merge;
        if (best > 0) merges[best - 1] = rules.pair(word, parts[best - 1], parts[best]) orelse no_merge;
    }
    return parts[0..len];
}

/// A pair that may merge. It is out of date when its left part has gone or the part after it
/// doesn't end where the pair did.
const Candidate = struct {
    rank: u32,
    left: u32,
    end: u32,
    product: u32,

    fn before(a: Candidate, b: Candidate) bool {
        return if (a.rank == b.rank) a.left < b.left else a.rank < b.rank;
    }
};

/// Memory for long words, kept between words.
pub const Heap = struct {
    candidates: std.ArrayList(Candidate) = .empty,
    links: std.ArrayList(Link) = .empty,

    const Link = struct { previous: u32, next: u32 };

    pub fn deinit(heap: *Heap, gpa: Allocator) void {
        heap.candidates.deinit(gpa);
        heap.links.deinit(gpa);
    }

    fn push(heap: *Heap, gpa: Allocator, candidate: Candidate) error{OutOfMemory}!void {
        try heap.candidates.append(gpa, candidate);
        const items = heap.candidates.items;
        var at = items.len - 1;
        while (at > 0) {
            const parent = (at - 1) / 2;
            if (!Candidate.before(candidate, items[parent])) break;
            items[at] = items[parent];
            at = parent;
        }
        items[at] = candidate;
    }

    fn pop(heap: *Heap) ?Candidate {
        const last = heap.candidates.pop() orelse return null;
        const items = heap.candidates.items;
        if (items.len == 0) return last;
        const top = items[0];
        var at: usize = 0;
        while (2 * at + 1 < items.len) {
            var child = 2 * at + 1;
            if (child + 1 < items.len and Candidate.before(items[child + 1], items[child])) child += 1;
            if (!Candidate.before(items[child], last)) break;
            items[at] = items[child];
            at = child;
        }
        items[at] = last;
        return top;
    }
};

fn long(rules: anytype, heap: *Heap, gpa: Allocator, word: []const u8, parts: []Part) error{OutOfMemory}![]Part {
    heap.candidates.clearRetainingCapacity();
    try heap.links.resize(gpa, parts.len);
    const links = heap.links.items;
    for (links, 0..) |*link, i| link.* = .{
        .previous = if (i == 0) none else @intCast(i - 1),
        .next = if (i + 1 == parts.len) none else @intCast(i + 1),
    };
    for (1..parts.len) |right| try propose(rules, heap, gpa, word, parts, @intCast(right - 1), @intCast(right));

    while (heap.pop()) |candidate| {
        const left = candidate.left;
        const right = links[left].next;
        // A part that was merged into the one before it has no length.
        if (parts[left].start == parts[left].end or right == none) continue;
        if (parts[right].end != candidate.end) continue;
        parts[left].end = parts[right].end;
        parts[left].symbol = candidate.product;
        parts[right].start = parts[right].end;
        const next = links[right].next;
        links[left].next = next;
        if (next != none) links[next].previous = left;
        const previous = links[left].previous;
        if (previous != none) try propose(rules, heap, gpa, word, parts, previous, left);
        if (next != none) try propose(rules, heap, gpa, word, parts, left, next);
    }
    var len: usize = 0;
    for (parts) |part| {
        if (part.start == part.end) continue;
        parts[len] = part;
        len += 1;
    }
    return parts[0..len];
}

fn propose(rules: anytype, heap: *Heap, gpa: Allocator, word: []const u8, parts: []const Part, left: u32, right: u32) error{OutOfMemory}!void {
    const merge = rules.pair(word, parts[left], parts[right]) orelse return;
    try heap.push(gpa, .{ .rank = merge.rank, .left = left, .end = parts[right].end, .product = merge.product });
}

const testing = std.testing;

/// Merges equal neighbours of up to eight letters: "aa" before "aaaa", and 'b's before 'a's.
const TestRules = struct {
    pub fn pair(_: *const TestRules, word: []const u8, left: Part, right: Part) ?Merge {
        const len = left.end - left.start;
        if (len != right.end - right.start or len > 4 or word[left.start] != word[right.start]) return null;
        return .{ .rank = len * 256 - word[left.start], .product = len };
    }
};

test "short and long words merge alike" {
    const gpa = testing.allocator;
    var heap: Heap = .{};
    defer heap.deinit(gpa);
    var random: std.Random.DefaultPrng = .init(1);
    for (0..200) |_| {
        var word: [short_max]u8 = undefined;
        const len = 2 + random.random().uintLessThan(usize, short_max - 1);
        var a: [short_max]Part = undefined;
        for (word[0..len], a[0..len], 0..) |*byte, *part, i| {
            byte.* = 'a' + random.random().uintLessThan(u8, 2);
            part.* = .{ .start = @intCast(i), .end = @intCast(i + 1), .symbol = 0 };
        }
        var b = a;
        const from_short = short(&TestRules{}, word[0..len], a[0..len]);
        const from_long = try long(&TestRules{}, &heap, gpa, word[0..len], b[0..len]);
        try testing.expectEqualSlices(Part, from_short, from_long);
        try testing.expect(from_short.len < len or len < 4);
    }
}

test "a long run merges in pairs from the left" {
    const gpa = testing.allocator;
    var heap: Heap = .{};
    defer heap.deinit(gpa);
    const word: [1001]u8 = @splat('a');
    var parts: [1001]Part = undefined;
    for (&parts, 0..) |*part, i| part.* = .{ .start = @intCast(i), .end = @intCast(i + 1), .symbol = 0 };
    const merged = try all(&TestRules{}, &heap, gpa, &word, &parts);
    try testing.expectEqual(126, merged.len);
    for (merged[0..125]) |part| try testing.expectEqual(8, part.end - part.start);
    try testing.expectEqual(1, merged[125].end - merged[125].start);
}
