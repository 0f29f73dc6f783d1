//! Guides a text token by token: which tokens of a vocabulary may come next, as bits, and where the
//! grammar stands behind the one that did. A token may come when the text with it is the beginning of
//! a text of the grammar; a token that ends the text may when the grammar can end.
//!
//! The tokens are not tried one by one: the machine walks down the tree of the vocabulary, leaves a
//! branch out when no path reads its byte, and takes it whole when a loop reads all that is in it.
//! Masks are kept by where the machine stands, so that one that comes again costs a comparison. All
//! memory is taken at the start.

const std = @import("std");
const chars = @import("chars.zig");
const machine_file = @import("machine.zig");
const program_file = @import("program.zig");
const vocabulary_file = @import("vocabulary.zig");
const Machine = machine_file.Machine;
const Partial = chars.Partial;
const Program = program_file.Program;
const Set = machine_file.Set;
const Stack = machine_file.Stack;
const Vocabulary = vocabulary_file.Vocabulary;
const assert = std.debug.assert;

pub const Error = machine_file.Error || error{TokenRefused};

/// Stacks of all levels of a walk.
const arena_max = 1 << 14;
/// Masks that are kept, and the most stacks where one of them is.
const kept_max = 32;
const kept_stacks_max = 32;
/// Ranges of accepted tokens that are put together before they become bits.
const ranges_max = 1 << 10;

/// What a walk knows at one depth.
const Level = struct {
    /// Its stacks, in the arena.
    from: u32,
    len: u32,
    /// The node behind its branch.
    until: u32,
    /// Bytes that some path may read.
    first: chars.Bytes,
    /// Groups of bytes that one path reads over and over, and how many of them at least.
    groups: u64,
    run: u32,
};

/// Tokens from `first` on, up to `end`, in the order of the vocabulary's bytes.
const Range = struct { first: u32, end: u32 };

const Kept = struct {
    stacks: [kept_stacks_max]Stack = undefined,
    len: u32 = 0,
    ends: bool = false,
    /// When it was last asked for; 0 when there is nothing.
    used: u64 = 0,
};

