//! One call of `encode`: where tokens go, and memory that is kept from word to word.

const std = @import("std");
const Allocator = std.mem.Allocator;
const merge = @import("merge.zig");
const pieces = @import("pieces.zig");

pub const Job = struct {
    gpa: Allocator,
    out: *std.ArrayList(u32),
    heap: merge.Heap = .{},
    /// Parts of words too long for the stack.
    parts: std.ArrayList(merge.Part) = .empty,
    /// Text that had to be changed before it can be looked up.
    buffer: std.ArrayList(u8) = .empty,
    repeats: ?*Repeats = null,

    pub const Error = error{ OutOfMemory, TextTooLong };

    /// Offsets in a text are 32 bits.
    pub const text_max = std.math.maxInt(u32) - 1;

    pub fn deinit(job: *Job) void {
        job.heap.deinit(job.gpa);
        job.parts.deinit(job.gpa);
        job.buffer.deinit(job.gpa);
        if (job.repeats) |repeats| job.gpa.destroy(repeats);
    }

    pub inline fn emit(job: *Job, id: u32) error{OutOfMemory}!void {
        try job.out.append(job.gpa, id);
    }

    /// Tokens that were emitted before.
    pub fn emitAgain(job: *Job, first: usize, count: usize) error{OutOfMemory}!void {
        try job.out.ensureUnusedCapacity(job.gpa, count);
        job.out.appendSliceAssumeCapacity(job.out.items[first..][0..count]);
    }

    /// Empty, for a text of this length; null for one so short that it repeats too little.
    pub fn repeatsFor(job: *Job, len: usize) error{OutOfMemory}!?*Repeats {
        if (len < Repeats.text_min) return null;
        const repeats = job.repeats orelse try job.gpa.create(Repeats);
        job.repeats = repeats;
        repeats.* = .{};
        return repeats;
    }
};

/// Where in a text a word was seen last and what it became: English repeats four in five. A word
/// that falls into the same place as another one takes it.
pub const Repeats = struct {
    slots: [1 << bits]Slot = @splat(.{ .from = 0, .to = 0, .first = 0, .count = 0 }),

    /// No word is empty, so an empty slot is like none.
    const Slot = struct { from: u32, to: u32, first: u32, count: u32 };
    const bits = 12;
    /// Emptying the table takes as long as a few hundred bytes of text.
    const text_min = 2048;

    pub inline fn slotOf(repeats: *Repeats, word: []const u8) *Slot {
        return &repeats.slots[pieces.hashOf(word) >> (64 - bits)];
    }
};

/// What is known of tokens as whole words: whether merging a token's bytes gives the token
/// again. Found out when a word first comes by; several threads may find the same thing out.
pub const Verdicts = struct {
    states: []u8 = &.{},

    pub const Verdict = enum(u8) { open, itself, split };

    pub fn init(arena: Allocator, count: usize) !Verdicts {
        const states = try arena.alloc(u8, count);
        @memset(states, @backingInt(Verdict.open));
        return .{ .states = states };
    }

    pub inline fn get(verdicts: *const Verdicts, id: u32) Verdict {
        return @fromBackingInt(@intCast(@atomicLoad(u8, &verdicts.states[id], .monotonic)));
    }

    pub fn set(verdicts: *const Verdicts, id: u32, verdict: Verdict) void {
        @atomicStore(u8, &verdicts.states[id], @backingInt(verdict), .monotonic);
    }
};
