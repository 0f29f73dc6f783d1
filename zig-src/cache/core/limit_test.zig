//! A pool with a limit: pages are taken as they are needed, found by their content, and given up in the
//! order in which they became free.

const std = @import("std");
const cache = @import("../../cache.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const content_file = @import("content.zig");
const events_file = @import("events.zig");
const pool_file = @import("pool.zig");
const Event = events_file.Event;
const Page = pool_file.Page;
const Pool = pool_file.Pool;
const Sequence = @import("sequence.zig").Sequence;
const page_len = cache.page_len;

const layout: cache.Layout = .{
    .layers = 1,
    .kv_heads = 1,
    .head_dim_k = 8,
    .head_dim_v = 8,
    .key_format = .f16,
    .value_format = .f16,
};

fn poolOf(pages: u32) !*Pool {
    var diag: Diagnostic = .{};
    return Pool.createLimited(std.testing.allocator, layout, .{ .pages = pages, .when_full = .fail }, &diag);
}

/// As a pass would: all `tokens` behind those that the sequence has, each in its first byte.
fn write(sequence: *Sequence, tokens: []const u32) !void {
    const from = sequence.len;
    const len: u32 = @intCast(tokens.len);
    if (sequence.reserve(len) != len) return error.PoolFull;
    for (from..len) |i| sequence.table[i / page_len].memory[i % page_len] = @truncate(tokens[i]);
    sequence.len = len;
    sequence.plain = len;
    sequence.announce(from, tokens);
}

fn someTokens(comptime len: usize, seed: u32) [len]u32 {
    var tokens: [len]u32 = undefined;
    for (&tokens, 0..) |*token, i| token.* = @as(u32, @intCast(i)) * 7 + seed;
    return tokens;
}

test "a full pool says so, and what was taken stays" {
    const pool = try poolOf(3);
    defer pool.release();
    var diag: Diagnostic = .{};
    var one: Sequence = try .init(pool, 10, &diag);
    defer one.deinit();
    try std.testing.expectEqual(3 * page_len, one.reserve(4 * page_len));
    one.len = 3 * page_len;
    try std.testing.expectEqual(3 * page_len, one.reserve(3 * page_len + 1));
    var other = try one.fork(&diag);
    defer other.deinit();
    other.truncate(page_len + 5);
    // There is no page for a copy.
    try std.testing.expectEqual(page_len + 5, other.reserve(page_len + 6));
    one.truncate(2 * page_len);
    try std.testing.expectEqual(page_len + 6, other.reserve(page_len + 6));
    try std.testing.expectEqual(3, pool.counts().used);
    try std.testing.expectEqual(2, pool.tableCount());
}

test "pages are found by their tokens and by those before them" {
    const pool = try poolOf(8);
    defer pool.release();
    var diag: Diagnostic = .{};
    const tokens = someTokens(3 * page_len, 0);
    var one: Sequence = try .init(pool, 4, &diag);
    try write(&one, &tokens);
    const first = one.table[0];
    const second = one.table[1];

    var two: Sequence = try .init(pool, 4, &diag);
    defer two.deinit();
    // The tokens of the second page are there, but not at the beginning.
    try std.testing.expect(!two.adopt(tokens[page_len..][0..page_len]));
    try std.testing.expect(two.adopt(tokens[0..page_len]));
    try std.testing.expect(two.adopt(tokens[page_len..][0..page_len]));
    try std.testing.expectEqual(second, two.table[1]);
    try std.testing.expectEqual(3, pool.counts().used);
    var wrong = tokens[2 * page_len ..][0..page_len].*;
    wrong[page_len - 1] += 1;
    try std.testing.expect(!two.adopt(&wrong));

    // Another beginning is another content.
    var other: Sequence = try .init(pool, 4, &diag);
    other.root = 1;
    try std.testing.expect(!other.adopt(tokens[0..page_len]));
    other.deinit();

    // What nobody holds stays until it is needed, and is written to by nobody meanwhile.
    one.deinit();
    two.truncate(page_len + 1);
    try std.testing.expectEqual(2, pool.counts().used);
    try std.testing.expectEqual(1, pool.counts().kept);
    try write(&two, tokens[0 .. page_len + 9]);
    try std.testing.expectEqual(first, two.table[0]);
    // It was the only holder, so the page is the same, and no longer what it was.
    try std.testing.expectEqual(second, two.table[1]);
    var three: Sequence = try .init(pool, 4, &diag);
    defer three.deinit();
    try std.testing.expect(three.adopt(tokens[0..page_len]));
    try std.testing.expect(!three.adopt(tokens[page_len..][0..page_len]));
}

test "who computes what is there already gets the page that is there" {
    const pool = try poolOf(8);
    defer pool.release();
    var diag: Diagnostic = .{};
    const tokens = someTokens(2 * page_len, 3);
    var one: Sequence = try .init(pool, 2, &diag);
    defer one.deinit();
    var two: Sequence = try .init(pool, 2, &diag);
    defer two.deinit();
    _ = one.reserve(2 * page_len);
    _ = two.reserve(2 * page_len);
    try std.testing.expectEqual(4, pool.counts().used);
    try write(&one, &tokens);
    try write(&two, &tokens);
    try std.testing.expectEqual(2, pool.counts().used);
    try std.testing.expectEqual(2, pool.counts().shared);
    try std.testing.expectEqual(one.table[1], two.table[1]);
}

test "what others changed is not found" {
    const pool = try poolOf(8);
    defer pool.release();
    var diag: Diagnostic = .{};
    const tokens = someTokens(2 * page_len, 3);
    var one: Sequence = try .init(pool, 2, &diag);
    defer one.deinit();
    _ = one.reserve(2 * page_len);
    one.len = 2 * page_len;
    one.plain = page_len + 3;
    one.announce(0, &tokens);
    var two: Sequence = try .init(pool, 2, &diag);
    defer two.deinit();
    try std.testing.expect(two.adopt(tokens[0..page_len]));
    try std.testing.expect(!two.adopt(tokens[page_len..]));
    // Nor does such a sequence take what is plain.
    one.truncate(page_len);
    one.plain = 5;
    try std.testing.expect(!one.adopt(tokens[page_len..]));
}

test "events replay to what the pool holds" {
    const pool = try poolOf(12);
    defer pool.release();
    var diag: Diagnostic = .{};
    try pool.startEvents(1 << 12, 0);
    try std.testing.expectError(error.Busy, pool.startEvents(8, 1));
    var prng: std.Random.DefaultPrng = .init(17);
    const random = prng.random();
    // Few enough different beginnings that pages are found, and more than the pool holds.
    const texts = [_][3 * page_len]u32{ someTokens(3 * page_len, 0), someTokens(3 * page_len, 1), someTokens(3 * page_len, 2) };
    var sequences: [5]?Sequence = @splat(null);
    var text_of: [5]usize = @splat(0);
    sequences[0] = try .init(pool, 3, &diag);
    var seen: [std.enums.values(events_file.Kind).len]usize = @splat(0);
    var holders: [12]u32 = @splat(0);
    var held: usize = 0;
    for (0..3000) |_| {
        const i = random.uintLessThan(usize, sequences.len);
        if (sequences[i]) |*sequence| switch (random.uintLessThan(u32, 6)) {
            0 => if (i != 0) {
                sequence.deinit();
                sequences[i] = null;
            },
            1 => {
                sequence.truncate(random.uintAtMost(u32, sequence.len));
                if (sequence.len == 0) text_of[i] = random.uintLessThan(usize, texts.len);
            },
            2 => if (sequence.pages != 0) sequence.evictLast(),
            else => {
                const text = &texts[text_of[i]];
                while (sequence.len < 2 * page_len and sequence.adopt(text[sequence.len..][0..page_len])) {}
                const to = @min(text.len, sequence.len + random.uintAtMost(u32, 70));
                if (to > sequence.len) write(sequence, text[0..to]) catch {};
                for (0..sequence.len) |at| try std.testing.expectEqual(@as(u8, @truncate(text[at])), sequence.table[at / page_len].memory[at % page_len]);
            },
        } else {
            const from = random.uintLessThan(usize, sequences.len);
            if (sequences[from]) |*other| {
                sequences[i] = try other.fork(&diag);
                text_of[i] = text_of[from];
            } else sequences[i] = try .init(pool, 3, &diag);
        }
        var events: [64]Event = undefined;
        const taken = pool.takeEvents(0, &events).?;
        try std.testing.expectEqual(0, taken.dropped);
        for (events[0..taken.count]) |event| {
            seen[event.kind] += 1;
            switch (@as(events_file.Kind, @fromBackingInt(event.kind))) {
                .taken, .copied, .reused => {
                    try std.testing.expectEqual(0, holders[event.page]);
                    holders[event.page] = 1;
                    held += 1;
                },
                .shared => {
                    try std.testing.expect(holders[event.page] != 0);
                    holders[event.page] += 1;
                },
                .released => holders[event.page] -= 1,
                .freed => {
                    try std.testing.expectEqual(1, holders[event.page]);
                    holders[event.page] = 0;
                    held -= 1;
                },
                .evicted => try std.testing.expectEqual(event.sequence == events_file.nobody, holders[event.page] == 0),
            }
        }
        const counts = pool.counts();
        try std.testing.expectEqual(held, counts.used);
        var tables: usize = 0;
        for (&sequences) |*sequence| if (sequence.*) |*there| {
            tables += @intFromBool(there.pages != 0);
        };
        try std.testing.expectEqual(tables, pool.tableCount());
        try std.testing.expect(counts.used + counts.kept <= counts.total);
    }
    for (seen) |times| try std.testing.expect(times > 20);
    for (pool.segments.items[0].pages) |page| try std.testing.expectEqual(holders[page.number], page.holders);
    for (&sequences) |*sequence| if (sequence.*) |*there| there.deinit();
    try std.testing.expectEqual(0, pool.counts().used);
}

test "a limited pool leaves nothing behind when memory runs out" {
    const Attempt = struct {
        fn run(allocator: std.mem.Allocator) !void {
            var diag: Diagnostic = .{};
            const pool = try Pool.createLimited(allocator, layout, .{ .pages = 4, .when_full = .wait }, &diag);
            defer pool.release();
            var one: Sequence = try .init(pool, 4, &diag);
            defer one.deinit();
            try pool.startEvents(16, one.number);
            try write(&one, &someTokens(page_len, 0));
        }
    };
    try std.testing.checkAllAllocationFailures(std.testing.allocator, Attempt.run, .{});
}
