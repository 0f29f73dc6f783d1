//! GBNF text to rules, in the dialect of llama.cpp: `name ::= …`, alternatives, groups that may span
//! lines, literals, character classes, `.`, repetition by `* + ? {m} {m,} {m,n}`, comments from `#`,
//! and tokens by number `<[7]>` or by name `<think>`, `!` before them for any other one. A line that
//! begins with `|` goes on with the rule before it.
//!
//! Whatever the text is, the answer is a grammar or an error with line, column, what was expected
//! there and what was found.

const std = @import("std");
const ast = @import("ast.zig");
const chars = @import("chars.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const Error = error{ OutOfMemory, BadGrammar };

/// Who knows the tokens that a grammar names.
pub const Names = struct {
    context: *const anyopaque,
    find: *const fn (context: *const anyopaque, name: []const u8) ?u32,
    /// Tokens are below it.
    count: u32,
};

/// Everything in the result is of `arena`, the text included.
pub fn parse(arena: std.mem.Allocator, text: []const u8, names: ?Names, diag: *Diagnostic) Error!ast.Ast {
    if (text.len > ast.text_max) {
        diag.set("expected a grammar of at most {d} bytes, found {d}", .{ ast.text_max, text.len });
        return error.BadGrammar;
    }
    if (!std.unicode.utf8ValidateSlice(text)) {
        diag.set("expected a grammar in UTF-8, found other bytes", .{});
        return error.BadGrammar;
    }
    var parser: Parser = .{ .arena = arena, .text = try arena.dupe(u8, text), .names = names, .diag = diag };
    return try parser.run();
}

const Parser = struct {
    arena: std.mem.Allocator,
    text: []const u8,
    at: usize = 0,
    depth: usize = 0,
    names: ?Names,
    diag: *Diagnostic,
    nodes: std.ArrayList(ast.Node) = .empty,
    rules: std.ArrayList(ast.Rule) = .empty,
    rule_numbers: std.StringHashMapUnmanaged(u32) = .empty,
    classes: std.ArrayList(chars.Class) = .empty,
    class_numbers: std.StringHashMapUnmanaged(u32) = .empty,
    /// Parts of the sequences and choices that are open.
    open: std.ArrayList(u32) = .empty,
    tokens: bool = false,

    fn run(parser: *Parser) Error!ast.Ast {
        parser.skip(true);
        while (parser.at < parser.text.len) try parser.rule();
        for (parser.rules.items) |item| if (item.body == null) {
            return parser.failAt(item.at, "a rule that is defined", .{}, "{s}, which is not", .{item.name});
        };
        const root = parser.rule_numbers.get("root") orelse
            return parser.fail("a rule with the name root", .{});
        return .{
            .text = parser.text,
            .nodes = parser.nodes.items,
            .rules = parser.rules.items,
            .classes = parser.classes.items,
            .root = root,
            .tokens = parser.tokens,
        };
    }

    fn rule(parser: *Parser) Error!void {
        const at = parser.at;
        const name_ = try parser.name("the name of a rule");
        parser.skip(false);
        if (!parser.takes("::=")) return parser.fail("::= after the name of a rule", .{});
        const index = try parser.ruleNumber(name_, at);
        if (parser.rules.items[index].body != null) {
            return parser.failAt(at, "every rule to be defined once", .{}, "{s} again", .{name_});
        }
        parser.skip(true);
        const body = try parser.choice(false);
        parser.rules.items[index].body = body;
        if (parser.at < parser.text.len and !parser.isNewline()) {
            return parser.fail("a symbol, | or the end of the line", .{});
        }
        parser.skip(true);
    }

    /// Alternatives, up to what can't go on.
    fn choice(parser: *Parser, nested: bool) Error!u32 {
        if (parser.depth == ast.depth_max) return parser.fail("at most {d} groups in each other", .{ast.depth_max});
        parser.depth += 1;
        defer parser.depth -= 1;
        const from = parser.open.items.len;
        while (true) {
            const alternative = try parser.sequence(nested);
            try parser.open.append(parser.arena, alternative);
            if (!parser.goesOn()) break;
            parser.skip(true);
        }
        return parser.close(from, true);
    }

    /// Takes a `|`, which may stand at the beginning of a later line.
    fn goesOn(parser: *Parser) bool {
        const before = parser.at;
        parser.skip(true);
        if (parser.takes("|")) return true;
        parser.at = before;
        return false;
    }

    fn sequence(parser: *Parser, nested: bool) Error!u32 {
        const from = parser.open.items.len;
        while (parser.at < parser.text.len) {
            const symbol_ = switch (parser.text[parser.at]) {
                '"' => try parser.literal(),
                '[' => try parser.class(),
                '(' => try parser.groupOf(),
                '.' => try parser.anything(),
                '<', '!' => try parser.token(),
                'a'...'z', 'A'...'Z', '0'...'9', '-', '_' => try parser.reference(),
                '*', '+', '?', '{' => return parser.fail("a symbol before a repetition", .{}),
                else => break,
            };
            parser.skip(nested);
            const repeated = try parser.repetitions(symbol_, nested);
            try parser.open.append(parser.arena, repeated);
        }
        return parser.close(from, false);
    }

    /// What was opened since `from` as one node; a single part stands for itself.
    fn close(parser: *Parser, from: usize, is_choice: bool) Error!u32 {
        const parts = parser.open.items[from..];
        defer parser.open.shrinkRetainingCapacity(from);
        if (parts.len == 1) return parts[0];
        const list = try parser.arena.dupe(u32, parts);
        return parser.add(if (is_choice) .{ .choice = list } else .{ .sequence = list });
    }

    fn groupOf(parser: *Parser) Error!u32 {
        const at = parser.at;
        parser.at += 1;
        parser.skip(true);
        const inner = try parser.choice(true);
        parser.skip(true);
        if (!parser.takes(")")) {
            const opened = ast.place(parser.text, at);
            return parser.fail("a symbol, | or ) to close the group of line {d}, column {d}", .{ opened.line, opened.column });
        }
        return inner;
    }

    fn repetitions(parser: *Parser, symbol_: u32, nested: bool) Error!u32 {
        var node = symbol_;
        var count: usize = 0;
        while (parser.at < parser.text.len) : (count += 1) {
            var repeat: ast.Repeat = .{ .of = node, .min = 0, .max = ast.Repeat.unlimited };
            switch (parser.text[parser.at]) {
                '*' => parser.at += 1,
                '+' => {
                    parser.at += 1;
                    repeat.min = 1;
                },
                '?' => {
                    parser.at += 1;
                    repeat.max = 1;
                },
                '{' => try parser.bounds(&repeat),
                else => break,
            }
            if (count == ast.depth_max) return parser.fail("at most {d} repetitions of each other", .{ast.depth_max});
            node = try parser.add(.{ .repeat = repeat });
            parser.skip(nested);
        }
        return node;
    }

    fn bounds(parser: *Parser, repeat: *ast.Repeat) Error!void {
        const at = parser.at;
        parser.at += 1;
        parser.skip(true);
        repeat.min = try parser.number();
        parser.skip(true);
        repeat.max = repeat.min;
        if (parser.takes(",")) {
            parser.skip(true);
            const unlimited = parser.at < parser.text.len and parser.text[parser.at] == '}';
            repeat.max = if (unlimited) ast.Repeat.unlimited else try parser.number();
            parser.skip(true);
        }
        if (!parser.takes("}")) return parser.fail("{{m}}, {{m,}} or {{m,n}}", .{});
        if (repeat.max < repeat.min) {
            return parser.failAt(at, "a repetition {{m,n}} with m up to n", .{}, "{{{d},{d}}}", .{ repeat.min, repeat.max });
        }
    }

    fn number(parser: *Parser) Error!u32 {
        const at = parser.at;
        while (parser.at < parser.text.len and std.ascii.isDigit(parser.text[parser.at])) parser.at += 1;
        if (parser.at == at) return parser.fail("a number", .{});
        const digits = parser.text[at..parser.at];
        const value = std.fmt.parseInt(u32, digits, 10) catch ast.program_max + 1;
        if (value <= ast.program_max) return value;
        return parser.failAt(at, "a number up to {d}", .{ast.program_max}, "{s}", .{digits[0..@min(digits.len, 40)]});
    }

    fn reference(parser: *Parser) Error!u32 {
        const at = parser.at;
        const name_ = try parser.name("a rule");
        return parser.add(.{ .rule = try parser.ruleNumber(name_, at) });
    }

    fn ruleNumber(parser: *Parser, name_: []const u8, at: usize) Error!u32 {
        const entry = try parser.rule_numbers.getOrPut(parser.arena, name_);
        if (entry.found_existing) return entry.value_ptr.*;
        const number_ = parser.rules.items.len;
        if (number_ == ast.rules_max) return parser.failAt(at, "at most {d} rules", .{ast.rules_max}, "more", .{});
        entry.value_ptr.* = @intCast(number_);
        try parser.rules.append(parser.arena, .{ .name = name_, .at = @intCast(at) });
        return @intCast(number_);
    }

    fn name(parser: *Parser, comptime what: []const u8) Error![]const u8 {
        const at = parser.at;
        while (parser.at < parser.text.len) : (parser.at += 1) switch (parser.text[parser.at]) {
            'a'...'z', 'A'...'Z', '0'...'9', '-', '_' => {},
            else => break,
        };
        if (parser.at == at) return parser.fail(what, .{});
        return parser.text[at..parser.at];
    }

    fn literal(parser: *Parser) Error!u32 {
        const at = parser.at;
        parser.at += 1;
        var bytes: std.ArrayList(u8) = .empty;
        while (!parser.takes("\"")) {
            const code = try parser.character("a \" to end the literal", at);
            var buffer: [4]u8 = undefined;
            const len = std.unicode.utf8Encode(code, &buffer) catch unreachable;
            try bytes.appendSlice(parser.arena, buffer[0..len]);
        }
        return parser.add(.{ .literal = bytes.items });
    }

    fn class(parser: *Parser) Error!u32 {
        const at = parser.at;
        parser.at += 1;
        const negated = parser.takes("^");
        var ranges: std.ArrayList(chars.Range) = .empty;
        while (!parser.takes("]")) {
            const from = parser.at;
            const first = try parser.character("a ] to end the characters", at);
            var last = first;
            const rest = parser.text[parser.at..];
            if (rest.len > 1 and rest[0] == '-' and rest[1] != ']') {
                parser.at += 1;
                last = try parser.character("a ] to end the characters", at);
            }
            if (last < first) {
                return parser.failAt(from, "a range whose first character is not above its last", .{}, "U+{X:0>4} to U+{X:0>4}", .{ first, last });
            }
            try ranges.append(parser.arena, .{ .first = first, .last = last });
        }
        return parser.addClass(ranges.items, negated, at);
    }

    fn anything(parser: *Parser) Error!u32 {
        parser.at += 1;
        return parser.addClass(&.{}, true, parser.at - 1);
    }

    fn addClass(parser: *Parser, ranges: []chars.Range, negated: bool, at: usize) Error!u32 {
        const made = (try chars.Class.init(parser.arena, ranges, negated)) orelse
            return parser.failAt(at, "at least one character in a class", .{}, "none", .{});
        // Equal classes have one number, so that loops over them are recognised.
        const key = std.mem.sliceAsBytes(made.ranges);
        const entry = try parser.class_numbers.getOrPut(parser.arena, key);
        if (!entry.found_existing) {
            entry.value_ptr.* = @intCast(parser.classes.items.len);
            try parser.classes.append(parser.arena, made);
        }
        return parser.add(.{ .class = entry.value_ptr.* });
    }

    /// One character of a literal or a class, which may be escaped.
    fn character(parser: *Parser, comptime end: []const u8, opened: usize) Error!u21 {
        if (parser.at == parser.text.len or parser.isNewline()) {
            const from = ast.place(parser.text, opened);
            return parser.fail(end ++ " of line {d}, column {d}", .{ from.line, from.column });
        }
        const at = parser.at;
        if (parser.text[at] != '\\') {
            const len = std.unicode.utf8ByteSequenceLength(parser.text[at]) catch unreachable;
            parser.at += len;
            return std.unicode.utf8Decode(parser.text[at..][0..len]) catch unreachable;
        }
        parser.at += 1;
        const kind = if (parser.at < parser.text.len) parser.text[parser.at] else 0;
        const digits: usize = switch (kind) {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            else => {
                const code: u21 = switch (kind) {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    '\\', '"', '[', ']' => kind,
                    else => return parser.fail("one of n r t \\ \" [ ] x u U after \\", .{}),
                };
                parser.at += 1;
                return code;
            },
        };
        parser.at += 1;
        return parser.hexadecimal(at, digits);
    }

    fn hexadecimal(parser: *Parser, at: usize, digits: usize) Error!u21 {
        var code: u32 = 0;
        for (0..digits) |_| {
            const byte = if (parser.at < parser.text.len) parser.text[parser.at] else 0;
            const digit = std.fmt.charToDigit(byte, 16) catch return parser.fail("{d} hexadecimal digits", .{digits});
            code = code << 4 | digit;
            parser.at += 1;
        }
        const surrogate = code >= 0xD800 and code <= 0xDFFF;
        if (code <= chars.code_max and !surrogate) return @intCast(code);
        return parser.failAt(at, "a character up to \\U0010FFFF that is no surrogate", .{}, "U+{X:0>4}", .{code});
    }

    /// `<[7]>`, `<think>`, and both with `!` before.
    fn token(parser: *Parser) Error!u32 {
        const at = parser.at;
        const other = parser.takes("!");
        const from = parser.at;
        if (!parser.takes("<")) return parser.fail("a token <[number]> or <name> after !", .{});
        parser.tokens = true;
        if (parser.takes("[")) {
            const id = try parser.number();
            if (!parser.takes("]>")) return parser.fail("]> after the number of a token", .{});
            const count = if (parser.names) |names| names.count else std.math.maxInt(u32);
            if (id >= count) return parser.failAt(at, "a token below {d}", .{count}, "{d}", .{id});
            return parser.add(.{ .token = .{ .id = id, .other = other } });
        }
        while (parser.at < parser.text.len and !parser.isNewline()) {
            parser.at += 1;
            if (parser.text[parser.at - 1] == '>') break;
        } else return parser.fail("a > to end the name of a token", .{});
        const name_ = parser.text[from..parser.at];
        const names = parser.names orelse
            return parser.failAt(from, "tokens by number, where no vocabulary is known", .{}, "{s}", .{name_});
        const id = names.find(names.context, name_) orelse
            return parser.failAt(from, "a token of the vocabulary", .{}, "{s}", .{name_});
        return parser.add(.{ .token = .{ .id = id, .other = other } });
    }

    fn add(parser: *Parser, node: ast.Node) Error!u32 {
        try parser.nodes.append(parser.arena, node);
        return @intCast(parser.nodes.items.len - 1);
    }

    fn takes(parser: *Parser, text: []const u8) bool {
        if (!std.mem.startsWith(u8, parser.text[parser.at..], text)) return false;
        parser.at += text.len;
        return true;
    }

    fn isNewline(parser: *const Parser) bool {
        return parser.text[parser.at] == '\n' or parser.text[parser.at] == '\r';
    }

    /// Blanks and comments, and ends of lines if they mean nothing here.
    fn skip(parser: *Parser, newlines: bool) void {
        while (parser.at < parser.text.len) : (parser.at += 1) switch (parser.text[parser.at]) {
            ' ', '\t' => {},
            '#' => {
                while (parser.at < parser.text.len and !parser.isNewline()) parser.at += 1;
                parser.at -= 1;
            },
            '\r', '\n' => if (!newlines) return,
            else => return,
        };
    }

    fn fail(parser: *Parser, comptime expected: []const u8, args: anytype) error{BadGrammar} {
        const rest = parser.text[parser.at..];
        if (rest.len == 0) return parser.failAt(parser.at, expected, args, "the end of the grammar", .{});
        if (parser.isNewline()) return parser.failAt(parser.at, expected, args, "the end of the line", .{});
        const len = std.unicode.utf8ByteSequenceLength(rest[0]) catch 1;
        if (rest[0] < ' ') return parser.failAt(parser.at, expected, args, "U+{X:0>4}", .{rest[0]});
        return parser.failAt(parser.at, expected, args, "{s}", .{rest[0..len]});
    }

    fn failAt(
        parser: *Parser,
        at: usize,
        comptime expected: []const u8,
        args: anytype,
        comptime found: []const u8,
        found_args: anytype,
    ) error{BadGrammar} {
        const where = ast.place(parser.text, at);
        parser.diag.set("grammar line {d}, column {d}: expected " ++ expected ++ ", found " ++ found, .{
            where.line, where.column,
        } ++ args ++ found_args);
        return error.BadGrammar;
    }
};

fn findTest(_: *const anyopaque, name: []const u8) ?u32 {
    return if (std.mem.eql(u8, name, "<think>")) 7 else null;
}

fn expectError(text: []const u8, expected: []const u8) !void {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    var diag: Diagnostic = .{};
    const names: Names = .{ .context = &diag, .find = findTest, .count = 10 };
    try std.testing.expectError(error.BadGrammar, parse(arena.allocator(), text, names, &diag));
    try std.testing.expectEqualStrings(expected, diag.text());
}

test "what is wrong is said with its place" {
    try expectError("", "grammar line 1, column 1: expected a rule with the name root, found the end of the grammar");
    try expectError("root := \"a\"", "grammar line 1, column 6: expected ::= after the name of a rule, found :");
    try expectError("root ::= \"é\" expr\n", "grammar line 1, column 14: expected a rule that is defined, found expr, which is not");
    try expectError("root ::= \"abc\n", "grammar line 1, column 14: expected a \" to end the literal of line 1, column 10, found the end of the line");
    try expectError("root ::= [a-", "grammar line 1, column 13: expected a ] to end the characters of line 1, column 10, found the end of the grammar");
    try expectError("root ::= [z-a]", "grammar line 1, column 11: expected a range whose first character is not above its last, found U+007A to U+0061");
    try expectError("root ::= []", "grammar line 1, column 10: expected at least one character in a class, found none");
    try expectError("root ::= \"\\q\"", "grammar line 1, column 12: expected one of n r t \\ \" [ ] x u U after \\, found q");
    try expectError("root ::= \"\\x4\"", "grammar line 1, column 14: expected 2 hexadecimal digits, found \"");
    try expectError("root ::= \"\\uD800\"", "grammar line 1, column 11: expected a character up to \\U0010FFFF that is no surrogate, found U+D800");
    try expectError("root ::= \"\\UFFFFFFFF\"", "grammar line 1, column 11: expected a character up to \\U0010FFFF that is no surrogate, found U+FFFFFFFF");
    try expectError("root ::= (\"a\"\n | \"b\"\n", "grammar line 3, column 1: expected a symbol, | or ) to close the group of line 1, column 10, found the end of the grammar");
    try expectError("root ::= \"a\" )", "grammar line 1, column 14: expected a symbol, | or the end of the line, found )");
    try expectError("root ::= *", "grammar line 1, column 10: expected a symbol before a repetition, found *");
    try expectError("root ::= \"a\"{3,2}", "grammar line 1, column 13: expected a repetition {m,n} with m up to n, found {3,2}");
    try expectError("root ::= \"a\"{x}", "grammar line 1, column 14: expected a number, found x");
    try expectError("root ::= \"a\"{1000000}", "grammar line 1, column 14: expected a number up to 262144, found 1000000");
    try expectError("root ::= \"a\"{2;", "grammar line 1, column 15: expected {m}, {m,} or {m,n}, found ;");
    try expectError("root ::= \"a\"\nroot ::= \"b\"", "grammar line 2, column 1: expected every rule to be defined once, found root again");
    try expectError("root ::= <[10]>", "grammar line 1, column 10: expected a token below 10, found 10");
    try expectError("root ::= <tool>", "grammar line 1, column 10: expected a token of the vocabulary, found <tool>");
    try expectError("root ::= !\"a\"", "grammar line 1, column 11: expected a token <[number]> or <name> after !, found \"");
    try expectError("root ::= \xff", "expected a grammar in UTF-8, found other bytes");
    const deep: [200]u8 = @splat('(');
    try expectError("root ::= " ++ deep, "grammar line 1, column 110: expected at most 100 groups in each other, found (");
}

test "the documented forms are read" {
    var arena: std.heap.ArenaAllocator = .init(std.testing.allocator);
    defer arena.deinit();
    var diag: Diagnostic = .{};
    const names: Names = .{ .context = &diag, .find = findTest, .count = 10 };
    const found = try parse(arena.allocator(),
        \\# A comment, and a rule over lines.
        \\root  ::= (
        \\  "1. " move " " move "\n" # moves
        \\  ([1-9] [0-9]? ". " move " " move "\n")+
        \\) | other_2
        \\  | <think> !<[3]> .
        \\move ::=
        \\  [KQR]? [a-h\]-] [^\x00-\x1F\u00e9\U0001F600"]{2} "\\\"\t\r" {1, 3} ""
        \\other_2 ::= move{2,}
    , names, &diag);
    try std.testing.expectEqual(3, found.rules.len);
    try std.testing.expect(found.tokens);
    const root = found.nodes[found.rules[found.root].body.?];
    try std.testing.expectEqual(3, root.choice.len);
    const last = found.nodes[root.choice[2]].sequence;
    try std.testing.expectEqual(ast.Token{ .id = 7, .other = false }, found.nodes[last[0]].token);
    try std.testing.expectEqual(ast.Token{ .id = 3, .other = true }, found.nodes[last[1]].token);
    try std.testing.expectEqual(0, found.classes[found.nodes[last[2]].class].ranges[0].first);
    const move = found.nodes[found.rules[1].body.?].sequence;
    try std.testing.expectEqual(ast.Repeat{ .of = found.nodes[move[0]].repeat.of, .min = 0, .max = 1 }, found.nodes[move[0]].repeat);
    const letters = found.classes[found.nodes[move[1]].class].ranges;
    try std.testing.expectEqualSlices(chars.Range, &.{
        .{ .first = '-', .last = '-' }, .{ .first = ']', .last = ']' }, .{ .first = 'a', .last = 'h' },
    }, letters);
    const escapes = found.nodes[move[3]].repeat;
    try std.testing.expectEqualStrings("\\\"\t\r", found.nodes[escapes.of].literal);
    try std.testing.expectEqual(3, escapes.max);
    try std.testing.expectEqualStrings("", found.nodes[move[4]].literal);
}
