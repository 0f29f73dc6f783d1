//! A grammar as instructions: an automaton over bytes and characters with calls, which a machine
//! follows along every path at once. Repetitions are written out, small rules are written into their
//! users, and a call behind which a rule ends leaves nothing to come back to, so that lists that are
//! written as right recursion take no depth.

const std = @import("std");
const ast = @import("ast.zig");
const chars = @import("chars.zig");
const check_file = @import("check.zig");
const parser = @import("parser.zig");
const runs_file = @import("runs.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const Error = parser.Error;

pub const Op = enum(u8) {
    /// The byte `a`.
    byte,
    /// A character of class `a`.
    chars,
    /// The token `a`, or any other one.
    token,
    other_token,
    /// Goes on at `a` and at `b`.
    split,
    jump,
    /// Comes back behind itself.
    call,
    tail_call,
    ret,
};

pub const Instruction = struct { op: Op, a: u32 = 0, b: u32 = 0 };

pub const Program = struct {
    arena: std.heap.ArenaAllocator,
    code: []const Instruction,
    /// How many characters of its class can be read from an instruction on at least, whatever they
    /// are: `runs_file.endless` for a loop, 0 for an instruction that reads none.
    runs: []const u32,
    classes: []const chars.Class,
    start: u32,
    /// Whether a text does not show all that it asks for.
    tokens: bool,

    pub fn init(gpa: std.mem.Allocator, text: []const u8, names: ?parser.Names, diag: *Diagnostic) Error!Program {
        errdefer if (diag.text().len == 0) {
            diag.set("expected memory for a grammar of {d} bytes, found that the system has not that much", .{text.len});
        };
        var scratch: std.heap.ArenaAllocator = .init(gpa);
        defer scratch.deinit();
        const tree = try parser.parse(scratch.allocator(), text, names, diag);
        const checked = try check_file.check(scratch.allocator(), &tree, diag);
        try expectSize(&checked, diag);
        var compiler: Compiler = .{ .arena = scratch.allocator(), .checked = &checked };
        const start = try compiler.run();
        var arena: std.heap.ArenaAllocator = .init(gpa);
        errdefer arena.deinit();
        const keep = arena.allocator();
        const classes = try keep.dupe(chars.Class, tree.classes);
        for (classes) |*class| class.ranges = try keep.dupe(chars.Range, class.ranges);
        const code = try keep.dupe(Instruction, compiler.code.items);
        return .{
            .code = code,
            .runs = try runs_file.find(keep, scratch.allocator(), code),
            .classes = classes,
            .start = start,
            .tokens = tree.tokens,
            .arena = arena,
        };
    }

    pub fn deinit(program: *Program) void {
        program.arena.deinit();
        program.* = undefined;
    }
};

fn expectSize(checked: *const check_file.Checked, diag: *Diagnostic) Error!void {
    var sum: u64 = 0;
    for (checked.sizes, checked.ast.rules) |size, rule| {
        sum +|= size +| 1;
        if (sum <= ast.program_max) continue;
        const where = ast.place(checked.ast.text, rule.at);
        diag.set("grammar line {d}, column {d}: expected at most {d} steps with all repetitions written out, found {d} with those of {s}", .{
            where.line, where.column, ast.program_max, sum, rule.name,
        });
        return error.BadGrammar;
    }
}

const Compiler = struct {
    arena: std.mem.Allocator,
    checked: *const check_file.Checked,
    code: std.ArrayList(Instruction) = .empty,

    /// Returns where the root begins.
    fn run(compiler: *Compiler) Error!u32 {
        const tree = compiler.checked.ast;
        const entries = try compiler.arena.alloc(u32, tree.rules.len);
        for (compiler.checked.order) |rule| {
            entries[rule] = compiler.here();
            // What is written into its users everywhere is called only where there would be many copies.
            try compiler.emit(tree.rules[rule].body.?, 1);
            _ = try compiler.add(.{ .op = .ret });
        }
        for (compiler.code.items, 0..) |*instruction, at| switch (instruction.op) {
            .jump => instruction.a = compiler.behindJumps(instruction.a),
            .split => {
                instruction.a = compiler.behindJumps(instruction.a);
                instruction.b = compiler.behindJumps(instruction.b);
            },
            .call => {
                instruction.a = entries[instruction.a];
                instruction.b = compiler.behindJumps(@intCast(at + 1));
                if (compiler.code.items[instruction.b].op == .ret) instruction.op = .tail_call;
            },
            else => {},
        };
        return entries[tree.root];
    }

    fn behindJumps(compiler: *const Compiler, at: u32) u32 {
        var to = at;
        while (compiler.code.items[to].op == .jump) to = compiler.code.items[to].a;
        return to;
    }

    fn here(compiler: *const Compiler) u32 {
        return @intCast(compiler.code.items.len);
    }

    fn add(compiler: *Compiler, instruction: Instruction) Error!u32 {
        try compiler.code.append(compiler.arena, instruction);
        return compiler.here() - 1;
    }

    fn emit(compiler: *Compiler, node: u32, copies: u64) Error!void {
        const tree = compiler.checked.ast;
        switch (tree.nodes[node]) {
            .literal => |bytes| for (bytes) |byte| {
                _ = try compiler.add(.{ .op = .byte, .a = byte });
            },
            .class => |class| _ = try compiler.add(.{ .op = .chars, .a = class }),
            .token => |token| _ = try compiler.add(.{ .op = if (token.other) .other_token else .token, .a = token.id }),
            .rule => |rule| if (compiler.checked.inlines(rule, copies)) {
                try compiler.emit(tree.rules[rule].body.?, 1);
            } else {
                _ = try compiler.add(.{ .op = .call, .a = rule });
            },
            .sequence => |parts| for (parts) |part| try compiler.emit(part, copies),
            .choice => |parts| try compiler.emitChoice(parts, copies),
            .repeat => |repeat| try compiler.emitRepeat(repeat, copies),
        }
    }

    fn emitChoice(compiler: *Compiler, parts: []const u32, copies: u64) Error!void {
        const jumps = try compiler.arena.alloc(u32, parts.len - 1);
        for (parts[0 .. parts.len - 1], jumps) |part, *jump| {
            const split = try compiler.add(.{ .op = .split, .a = compiler.here() + 1 });
            try compiler.emit(part, copies);
            jump.* = try compiler.add(.{ .op = .jump });
            compiler.code.items[split].b = compiler.here();
        }
        try compiler.emit(parts[parts.len - 1], copies);
        for (jumps) |jump| compiler.code.items[jump].a = compiler.here();
    }

    fn emitRepeat(compiler: *Compiler, repeat: ast.Repeat, copies: u64) Error!void {
        const endless = repeat.max == ast.Repeat.unlimited;
        const times: u64 = if (endless) @as(u64, repeat.min) + 1 else repeat.max;
        for (0..repeat.min) |_| try compiler.emit(repeat.of, copies *| times);
        const first = compiler.here();
        if (endless) {
            const split = try compiler.add(.{ .op = .split, .a = first + 1 });
            try compiler.emit(repeat.of, copies *| times);
            _ = try compiler.add(.{ .op = .jump, .a = split });
            compiler.code.items[split].b = compiler.here();
            return;
        }
        const splits = try compiler.arena.alloc(u32, repeat.max - repeat.min);
        for (splits) |*split| {
            split.* = try compiler.add(.{ .op = .split, .a = compiler.here() + 1 });
            try compiler.emit(repeat.of, copies *| times);
        }
        for (splits) |split| compiler.code.items[split].b = compiler.here();
    }
};

fn compiled(text: []const u8) !Program {
    var diag: Diagnostic = .{};
    return Program.init(std.testing.allocator, text, null, &diag);
}

test "what would be too large is refused before it is written out" {
    var diag: Diagnostic = .{};
    const text = "root ::= ((((\"a\"{1000}){1000}){1000}){1000}){1000}";
    try std.testing.expectError(error.BadGrammar, Program.init(std.testing.allocator, text, null, &diag));
    try std.testing.expect(std.mem.startsWith(u8, diag.text(), "grammar line 1, column 1: expected at most 262144 steps"));
    var program = try compiled("root ::= (\"ab\"{0,100}){2,300}");
    program.deinit();
}

test "the code of a repetition has the size that was foretold" {
    inline for (.{ "root ::= [a]{2,5} (\"x\" | d){3,} d*\nd ::= [0-9]+", "root ::= \"[\" (root (\",\" root)*)? \"]\" | \"\"" }) |text| {
        var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
        defer arena.deinit();
        var diag: Diagnostic = .{};
        const tree = try parser.parse(arena.allocator(), text, null, &diag);
        const checked = try check_file.check(arena.allocator(), &tree, &diag);
        var sum: u64 = 0;
        for (checked.sizes) |size| sum += size + 1;
        var program = try compiled(text);
        defer program.deinit();
        try std.testing.expect(program.code.len <= sum);
        for (program.code) |instruction| try std.testing.expect(instruction.op != .jump or program.code[instruction.a].op != .jump);
    }
}

test "a call at the end of a rule leaves nothing behind" {
    var program = try compiled("root ::= \"x\" root | \"y\" root \"z\" | \"\"");
    defer program.deinit();
    var counts: [2]usize = @splat(0);
    for (program.code) |instruction| {
        if (instruction.op == .call) counts[0] += 1;
        if (instruction.op == .tail_call) counts[1] += 1;
    }
    try std.testing.expectEqual([2]usize{ 1, 1 }, counts);
}
