//! The tokenizer of a model: text to tokens and back.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const table = @import("core/table.zig");
const Tokenizer = @import("../tokenizer.zig").Tokenizer;
const ModelObject = @import("core/model_object.zig").ModelObject;
const withModel = @import("model.zig").withModel;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Error = errors.Error;

pub const functions = .{
    .{
        .name = "vitrine_model_tokenize",
        .function = "tokenize",
        .doc = "The tokens of a text.",
        .params = .{
            .{ "model", "A loaded model." },
            .{ "text", "UTF-8; read during the call only." },
            .{ "text_length", "In bytes." },
            .{ "flags", "TokenizeFlags." },
            .{ "tokens", "The caller's; filled with token ids." },
            .{ "count", "In: how many fit. Out: how many there are." },
        },
    },
    .{
        .name = "vitrine_model_detokenize",
        .function = "detokenize",
        .doc = "The text of tokens. Bytes that make no whole character become U+FFFD.",
        .params = .{
            .{ "model", "A loaded model." },
            .{ "tokens", "Token ids; read during the call only." },
            .{ "count", "How many." },
            .{ "flags", "TokenizeFlags: parse_special writes special tokens by their names." },
            .{ "buffer", "The caller's; filled with UTF-8." },
            .{ "length", "In: bytes that fit. Out: bytes that there are." },
        },
    },
    .{
        .name = "vitrine_model_token",
        .function = "token",
        .doc = "One token of the vocabulary: a TokenInfo, the piece as it is stored, and the text that it stands for.",
        .params = .{
            .{ "model", "A loaded model." },
            .{ "token", "Below `vocabulary`." },
            .{ "buffer", "The caller's." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "out_length", "Gets the length of the entry, also when the buffer is too small." },
        },
    },
    .{
        .name = "vitrine_model_match_tokens",
        .function = "matchTokens",
        .doc = "Whether two models have the same tokens; the error's text names the first that differs.",
        .params = .{
            .{ "model", "A loaded model; the error is kept here." },
            .{ "other", "Another one." },
        },
    },
};

pub fn tokenize(
    handle: u32,
    text: ?[*]align(1) const u8,
    text_length: u32,
    flags: u32,
    tokens: ?[*]align(1) u32,
    count: ?*align(1) u32,
) callconv(.c) i32 {
    return withModel(handle, .{ text, text_length, flags, tokens, count }, copyTokens);
}

fn copyTokens(
    model: *engine.Model,
    diag: *Diagnostic,
    text: ?[*]align(1) const u8,
    text_length: u32,
    flags: u32,
    tokens: ?[*]align(1) u32,
    count: ?*align(1) u32,
) Error!void {
    const fits = try buffers.required(count, "the count", diag);
    try buffers.checkFlags(abi.TokenizeFlags, flags, "flags", diag);
    const bytes = try buffers.slice(u8, text, text_length, "a text", diag);
    var list: std.ArrayList(u32) = .empty;
    defer list.deinit(table.gpa);
    try model.tokenizer.encode(table.gpa, bytes, .{
        .add_special = buffers.has(flags, abi.TokenizeFlags.add_special),
        .parse_special = buffers.has(flags, abi.TokenizeFlags.parse_special),
    }, &list);
    const room = fits.*;
    fits.* = @intCast(list.items.len);
    if (list.items.len > room) {
        diag.set("expected room for {d} tokens, found {d}", .{ list.items.len, room });
        return error.BufferTooSmall;
    }
    if (list.items.len == 0) return;
    const out = try buffers.required(tokens, "the tokens", diag);
    for (list.items, 0..) |id, i| out[i] = id;
}

pub fn detokenize(
    handle: u32,
    tokens: ?[*]align(1) const u32,
    count: u32,
    flags: u32,
    buffer: ?[*]u8,
    length: ?*align(1) u32,
) callconv(.c) i32 {
    return withModel(handle, .{ tokens, count, flags, buffer, length }, copyText);
}

