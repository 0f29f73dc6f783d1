//! One call of `encode`: where tokens go, and memory that is kept from word to word.

const std = @import("std");
const Allocator = std.mem.Allocator;
const merge = @import("merge.zig");

pub const Job = struct {
    gpa: Allocator,
    out: *std.ArrayList(u32),
    heap: merge.Heap = .{},
    /// Parts of words too long for the stack.
    parts: std.ArrayList(merge.Part) = .empty,
    /// Text that had to be changed before it can be looked up.
    buffer: std.ArrayList(u8) = .empty,

    pub const Error = error{ OutOfMemory, TextTooLong };

    /// Offsets in a text are 32 bits.
    pub const text_max = std.math.maxInt(u32) - 1;

    pub fn deinit(job: *Job) void {
        job.heap.deinit(job.gpa);
        job.parts.deinit(job.gpa);
        job.buffer.deinit(job.gpa);
    }

    pub inline fn emit(job: *Job, id: u32) error{OutOfMemory}!void {
        try job.out.append(job.gpa, id);
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
