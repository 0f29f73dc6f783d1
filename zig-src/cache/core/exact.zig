//! The tokens of a sequence that are kept at full precision beside their place in its pages: the first
//! ones and the last ones (`Layout.Window`). They lie in pages of a pool of their own, at the places of
//! their positions. Pages that no later token can look at go back, so a sequence holds few of them
//! whatever its length, and their number is promised when it is made.

const std = @import("std");
const cache = @import("../../cache.zig");
const kernel = @import("../../kernel.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const pool_file = @import("pool.zig");
const Error = pool_file.Error;
const Page = pool_file.Page;
const Pool = pool_file.Pool;
const io = pool_file.io;
const page_len = cache.page_len;

/// One thread at a time. Forks hold the same pages; `reserve` copies the one that is written to.
pub const Exact = struct {
    pool: *Pool,
    /// [pages of the sequence]; null where none is held.
    table: []?*Page,
    /// Pages from the first one on that are never given back.
    sink_pages: u32,
    /// Tokens that the layer that looks furthest back reads here.
    recent: u32,
    /// Positions from here on are here, beside those in the pages of the sinks.
    from: u32 = 0,

    /// A sequence can become at least so many tokens shorter without losing any that it would have here.
    pub const spare = page_len;

    /// Pages that a sequence of up to `pages` pages holds at most.
    pub fn pagesFor(layout: cache.Layout, pages: u64) u64 {
        const widest = layout.widest();
        const sinks = pagesOf(widest.sinks);
        // Tokens that were kept for the last pass and those of the next one begin and end within a page.
        const last = if (widest.recent == 0) 0 else pagesOf(@as(u64, widest.recent) + spare + layout.chunk) + 1;
        return @min(pages, sinks + last);
    }

    pub fn init(pool: *Pool, pages: usize, diag: *Diagnostic) Error!Exact {
        const table = try pool.gpa.alloc(?*Page, pages);
        errdefer pool.gpa.free(table);
        @memset(table, null);
        _ = try pool.enter(@intCast(pagesFor(pool.layout, pages)), diag);
        const widest = pool.layout.widest();
        return .{ .pool = pool, .table = table, .sink_pages = @intCast(pagesOf(widest.sinks)), .recent = widest.recent };
    }

    pub fn deinit(exact: *Exact) void {
        exact.truncate(0);
        const pool = exact.pool;
        const pages = pagesFor(pool.layout, exact.table.len);
        pool.gpa.free(exact.table);
        pool.leave(@intCast(pages));
        exact.* = undefined;
    }

    /// Lets a new sequence hold the pages of the first `len` positions.
    pub fn share(exact: *const Exact, other: *Exact, len: u32) void {
        std.debug.assert(exact.pool == other.pool);
        lock(exact.pool);
        defer unlock(exact.pool);
        other.from = exact.from;
        const pages: usize = @intCast(pagesOf(len));
        for (exact.table[0..pages], other.table[0..pages]) |held, *to| {
            std.debug.assert(to.* == null);
            if (held) |page| page.holders += 1;
            to.* = held;
        }
    }

    /// Names pages, by number, at places of an empty sequence: those of its sinks, and of positions from
    /// `from` on.
    pub fn fill(exact: *Exact, from: u32, places: []const u32, numbers: []const u32, pages: []const *Page) void {
        lock(exact.pool);
        defer unlock(exact.pool);
        for (places, numbers) |place, number| {
            std.debug.assert(exact.table[place] == null);
            exact.table[place] = pages[number];
            pages[number].holders += 1;
        }
        exact.from = from;
    }

    /// Makes sure that positions from `len`, the sequence's length, up to `end` can be written, and gives
    /// back what they and those behind them don't look at.
    pub fn reserve(exact: *Exact, len: u32, end: u32) void {
        exact.forget(len);
        if (len % page_len != 0) exact.own(len / page_len);
        lock(exact.pool);
        defer unlock(exact.pool);
        for (len / page_len..@intCast(pagesOf(end))) |i| {
            if (exact.recent == 0 and i >= exact.sink_pages) break;
            if (exact.table[i] == null) exact.table[i] = exact.pool.take(.taken, 0, @intCast(i)).?;
        }
    }

    fn forget(exact: *Exact, len: u32) void {
        const first = (len -| (exact.recent +| spare)) / page_len;
        if (exact.recent == 0 or first * page_len <= exact.from) return;
        lock(exact.pool);
        defer unlock(exact.pool);
        const begin = @min(first, @max(exact.sink_pages, exact.from / page_len));
        for (begin..first) |i| exact.drop(i);
        exact.from = first * page_len;
    }

    /// The mutex is locked.
    fn drop(exact: *Exact, index: usize) void {
        if (exact.table[index]) |page| exact.pool.give(page, 0, @intCast(index));
        exact.table[index] = null;
    }

    /// Copies a page that is about to be written to, unless nobody else holds it.
    fn own(exact: *Exact, index: u32) void {
        const shared = exact.table[index] orelse return;
        const pool = exact.pool;
        const copy = blk: {
            lock(pool);
            defer unlock(pool);
            if (shared.holders == 1) return;
            break :blk pool.take(.copied, 0, index).?;
        };
        // Nobody writes to a page that two hold, so the copy needs no lock.
        @memcpy(copy.memory[0..pool.page_bytes], shared.memory[0..pool.page_bytes]);
        lock(pool);
        defer unlock(pool);
        exact.table[index] = copy;
        pool.give(shared, 0, index);
    }

    /// Gives back the pages behind the last of `len` positions.
    pub fn truncate(exact: *Exact, len: u32) void {
        lock(exact.pool);
        defer unlock(exact.pool);
        for (@min(exact.table.len, pagesOf(len))..exact.table.len) |i| exact.drop(i);
        if (len <= exact.sink_pages * page_len) exact.from = 0;
    }

    /// Whether a sequence of `len` tokens would have here what its next token looks at.
    pub fn holds(exact: *const Exact, len: u32) bool {
        const whole = exact.from == 0 or exact.recent == 0 or len <= exact.sink_pages * page_len;
        return whole or exact.from +| exact.recent <= len;
    }

    /// Whether a layer keeps this position here when it is stored.
    pub fn takes(exact: *const Exact, layer: usize, position: u32) bool {
        const window = exact.pool.layout.window(layer);
        return window.recent != 0 or position < window.sinks;
    }

    /// Whether attention reads this position here, for the last of `len` tokens.
    pub fn reads(exact: *const Exact, layer: usize, position: u32, len: u32) bool {
        const window = exact.pool.layout.window(layer);
        return position < window.sinks or position >= len -| window.recent;
    }

    /// Stores one side of a head; `reserve` has made room.
    pub fn store(exact: *const Exact, k: *const kernel.Table, side: kernel.KvSide, position: u32, layer: usize, kv_head: usize, x: []const f32) void {
        const format = exact.pool.layout.exact_format;
        k.kv_store(@backingInt(format), @backingInt(side), x.ptr, x.len, exact.memory(side, position, layer, kv_head), position % page_len);
    }

    /// What is there for one position of a head.
    pub fn read(exact: *const Exact, k: *const kernel.Table, side: kernel.KvSide, position: u32, layer: usize, kv_head: usize, out: []f32) void {
        const format = exact.pool.layout.exact_format;
        const place = position % page_len;
        k.kv_read(@backingInt(format), @backingInt(side), exact.memory(side, position, layer, kv_head), out.len, place, place + 1, out.ptr);
    }

    /// The same of positions [from, to) of one page: [to - from][dim].
    pub fn readRange(
        exact: *const Exact,
        k: *const kernel.Table,
        side: kernel.KvSide,
        from: u32,
        to: u32,
        layer: usize,
        kv_head: usize,
        dim: usize,
        out: []f32,
    ) void {
        std.debug.assert(out.len == (to - from) * dim);
        const first = from % page_len;
        const page = exact.memory(side, from, layer, kv_head);
        k.kv_read(@backingInt(exact.pool.layout.exact_format), @backingInt(side), page, dim, first, first + to - from, out.ptr);
    }

    /// One side of a head in the page that holds the position.
    pub fn memory(exact: *const Exact, side: kernel.KvSide, position: u32, layer: usize, kv_head: usize) [*]u8 {
        const page = exact.table[position / page_len].?;
        return switch (side) {
            .key => exact.pool.keys(page, layer, kv_head),
            .value => exact.pool.values(page, layer, kv_head),
        };
    }

    /// Pages that are held, those of them that others hold too, and positions that have a place in them.
    /// Any thread may ask.
    pub fn count(exact: *const Exact, len: u32) Counts {
        lock(exact.pool);
        defer unlock(exact.pool);
        var counts: Counts = .{};
        for (exact.table, 0..) |entry, i| if (entry) |page| {
            counts.held += 1;
            counts.shared += @intFromBool(page.holders > 1);
            counts.positions += @min(page_len, len -| @as(u32, @intCast(i * page_len)));
        };
        return counts;
    }

    pub const Counts = struct { held: u32 = 0, shared: u32 = 0, positions: u32 = 0 };
};

fn pagesOf(positions: u64) u64 {
    return std.math.divCeil(u64, positions, page_len) catch unreachable;
}

fn lock(pool: *Pool) void {
    pool.mutex.lockUncancelable(io);
}

fn unlock(pool: *Pool) void {
    pool.mutex.unlock(io);
}

const windows = [_]cache.Layout.Window{ .{ .sinks = 4, .recent = 100 }, .{} };
const test_layout: cache.Layout = .{
    .layers = 2,
    .kv_heads = 1,
    .head_dim_k = 8,
    .head_dim_v = 8,
    .key_format = .f16,
    .value_format = .f16,
    .windows = &windows,
    .exact_format = .f32,
    .chunk = 70,
};

test "a sequence holds the pages of its sinks and of its window, whatever its length" {
    var diag: Diagnostic = .{};
    const pool = try Pool.create(std.testing.allocator, test_layout);
    defer pool.release();
    const most = Exact.pagesFor(test_layout, 64);
    try std.testing.expectEqual(6, most);
    // The layer without a window has no place.
    try std.testing.expectEqual(page_len * 2 * 8 * 4, pool.exact.?.page_bytes);
    var sequence = try cache.Sequence.init(pool, 64, &diag);
    defer sequence.deinit();
    var random: std.Random.DefaultPrng = .init(3);
    while (sequence.len < 64 * page_len - 70) {
        const end = sequence.len + random.random().intRangeAtMost(u32, 1, 70);
        _ = sequence.reserve(end);
        sequence.len = end;
        const exact = &sequence.exact.?;
        try std.testing.expect(exact.count(end).held <= most);
        for (0..end) |p| {
            const wanted = p < 4 or p + 100 + Exact.spare >= end;
            if (wanted) try std.testing.expect(exact.table[p / page_len] != null);
        }
        // A few tokens back are always there, and what has been given back is not.
        try std.testing.expect(sequence.canTruncate(end -| 60) and sequence.canTruncate(end) and sequence.canTruncate(0));
        if (end > 600) try std.testing.expect(!sequence.canTruncate(end - 300));
    }
    sequence.truncate(3);
    try std.testing.expectEqual(1, sequence.exact.?.count(3).held);
    try std.testing.expectEqual(0, sequence.exact.?.from);
}

test "forks hold the same pages until one of them writes, and all go back" {
    var diag: Diagnostic = .{};
    const pool = try Pool.create(std.testing.allocator, test_layout);
    defer pool.release();
    var parent = try cache.Sequence.init(pool, 64, &diag);
    _ = parent.reserve(70);
    parent.len = 70;
    parent.exact.?.table[1].?.memory[5] = 7;
    var fork = try parent.fork(&diag);
    try std.testing.expectEqual(2, fork.exact.?.count(70).shared);
    _ = fork.reserve(71);
    try std.testing.expectEqual(1, parent.exact.?.count(70).shared);
    try std.testing.expectEqual(7, fork.exact.?.table[1].?.memory[5]);
    fork.exact.?.table[1].?.memory[5] = 8;
    try std.testing.expectEqual(7, parent.exact.?.table[1].?.memory[5]);
    var held = try fork.hold(&diag);
    parent.deinit();
    fork.deinit();
    try std.testing.expectEqual(2, pool.exact.?.usedCount());
    held.deinit();
    try std.testing.expectEqual(0, pool.exact.?.pageCount());
}

test "only sinks: pages behind them are never taken" {
    var diag: Diagnostic = .{};
    var layout = test_layout;
    layout.windows = &.{ .{ .sinks = 65 }, .{ .sinks = 1 } };
    const pool = try Pool.create(std.testing.allocator, layout);
    defer pool.release();
    var sequence = try cache.Sequence.init(pool, 64, &diag);
    defer sequence.deinit();
    for ([_]u32{ 10, 300, 900 }) |end| {
        _ = sequence.reserve(end);
        sequence.len = end;
    }
    try std.testing.expectEqual(2, sequence.exact.?.count(900).held);
    try std.testing.expect(sequence.canTruncate(200));
}
