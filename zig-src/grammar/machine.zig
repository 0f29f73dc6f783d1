//! Follows a program along every path at once. Where it stands is a set of stacks, each an instruction
//! that reads and what comes behind it; stacks share their tails, and equal tails are one, so that a
//! set is compared by its numbers. All memory is taken at the start; what would take more is an error,
//! and leaves the machine usable.

const std = @import("std");
const chars = @import("chars.zig");
const program_file = @import("program.zig");
const Partial = chars.Partial;
const Program = program_file.Program;

pub const Error = error{GrammarOverflow};

/// Stacks of one set.
pub const stacks_max = 4096;
/// Tails that are kept at a time.
pub const tails_max = 1 << 13;
/// Places that are looked at between two bytes.
const seen_max = 1 << 13;

pub const Stack = struct {
    /// An instruction that reads.
    pc: u32,
    tail: u32,
    /// A character that is begun there.
    partial: Partial = .{},
};

pub const Set = struct {
    items: []Stack,
    len: usize = 0,
    /// Whether the text may end here.
    ends: bool = false,

    pub fn stacks(set: *const Set) []const Stack {
        return set.items[0..set.len];
    }

    /// Whether nothing is left that the text could be.
    pub fn isEmpty(set: *const Set) bool {
        return set.len == 0 and !set.ends;
    }

    fn add(set: *Set, stack: Stack) Error!void {
        if (set.len == set.items.len) return error.GrammarOverflow;
        set.items[set.len] = stack;
        set.len += 1;
    }
};

/// Where a rule is come back to. Number 0 is the end of the text.
const Tail = struct { pc: u32, parent: u32 };

const Place = struct { pc: u32, tail: u32 };

