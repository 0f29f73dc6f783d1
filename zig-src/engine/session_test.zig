//! Sessions on a small model: the promises of determinism, of the cache, of requests and of
//! memory. Every comparison of logits here is of bits.

const std = @import("std");
const builtin = @import("builtin");
const cache = @import("../cache.zig");
const kernel = @import("../kernel.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const model_module = @import("model.zig");
const Model = model_module.Model;
const record = @import("record.zig");
const session_module = @import("session.zig");
const Session = session_module.Session;
const tiny_model = @import("tiny_model.zig");

const gpa = std.testing.allocator;

/// A loaded model in a temporary folder.
pub const Fixture = struct {
    folder: std.testing.TmpDir,
    model: *Model,

    pub fn init(shape: tiny_model.Shape, options: model_module.Options) !Fixture {
        var folder = std.testing.tmpDir(.{});
        errdefer folder.cleanup();
        try tiny_model.write(gpa, folder.dir, "model.gguf", shape);
        var path: [std.fs.max_path_bytes]u8 = undefined;
        const len = try folder.dir.realPathFile(std.testing.io, "model.gguf", &path);
        var progress: model_module.Progress = .{};
        var diag: Diagnostic = .{};
        const model = Model.load(gpa, path[0..len], options, &progress, &diag) catch |err| {
            std.debug.print("{t}: {s}\n", .{ err, diag.text() });
            return err;
        };
        try std.testing.expectEqual(progress.bytes_total.load(.monotonic), progress.bytes_done.load(.monotonic));
        return .{ .folder = folder, .model = model };
    }

    pub fn deinit(fixture: *Fixture) void {
        fixture.model.destroy() catch unreachable;
        fixture.folder.cleanup();
    }

    /// Logits behind each of `tokens`, evaluated in pieces of `piece`: [tokens.len, vocab].
    pub fn logits(fixture: *Fixture, options: session_module.Options, tokens: []const u32, piece: usize) ![]f32 {
        var diag: Diagnostic = .{};
        const vocab = fixture.model.vocab();
        const session = try Session.create(fixture.model, options, &diag);
        defer session.destroy();
        const all = try gpa.alloc(f32, tokens.len * vocab);
        errdefer gpa.free(all);
        var at: usize = 0;
        while (at < tokens.len) {
            const part = tokens[at..@min(at + piece, tokens.len)];
            try session.start(.{ .tokens = part, .all_logits = true }, &diag);
            session.wait();
            try std.testing.expectEqual(part.len, session.allLogitsRows());
            for (0..part.len) |row| try session.copyAllLogits(@intCast(row), all[(at + row) * vocab ..][0..vocab], &diag);
            at += part.len;
        }
        return all;
    }
};

pub fn someTokens(comptime len: usize) [len]u32 {
    var tokens: [len]u32 = undefined;
    var random: std.Random.DefaultPrng = .init(7);
    for (&tokens) |*token| token.* = random.random().uintLessThan(u32, 77) + 3;
    tokens[0] = 1;
    return tokens;
}

pub fn expectSameBits(expected: []const f32, found: []const f32) !void {
    try std.testing.expectEqualSlices(u32, @ptrCast(expected), @ptrCast(found));
}

/// All records of the request that runs, as (kind, token) pairs; the text goes to `text`.
fn collect(session: *Session, tokens: *std.ArrayList(u32), text: *std.ArrayList(u8)) !record.Reason {
    var buffer: [16 << 10]u8 align(4) = undefined;
    while (true) {
        const result = session.take(&buffer);
        var at: usize = 0;
        while (at < result.bytes) {
            const header: *const record.Header = @ptrCast(@alignCast(&buffer[at]));
            const text_at = at + @sizeOf(record.Header) + header.top_len * 8;
            try text.appendSlice(gpa, buffer[text_at..][0..header.text_len]);
            switch (header.kind) {
                .token => try tokens.append(gpa, header.token),
                .end => return std.enums.fromInt(record.Reason, header.token).?,
                .prefill, .prompt_token, .draft => {},
            }
            at += header.size;
        }
        if (result.bytes == 0) std.Thread.yield() catch {};
    }
}

test "chunks, batches, threads and the cache don't change a bit" {
    const tokens = someTokens(150);
    for ([_]tiny_model.Shape{
        .{ .format = .q8_0 },
        .{ .format = .f16, .kv_heads = 1, .window = 40 },
        .{ .format = .q4_0, .architecture = "gemma3", .layers = 7, .window = 33 },
        .{ .format = .q8_0, .heads = 2, .kv_heads = 1, .head_dim = 32 },
    }) |shape| {
        // Heads of 32 values can be kept in q8_0.
        const format: cache.Format = if (shape.head_dim == 32) .q8_0 else .f16;
        const options: session_module.Options = .{ .key_format = format, .value_format = format };
        var short = options;
        short.chunk = 7;
        var whole: ?[]f32 = null;
        defer if (whole) |bits| gpa.free(bits);
        for ([_]u32{ 1, 3 }) |threads| {
            var fixture = try Fixture.init(shape, .{ .threads = threads, .batch_rows = 64 });
            defer fixture.deinit();
            for ([_]usize{ tokens.len, 50, 1 }) |piece| {
                const found = try fixture.logits(options, &tokens, piece);
                if (whole) |expected| {
                    defer gpa.free(found);
                    try expectSameBits(expected, found);
                } else whole = found;
            }
            // Without a cache: every prefix evaluated from nothing.
            const vocab = fixture.model.vocab();
            for ([_]usize{ 1, 2, 64, 65, 150 }) |len| {
                const found = try fixture.logits(short, tokens[0..len], len);
                defer gpa.free(found);
                try expectSameBits(whole.?[(len - 1) * vocab ..][0..vocab], found[(len - 1) * vocab ..]);
            }
        }
    }
}

test "deep positions: parts of a token's positions, in tiles or alone" {
    const tokens = someTokens(700);
    inline for (.{ .f16, .q8_0, .q4_0, .q5_1, .iq4_nl, .nvfp4 }) |format| {
        var whole: ?[]f32 = null;
        defer if (whole) |bits| gpa.free(bits);
        const options: session_module.Options = .{ .context = 1024, .key_format = format, .value_format = format };
        for ([_]u32{ 1, 2, 5 }) |threads| {
            var fixture = try Fixture.init(.{ .layers = 1, .head_dim = 32, .context = 1024 }, .{ .threads = threads });
            defer fixture.deinit();
            for ([_]usize{ tokens.len, 1 }) |piece| {
                const found = try fixture.logits(options, &tokens, piece);
                if (whole) |expected| {
                    defer gpa.free(found);
                    try expectSameBits(expected, found);
                } else whole = found;
            }
        }
    }
}

test "what the cache holds can be read" {
    const tokens = someTokens(70);
    var fixture = try Fixture.init(.{ .head_dim = 32 }, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    const exact = try Session.create(fixture.model, .{ .key_format = .f32, .value_format = .f32 }, &diag);
    defer exact.destroy();
    const rounded = try Session.create(fixture.model, .{ .key_format = .q8_0, .value_format = .q8_0 }, &diag);
    defer rounded.destroy();
    for ([_]*Session{ exact, rounded }) |session| {
        try session.start(.{ .tokens = &tokens }, &diag);
        session.wait();
    }
    // The first layer's keys and values don't depend on the cache.
    for (std.enums.values(kernel.KvSide)) |side| for ([_]u32{ 0, 15, 16, 64, 69 }) |position| for (0..2) |head| {
        var want: [32]f32 = undefined;
        var got: [32]f32 = undefined;
        exact.sequence.read(side, position, 0, head, &want);
        rounded.sequence.read(side, position, 0, head, &got);
        var largest: f32 = 0;
        for (want) |x| largest = @max(largest, @abs(x));
        try std.testing.expect(largest > 0);
        // Half a step, and the rounding of the scale to f16.
        for (want, got) |w, g| try std.testing.expectApproxEqAbs(w, g, largest * (0.5 / 127.0 + 0x1p-11));
    };
}

test "a session beside others gets the bits that it gets alone" {
    var fixture = try Fixture.init(.{}, .{ .threads = 2, .batch_rows = 48 });
    defer fixture.deinit();
    const tokens = someTokens(120);
    var diag: Diagnostic = .{};
    var alone: std.ArrayList(u32) = .empty;
    defer alone.deinit(gpa);
    var text: std.ArrayList(u8) = .empty;
    defer text.deinit(gpa);
    for ([_]bool{ false, true }) |together| {
        var sessions: [4]*Session = undefined;
        for (&sessions, 0..) |*session, i| {
            session.* = try Session.create(fixture.model, .{ .key_format = if (i == 3) .f32 else .f16 }, &diag);
        }
        defer for (sessions) |session| session.destroy();
        for (sessions, 0..) |session, i| {
            // Different lengths, so that some decode while others still read their prompts.
            try session.start(.{ .tokens = tokens[0 .. 30 * (i + 1)], .max_tokens = 20, .seed = i, .ignore_eog = true }, &diag);
            if (!together) session.wait();
        }
        var found: std.ArrayList(u32) = .empty;
        defer found.deinit(gpa);
        for (sessions) |session| {
            try std.testing.expectEqual(record.Reason.max_tokens, try collect(session, &found, &text));
            try std.testing.expectEqual(20, session.stats.decode_tokens + 1);
        }
        if (together) {
            try std.testing.expectEqualSlices(u32, alone.items, found.items);
        } else try alone.appendSlice(gpa, found.items);
    }
    try std.testing.expectEqual(80, alone.items.len);
}

test "generation in pieces is generation in one go" {
    var fixture = try Fixture.init(.{}, .{ .threads = 2 });
    defer fixture.deinit();
    const tokens = someTokens(10);
    var diag: Diagnostic = .{};
    var text: std.ArrayList(u8) = .empty;
    defer text.deinit(gpa);
    var whole: std.ArrayList(u32) = .empty;
    defer whole.deinit(gpa);
    var pieces: std.ArrayList(u32) = .empty;
    defer pieces.deinit(gpa);
    const one = try Session.create(fixture.model, .{}, &diag);
    defer one.destroy();
    try one.start(.{ .tokens = &tokens, .max_tokens = 30, .seed = 5, .ignore_eog = true }, &diag);
    _ = try collect(one, &whole, &text);
    try std.testing.expectEqual(40, one.position());

    const two = try Session.create(fixture.model, .{}, &diag);
    defer two.destroy();
    try two.start(.{ .tokens = &tokens }, &diag);
    two.wait();
    for (0..6) |_| {
        two.wait();
        try two.start(.{ .max_tokens = 5, .seed = 5, .ignore_eog = true }, &diag);
        _ = try collect(two, &pieces, &text);
    }
    try std.testing.expectEqualSlices(u32, whole.items, pieces.items);

    // Truncated and evaluated again, the sequence goes on in the same way.
    two.wait();
    try two.truncate(20, &diag);
    try std.testing.expectError(error.NoLogits, two.copyLogits(two.logits, &diag));
    pieces.clearRetainingCapacity();
    try two.start(.{ .max_tokens = 20, .seed = 5, .ignore_eog = true }, &diag);
    _ = try collect(two, &pieces, &text);
    try std.testing.expectEqualSlices(u32, whole.items[10..], pieces.items);
    two.wait();
    var all: [40]u32 = undefined;
    try two.copyTokens(&all, &diag);
    try std.testing.expectEqualSlices(u32, whole.items, all[10..]);
}

test "a full context is an error, or shifts to the state of a fresh session" {
    var fixture = try Fixture.init(.{}, .{ .threads = 2 });
    defer fixture.deinit();
    const tokens = someTokens(70);
    var diag: Diagnostic = .{};
    var text: std.ArrayList(u8) = .empty;
    defer text.deinit(gpa);
    var found: std.ArrayList(u32) = .empty;
    defer found.deinit(gpa);

    const strict = try Session.create(fixture.model, .{ .context = 64 }, &diag);
    defer strict.destroy();
    try std.testing.expectError(error.ContextFull, strict.start(.{ .tokens = &tokens }, &diag));
    try std.testing.expect(std.mem.find(u8, diag.text(), "expected at most 64 more tokens") != null);
    try strict.start(.{ .tokens = tokens[0..60], .max_tokens = 100, .ignore_eog = true }, &diag);
    try std.testing.expectEqual(record.Reason.context_full, try collect(strict, &found, &text));
    try std.testing.expectEqual(4, found.items.len);

    const shifting = try Session.create(fixture.model, .{ .context = 64, .shift_keep = 4 }, &diag);
    defer shifting.destroy();
    try shifting.start(.{ .tokens = &tokens }, &diag);
    shifting.wait();
    // 64 tokens fill the context; 30 of the 60 behind the kept four go; the rest follows.
    try std.testing.expectEqual(1, shifting.stats.shifts);
    try std.testing.expectEqual(40, shifting.position());
    var kept: [40]u32 = undefined;
    try shifting.copyTokens(&kept, &diag);
    try std.testing.expectEqualSlices(u32, tokens[0..4], kept[0..4]);
    try std.testing.expectEqualSlices(u32, tokens[34..], kept[4..]);
    const fresh = try fixture.logits(.{ .context = 64 }, &kept, kept.len);
    defer gpa.free(fresh);
    const vocab = fixture.model.vocab();
    try expectSameBits(fresh[39 * vocab ..], shifting.logits);
    // Generation goes on across several shifts.
    found.clearRetainingCapacity();
    try shifting.start(.{ .max_tokens = 150, .ignore_eog = true }, &diag);
    try std.testing.expectEqual(record.Reason.max_tokens, try collect(shifting, &found, &text));
    try std.testing.expectEqual(150, found.items.len);
}

test "a request is cancelled while it runs, and the session goes on" {
    var fixture = try Fixture.init(.{ .layers = 4, .context = 4096 }, .{ .threads = 2 });
    defer fixture.deinit();
    const tokens = someTokens(3000);
    var diag: Diagnostic = .{};
    var text: std.ArrayList(u8) = .empty;
    defer text.deinit(gpa);
    var found: std.ArrayList(u32) = .empty;
    defer found.deinit(gpa);
    const session = try Session.create(fixture.model, .{ .context = 4096 }, &diag);
    defer session.destroy();
    try session.start(.{ .tokens = &tokens, .max_tokens = 10 }, &diag);
    try std.testing.expectError(error.Busy, session.start(.{}, &diag));
    try std.testing.expectError(error.Busy, session.truncate(0, &diag));
    session.cancel();
    try std.testing.expectEqual(record.Reason.cancelled, try collect(session, &found, &text));
    session.wait();
    try std.testing.expect(session.position() < 3000);
    try session.truncate(0, &diag);
    try std.testing.expectError(error.EmptySequence, session.start(.{}, &diag));
    try session.start(.{ .tokens = tokens[0..5], .max_tokens = 3, .ignore_eog = true }, &diag);
    try std.testing.expectEqual(record.Reason.max_tokens, try collect(session, &found, &text));
}

test "a slow consumer stops the session, and loses nothing" {
    var fixture = try Fixture.init(.{}, .{ .threads = 1 });
    defer fixture.deinit();
    const tokens = someTokens(4);
    var diag: Diagnostic = .{};
    const session = try Session.create(fixture.model, .{}, &diag);
    defer session.destroy();
    // 80 alternatives a token fill the ring long before 400 tokens.
    try session.start(.{ .tokens = &tokens, .max_tokens = 400, .top_logprobs = 80, .ignore_eog = true }, &diag);
    while (!session.stalled.load(.seq_cst)) std.Thread.yield() catch {};
    var text: std.ArrayList(u8) = .empty;
    defer text.deinit(gpa);
    var found: std.ArrayList(u32) = .empty;
    defer found.deinit(gpa);
    try std.testing.expectEqual(record.Reason.max_tokens, try collect(session, &found, &text));
    try std.testing.expectEqual(400, found.items.len);
}

test "wrong requests are refused with the reason" {
    var fixture = try Fixture.init(.{}, .{ .threads = 1 });
    defer fixture.deinit();
    var diag: Diagnostic = .{};
    try std.testing.expectError(error.BadOption, Session.create(fixture.model, .{ .context = 1 << 30 }, &diag));
    try std.testing.expectError(error.BadOption, Session.create(fixture.model, .{ .context = 64, .shift_keep = 63 }, &diag));
    try std.testing.expectError(error.BadOption, Session.create(fixture.model, .{ .value_format = .q8_0 }, &diag));
    try std.testing.expect(std.mem.find(u8, diag.text(), "values that takes heads of 16 values, found q8_0") != null);
    const session = try Session.create(fixture.model, .{}, &diag);
    defer session.destroy();
    try std.testing.expectError(error.Busy, fixture.model.destroy());
    try std.testing.expectError(error.TokenOutOfRange, session.start(.{ .tokens = &.{ 3, 80 } }, &diag));
    try std.testing.expectEqualStrings("expected tokens under 80, found 80 at index 1", diag.text());
    try std.testing.expectError(error.BadOption, session.start(.{ .tokens = &.{3}, .top_logprobs = 81 }, &diag));
    try std.testing.expectError(error.NoLogits, session.copyLogits(session.logits, &diag));
    try std.testing.expectError(error.OutOfRange, session.truncate(1, &diag));
    try std.testing.expectError(error.OutOfRange, session.copyAllLogits(0, session.logits, &diag));
}

test "decoding allocates nothing" {
    var counting: Counting = .{ .child = gpa };
    var folder = std.testing.tmpDir(.{});
    defer folder.cleanup();
    try tiny_model.write(gpa, folder.dir, "model.gguf", .{});
    var path: [std.fs.max_path_bytes]u8 = undefined;
    const len = try folder.dir.realPathFile(std.testing.io, "model.gguf", &path);
    var progress: model_module.Progress = .{};
    var diag: Diagnostic = .{};
    const model = try Model.load(counting.allocator(), path[0..len], .{ .threads = 2 }, &progress, &diag);
    defer model.destroy() catch unreachable;
    // Keys that are rotated when they are read need angles and room, which are there beforehand.
    const shape: tiny_model.Shape = .{};
    for ([_]bool{ false, true }) |early| {
        const pairs: [shape.layers * shape.kv_heads]cache.Layout.Pair = @splat(.{ .key = .f16, .value = .f16, .early_key = early });
        const session = try Session.create(model, .{ .head_formats = &pairs }, &diag);
        defer session.destroy();
        try session.start(.{ .tokens = &.{ 1, 5, 9 }, .max_tokens = 200, .top_logprobs = 5, .ignore_eog = true }, &diag);
        const before = counting.calls.load(.monotonic);
        while (session.running.load(.acquire)) std.Thread.yield() catch {};
        try std.testing.expect(before > 0);
        try std.testing.expectEqual(before, counting.calls.load(.monotonic));
    }
}

/// Counts allocations.
const Counting = struct {
    child: std.mem.Allocator,
    calls: std.atomic.Value(u64) = .init(0),

    fn allocator(counting: *Counting) std.mem.Allocator {
        return .{ .ptr = counting, .vtable = &.{ .alloc = alloc, .resize = resize, .remap = remap, .free = free } };
    }

    fn of(pointer: *anyopaque) *Counting {
        const counting: *Counting = @ptrCast(@alignCast(pointer));
        return counting;
    }

    fn alloc(pointer: *anyopaque, len: usize, alignment: std.mem.Alignment, address: usize) ?[*]u8 {
        _ = of(pointer).calls.fetchAdd(1, .monotonic);
        return of(pointer).child.rawAlloc(len, alignment, address);
    }

    fn resize(pointer: *anyopaque, memory: []u8, alignment: std.mem.Alignment, len: usize, address: usize) bool {
        return of(pointer).child.rawResize(memory, alignment, len, address);
    }

    fn remap(pointer: *anyopaque, memory: []u8, alignment: std.mem.Alignment, len: usize, address: usize) ?[*]u8 {
        return of(pointer).child.rawRemap(memory, alignment, len, address);
    }

    fn free(pointer: *anyopaque, memory: []u8, alignment: std.mem.Alignment, address: usize) void {
        of(pointer).child.rawFree(memory, alignment, address);
    }
};
