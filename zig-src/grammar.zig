//! Grammars that a generated text must follow, in the GBNF of llama.cpp. A `Program` is a grammar made
//! ready; a `Vocabulary` knows the tokens of a model by their bytes; a `Guide` follows one text with
//! both, and says which tokens may come next.
//!
//! Promises. A text that is no grammar is an error with line and column, and costs bounded memory and
//! time. A token is allowed if and only if the text with it is the beginning of a text of the grammar,
//! wherever tokens cut characters. Following a text allocates nothing; a grammar that is so ambiguous
//! or so deep that it needs more than there is gives an error.
//!
//! It knows nothing of models, tokenizers and samplers.

const std = @import("std");
const guide_file = @import("grammar/guide.zig");
const machine_file = @import("grammar/machine.zig");
const parser = @import("grammar/parser.zig");
const program_file = @import("grammar/program.zig");
const vocabulary_file = @import("grammar/vocabulary.zig");
const Diagnostic = @import("diagnostic.zig").Diagnostic;

pub const Guide = guide_file.Guide;
pub const Names = parser.Names;
pub const Program = program_file.Program;
pub const Vocabulary = vocabulary_file.Vocabulary;
pub const text_max = @import("grammar/ast.zig").text_max;

pub const Match = struct {
    /// Bytes that some text of the grammar begins with.
    read: usize,
    /// Whether all of it was read and the grammar can end there.
    whole: bool,
};

/// How far a text is of the grammar. Tokens that the grammar names are in no text.
pub fn match(gpa: std.mem.Allocator, program: *const Program, text: []const u8) (machine_file.Error || error{OutOfMemory})!Match {
    var machine: machine_file.Machine = try .init(gpa, program);
    defer machine.deinit(gpa);
    const max = machine_file.stacks_max;
    const stacks = try gpa.alloc(machine_file.Stack, 2 * max);
    defer gpa.free(stacks);
    var sets: [2]machine_file.Set = .{ .{ .items = stacks[0..max] }, .{ .items = stacks[max..] } };
    var now: u1 = 0;
    try machine.start(&sets[0]);
    for (text, 0..) |byte, at| {
        try machine.step(sets[now].stacks(), byte, &sets[~now]);
        if (sets[~now].isEmpty()) return .{ .read = at, .whole = false };
        now = ~now;
        if (machine.isCrowded()) machine.compact(&sets[now]);
    }
    return .{ .read = text.len, .whole = sets[now].ends };
}

/// JSON as llama.cpp's example has it, for tests.
pub const json =
    \\root   ::= object
    \\value  ::= object | array | string | number | ("true" | "false" | "null") ws
    \\object ::=
    \\  "{" ws (
    \\            string ":" ws value
    \\    ("," ws string ":" ws value)*
    \\  )? "}" ws
    \\array  ::=
    \\  "[" ws (
    \\            value
    \\    ("," ws value)*
    \\  )? "]" ws
    \\string ::=
    \\  "\"" (
    \\    [^"\\\x7F\x00-\x1F] |
    \\    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
    \\  )* "\"" ws
    \\number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
    \\ws ::= | " " | "\n" [ \t]{0,20}
;

test {
    _ = @import("grammar/ast.zig");
    _ = @import("grammar/chars.zig");
    _ = @import("grammar/check.zig");
    _ = guide_file;
    _ = machine_file;
    _ = parser;
    _ = program_file;
    _ = @import("grammar/reference.zig");
    _ = @import("grammar/runs.zig");
    _ = vocabulary_file;
    _ = @import("grammar/test_guide.zig");
    _ = @import("grammar/test_property.zig");
}

fn expectMatch(program: *const Program, text: []const u8, read: usize, whole: bool) !void {
    try std.testing.expectEqual(Match{ .read = read, .whole = whole }, try match(std.testing.allocator, program, text));
}

test "a text is read as far as it is of the grammar" {
    var diag: Diagnostic = .{};
    var program: Program = try .init(std.testing.allocator, json, null, &diag);
    defer program.deinit();
    const good = "{\"a\": [1, -2.5e+1, \"é\\u00e9字\", {}],\n  \"b\": null}";
    try expectMatch(&program, good, good.len, true);
    try expectMatch(&program, good[0 .. good.len - 1], good.len - 1, false);
    try expectMatch(&program, "{\"a\": 01}", 7, false);
    try expectMatch(&program, "{\"a\" 1}", 5, false);
    try expectMatch(&program, "{\"\xC3\x28\"}", 3, false);
    try expectMatch(&program, "", 0, false);
}

test "depth is bounded only by its memory" {
    var diag: Diagnostic = .{};
    var program: Program = try .init(std.testing.allocator, "root ::= \"[\" root? \"]\"", null, &diag);
    defer program.deinit();
    const open: [4000]u8 = @splat('[');
    const shut: [4000]u8 = @splat(']');
    try expectMatch(&program, &(open ++ shut), 8000, true);
    const more: [10000]u8 = @splat('[');
    try std.testing.expectError(error.GrammarOverflow, match(std.testing.allocator, &program, &more));
    // Right recursion has none.
    var list: Program = try .init(std.testing.allocator, "root ::= \"[\" root | \"]\"", null, &diag);
    defer list.deinit();
    try expectMatch(&list, &more, more.len, false);
}
