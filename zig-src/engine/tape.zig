//! A tape: the logits of each step of a request, as they were before the first stage, and the token that
//! was drawn. A row is a head, then its logits; rows have one length and follow each other. A row of
//! kind `top` has the highest logits in ascending order of id, so that a draw from them takes the same
//! token as a draw from all, and in its head what the others come to.

const std = @import("std");
const sampler = @import("../sampler.zig");
const half = @import("../sampler/core/half.zig");
const head = @import("../sampler/core/head.zig");
const sweep = @import("../sampler/core/sweep.zig");
const recorder = @import("recorder.zig");
const Entry = @import("tape_index.zig").Entry;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

/// How a row keeps logits. The numbers are part of the C ABI and of files.
pub const Kind = enum(u32) {
    /// All of them.
    f32 = 0,
    /// All of them, rounded to 11 bits; beyond ±65504 they are that.
    f16 = 1,
    /// The highest, as ids and then logits in f32.
    top = 2,
};

pub const Head = extern struct {
    position: u32,
    token: u32,
    /// ln p of the token in the model's own distribution.
    logprob: f32,
    /// ln of the sum of exponentials of the logits that the row doesn't have; -inf for none.
    rest: f32,
};

/// Bytes of one row: `count` logits.
pub fn rowBytes(kind: Kind, count: usize) usize {
    return @sizeOf(Head) + switch (kind) {
        .f32 => 4 * count,
        .f16 => std.mem.alignForward(usize, 2 * count, 4),
        .top => 8 * count,
    };
}

pub const Tape = struct {
    kind: Kind,
    /// Logits of a row.
    count: usize,
    capacity: u32,
    row_bytes: usize,
    bytes: []align(4) u8, // [capacity, row_bytes]
    best: []sampler.TokenLogprob, // [count] of kind top
    others: []f32, // [vocab] of kind top
    block_mass: []f32, // of kind top
    rows: u32 = 0,
    dropped: u32 = 0,

    pub fn init(gpa: std.mem.Allocator, wanted: recorder.Wanted, vocab: u32, diag: *Diagnostic) error{ OutOfMemory, BadOption }!Tape {
        const kind = wanted.tape_kind;
        if (kind == .top and (wanted.tape_top == 0 or wanted.tape_top > vocab)) {
            diag.set("expected a tape of 1 to {d} logits a step, found {d}", .{ vocab, wanted.tape_top });
            return error.BadOption;
        }
        const count: usize = if (kind == .top) wanted.tape_top else vocab;
        const row_bytes = rowBytes(kind, count);
        const total = @as(u64, wanted.tape_steps) * row_bytes;
        if (total > recorder.bytes_max) {
            diag.set("expected a tape of at most {d} bytes, found {d} for {d} steps; record fewer steps or only the highest logits", .{
                @as(u64, recorder.bytes_max), total, wanted.tape_steps,
            });
            return error.BadOption;
        }
        const selects = kind == .top;
        const bytes = try gpa.alignedAlloc(u8, .@"4", @intCast(total));
        errdefer gpa.free(bytes);
        const best = try gpa.alloc(sampler.TokenLogprob, if (selects) count else 0);
        errdefer gpa.free(best);
        const others = try gpa.alloc(f32, if (selects) vocab else 0);
        errdefer gpa.free(others);
        return .{
            .kind = kind,
            .count = count,
            .capacity = wanted.tape_steps,
            .row_bytes = row_bytes,
            .bytes = bytes,
            .best = best,
            .others = others,
            .block_mass = try gpa.alloc(f32, sweep.blockCount(others.len)),
        };
    }

    pub fn deinit(tape: *Tape, gpa: std.mem.Allocator) void {
        gpa.free(tape.block_mass);
        gpa.free(tape.others);
        gpa.free(tape.best);
        gpa.free(tape.bytes);
    }

    /// The rows that have been recorded.
    pub fn recorded(tape: *const Tape) []const u8 {
        return tape.bytes[0 .. tape.rows * tape.row_bytes];
    }

    pub fn see(tape: *Tape, event: sampler.Event) void {
        if (tape.rows == tape.capacity) {
            if (event.choice != null) tape.dropped +|= 1;
            return;
        }
        const row: []align(4) u8 = @alignCast(tape.bytes[tape.rows * tape.row_bytes ..][0..tape.row_bytes]);
        const about: *Head = @ptrCast(row.ptr);
        if (event.choice) |choice| {
            about.position = @intCast(event.step.position);
            about.token = choice.token;
            about.logprob = choice.logprob;
            tape.rows += 1;
        } else if (event.applied == 0) {
            about.rest = -std.math.inf(f32);
            const from: []align(4) u8 = row[@sizeOf(Head)..];
            switch (tape.kind) {
                .f32 => @memcpy(from, std.mem.sliceAsBytes(event.candidates.values)),
                .f16 => half.round(event.candidates.values, std.mem.bytesAsSlice(u16, from)),
                .top => about.rest = tape.keepTop(event.candidates, std.mem.bytesAsSlice(u32, from)),
            }
        }
    }

    fn keepTop(tape: *Tape, set: *sampler.Candidates, words: []u32) f32 {
        const kept = head.members(set, tape.best);
        @memcpy(tape.others, set.values);
        for (kept, 0..) |entry, i| {
            words[i] = entry.token;
            words[tape.count + i] = @bitCast(entry.logprob);
            tape.others[entry.token] = -std.math.inf(f32);
        }
        // Fewer than that have a logit above -inf: the last id again, with no probability.
        for (kept.len..tape.count) |i| {
            words[i] = words[kept.len - 1];
            words[tape.count + i] = @bitCast(-std.math.inf(f32));
        }
        const rest = set.passes.mass(tape.others, set.max, 1, tape.block_mass);
        return @floatCast(set.max + @log(rest));
    }
};