pub const Machine = struct {
    program: *const Program,
    tails: []Tail,
    tails_len: u32,
    /// Numbers of tails by their hashes, 0 where there is none.
    buckets: []u32,
    /// New numbers of tails, while some are dropped.
    renamed: []u32,
    seen: []Seen,
    seen_len: usize = 0,
    round: u32 = 0,
    waiting: []Place,
    waiting_len: usize = 0,

    const Seen = struct { place: Place, round: u32 };

    pub fn init(gpa: std.mem.Allocator, program: *const Program) error{OutOfMemory}!Machine {
        const tails = try gpa.alloc(Tail, tails_max);
        errdefer gpa.free(tails);
        const buckets = try gpa.alloc(u32, 2 * tails_max);
        errdefer gpa.free(buckets);
        const renamed = try gpa.alloc(u32, tails_max);
        errdefer gpa.free(renamed);
        const seen = try gpa.alloc(Seen, 2 * seen_max);
        errdefer gpa.free(seen);
        const waiting = try gpa.alloc(Place, seen_max);
        @memset(seen, .{ .place = .{ .pc = 0, .tail = 0 }, .round = 0 });
        var machine: Machine = .{
            .program = program,
            .tails = tails,
            .tails_len = undefined,
            .buckets = buckets,
            .renamed = renamed,
            .seen = seen,
            .waiting = waiting,
        };
        machine.forget();
        return machine;
    }

    pub fn deinit(machine: *Machine, gpa: std.mem.Allocator) void {
        gpa.free(machine.tails);
        gpa.free(machine.buckets);
        gpa.free(machine.renamed);
        gpa.free(machine.seen);
        gpa.free(machine.waiting);
        machine.* = undefined;
    }

    /// Takes over the tails of a machine of the same program.
    pub fn copy(machine: *Machine, from: *const Machine) void {
        @memcpy(machine.tails[0..from.tails_len], from.tails[0..from.tails_len]);
        machine.tails_len = from.tails_len;
        @memcpy(machine.buckets, from.buckets);
    }

    fn forget(machine: *Machine) void {
        machine.tails[0] = .{ .pc = 0, .parent = 0 };
        machine.tails_len = 1;
        @memset(machine.buckets, 0);
    }

    /// Where every text begins. Sets of before are no longer valid.
    pub fn start(machine: *Machine, out: *Set) Error!void {
        machine.forget();
        machine.begin();
        out.len = 0;
        out.ends = false;
        try machine.follow(machine.program.start, 0, out);
    }

    /// Where `from` comes to by a byte. `out` is another set.
    pub fn step(machine: *Machine, from: []const Stack, byte: u8, out: *Set) Error!void {
        machine.begin();
        out.len = 0;
        out.ends = false;
        for (from) |stack| {
            const instruction = machine.program.code[stack.pc];
            switch (instruction.op) {
                .byte => if (instruction.a == byte) try machine.follow(stack.pc + 1, stack.tail, out),
                .chars => try machine.readChar(stack, &machine.program.classes[instruction.a], byte, out),
                else => {},
            }
        }
    }

    fn readChar(machine: *Machine, stack: Stack, class: *const chars.Class, byte: u8, out: *Set) Error!void {
        if (stack.partial.len == 0) {
            if (!chars.hasByte(&class.first, byte)) return;
            if (byte < 0x80) return machine.follow(stack.pc + 1, stack.tail, out);
            return out.add(.{ .pc = stack.pc, .tail = stack.tail, .partial = Partial.begin(byte).? });
        }
        const partial = stack.partial.next(byte) orelse return;
        if (!class.meets(partial.span())) return;
        if (partial.left == 0) return machine.follow(stack.pc + 1, stack.tail, out);
        return out.add(.{ .pc = stack.pc, .tail = stack.tail, .partial = partial });
    }

    /// Adds where `from` comes to by a token that is named as such. "Any other" is none that ends the text.
    pub fn stepToken(machine: *Machine, from: []const Stack, token: u32, is_end: bool, out: *Set) Error!void {
        machine.begin();
        // What the bytes of the token came to is here already.
        for (out.stacks()) |stack| if (stack.partial.len == 0) {
            _ = try machine.isNew(.{ .pc = stack.pc, .tail = stack.tail });
        };
        for (from) |stack| {
            const instruction = machine.program.code[stack.pc];
            const fits = switch (instruction.op) {
                .token => instruction.a == token,
                .other_token => instruction.a != token and !is_end,
                else => false,
            };
            if (fits) try machine.follow(stack.pc + 1, stack.tail, out);
        }
    }

    /// Drops the tails that `set` doesn't need. Other sets are no longer valid.
    pub fn compact(machine: *Machine, set: *Set) void {
        const len = machine.tails_len;
        const renamed = machine.renamed[0..len];
        @memset(renamed, 0);
        for (set.stacks()) |stack| renamed[stack.tail] = 1;
        // A tail is made after its parent.
        var at = len;
        while (at > 1) {
            at -= 1;
            if (renamed[at] != 0) renamed[machine.tails[at].parent] = 1;
        }
        machine.forget();
        renamed[0] = 0;
        for (1..len) |number| {
            if (renamed[number] == 0) continue;
            const tail = machine.tails[number];
            // There are fewer than before.
            renamed[number] = machine.push(tail.pc, renamed[tail.parent]) catch unreachable;
        }
        for (set.items[0..set.len]) |*stack| stack.tail = renamed[stack.tail];
    }

    /// Whether it is time to.
    pub fn isCrowded(machine: *const Machine) bool {
        return machine.tails_len > tails_max / 2;
    }

    fn begin(machine: *Machine) void {
        machine.seen_len = 0;
        machine.waiting_len = 0;
        machine.round +%= 1;
        if (machine.round != 0) return;
        for (machine.seen) |*seen| seen.round = 0;
        machine.round = 1;
    }

    /// Adds the instructions that read and are reached from one without a byte.
    fn follow(machine: *Machine, from: u32, below: u32, out: *Set) Error!void {
        const code = machine.program.code;
        try machine.wait(from, below);
        while (machine.waiting_len > 0) {
            machine.waiting_len -= 1;
            const pc = machine.waiting[machine.waiting_len].pc;
            const tail = machine.waiting[machine.waiting_len].tail;
            const instruction = code[pc];
            switch (instruction.op) {
                .byte, .chars, .token, .other_token => try out.add(.{ .pc = pc, .tail = tail }),
                .jump, .tail_call => try machine.wait(instruction.a, tail),
                .split => {
                    try machine.wait(instruction.b, tail);
                    try machine.wait(instruction.a, tail);
                },
                .call => try machine.wait(instruction.a, try machine.push(instruction.b, tail)),
                .ret => if (tail == 0) {
                    out.ends = true;
                } else {
                    try machine.wait(machine.tails[tail].pc, machine.tails[tail].parent);
                },
            }
        }
    }

    fn wait(machine: *Machine, pc: u32, tail: u32) Error!void {
        const place: Place = .{ .pc = pc, .tail = tail };
        if (!try machine.isNew(place)) return;
        machine.waiting[machine.waiting_len] = place;
        machine.waiting_len += 1;
    }

    fn isNew(machine: *Machine, place: Place) Error!bool {
        var slot = hash(place.pc, place.tail) % machine.seen.len;
        while (machine.seen[slot].round == machine.round) {
            const other = machine.seen[slot].place;
            if (other.pc == place.pc and other.tail == place.tail) return false;
            slot = (slot + 1) % machine.seen.len;
        }
        if (machine.seen_len == seen_max) return error.GrammarOverflow;
        machine.seen[slot] = .{ .place = place, .round = machine.round };
        machine.seen_len += 1;
        return true;
    }

    fn push(machine: *Machine, pc: u32, parent: u32) Error!u32 {
        var slot = hash(pc, parent) % machine.buckets.len;
        while (machine.buckets[slot] != 0) {
            const number = machine.buckets[slot];
            const tail = machine.tails[number];
            if (tail.pc == pc and tail.parent == parent) return number;
            slot = (slot + 1) % machine.buckets.len;
        }
        if (machine.tails_len == tails_max) return error.GrammarOverflow;
        machine.tails[machine.tails_len] = .{ .pc = pc, .parent = parent };
        machine.buckets[slot] = machine.tails_len;
        machine.tails_len += 1;
        return machine.buckets[slot];
    }
};

