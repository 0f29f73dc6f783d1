//! How far an instruction can go on reading characters of its class, whichever they are: where that
//! is further than tokens are long, a whole branch of the vocabulary is taken at a glance. What is
//! found is a lower bound, so a search that would be long is left.

const std = @import("std");
const program = @import("program.zig");
const Instruction = program.Instruction;

pub const endless = std.math.maxInt(u32);
/// Instructions that are looked at behind one.
const steps_max = 64;
const followers_max = 4;

/// [code]
pub fn find(keep: std.mem.Allocator, scratch: std.mem.Allocator, code: []const Instruction) error{OutOfMemory}![]const u32 {
    const runs = try keep.alloc(u32, code.len);
    @memset(runs, 0);
    const state = try scratch.alloc(State, code.len);
    @memset(state, .new);
    var path: std.ArrayList(Frame) = .empty;
    for (code, 0..) |instruction, at| {
        if (instruction.op != .chars or state[at] != .new) continue;
        try path.append(scratch, .of(code, @intCast(at)));
        state[at] = .open;
        while (path.items.len > 0) {
            const frame = &path.items[path.items.len - 1];
            if (frame.next == frame.count) {
                state[frame.at] = .done;
                runs[frame.at] = frame.best +| 1;
                const best = runs[frame.at];
                _ = path.pop();
                if (path.items.len > 0) {
                    const user = &path.items[path.items.len - 1];
                    user.best = @max(user.best, best);
                }
                continue;
            }
            const other = frame.followers[frame.next];
            frame.next += 1;
            switch (state[other]) {
                .new => {
                    state[other] = .open;
                    try path.append(scratch, .of(code, other));
                },
                // Each of the path reaches the next one by characters of the class.
                .open => frame.best = endless,
                .done => frame.best = @max(frame.best, runs[other]),
            }
        }
    }
    return runs;
}

const State = enum { new, open, done };

const Frame = struct {
    at: u32,
    best: u32 = 0,
    followers: [followers_max]u32 = undefined,
    count: u8 = 0,
    next: u8 = 0,

    /// Instructions of the same class that may come next.
    fn of(code: []const Instruction, at: u32) Frame {
        var frame: Frame = .{ .at = at };
        var waiting: [steps_max]u32 = undefined;
        waiting[0] = at + 1;
        var len: usize = 1;
        var steps: usize = 0;
        while (len > 0 and steps < steps_max) : (steps += 1) {
            len -= 1;
            const next = waiting[len];
            const instruction = code[next];
            switch (instruction.op) {
                .jump, .split => {
                    waiting[len] = instruction.a;
                    len += 1;
                    if (instruction.op == .split and len < steps_max) {
                        waiting[len] = instruction.b;
                        len += 1;
                    }
                },
                .chars => if (instruction.a == code[at].a and frame.count < followers_max) {
                    frame.followers[frame.count] = next;
                    frame.count += 1;
                },
                else => {},
            }
        }
        return frame;
    }
};

fn expectRuns(text: []const u8, expected: []const u32) !void {
    var diag: @import("../diagnostic.zig").Diagnostic = .{};
    var compiled = try program.Program.init(std.testing.allocator, text, null, &diag);
    defer compiled.deinit();
    var found: std.ArrayList(u32) = .empty;
    defer found.deinit(std.testing.allocator);
    for (compiled.code, compiled.runs) |instruction, run| {
        if (instruction.op == .chars) try found.append(std.testing.allocator, run) else try std.testing.expectEqual(0, run);
    }
    try std.testing.expectEqualSlices(u32, expected, found.items);
}

test "runs of a class are measured" {
    try expectRuns("root ::= [a]{4}", &.{ 4, 3, 2, 1 });
    try expectRuns("root ::= [a]{2,4} [b]*", &.{ 4, 3, 2, 1, endless });
    try expectRuns("root ::= [a] [b] [a]", &.{ 1, 1, 1 });
    try expectRuns("root ::= ([a] [b] [a])*", &.{ 1, 1, 2 });
    try expectRuns("root ::= \"'\" ([^'\\\\] | \"\\\\\" [nt])* \"'\"", &.{ endless, 1 });
    try expectRuns("root ::= [a]{2,}", &.{ endless, endless, endless });
}
