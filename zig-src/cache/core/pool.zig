//! The pages of the KV cache, and who holds them. A page may be in the tables of several sequences:
//! it is free when the last one lets go of it.
//!
//! A pool is of one of two kinds. That of a family (a session and its forks) has a page for everything
//! that its sequences may come to hold. One with a limit has a fixed number of pages, which its sequences
//! take as they need them, and finds pages by their content; it may be full.

const std = @import("std");
const cache = @import("../../cache.zig");
const kernel = @import("../../kernel.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const content_file = @import("content.zig");
const events_file = @import("events.zig");
const spare = @import("spare.zig");
const Content = content_file.Content;
const Events = events_file.Events;

pub const io = std.Io.Threaded.global_single_threaded.io();

pub const Error = error{OutOfMemory};

/// What happens to whoever needs a page of a full pool.
pub const WhenFull = enum(u32) {
    /// The request fails.
    fail = 0,
    /// It waits until pages come free.
    wait = 1,
    /// It gets those of the idle session that was used longest ago, and waits if there is none.
    evict = 2,
};

/// Of a pool that doesn't grow.
pub const Limit = struct { pages: u32, when_full: WhenFull };

/// One page of a pool.
pub const Page = struct {
    memory: [*]u8,
    number: u32,
    /// Tables that name the page; 0: it is free.
    holders: u32 = 0,
    segment: *Segment,
    /// The next free page of its segment, or that which became free after it and is kept for its content.
    next: ?*Page = null,
    /// The free page before it that is kept for its content.
    older: ?*Page = null,
    /// Names the content; 0: it is nothing that can be found.
    serial: u64 = 0,
    /// The content that comes before it.
    before: u64 = 0,
    /// The next page in its bucket.
    chain: ?*Page = null,
};

/// Pages that were made together, one after the other in memory.
const Segment = struct {
    memory: spare.Memory,
    pages: []Page,
    free: ?*Page,
    used: usize = 0,
};

/// The pages of some sequences. It lives as long as somebody holds it. Without a limit it promises each
/// sequence as many pages as its table names at most: so a page is there whenever a sequence needs one.
/// What is promised, or within the limit, and never touched takes no memory. Any thread may call.
pub const Pool = struct {
    gpa: std.mem.Allocator,
    layout: cache.Layout,
    page_bytes: usize,
    /// Where a side of a head begins in a page: [layers][keys, values][KV heads].
    offsets: []const usize,
    mutex: std.Io.Mutex = .init,
    /// Sequences, and whoever made the pool.
    users: usize = 1,
    /// Pages that have been promised.
    promised: usize = 0,
    total: usize = 0,
    used: usize = 0,
    /// The oldest first: pages are taken there, so that the newest become free again.
    segments: std.ArrayList(*Segment) = .empty,
    limit: ?Limit = null,
    /// Of a pool with a limit.
    content: ?Content = null,
    events: ?Events = null,
    /// Numbers that were given away.
    sequences: u32 = 0,
    pages_made: u32 = 0,
    /// Sequences that hold pages.
    tables: usize = 0,
    /// Of tokens at full precision, where the layout has some.
    exact: ?*Pool = null,

    /// A pool of so many pages and no more; pair with `release`.
    pub fn createLimited(gpa: std.mem.Allocator, layout: cache.Layout, limit: Limit, diag: *Diagnostic) Error!*Pool {
        const pool = try create(gpa, layout);
        errdefer pool.release();
        pool.content = try .init(gpa, limit.pages);
        try pool.prepare(limit.pages, diag);
        pool.limit = limit;
        return pool;
    }

    /// An empty pool; pair with `release`.
    pub fn create(gpa: std.mem.Allocator, layout: cache.Layout) Error!*Pool {
        const pool = try gpa.create(Pool);
        errdefer gpa.destroy(pool);
        const offsets = try gpa.alloc(usize, 2 * @as(usize, layout.layers) * layout.kv_heads);
        errdefer gpa.free(offsets);
        var own = layout;
        own.formats = try gpa.dupe(cache.Layout.Pair, layout.formats);
        errdefer gpa.free(own.formats);
        own.windows = try gpa.dupe(cache.Layout.Window, layout.windows);
        errdefer gpa.free(own.windows);
        const exact: ?*Pool = if (layout.exact()) |of| try .create(gpa, of) else null;
        var end: u64 = 0;
        for (offsets, 0..) |*offset, i| {
            const side: kernel.KvSide = if (i / layout.kv_heads % 2 == 0) .key else .value;
            offset.* = @intCast(end);
            end += layout.headBytes(side, i / layout.kv_heads / 2, i % layout.kv_heads);
        }
        for (0..layout.layers) |layer| for (0..layout.kv_heads) |kv_head| {
            if (layout.groups(layer, kv_head)) own.rounds_groups = true;
        };
        pool.* = .{ .gpa = gpa, .layout = own, .page_bytes = @intCast(end), .offsets = offsets, .exact = exact };
        return pool;
    }

    /// The last one who leaves frees.
    pub fn release(pool: *Pool) void {
        pool.mutex.lockUncancelable(io);
        pool.users -= 1;
        const last = pool.users == 0;
        pool.mutex.unlock(io);
        if (!last) return;
        std.debug.assert(pool.used == 0);
        std.debug.assert(pool.promised == 0);
        for (pool.segments.items) |segment| pool.destroySegment(segment);
        if (pool.content) |*content| content.deinit(pool.gpa);
        if (pool.events) |*events| events.deinit(pool.gpa);
        pool.segments.deinit(pool.gpa);
        pool.gpa.free(pool.offsets);
        pool.gpa.free(pool.layout.formats);
        pool.gpa.free(pool.layout.windows);
        if (pool.exact) |of| of.release();
        pool.gpa.destroy(pool);
    }

    /// Makes room for `pages` more than are promised, in one piece of memory.
    pub fn prepare(pool: *Pool, pages: usize, diag: *Diagnostic) Error!void {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        if (pool.limit != null or pool.promised + pages <= pool.total) return;
        const missing = pool.promised + pages - pool.total;
        const gpa = pool.gpa;
        errdefer diag.set("expected memory for a KV cache of {d} pages of {d} bytes, found that the system has not that much", .{
            missing, pool.page_bytes,
        });
        const size = std.math.mul(u64, pool.page_bytes, missing) catch return error.OutOfMemory;
        const len = std.math.cast(usize, size) orelse return error.OutOfMemory;
        try pool.segments.ensureUnusedCapacity(gpa, 1);
        const segment = try gpa.create(Segment);
        errdefer gpa.destroy(segment);
        const made = try gpa.alloc(Page, missing);
        errdefer gpa.free(made);
        // New memory is touched first by the thread that uses it first.
        const bytes = try spare.alloc(len);
        for (made, 0..) |*page, i| page.* = .{
            .memory = bytes.ptr + i * pool.page_bytes,
            .number = pool.pages_made + @as(u32, @intCast(i)),
            .segment = segment,
            .next = if (i + 1 < made.len) &made[i + 1] else null,
        };
        segment.* = .{ .memory = bytes, .pages = made, .free = &made[0] };
        pool.segments.appendAssumeCapacity(segment);
        pool.total += missing;
        pool.pages_made += @intCast(missing);
    }

    /// Gives back what is neither used nor promised.
    pub fn trim(pool: *Pool) void {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        if (pool.limit != null) return;
        var i = pool.segments.items.len;
        while (i > 0) {
            i -= 1;
            const segment = pool.segments.items[i];
            if (segment.used != 0 or pool.total - segment.pages.len < pool.promised) continue;
            pool.total -= segment.pages.len;
            _ = pool.segments.orderedRemove(i);
            pool.destroySegment(segment);
        }
    }

    fn destroySegment(pool: *Pool, segment: *Segment) void {
        spare.free(segment.memory);
        pool.gpa.free(segment.pages);
        pool.gpa.destroy(segment);
    }

    /// One more sequence of up to `pages` pages; it gets a number.
    pub fn enter(pool: *Pool, pages: usize, diag: *Diagnostic) Error!u32 {
        while (true) {
            try pool.prepare(pages, diag);
            pool.mutex.lockUncancelable(io);
            defer pool.mutex.unlock(io);
            if (pool.limit == null) {
                // Another thread may have taken the room meanwhile.
                if (pool.promised + pages > pool.total) continue;
                pool.promised += pages;
            }
            pool.users += 1;
            pool.sequences +%= 1;
            return pool.sequences -% 1;
        }
    }

    pub fn leave(pool: *Pool, pages: usize) void {
        pool.mutex.lockUncancelable(io);
        if (pool.limit == null) pool.promised -= pages;
        pool.mutex.unlock(io);
        pool.trim();
        pool.release();
    }

    /// Pages of a pool, by who holds them; free ones may be kept for their content.
    pub const Counts = struct { total: usize, used: usize, shared: usize, kept: usize, found: u64, evicted: u64 };

    pub fn counts(pool: *Pool) Counts {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        var shared: usize = 0;
        for (pool.segments.items) |segment| for (segment.pages) |page| {
            shared += @intFromBool(page.holders > 1);
        };
        const content = pool.content orelse Content{ .buckets = &.{}, .tokens = &.{} };
        return .{
            .total = pool.total,
            .used = pool.used,
            .shared = shared,
            .kept = content.kept,
            .found = content.found,
            .evicted = content.evicted,
        };
    }

    /// Whether a sequence that needs a page gets one.
    pub fn hasFree(pool: *Pool) bool {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        return pool.used < pool.total;
    }

    /// How many sequences hold pages.
    pub fn tableCount(pool: *Pool) usize {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        return pool.tables;
    }

    pub fn pageCount(pool: *Pool) usize {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        return pool.total;
    }

    /// Pages that at least one sequence holds.
    pub fn usedCount(pool: *Pool) usize {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        return pool.used;
    }

    /// The mutex is locked. Without a limit tables never name more pages than were promised, so there is
    /// one; null: the pool is full.
    pub fn take(pool: *Pool, what: events_file.Kind, sequence: u32, place: u32) ?*Page {
        const page = pool.takeFree() orelse pool.takeKept() orelse {
            std.debug.assert(pool.limit != null);
            return null;
        };
        pool.used += 1;
        page.holders = 1;
        pool.note(what, page, sequence, place);
        return page;
    }

    fn takeFree(pool: *Pool) ?*Page {
        for (pool.segments.items) |segment| {
            const page = segment.free orelse continue;
            segment.free = page.next;
            segment.used += 1;
            page.next = null;
            return page;
        }
        return null;
    }

    /// The page that has been free longest gives its content up.
    fn takeKept(pool: *Pool) ?*Page {
        const content = if (pool.content) |*of| of else return null;
        const page = content.first orelse return null;
        content.unkeep(page);
        content.remove(page);
        content.evicted += 1;
        page.segment.used += 1;
        pool.note(.evicted, page, events_file.nobody, 0);
        return page;
    }

    /// The mutex is locked. One more table names a page that was found by its content, or in another table.
    pub fn share(pool: *Pool, page: *Page, sequence: u32, place: u32) void {
        if (page.holders == 0) {
            pool.content.?.unkeep(page);
            page.segment.used += 1;
            pool.used += 1;
        }
        pool.note(if (page.holders == 0) .reused else .shared, page, sequence, place);
        page.holders += 1;
    }

    /// Pages that nobody holds yet: whoever names one counts.
    pub fn takeAll(pool: *Pool, pages: []*Page) void {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        for (pages) |*page| {
            page.* = pool.take(.taken, 0, 0).?;
            page.*.holders = 0;
        }
    }

    /// The mutex is locked.
    pub fn give(pool: *Pool, page: *Page, sequence: u32, place: u32) void {
        std.debug.assert(page.holders != 0);
        page.holders -= 1;
        pool.note(if (page.holders == 0) .freed else .released, page, sequence, place);
        if (page.holders != 0) return;
        const segment = page.segment;
        segment.used -= 1;
        pool.used -= 1;
        if (page.serial != 0) return pool.content.?.keep(page);
        page.next = segment.free;
        segment.free = page;
    }

    /// The mutex is locked.
    pub fn note(pool: *Pool, kind: events_file.Kind, page: *const Page, sequence: u32, place: u32) void {
        const events = if (pool.events) |*of| of else return;
        const from = place * cache.page_len;
        events.append(.{ .seconds = 0, .kind = @backingInt(kind), .page = page.number, .sequence = sequence, .from = from, .to = from + cache.page_len });
    }

    /// Notes what happens to the pages from now on, for a sequence's session.
    pub fn startEvents(pool: *Pool, capacity: usize, owner: u32) (Error || error{Busy})!void {
        var events: Events = try .init(pool.gpa, capacity, owner);
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        if (pool.events != null) {
            events.deinit(pool.gpa);
            return error.Busy;
        }
        pool.events = events;
    }

    /// Ends what `owner` has started.
    pub fn endEvents(pool: *Pool, owner: u32) void {
        pool.mutex.lockUncancelable(io);
        var ended: ?Events = null;
        if (pool.events) |events| if (events.owner == owner) {
            ended = events;
            pool.events = null;
        };
        pool.mutex.unlock(io);
        if (ended) |*events| events.deinit(pool.gpa);
    }

    pub const Taken = struct { count: usize, dropped: u64 };

    /// Moves the oldest events out that `owner` has started; null: it has started none.
    pub fn takeEvents(pool: *Pool, owner: u32, out: []align(1) events_file.Event) ?Taken {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        const events = if (pool.events) |*of| of else return null;
        if (events.owner != owner) return null;
        defer events.dropped = 0;
        return .{ .count = events.take(out), .dropped = events.dropped };
    }

    /// The keys of one head in one page.
    pub fn keys(pool: *const Pool, page: *const Page, layer: usize, kv_head: usize) [*]u8 {
        return page.memory + pool.offsets[2 * layer * pool.layout.kv_heads + kv_head];
    }

    /// The values of one head in one page.
    pub fn values(pool: *const Pool, page: *const Page, layer: usize, kv_head: usize) [*]u8 {
        return page.memory + pool.offsets[(2 * layer + 1) * pool.layout.kv_heads + kv_head];
    }
};
