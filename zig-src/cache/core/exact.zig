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
    /// Pages of positions from here on are held, beside those of the sinks.
    from: u32 = 0,
    /// Positions from here on are here, beside the first `prefix`. More than `from` once positions have moved.
    begin: u32 = 0,
    prefix: u32,

    /// A sequence can become at least so many tokens shorter without losing any that it would have here.
    pub const spare = page_len;

    /// Least chunk of a layout whose sequences evict: so many pages are promised then that those of moved
    /// positions can be there beside what they come from.
    pub const chunk_evicting = 2 * page_len;

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
        const sink_pages: u32 = @intCast(pagesOf(widest.sinks));
        return .{ .pool = pool, .table = table, .sink_pages = sink_pages, .recent = widest.recent, .prefix = sink_pages * page_len };
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
        inline for (.{ "from", "begin", "prefix" }) |field| @field(other, field) = @field(exact, field);
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
        exact.begin = from;
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
        exact.begin = @max(exact.begin, exact.from);
    }

    /// Positions that stay move up, `left` of `stays.len`; of those at the end that stay without a gap, which
    /// are more than the layer that looks furthest back reads, up to `spare` more are here afterwards too. The
    /// first ones, sinks, stay where they are.
    pub fn compact(exact: *Exact, stays: []const bool, left: u32) void {
        const len: u32 = @intCast(stays.len);
        const hole: u32 = @intCast(std.mem.indexOfScalar(bool, stays, false) orelse return);
        defer exact.truncate(left);
        if (hole == left) return;
        exact.prefix = @min(exact.prefix, hole);
        if (exact.recent == 0) return;
        const most = @min(left - exact.prefix, exact.recent + spare, len - exact.begin);
        var run: u32 = 0;
        while (run < most and stays[len - 1 - run]) run += 1;
        exact.dropBetween(exact.sink_pages, (len - run) / page_len);
        for (len - run..len, left - run..) |source, target| {
            const to: u32 = @intCast(target);
            const from: u32 = @intCast(source);
            if (to % page_len == 0 or to == left - run) exact.make(to / page_len);
            exact.move(to, from);
            // What was read is not needed where it was, unless others come there.
            const page = from / page_len;
            if ((from + 1) % page_len == 0 and page > (left - 1) / page_len) exact.dropBetween(@max(exact.sink_pages, page), page + 1);
        }
        exact.begin = left - run;
        exact.from = exact.begin / page_len * page_len;
        if (exact.begin > exact.prefix) return;
        exact.begin = 0;
        exact.from = 0;
        exact.prefix = exact.sink_pages * page_len;
    }

    fn dropBetween(exact: *Exact, first: usize, end: usize) void {
        lock(exact.pool);
        defer unlock(exact.pool);
        for (first..@max(first, end)) |i| exact.drop(i);
    }

    /// A page that can be written to.
    fn make(exact: *Exact, index: u32) void {
        if (exact.table[index] != null) return exact.own(index);
        lock(exact.pool);
        defer unlock(exact.pool);
        exact.table[index] = exact.pool.take(.taken, 0, index).?;
    }

    /// Copies a position over another one, whose page is the sequence's own.
    fn move(exact: *const Exact, to: u32, from: u32) void {
        const layout = &exact.pool.layout;
        const format: kernel.KvFormat = @fromBackingInt(@backingInt(layout.exact_format));
        for (0..layout.layers) |layer| if (layout.window(layer).any()) for (0..layout.kv_heads) |kv_head| for ([_]kernel.KvSide{ .key, .value }) |side| {
            const source = exact.memory(side, from, layer, kv_head);
            cache.rows.moveOne(format, side, layout.headDim(side), .{}, exact.memory(side, to, layer, kv_head), to % page_len, source, from % page_len);
        };
    }

    /// Makes the page of a position one that can be written to, if the position is here.
    pub fn ownAt(exact: *Exact, position: u32) void {
        if (exact.has(position)) exact.own(position / page_len);
    }

    /// Whether a position is here, in layers that keep it.
    pub fn has(exact: *const Exact, position: u32) bool {
        if (exact.table[position / page_len] == null) return false;
        return position < exact.prefix or (exact.recent != 0 and position >= exact.begin);
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
        if (len > exact.prefix) return;
        exact.from = 0;
        exact.begin = 0;
        exact.prefix = exact.sink_pages * page_len;
    }

    /// Whether a sequence of `len` tokens would have here what its next token looks at.
    pub fn holds(exact: *const Exact, len: u32) bool {
        const whole = exact.begin == 0 or exact.recent == 0 or len <= exact.prefix;
        return whole or exact.begin +| exact.recent <= len;
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

test "windows: positions that move up are where they are looked for, on promised pages" {
    var diag: Diagnostic = .{};
    var prng: std.Random.DefaultPrng = .init(9);
    const random = prng.random();
    for ([_]cache.Layout.Window{ .{ .sinks = 4, .recent = 100 }, .{ .sinks = 70, .recent = 20 }, .{ .recent = 1 }, .{ .sinks = 3 } }) |window| {
        var layout = test_layout;
        layout.windows = &.{ window, .{} };
        layout.chunk = Exact.chunk_evicting;
        const pool = try Pool.create(std.testing.allocator, layout);
        defer pool.release();
        var sequence = try cache.Sequence.init(pool, 16, &diag);
        defer sequence.deinit();
        var marks: [16 * page_len]f32 = undefined;
        for (0..3000) |round| {
            const most = @min(16 * page_len, sequence.len + layout.chunk);
            const end = random.intRangeAtMost(u32, sequence.len + 1, most);
            _ = sequence.reserve(end);
            for (sequence.len..end) |p| {
                marks[p] = @floatFromInt(1000 * (round % 1000) + p);
                mark(&sequence.exact.?, @intCast(p), marks[p]);
            }
            sequence.len = end;
            var other: ?cache.Sequence = if (round % 7 == 0) try sequence.fork(&diag) else null;
            defer if (other) |*held| held.deinit();
            if (random.boolean() or end + layout.chunk > 16 * page_len) {
                var stays: [16 * page_len]bool = undefined;
                var count: u32 = 0;
                const share = random.float(f32);
                for (stays[0..end], 0..) |*is, p| {
                    is.* = p < window.sinks or p + window.recent >= end or random.float(f32) < share;
                    if (!is.*) continue;
                    marks[count] = marks[p];
                    count += 1;
                }
                sequence.exact.?.compact(stays[0..end], count);
                sequence.truncate(count);
            } else if (random.boolean()) {
                const len = sequence.len - random.uintAtMost(u32, @min(sequence.len, 90));
                if (sequence.canTruncate(len)) sequence.truncate(len);
            }
            for (0..sequence.len) |p| if (p < window.sinks or p + window.recent >= sequence.len) {
                try std.testing.expectEqual(marks[p], markOf(&sequence.exact.?, @intCast(p)));
            };
        }
    }
}

fn mark(exact: *Exact, position: u32, value: f32) void {
    if (!exact.takes(0, position)) return;
    exact.store(&kernel.compiled, .value, position, 0, 0, &@as([8]f32, @splat(value)));
}

fn markOf(exact: *const Exact, position: u32) f32 {
    var out: [8]f32 = undefined;
    exact.read(&kernel.compiled, .value, position, 0, 0, &out);
    return out[7];
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