fn hash(a: u32, b: u32) usize {
    const mixed = (@as(u64, a) << 32 | b) *% 0x9E37_79B9_7F4A_7C15;
    return @intCast(mixed >> 32);
}

const Diagnostic = @import("../diagnostic.zig").Diagnostic;

test "stacks share tails, and tails that are needed no more are dropped" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    var program: Program = try .init(gpa, "root ::= \"[\" (root (\",\" root)*)? \"]\"", null, &diag);
    defer program.deinit();
    var machine: Machine = try .init(gpa, &program);
    defer machine.deinit(gpa);
    var buffers: [2][16]Stack = undefined;
    var sets: [2]Set = .{ .{ .items = &buffers[0] }, .{ .items = &buffers[1] } };
    try machine.start(&sets[0]);
    var now: usize = 0;
    const open: [40]u8 = @splat('[');
    const shut: [39]u8 = @splat(']');
    for (open ++ "],[]".* ++ shut[0..20].*) |byte| {
        try machine.step(sets[now].stacks(), byte, &sets[1 - now]);
        now = 1 - now;
        try std.testing.expect(!sets[now].isEmpty() and sets[now].len <= 3);
    }
    const before = machine.tails_len;
    machine.compact(&sets[now]);
    try std.testing.expect(machine.tails_len < before);
    for (shut[20..]) |byte| {
        try std.testing.expect(!sets[now].ends);
        try machine.step(sets[now].stacks(), byte, &sets[1 - now]);
        now = 1 - now;
    }
    try std.testing.expect(sets[now].ends and sets[now].len == 0);
}

test "what would take more memory is an error" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    // Each letter may have been for either rule, and each needs its own end.
    var program: Program = try .init(gpa, "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\"", null, &diag);
    defer program.deinit();
    var machine: Machine = try .init(gpa, &program);
    defer machine.deinit(gpa);
    const buffers = try gpa.alloc(Stack, 2 * stacks_max);
    defer gpa.free(buffers);
    var sets: [2]Set = .{ .{ .items = buffers[0..stacks_max] }, .{ .items = buffers[stacks_max..] } };
    try machine.start(&sets[0]);
    for (0..40) |i| machine.step(sets[i % 2].stacks(), 'a', &sets[1 - i % 2]) catch |err| {
        try std.testing.expectEqual(error.GrammarOverflow, err);
        try machine.start(&sets[0]);
        try std.testing.expect(sets[0].ends);
        return;
    };
    return error.TestExpectedOverflow;
}
