//! What a grammar must be before it is compiled: without left recursion, which would never read a
//! byte; and with an end to every rule, so that whatever has been begun can be ended. It also says in
//! which order rules can be compiled, and which are small enough to be written into their users.

const std = @import("std");
const ast = @import("ast.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Error = @import("parser.zig").Error;

/// Largest rule that is written into its users, in instructions.
const inline_max = 64;
/// Rules that are written into each other.
const inline_depth_max = 16;
/// Instructions that copies of one rule may take in a repetition.
const copies_max = 1 << 14;

pub const Checked = struct {
    ast: *const ast.Ast,
    nullable: []const bool, // [rules]
    /// Rules behind those that they use, as far as there is such an order.
    order: []const u32,
    /// Instructions of a rule with what is written into it.
    sizes: []u64,
    /// Whether it is written into its users.
    inlined: []bool,
    depths: []u8,

    /// Whether a rule is written out where it is used `copies` times.
    pub fn inlines(checked: *const Checked, rule: u32, copies: u64) bool {
        return checked.inlined[rule] and checked.sizes[rule] *| copies <= copies_max;
    }

    /// Instructions of an expression of which `copies` are made.
    pub fn size(checked: *const Checked, node: u32, copies: u64) u64 {
        var sum: u64 = 0;
        switch (checked.ast.nodes[node]) {
            .literal => |bytes| sum = bytes.len,
            .class, .token => sum = 1,
            .rule => |rule| sum = if (checked.inlines(rule, copies)) checked.sizes[rule] else 1,
            .sequence => |parts| for (parts) |part| {
                sum +|= checked.size(part, copies);
            },
            .choice => |parts| for (parts) |part| {
                sum +|= checked.size(part, copies) +| 2;
            },
            .repeat => |repeat| {
                const times: u64 = if (repeat.max == ast.Repeat.unlimited) @as(u64, repeat.min) + 1 else repeat.max;
                sum = (checked.size(repeat.of, copies *| times) +| 1) *| times +| 1;
            },
        }
        return sum;
    }
};

pub fn check(arena: std.mem.Allocator, tree: *const ast.Ast, diag: *Diagnostic) Error!Checked {
    const count = tree.rules.len;
    const nullable = try property(arena, tree, .nullable);
    const ended = try property(arena, tree, .ended);
    for (ended, tree.rules) |has_end, rule| if (!has_end) {
        const where = ast.place(tree.text, rule.at);
        diag.set("grammar line {d}, column {d}: expected a rule that can end, found {s}, which always needs itself", .{
            where.line, where.column, rule.name,
        });
        return error.BadGrammar;
    };
    var left: Walk = try .init(arena, tree, nullable, true);
    try left.run(diag);
    var all: Walk = try .init(arena, tree, nullable, false);
    try all.run(diag);
    var checked: Checked = .{
        .ast = tree,
        .nullable = nullable,
        .order = all.order.items,
        .sizes = try arena.alloc(u64, count),
        .inlined = try arena.alloc(bool, count),
        .depths = try arena.alloc(u8, count),
    };
    @memset(checked.sizes, 1);
    @memset(checked.inlined, false);
    @memset(checked.depths, 0);
    for (checked.order) |rule| {
        checked.sizes[rule] = checked.size(tree.rules[rule].body.?, 1);
        checked.depths[rule] = deepest(&checked, tree.rules[rule].body.?) + 1;
        checked.inlined[rule] = !all.entered_again[rule] and checked.sizes[rule] <= inline_max and
            checked.depths[rule] <= inline_depth_max;
    }
    return checked;
}

fn deepest(checked: *const Checked, node: u32) u8 {
    switch (checked.ast.nodes[node]) {
        .literal, .class, .token => return 0,
        .rule => |rule| return if (checked.inlined[rule]) checked.depths[rule] else 0,
        .repeat => |repeat| return deepest(checked, repeat.of),
        .sequence, .choice => |parts| {
            var most: u8 = 0;
            for (parts) |part| most = @max(most, deepest(checked, part));
            return most;
        },
    }
}

const Property = enum {
    /// Can be nothing.
    nullable,
    /// Has a text that is finite.
    ended,
};

/// The least set of rules that have it: each is looked at again when a rule that it uses got it.
fn property(arena: std.mem.Allocator, tree: *const ast.Ast, which: Property) Error![]bool {
    const count = tree.rules.len;
    const has = try arena.alloc(bool, count);
    @memset(has, false);
    const users = try arena.alloc(std.ArrayList(u32), count);
    @memset(users, .empty);
    var used: std.ArrayList(u32) = .empty;
    const waiting = try arena.alloc(bool, count);
    @memset(waiting, true);
    var queue: std.ArrayList(u32) = .empty;
    for (0..count) |rule| {
        used.clearRetainingCapacity();
        try collect(arena, tree, tree.rules[rule].body.?, null, &used);
        for (used.items) |other| {
            const list = &users[other];
            const last = if (list.items.len > 0) list.items[list.items.len - 1] else null;
            if (last != @as(u32, @intCast(rule))) try list.append(arena, @intCast(rule));
        }
        try queue.append(arena, @intCast(rule));
    }
    while (queue.pop()) |rule| {
        waiting[rule] = false;
        if (has[rule] or !holds(tree, tree.rules[rule].body.?, has, which)) continue;
        has[rule] = true;
        for (users[rule].items) |user| if (!has[user] and !waiting[user]) {
            waiting[user] = true;
            try queue.append(arena, user);
        };
    }
    return has;
}

fn holds(tree: *const ast.Ast, node: u32, has: []const bool, which: Property) bool {
    return switch (tree.nodes[node]) {
        .literal => |bytes| which == .ended or bytes.len == 0,
        .class, .token => which == .ended,
        .rule => |rule| has[rule],
        .sequence => |parts| for (parts) |part| {
            if (!holds(tree, part, has, which)) break false;
        } else true,
        .choice => |parts| for (parts) |part| {
            if (holds(tree, part, has, which)) break true;
        } else false,
        .repeat => |repeat| repeat.min == 0 or holds(tree, repeat.of, has, which),
    };
}

/// The rules that an expression uses; those that it may begin with, when `nullable` is given.
fn collect(arena: std.mem.Allocator, tree: *const ast.Ast, node: u32, nullable: ?[]const bool, out: *std.ArrayList(u32)) Error!void {
    switch (tree.nodes[node]) {
        .literal, .class, .token => {},
        .rule => |rule| try out.append(arena, rule),
        .choice => |parts| for (parts) |part| try collect(arena, tree, part, nullable, out),
        .repeat => |repeat| if (repeat.max > 0) try collect(arena, tree, repeat.of, nullable, out),
        .sequence => |parts| for (parts) |part| {
            try collect(arena, tree, part, nullable, out);
            const first_only = nullable orelse continue;
            if (!holds(tree, part, first_only, .nullable)) break;
        },
    }
}

/// A walk over the rules, from each to those that it uses, without recursion of our own.
const Walk = struct {
    arena: std.mem.Allocator,
    tree: *const ast.Ast,
    nullable: []const bool,
    left: bool,
    state: []State, // [rules]
    entered_again: []bool, // [rules]
    order: std.ArrayList(u32) = .empty,
    path: std.ArrayList(Frame) = .empty,

    const State = enum { new, open, done };
    const Frame = struct { rule: u32, used: []const u32, next: usize = 0 };

    fn init(arena: std.mem.Allocator, tree: *const ast.Ast, nullable: []const bool, left: bool) Error!Walk {
        const walk: Walk = .{
            .arena = arena,
            .tree = tree,
            .nullable = nullable,
            .left = left,
            .state = try arena.alloc(State, tree.rules.len),
            .entered_again = try arena.alloc(bool, tree.rules.len),
        };
        @memset(walk.state, .new);
        @memset(walk.entered_again, false);
        return walk;
    }

    fn run(walk: *Walk, diag: *Diagnostic) Error!void {
        for (0..walk.tree.rules.len) |rule| {
            if (walk.state[rule] != .new) continue;
            try walk.enter(@intCast(rule));
            while (walk.path.items.len > 0) {
                const frame = &walk.path.items[walk.path.items.len - 1];
                if (frame.next == frame.used.len) {
                    walk.state[frame.rule] = .done;
                    try walk.order.append(walk.arena, frame.rule);
                    _ = walk.path.pop();
                    continue;
                }
                const other = frame.used[frame.next];
                frame.next += 1;
                switch (walk.state[other]) {
                    .new => try walk.enter(other),
                    .open => if (walk.left) return walk.failLeft(other, diag) else {
                        walk.entered_again[other] = true;
                    },
                    .done => {},
                }
            }
        }
    }

    fn enter(walk: *Walk, rule: u32) Error!void {
        walk.state[rule] = .open;
        var used: std.ArrayList(u32) = .empty;
        try collect(walk.arena, walk.tree, walk.tree.rules[rule].body.?, if (walk.left) walk.nullable else null, &used);
        try walk.path.append(walk.arena, .{ .rule = rule, .used = used.items });
    }

    fn failLeft(walk: *Walk, rule: u32, diag: *Diagnostic) error{BadGrammar} {
        const where = ast.place(walk.tree.text, walk.tree.rules[rule].at);
        var buffer: [400]u8 = undefined;
        var writer: std.Io.Writer = .fixed(&buffer);
        var inside = false;
        for (walk.path.items) |frame| {
            if (frame.rule == rule) inside = true;
            if (inside) writer.print("{s} → ", .{walk.tree.rules[frame.rule].name}) catch break;
        }
        diag.set("grammar line {d}, column {d}: expected no rule that begins with itself, found {s}{s}", .{
            where.line, where.column, writer.buffered(), walk.tree.rules[rule].name,
        });
        return error.BadGrammar;
    }
};

const parser = @import("parser.zig");

fn expectError(text: []const u8, expected: []const u8) !void {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    var diag: Diagnostic = .{};
    const tree = try parser.parse(arena.allocator(), text, null, &diag);
    try std.testing.expectError(error.BadGrammar, check(arena.allocator(), &tree, &diag));
    try std.testing.expectEqualStrings(expected, diag.text());
}

test "left recursion is refused, also where it is hidden" {
    try expectError("root ::= root \"a\" | \"b\"", "grammar line 1, column 1: expected no rule that begins with itself, found root → root");
    try expectError(
        \\root ::= "x" sum
        \\sum ::= blank? term
        \\blank ::= " "*
        \\term ::= blank sum "+" | "1"
    , "grammar line 1, column 14: expected no rule that begins with itself, found sum → term → sum");
    try expectError("root ::= (\"\" | \"x\"){2} root | \"y\"", "grammar line 1, column 1: expected no rule that begins with itself, found root → root");
}

test "a rule without an end is refused" {
    try expectError("root ::= \"a\" root", "grammar line 1, column 1: expected a rule that can end, found root, which always needs itself");
    try expectError("root ::= \"a\" | b\nb ::= \"c\" c\nc ::= \"d\" b", "grammar line 1, column 16: expected a rule that can end, found b, which always needs itself");
}

test "rules are ordered, and small ones are written into their users" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    var diag: Diagnostic = .{};
    const tree = try parser.parse(arena.allocator(),
        \\root ::= list digit
        \\list ::= "[" (digit list)? "]"
        \\digit ::= [0-9]
        \\many ::= list{1000}
    , null, &diag);
    const checked = try check(arena.allocator(), &tree, &diag);
    try std.testing.expectEqual(4, checked.order.len);
    try std.testing.expect(checked.inlined[2]);
    try std.testing.expect(!checked.inlined[1]);
    try std.testing.expectEqual(2001, checked.sizes[3]);
}