/// Reads rows that were recorded here or come from a file.
pub const Reader = struct {
    kind: Kind,
    count: usize,
    /// Own memory: [count] of kind `top`, and [count].
    ids: []u32,
    own: []f32,
    /// Of the row that was read last, as long as it stays where it is. Of kind `f16` only when `half` has
    /// been widened into `own`, which whoever samples does with the pass that looks at all logits anyway.
    logits: []const f32 = &.{}, // [count]
    half: ?[]align(1) const u16 = null, // [count]
    /// What is known of the row, where it has an index.
    known: ?sampler.Known = null,

    pub fn init(gpa: std.mem.Allocator, kind: Kind, count: usize) error{OutOfMemory}!Reader {
        const ids = try gpa.alloc(u32, if (kind == .top) count else 0);
        errdefer gpa.free(ids);
        return .{ .kind = kind, .count = count, .ids = ids, .own = try gpa.alloc(f32, count) };
    }

    pub fn deinit(reader: *Reader, gpa: std.mem.Allocator) void {
        gpa.free(reader.own);
        gpa.free(reader.ids);
    }

    /// Takes a row apart into `ids` and `logits`; the head is returned. Null when ids don't ascend below
    /// `vocab`, but for repeated ones at the end.
    pub fn read(reader: *Reader, row: []const u8, vocab: u32) ?Head {
        const from = row[@sizeOf(Head)..];
        reader.logits = reader.own;
        reader.half = null;
        reader.known = null;
        switch (reader.kind) {
            .f32 => if (std.mem.isAligned(@intFromPtr(from.ptr), @alignOf(f32))) {
                const floats: [*]const f32 = @ptrCast(@alignCast(from.ptr));
                reader.logits = floats[0..reader.count];
            } else {
                @memcpy(std.mem.sliceAsBytes(reader.own), from[0 .. 4 * reader.count]);
            },
            .f16 => reader.half = std.mem.bytesAsSlice(u16, from[0 .. 2 * reader.count]),
            .top => {
                @memcpy(std.mem.sliceAsBytes(reader.ids), from[0 .. 4 * reader.count]);
                @memcpy(std.mem.sliceAsBytes(reader.own), from[4 * reader.count ..][0 .. 4 * reader.count]);
                for (reader.ids, 0..) |id, i| {
                    const filler = i > 0 and id == reader.ids[i - 1] and reader.logits[i] == -std.math.inf(f32);
                    if (id >= vocab or (i > 0 and id <= reader.ids[i - 1] and !filler)) return null;
                }
            },
        }
        return headOf(row);
    }

    /// What was read, for a chain; not of kind `top`.
    pub fn whole(reader: *const Reader) sampler.Row {
        return .{
            .values = if (reader.half) |bits| .{ .half = .{ .bits = bits, .room = reader.own } } else .{ .single = reader.logits },
            .known = reader.known,
        };
    }

    /// Learns from the entry what is known of the row that was read, or makes it. A row without a distribution
    /// stays unknown, for whoever samples to say what is wrong with it.
    pub fn look(reader: *Reader, row: []const u8, entry: Entry, passes: sampler.Passes) void {
        reader.known = entry.known(row) orelse entry.learn(row, if (reader.half) |bits|
            passes.scanHalf(bits, reader.own, entry.blockMax())
        else
            passes.scan(reader.logits, entry.blockMax()));
    }
};

/// What a row says of its step.
pub fn headOf(row: []const u8) Head {
    return std.mem.bytesToValue(Head, row[0..@sizeOf(Head)]);
}

test "a tape keeps what was drawn from, and reads it again" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    const logits = [_]f32{ 1, 70_000, -std.math.inf(f32), 69_999, 0.3333333, 69_998 };
    for (std.enums.values(Kind)) |kind| {
        const made = (try recorder.Recorder.create(gpa, .{ .tape_steps = 1, .tape_kind = kind, .tape_top = 2 }, 0, logits.len, &diag)).?;
        defer made.destroy();
        var chain = try sampler.Chain.init(gpa, &.{}, logits.len, 3, &diag);
        defer chain.deinit(gpa);
        chain.observer = made.observer();
        const first = try chain.sample(&logits, 0, 9, &diag);
        _ = try chain.sample(&logits, 0, 10, &diag);
        const tape = &made.tape.?;
        try std.testing.expectEqual(1, tape.dropped);
        try std.testing.expectEqual(tape.row_bytes, tape.recorded().len);
        var reader = try Reader.init(gpa, kind, tape.count);
        defer reader.deinit(gpa);
        const read = reader.read(tape.recorded(), logits.len).?;
        try std.testing.expectEqual(9, read.position);
        try std.testing.expectEqual(first.token, read.token);
        try std.testing.expectEqual(first.logprob, read.logprob);
        switch (kind) {
            .f32 => try std.testing.expectEqualSlices(f32, &logits, reader.logits),
            .f16 => {
                half.widen(reader.half.?, reader.own);
                try std.testing.expectEqualSlices(f32, &.{ 1, 65504, -std.math.inf(f32), 65504, 0.33325195, 65504 }, reader.logits);
            },
            .top => {
                try std.testing.expectEqualSlices(u32, &.{ 1, 3 }, reader.ids);
                try std.testing.expectEqualSlices(f32, &.{ 70_000, 69_999 }, reader.logits);
                try std.testing.expectApproxEqAbs(69_998, read.rest, 0.01);
                try std.testing.expectEqual(null, reader.read(tape.recorded(), 3));
            },
        }
    }
}
