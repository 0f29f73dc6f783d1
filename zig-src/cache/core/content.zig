//! Which pages hold the keys and values of which tokens, so that a sequence can take a page instead of
//! computing it (prefix sharing, as in Kwon et al. 2023, section 4.4, between any sequences of a pool).
//!
//! What a page holds follows from its tokens and from those before them. So a content is named by a
//! serial, and found by the serial of the page before and the page's own tokens, which are compared: the
//! hash only says where to look. Serials are never used again, thus equal ones mean equal chains of
//! tokens, up to the beginning. A free page keeps its content until the pool needs it; the one that has
//! been free longest goes first.

const std = @import("std");
const kernel = @import("../../kernel.zig");
const Page = @import("pool.zig").Page;

const page_len = kernel.page_len;

/// Serials below it name beginnings: sequences of different ones never share (models whose rotation
/// depends on the context have two).
pub const roots = 2;

pub const Content = struct {
    /// By hash; as many as a power of two.
    buckets: []?*Page,
    tokens: []u32, // [pages][page_len]
    last_serial: u64 = roots - 1,
    /// Free pages with a content: the first has been free longest.
    first: ?*Page = null,
    last: ?*Page = null,
    /// How many they are.
    kept: usize = 0,
    /// Pages that were found here since the pool was made.
    found: u64 = 0,
    /// Pages whose content was given up.
    evicted: u64 = 0,

    pub fn init(gpa: std.mem.Allocator, pages: usize) error{OutOfMemory}!Content {
        const buckets = try gpa.alloc(?*Page, std.math.ceilPowerOfTwo(usize, pages) catch return error.OutOfMemory);
        errdefer gpa.free(buckets);
        @memset(buckets, null);
        return .{ .buckets = buckets, .tokens = try gpa.alloc(u32, pages * page_len) };
    }

    pub fn deinit(content: *Content, gpa: std.mem.Allocator) void {
        gpa.free(content.buckets);
        gpa.free(content.tokens);
    }

    fn bucket(content: *Content, before: u64, tokens: []const u32) *?*Page {
        const hash = std.hash.Wyhash.hash(before, std.mem.sliceAsBytes(tokens));
        return &content.buckets[@intCast(hash & (content.buckets.len - 1))];
    }

    fn tokensOf(content: *Content, page: *const Page) *[page_len]u32 {
        return content.tokens[@as(usize, page.number) * page_len ..][0..page_len];
    }

    /// The page that holds `tokens` behind the content `before`.
    pub fn find(content: *Content, before: u64, tokens: []const u32) ?*Page {
        std.debug.assert(tokens.len == page_len);
        var next = content.bucket(before, tokens).*;
        while (next) |page| : (next = page.chain) {
            if (page.before == before and std.mem.eql(u32, content.tokensOf(page), tokens)) return page;
        }
        return null;
    }

    /// The page holds `tokens` from now on, and no other page does.
    pub fn add(content: *Content, page: *Page, before: u64, tokens: []const u32) void {
        std.debug.assert(page.serial == 0);
        content.last_serial += 1;
        page.serial = content.last_serial;
        page.before = before;
        @memcpy(content.tokensOf(page), tokens);
        const place = content.bucket(before, tokens);
        page.chain = place.*;
        place.* = page;
    }

    /// Somebody is about to write to the page.
    pub fn remove(content: *Content, page: *Page) void {
        if (page.serial == 0) return;
        var place = content.bucket(page.before, content.tokensOf(page));
        while (place.*.? != page) place = &place.*.?.chain;
        place.* = page.chain;
        page.serial = 0;
        page.chain = null;
    }

    /// The page is free, and stays for its content.
    pub fn keep(content: *Content, page: *Page) void {
        std.debug.assert(page.serial != 0);
        page.older = content.last;
        page.next = null;
        if (content.last) |last| last.next = page else content.first = page;
        content.last = page;
        content.kept += 1;
    }

    /// The page is no longer free.
    pub fn unkeep(content: *Content, page: *Page) void {
        if (page.older) |older| older.next = page.next else content.first = page.next;
        if (page.next) |younger| younger.older = page.older else content.last = page.older;
        page.older = null;
        page.next = null;
        content.kept -= 1;
    }
};
