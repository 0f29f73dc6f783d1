//! The pages of the KV cache, and who holds them. A page may be in the tables of several sequences:
//! it is free when the last one lets go of it.

const std = @import("std");
const cache = @import("../../cache.zig");
const kernel = @import("../../kernel.zig");
const memory = @import("../../memory.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;

pub const io = std.Io.Threaded.global_single_threaded.io();

pub const Error = error{OutOfMemory};

/// One page of a pool.
pub const Page = struct {
    memory: [*]u8,
    /// Tables that name the page; 0: it is free.
    holders: u32 = 0,
    segment: *Segment,
    /// The next free page of its segment.
    next: ?*Page = null,
};

/// Pages that were made together, one after the other in memory.
const Segment = struct {
    memory: []align(std.heap.page_size_min) u8,
    pages: []Page,
    free: ?*Page,
    used: usize = 0,
};

/// The pages of a family of sequences. It lives as long as somebody holds it, and promises each
/// sequence as many pages as its table names at most: so a page is there whenever a sequence needs
/// one. What is promised and never touched takes no memory. Any thread may call.
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

    /// An empty pool; pair with `release`.
    pub fn create(gpa: std.mem.Allocator, layout: cache.Layout) Error!*Pool {
        const pool = try gpa.create(Pool);
        errdefer gpa.destroy(pool);
        const offsets = try gpa.alloc(usize, 2 * @as(usize, layout.layers) * layout.kv_heads);
        errdefer gpa.free(offsets);
        var own = layout;
        own.formats = try gpa.dupe(cache.Layout.Pair, layout.formats);
        var end: u64 = 0;
        for (offsets, 0..) |*offset, i| {
            const side: kernel.KvSide = if (i / layout.kv_heads % 2 == 0) .key else .value;
            offset.* = @intCast(end);
            end += layout.headBytes(side, i / layout.kv_heads / 2, i % layout.kv_heads);
        }
        pool.* = .{ .gpa = gpa, .layout = own, .page_bytes = @intCast(end), .offsets = offsets };
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
        pool.segments.deinit(pool.gpa);
        pool.gpa.free(pool.offsets);
        pool.gpa.free(pool.layout.formats);
        pool.gpa.destroy(pool);
    }

    /// Makes room for `pages` more than are promised, in one piece of memory.
    pub fn prepare(pool: *Pool, pages: usize, diag: *Diagnostic) Error!void {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
        if (pool.promised + pages <= pool.total) return;
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
        // The system gives zeroed pages on first use, by the thread that uses them first.
        const bytes = try memory.alloc(len, .huge);
        for (made, 0..) |*page, i| page.* = .{
            .memory = bytes.ptr + i * pool.page_bytes,
            .segment = segment,
            .next = if (i + 1 < made.len) &made[i + 1] else null,
        };
        segment.* = .{ .memory = bytes, .pages = made, .free = &made[0] };
        pool.segments.appendAssumeCapacity(segment);
        pool.total += missing;
    }

    /// Gives back what is neither used nor promised.
    pub fn trim(pool: *Pool) void {
        pool.mutex.lockUncancelable(io);
        defer pool.mutex.unlock(io);
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
        memory.free(segment.memory);
        pool.gpa.free(segment.pages);
        pool.gpa.destroy(segment);
    }

    /// One more sequence of up to `pages` pages.
    pub fn enter(pool: *Pool, pages: usize, diag: *Diagnostic) Error!void {
        while (true) {
            try pool.prepare(pages, diag);
            pool.mutex.lockUncancelable(io);
            defer pool.mutex.unlock(io);
            // Another thread may have taken the room meanwhile.
            if (pool.promised + pages > pool.total) continue;
            pool.promised += pages;
            pool.users += 1;
            return;
        }
    }

    pub fn leave(pool: *Pool, pages: usize) void {
        pool.mutex.lockUncancelable(io);
        pool.promised -= pages;
        pool.mutex.unlock(io);
        pool.trim();
        pool.release();
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

    /// The mutex is locked. Tables never name more pages than were promised, so there is one.
    pub fn take(pool: *Pool) *Page {
        for (pool.segments.items) |segment| {
            const page = segment.free orelse continue;
            segment.free = page.next;
            segment.used += 1;
            pool.used += 1;
            page.holders = 1;
            return page;
        }
        unreachable;
    }

    /// The mutex is locked.
    pub fn give(pool: *Pool, page: *Page) void {
        std.debug.assert(page.holders != 0);
        page.holders -= 1;
        if (page.holders != 0) return;
        const segment = page.segment;
        page.next = segment.free;
        segment.free = page;
        segment.used -= 1;
        pool.used -= 1;
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
