//! Guides over a small vocabulary, and what they cost in memory.

const std = @import("std");
const grammar = @import("../grammar.zig");
const vocabulary_file = @import("vocabulary.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Guide = grammar.Guide;
const Program = grammar.Program;
const Vocabulary = grammar.Vocabulary;

const texts = [_][]const u8{ "{", "\"", "a", "b\":", "\": \"", "\"}", "}", "<end>", " ", "é", "\xC3", "\xA9", "1", ",", "\x00", "{}" };
const end = 7;

const Fixture = struct {
    program: Program,
    vocabulary: Vocabulary,
    guide: Guide,

    fn init(fixture: *Fixture, text: []const u8) !void {
        const gpa = std.testing.allocator;
        var diag: Diagnostic = .{};
        fixture.program = try .init(gpa, text, null, &diag);
        errdefer fixture.program.deinit();
        fixture.vocabulary = try .init(gpa, vocabulary_file.Texts.of(&texts, end));
        errdefer fixture.vocabulary.deinit();
        fixture.guide = try .init(gpa, &fixture.program, &fixture.vocabulary);
        errdefer fixture.guide.deinit(gpa);
        try fixture.guide.reset();
    }

    fn deinit(fixture: *Fixture) void {
        fixture.guide.deinit(std.testing.allocator);
        fixture.vocabulary.deinit();
        fixture.program.deinit();
    }

    fn expect(fixture: *Fixture, allowed: []const u32) !void {
        const words = try fixture.guide.mask();
        var bits: u64 = 0;
        for (allowed) |id| bits |= @as(u64, 1) << @intCast(id);
        try std.testing.expectEqual(bits, words[0]);
    }

    fn accept(fixture: *Fixture, ids: []const u32) !void {
        for (ids) |id| try fixture.guide.accept(id);
    }
};

test "a JSON object is guided to its end" {
    var fixture: Fixture = undefined;
    try fixture.init(grammar.json);
    defer fixture.deinit();
    try fixture.expect(&.{ 0, 15 });
    try fixture.accept(&.{0});
    // Those that begin with a quotation mark begin a key.
    try fixture.expect(&.{ 1, 4, 5, 6, 8 });
    try fixture.accept(&.{1});
    // Inside a string: "b": closes it, and "} may not.
    const inside = [_]u32{ 0, 1, 2, 3, 4, 6, 8, 9, 10, 12, 13, 15 };
    try fixture.expect(&inside);
    try fixture.accept(&.{9});
    try fixture.expect(&inside);
    try std.testing.expectEqual(1, fixture.guide.found);
    try fixture.accept(&.{10});
    // A character is begun, and must be ended.
    try fixture.expect(&.{11});
    try fixture.accept(&.{ 11, 4, 2 });
    try std.testing.expectError(error.TokenRefused, fixture.guide.accept(14));
    try std.testing.expectError(error.TokenRefused, fixture.guide.accept(end));
    try fixture.accept(&.{5});
    try fixture.expect(&.{ 8, end });
    try std.testing.expect(fixture.guide.canEnd());
    try fixture.accept(&.{end});
    try fixture.expect(&.{end});
    try fixture.guide.reset();
    try fixture.expect(&.{ 0, 15 });
}

test "counted characters are counted" {
    var fixture: Fixture = undefined;
    try fixture.init("root ::= \"\\\"\" [^\"]{2,3} \"\\\"\"");
    defer fixture.deinit();
    try fixture.accept(&.{1});
    try fixture.expect(&.{ 0, 2, 6, 8, 9, 10, 12, 13, 14, 15 });
    try fixture.accept(&.{ 9, 2 });
    try fixture.expect(&.{ 0, 1, 2, 6, 8, 9, 10, 12, 13, 14 });
    try fixture.accept(&.{2});
    try fixture.expect(&.{1});
}

test "tokens are named by their numbers" {
    var fixture: Fixture = undefined;
    try fixture.init("root ::= <[14]> (!<[15]> | \"{\")* <[15]>");
    defer fixture.deinit();
    try fixture.expect(&.{14});
    try fixture.accept(&.{14});
    try fixture.expect(&.{ 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15 });
    try fixture.accept(&.{ 0, 11 });
    try std.testing.expectError(error.TokenRefused, fixture.guide.accept(end));
    try fixture.accept(&.{15});
    try fixture.expect(&.{end});
}

test "a guide allocates at its start only, and leaves nothing when that fails" {
    const Attempt = struct {
        fn run(gpa: std.mem.Allocator) !void {
            var diag: Diagnostic = .{};
            var program: Program = try .init(gpa, grammar.json, null, &diag);
            defer program.deinit();
            var vocabulary: Vocabulary = try .init(gpa, vocabulary_file.Texts.of(&texts, end));
            defer vocabulary.deinit();
            var guide: Guide = try .init(gpa, &program, &vocabulary);
            guide.deinit(gpa);
        }
    };
    try std.testing.checkAllAllocationFailures(std.testing.allocator, Attempt.run, .{});
}