fn copyText(
    model: *engine.Model,
    diag: *Diagnostic,
    tokens: ?[*]align(1) const u32,
    count: u32,
    flags: u32,
    buffer: ?[*]u8,
    length: ?*align(1) u32,
) Error!void {
    const fits = try buffers.required(length, "the length", diag);
    try buffers.checkFlags(abi.TokenizeFlags, flags, "flags", diag);
    var stream: Tokenizer.Stream = .init(model.tokenizer, .{
        .special = buffers.has(flags, abi.TokenizeFlags.parse_special),
        .continues = false,
    });
    const memory = try table.gpa.alloc(u8, @max(stream.outMax(), 3));
    defer table.gpa.free(memory);
    var out: Sink = .{ .buffer = buffer, .room = fits.* };
    for (try buffers.slice(u32, tokens, count, "tokens", diag), 0..) |id, i| {
        try checkToken(model, id, i, diag);
        try out.append(stream.push(id, memory), diag);
    }
    try out.append(stream.flush(memory), diag);
    const total = out.total;
    const room = fits.*;
    fits.* = std.math.cast(u32, total) orelse {
        diag.set("expected a text of at most 4 GiB, found {d} bytes", .{total});
        return error.InvalidArgument;
    };
    if (total <= room) return;
    diag.set("expected a buffer of {d} bytes, found {d}", .{ total, room });
    return error.BufferTooSmall;
}

/// Writes what fits and counts everything.
const Sink = struct {
    buffer: ?[*]u8,
    room: u32,
    total: usize = 0,

    fn append(sink: *Sink, bytes: []const u8, diag: *Diagnostic) Error!void {
        if (bytes.len != 0 and sink.total + bytes.len <= sink.room) {
            const out = try buffers.required(sink.buffer, "the buffer", diag);
            @memcpy(out[sink.total..][0..bytes.len], bytes);
        }
        sink.total += bytes.len;
    }
};

pub fn token(handle: u32, id: u32, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) callconv(.c) i32 {
    return withModel(handle, .{ id, buffer, length, out_length }, copyToken);
}

fn copyToken(model: *engine.Model, diag: *Diagnostic, id: u32, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) Error!void {
    try checkToken(model, id, 0, diag);
    const stored = model.tokenizer.tokenText(id);
    const bytes = model.tokenizer.bytesOf(id, true);
    const end = model.tokenizer.isEndOfGeneration(id);
    const header: abi.TokenInfo = .{
        .size = @intCast(@sizeOf(abi.TokenInfo) + stored.len + bytes.len),
        .flags = if (end) @backingInt(abi.TokenFlags.end_of_generation) else 0,
        .piece_length = @intCast(stored.len),
        .text_length = @intCast(bytes.len),
    };
    try buffers.copyOut(&.{ std.mem.asBytes(&header), stored, bytes }, buffer, length, out_length, diag);
}

pub fn matchTokens(handle: u32, other: u32) callconv(.c) i32 {
    const object = table.pin(other, .model) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    return withModel(handle, .{ModelObject.of(object)}, expectSame);
}

fn expectSame(model: *engine.Model, diag: *Diagnostic, object: *ModelObject) Error!void {
    // What a loaded model is doesn't change any more; it needs no lock.
    if (object.phaseNow() != .ready) {
        diag.set("expected two loaded models, found one that isn't", .{});
        return error.NotReady;
    }
    const ours = model.tokenizer;
    const theirs = object.model.?.tokenizer;
    for (0..@min(ours.count(), theirs.count())) |i| {
        const id: u32 = @intCast(i);
        if (!std.mem.eql(u8, ours.tokenText(id), theirs.tokenText(id))) {
            diag.set("expected models of the same tokens, found token {d} to be \"{s}\" of one and \"{s}\" of the other", .{
                id, ours.tokenText(id), theirs.tokenText(id),
            });
            return error.Foreign;
        }
        if (ours.isEndOfGeneration(id) == theirs.isEndOfGeneration(id)) continue;
        diag.set("expected models of the same tokens, found that token {d}, \"{s}\", ends texts of only one of them", .{ id, ours.tokenText(id) });
        return error.Foreign;
    }
    if (ours.count() == theirs.count()) return;
    diag.set("expected models of the same tokens, found {d} of one and {d} of the other", .{ ours.count(), theirs.count() });
    return error.Foreign;
}

fn checkToken(model: *engine.Model, id: u32, index: usize, diag: *Diagnostic) Error!void {
    const count = model.tokenizer.count();
    if (id < count) return;
    diag.set("expected tokens under {d}, found {d} at index {d}", .{ count, id, index });
    return error.InvalidArgument;
}