pub const Guide = struct {
    vocabulary: *const Vocabulary,
    machine: Machine,
    /// Where the text stands, and room for where it comes to.
    sets: [2]Set,
    now: u1 = 0,
    /// A token has ended the text.
    finished: bool = false,
    levels: []Level,
    arena: []Stack,
    ranges: []Range,
    ranges_len: usize = 0,
    /// Tokens of the ranges.
    accepted: u32 = 0,
    kept: []Kept,
    words: []u64, // [kept_max + 1][words of the vocabulary]
    clock: u64 = 0,
    /// Masks that were computed, and that were found.
    computed: u64 = 0,
    found: u64 = 0,

    pub fn init(gpa: std.mem.Allocator, program: *const Program, vocabulary: *const Vocabulary) error{OutOfMemory}!Guide {
        var machine: Machine = try .init(gpa, program);
        errdefer machine.deinit(gpa);
        const stacks = try gpa.alloc(Stack, 2 * machine_file.stacks_max);
        errdefer gpa.free(stacks);
        const levels = try gpa.alloc(Level, @as(usize, vocabulary.nodes[0].depth) + 1);
        errdefer gpa.free(levels);
        const arena = try gpa.alloc(Stack, arena_max);
        errdefer gpa.free(arena);
        const ranges = try gpa.alloc(Range, ranges_max);
        errdefer gpa.free(ranges);
        const kept = try gpa.alloc(Kept, kept_max);
        errdefer gpa.free(kept);
        return .{
            .vocabulary = vocabulary,
            .machine = machine,
            .sets = .{
                .{ .items = stacks[0..machine_file.stacks_max] },
                .{ .items = stacks[machine_file.stacks_max..] },
            },
            .levels = levels,
            .arena = arena,
            .ranges = ranges,
            .kept = kept,
            .words = try gpa.alloc(u64, (kept_max + 1) * vocabulary.words()),
        };
    }

    pub fn deinit(guide: *Guide, gpa: std.mem.Allocator) void {
        guide.machine.deinit(gpa);
        gpa.free(guide.sets[0].items.ptr[0 .. 2 * machine_file.stacks_max]);
        gpa.free(guide.levels);
        gpa.free(guide.arena);
        gpa.free(guide.ranges);
        gpa.free(guide.kept);
        gpa.free(guide.words);
        guide.* = undefined;
    }

    /// Goes to the beginning of a text. Must come first.
    pub fn reset(guide: *Guide) Error!void {
        guide.forget();
        guide.now = 0;
        guide.finished = false;
        try guide.machine.start(&guide.sets[0]);
    }

    /// Goes to where a guide of the same program and vocabulary stands.
    pub fn copy(guide: *Guide, from: *const Guide) void {
        guide.machine.copy(&from.machine);
        const set = &from.sets[from.now];
        @memcpy(guide.sets[0].items[0..set.len], set.stacks());
        guide.sets[0].len = set.len;
        guide.sets[0].ends = set.ends;
        guide.now = 0;
        guide.finished = from.finished;
        guide.forget();
    }

    /// The token is part of the text now. One that was not allowed leaves everything as it was.
    pub fn accept(guide: *Guide, token: u32) Error!void {
        const vocabulary = guide.vocabulary;
        if (token >= vocabulary.count) return error.TokenRefused;
        const from = &guide.sets[guide.now];
        const to = &guide.sets[~guide.now];
        const is_end = vocabulary.isEnd(token);
        to.len = 0;
        to.ends = false;
        if (!guide.finished) {
            try guide.read(vocabulary.bytesOf(token), from, to);
            if (guide.machine.program.tokens) try guide.machine.stepToken(from.stacks(), token, is_end, to);
        }
        if (!to.isEmpty()) {
            guide.now = ~guide.now;
            if (guide.machine.isCrowded()) guide.compact();
            return;
        }
        if (!is_end or !guide.canEnd()) return error.TokenRefused;
        guide.finished = true;
    }

    /// Goes on by bytes as far as the grammar allows, and says how many those are.
    pub fn acceptText(guide: *Guide, text: []const u8) Error!usize {
        for (text, 0..) |byte, at| {
            const to = &guide.sets[~guide.now];
            try guide.machine.step(guide.sets[guide.now].stacks(), byte, to);
            if (to.isEmpty()) return at;
            guide.now = ~guide.now;
            if (guide.machine.isCrowded()) guide.compact();
        }
        return text.len;
    }

    /// Whether the text may end here.
    pub fn canEnd(guide: *const Guide) bool {
        return guide.finished or guide.sets[guide.now].ends;
    }

    /// The bits of the tokens that may come next: [words of the vocabulary]. Valid until the next call.
    pub fn mask(guide: *Guide) Error![]const u64 {
        const set = &guide.sets[guide.now];
        guide.clock += 1;
        if (guide.finished or set.len > kept_stacks_max) return guide.compute(kept_max);
        sortStacks(set.items[0..set.len]);
        var oldest: usize = 0;
        for (guide.kept, 0..) |*kept, number| {
            if (kept.used < guide.kept[oldest].used) oldest = number;
            if (kept.used == 0 or kept.len != set.len or kept.ends != set.ends) continue;
            const same = for (kept.stacks[0..kept.len], set.stacks()) |a, b| {
                if (!std.meta.eql(a, b)) break false;
            } else true;
            if (!same) continue;
            kept.used = guide.clock;
            guide.found += 1;
            return guide.wordsOf(number);
        }
        const kept = &guide.kept[oldest];
        kept.used = 0;
        const words = try guide.compute(oldest);
        @memcpy(kept.stacks[0..set.len], set.stacks());
        kept.len = @intCast(set.len);
        kept.ends = set.ends;
        kept.used = guide.clock;
        return words;
    }

    fn wordsOf(guide: *const Guide, number: usize) []u64 {
        const count = guide.vocabulary.words();
        return guide.words[number * count ..][0..count];
    }

    fn forget(guide: *Guide) void {
        @memset(guide.kept, .{});
    }

    fn compact(guide: *Guide) void {
        guide.machine.compact(&guide.sets[guide.now]);
        guide.forget();
    }

    /// Through the bytes of one token; ends in `to`, by way of the arena.
    fn read(guide: *Guide, bytes: []const u8, from: *const Set, to: *Set) Error!void {
        if (bytes.len == 0) return;
        const half = arena_max / 2;
        var between: [2]Set = .{ .{ .items = guide.arena[0..half] }, .{ .items = guide.arena[half..] } };
        var stacks = from.stacks();
        for (bytes[0 .. bytes.len - 1], 0..) |byte, at| {
            const next = &between[at % 2];
            try guide.machine.step(stacks, byte, next);
            stacks = next.stacks();
        }
        try guide.machine.step(stacks, bytes[bytes.len - 1], to);
    }

    fn compute(guide: *Guide, number: usize) Error![]const u64 {
        const vocabulary = guide.vocabulary;
        const words = guide.wordsOf(number);
        const set = &guide.sets[guide.now];
        guide.computed += 1;
        @memset(words, 0);
        if (!guide.finished) {
            guide.ranges_len = 0;
            guide.accepted = 0;
            try guide.walk(set.stacks(), words);
            guide.flush(words, true);
            if (guide.machine.program.tokens) guide.addNamed(set.stacks(), words);
        }
        if (guide.canEnd()) for (vocabulary.ends) |id| setBit(words, id);
        return words;
    }

    /// Tokens that the grammar asks for as such.
    fn addNamed(guide: *const Guide, stacks: []const Stack, words: []u64) void {
        const vocabulary = guide.vocabulary;
        for (stacks) |stack| {
            const instruction = guide.machine.program.code[stack.pc];
            switch (instruction.op) {
                .token => if (instruction.a < vocabulary.count) setBit(words, instruction.a),
                .other_token => for (0..vocabulary.count) |number| {
                    const id: u32 = @intCast(number);
                    if (id != instruction.a and !vocabulary.isEnd(id)) setBit(words, id);
                },
                else => {},
            }
        }
    }

    fn walk(guide: *Guide, stacks: []const Stack, words: []u64) Error!void {
        const nodes = guide.vocabulary.nodes;
        if (stacks.len > guide.arena.len) return error.GrammarOverflow;
        @memcpy(guide.arena[0..stacks.len], stacks);
        guide.levels[0] = guide.describe(0, stacks.len, nodes[0].end);
        var depth: usize = 0;
        var at: u32 = 1;
        while (at < nodes[0].end) {
            while (at == guide.levels[depth].until) depth -= 1;
            const level = &guide.levels[depth];
            const node = &nodes[at];
            if (node.groups & ~level.groups == 0 and node.depth <= level.run) {
                guide.take(node.first, nodes[node.end].first, words);
                at = node.end;
                continue;
            }
            if (!chars.hasByte(&level.first, node.byte)) {
                at = node.end;
                continue;
            }
            const from = level.from + level.len;
            var set: Set = .{ .items = guide.arena[from..] };
            try guide.machine.step(guide.arena[level.from..][0..level.len], node.byte, &set);
            if (!set.isEmpty()) guide.take(node.first, nodes[at + 1].first, words);
            if (set.len == 0 or node.end == at + 1) {
                at = node.end;
                continue;
            }
            depth += 1;
            guide.levels[depth] = guide.describe(from, set.len, node.end);
            at += 1;
        }
    }

    fn describe(guide: *const Guide, from: usize, len: usize, until: u32) Level {
        const program = guide.machine.program;
        var level: Level = .{ .from = @intCast(from), .len = @intCast(len), .until = until, .first = @splat(0), .groups = 0, .run = 0 };
        for (guide.arena[from..][0..len]) |stack| {
            const instruction = program.code[stack.pc];
            if (instruction.op == .byte) {
                chars.addByte(&level.first, @intCast(instruction.a));
            } else if (instruction.op == .chars and stack.partial.len != 0) {
                level.first[2] = std.math.maxInt(u64);
            } else if (instruction.op == .chars) {
                const class = &program.classes[instruction.a];
                for (&level.first, class.first) |*all, bytes| all.* |= bytes;
                const run = program.runs[stack.pc];
                if (run < level.run or (run == level.run and @popCount(class.groups) <= @popCount(level.groups))) continue;
                level.run = run;
                level.groups = class.groups;
            }
        }
        return level;
    }

    /// Tokens are taken in the order of the vocabulary.
    fn take(guide: *Guide, first: u32, end: u32, words: []u64) void {
        if (first == end) return;
        guide.accepted += end - first;
        if (guide.ranges_len > 0) {
            const last = &guide.ranges[guide.ranges_len - 1];
            assert(last.end <= first);
            if (last.end == first) {
                last.end = end;
                return;
            }
        }
        if (guide.ranges_len == guide.ranges.len) guide.flush(words, false);
        guide.ranges[guide.ranges_len] = .{ .first = first, .end = end };
        guide.ranges_len += 1;
    }

    /// Makes bits of the ranges. When `all` are here and they are most of the vocabulary, those in the
    /// gaps are taken away instead.
    fn flush(guide: *Guide, words: []u64, all: bool) void {
        const vocabulary = guide.vocabulary;
        const ranges = guide.ranges[0..guide.ranges_len];
        guide.ranges_len = 0;
        var sum: u32 = 0;
        for (ranges) |range| sum += range.end - range.first;
        if (!all or sum != guide.accepted or sum < vocabulary.ids.len / 2) {
            for (ranges) |range| for (vocabulary.ids[range.first..range.end]) |id| setBit(words, id);
            return;
        }
        @memcpy(words, vocabulary.all);
        var next: u32 = 0;
        for (ranges) |range| {
            for (vocabulary.ids[next..range.first]) |id| clearBit(words, id);
            next = range.end;
        }
        for (vocabulary.ids[next..]) |id| clearBit(words, id);
    }
};

fn setBit(words: []u64, id: u32) void {
    words[id / 64] |= @as(u64, 1) << @intCast(id % 64);
}

fn clearBit(words: []u64, id: u32) void {
    words[id / 64] &= ~(@as(u64, 1) << @intCast(id % 64));
}

/// A set has one order, so that it is found again.
fn sortStacks(stacks: []Stack) void {
    std.mem.sort(Stack, stacks, {}, struct {
        fn lessThan(_: void, a: Stack, b: Stack) bool {
            if (a.pc != b.pc) return a.pc < b.pc;
            return a.tail < b.tail;
        }
    }.lessThan);
}
