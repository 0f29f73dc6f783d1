//! Grammars without a session: whether a text is of one, and which tokens one allows behind a text.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const grammar = @import("../grammar.zig");
const table = @import("core/table.zig");
const withModel = @import("model.zig").withModel;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Error = errors.Error;

pub const functions = .{
    .{
        .name = "vitrine_grammar_match",
        .function = "match",
        .doc = "Says how far a text is of a grammar. Tokens that the grammar names are in no text.",
        .params = .{
            .{ "grammar", "GBNF in UTF-8; read during the call only." },
            .{ "grammar_length", "In bytes." },
            .{ "text", "Any bytes; read during the call only." },
            .{ "text_length", "In bytes." },
            .{ "out", "The caller's; filled as far as it reaches, and behind it the text of an error.", "GrammarMatch" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_model_grammar_mask",
        .function = "mask",
        .doc = "The tokens that a grammar allows behind a text: one bit each, the lowest of the first word for token 0.",
        .params = .{
            .{ "model", "A loaded model." },
            .{ "prefix", "Read during the call only.", "GrammarPrefix" },
            .{ "prefix_length", "In bytes." },
            .{ "bytes", "The grammar, the text, and the tokens behind it; read during the call only." },
            .{ "words", "The caller's; filled with bits." },
            .{ "count", "Of the words, at least a 32nd of the vocabulary, rounded up." },
        },
    },
};

pub fn match(
    text: ?[*]align(1) const u8,
    text_length: u32,
    subject: ?[*]align(1) const u8,
    subject_length: u32,
    out: ?[*]u8,
    length: u32,
) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    var result: abi.GrammarMatch = .{};
    const status = errors.code(matchInto(&result, text, text_length, subject, subject_length, &diag));
    const head = @sizeOf(abi.GrammarMatch);
    const room = length -| head;
    const message = diag.text()[0..@min(diag.text().len, room)];
    result.text_length = @intCast(message.len);
    buffers.fill(result, out, length, &diag) catch |err| return errors.code(err);
    if (message.len > 0) @memcpy(out.?[head..][0..message.len], message);
    return status;
}

fn matchInto(
    result: *abi.GrammarMatch,
    text: ?[*]align(1) const u8,
    text_length: u32,
    subject: ?[*]align(1) const u8,
    subject_length: u32,
    diag: *Diagnostic,
) Error!void {
    const source = try buffers.slice(u8, text, text_length, "a grammar", diag);
    const given = try buffers.slice(u8, subject, subject_length, "a text", diag);
    var program = try compile(source, null, diag);
    defer program.deinit();
    const found = grammar.match(table.gpa, &program, given) catch |err| return describe(err, diag);
    result.read = @intCast(found.read);
    result.whole = @intFromBool(found.whole);
}

fn compile(source: []const u8, names: ?grammar.Names, diag: *Diagnostic) Error!grammar.Program {
    return grammar.Program.init(table.gpa, source, names, diag) catch |err| switch (err) {
        error.OutOfMemory => error.OutOfMemory,
        error.BadGrammar => error.InvalidArgument,
    };
}

fn describe(err: error{ OutOfMemory, GrammarOverflow, TokenRefused }, diag: *Diagnostic) Error {
    switch (err) {
        error.OutOfMemory => return error.OutOfMemory,
        error.GrammarOverflow => diag.set("expected a grammar that is followed in at most 4096 ways and 8192 steps of depth, found more", .{}),
        error.TokenRefused => diag.set("expected tokens that the grammar allows, found others", .{}),
    }
    return error.InvalidArgument;
}

pub fn mask(
    handle: u32,
    prefix: ?[*]const u8,
    prefix_length: u32,
    bytes: ?[*]align(1) const u8,
    words: ?[*]align(1) u32,
    count: u32,
) callconv(.c) i32 {
    return withModel(handle, .{ prefix, prefix_length, bytes, words, count }, fillMask);
}

fn fillMask(
    model: *engine.Model,
    diag: *Diagnostic,
    prefix: ?[*]const u8,
    prefix_length: u32,
    bytes: ?[*]align(1) const u8,
    words: ?[*]align(1) u32,
    count: u32,
) Error!void {
    const lengths = try buffers.options(abi.GrammarPrefix, prefix, prefix_length, "a prefix", diag);
    const total = @as(u64, lengths.grammar_length) + lengths.text_length + 4 * @as(u64, lengths.token_count);
    if (total > buffers.bytes_max) {
        diag.set("expected a grammar and a text of at most {d} bytes, found {d}", .{ buffers.bytes_max, total });
        return error.InvalidArgument;
    }
    const all = try buffers.slice(u8, bytes, @intCast(total), "a grammar and a text", diag);
    const vocab = model.tokenizer.count();
    if (@as(u64, count) * 32 < vocab) {
        diag.set("expected room for {d} words, found {d}", .{ (vocab + 31) / 32, count });
        return error.BufferTooSmall;
    }
    const out = try buffers.required(words, "the words", diag);
    const texts = engine.texts(model);
    const names: grammar.Names = .{ .context = texts.context, .find = texts.find_name.?, .count = vocab };
    var program = try compile(all[0..lengths.grammar_length], names, diag);
    defer program.deinit();
    var guide: grammar.Guide = try .init(table.gpa, &program, try engine.tokenTree(model));
    defer guide.deinit(table.gpa);
    guide.reset() catch |err| return describe(err, diag);
    const text = all[lengths.grammar_length..][0..lengths.text_length];
    const read = guide.acceptText(text) catch |err| return describe(err, diag);
    if (read < text.len) {
        diag.set("expected a text that the grammar allows, found another one from byte {d} on", .{read});
        return error.InvalidArgument;
    }
    const tokens = std.mem.bytesAsSlice(u32, all[lengths.grammar_length + lengths.text_length ..]);
    for (tokens) |token| guide.accept(token) catch |err| return describe(err, diag);
    const allowed = guide.mask() catch |err| return describe(err, diag);
    for (0..(vocab + 31) / 32) |at| out[at] = @truncate(allowed[at / 2] >> @intCast(32 * (at % 2)));
}

test "a text is matched, and a wrong grammar explained" {
    var bytes: [200]u8 = undefined;
    const result: *align(1) abi.GrammarMatch = @ptrCast(&bytes);
    const source = "root ::= \"ab\" [c]*";
    try std.testing.expectEqual(0, match(source, source.len, "abcc", 4, &bytes, bytes.len));
    try std.testing.expectEqual(abi.GrammarMatch{ .read = 4, .whole = 1 }, result.*);
    try std.testing.expectEqual(0, match(source, source.len, "abx", 3, &bytes, bytes.len));
    try std.testing.expectEqual(abi.GrammarMatch{ .read = 2, .whole = 0 }, result.*);
    try std.testing.expectEqual(@backingInt(abi.Status.invalid_argument), match("root", 4, null, 0, &bytes, bytes.len));
    const text = bytes[@sizeOf(abi.GrammarMatch)..][0..result.text_length];
    try std.testing.expectEqualStrings("grammar line 1, column 5: expected ::= after the name of a rule, found the end of the grammar", text);
    try std.testing.expectEqual(@backingInt(abi.Status.invalid_argument), match("root", 4, null, 0, &bytes, 20));
    try std.testing.expectEqual(8, result.text_length);
    try std.testing.expectEqual(@backingInt(abi.Status.invalid_argument), match(source, source.len, "a", 1, null, 0));
}
