//! Strings that a generated text must not have, wherever tokens cut them. A token is held back while the
//! text from it on could become one of them, and let go when it can't any more. When it does become one,
//! the text goes back to before the token in which the string began; that token is excluded from the
//! place, as long as the text before is the same, and another one is drawn there. What is drawn is keyed by
//! seed and position as ever: it is the draw that the same chain makes of the logits without the
//! excluded tokens.
//!
//! The text is the generated one: a string that begins in the prompt is not seen. All memory is taken when
//! the request begins.

const std = @import("std");
const record = @import("record.zig");
const sampler = @import("../sampler.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

/// Bytes of a string, and how many strings there may be.
pub const string_max = 1024;
pub const strings_max = 1 << 12;
/// Tokens without a text that may stand inside of a string.
const silent_max = 64;
/// Tokens that are excluded at the places that are held back.
const excluded_max = 1 << 12;

pub const Error = error{ OutOfMemory, BadSampler };

/// A token that may still be taken back, and the record that its consumer gets.
pub const Held = struct {
    header: record.Header,
    accepted: sampler.Accepted,
    /// Of its text.
    bytes: u32,
};

pub const Verdict = union(enum) {
    /// So many held tokens can be let go.
    release: usize,
    /// So many held tokens stay, and the one behind them was excluded.
    back: usize,
    /// There is no room to hold back or to exclude any more.
    full,
};

pub const Banned = struct {
    /// Each folded, if case doesn't count.
    strings: []const []const u8,
    memory: []u8,
    ignore_case: bool,
    longest: usize,
    /// The chain as it stands before the first token that is held back.
    base: sampler.Chain,
    held: []Held,
    held_len: usize = 0,
    tops: []sampler.TokenLogprob, // [held][top]
    top_len: usize,
    /// Of the tokens that are held back.
    text: []u8,
    text_len: usize = 0,
    /// Tokens before the first that is held back.
    released: u64 = 0,
    /// Excluded tokens and their places, counted from the first generated token; later places stand behind.
    excluded: []u32,
    places: []u64,
    excluded_len: usize = 0,

    /// `data` has strings as a stage's data has: each a length (u32) and so many bytes. The chain is copied.
    pub fn init(
        gpa: std.mem.Allocator,
        data: []const u8,
        ignore_case: bool,
        chain: *const sampler.Chain,
        top_len: usize,
        token_bytes_max: usize,
        diag: *Diagnostic,
    ) Error!Banned {
        const memory = try gpa.dupe(u8, data);
        errdefer gpa.free(memory);
        const strings = try split(gpa, memory, ignore_case, diag);
        errdefer gpa.free(strings);
        var longest: usize = 0;
        for (strings) |string| longest = @max(longest, string.len);
        const held_max = longest + silent_max;
        const held = try gpa.alloc(Held, held_max);
        errdefer gpa.free(held);
        const tops = try gpa.alloc(sampler.TokenLogprob, held_max * top_len);
        errdefer gpa.free(tops);
        const text = try gpa.alloc(u8, longest + 2 * token_bytes_max);
        errdefer gpa.free(text);
        const excluded = try gpa.alloc(u32, excluded_max);
        errdefer gpa.free(excluded);
        const places = try gpa.alloc(u64, excluded_max);
        errdefer gpa.free(places);
        return .{
            .strings = strings,
            .memory = memory,
            .ignore_case = ignore_case,
            .longest = longest,
            .base = try chain.clone(gpa, diag),
            .held = held,
            .tops = tops,
            .top_len = top_len,
            .text = text,
            .excluded = excluded,
            .places = places,
        };
    }

    pub fn deinit(banned: *Banned, gpa: std.mem.Allocator) void {
        banned.base.deinit(gpa);
        gpa.free(banned.strings);
        gpa.free(banned.memory);
        gpa.free(banned.held);
        gpa.free(banned.tops);
        gpa.free(banned.text);
        gpa.free(banned.excluded);
        gpa.free(banned.places);
        banned.* = undefined;
    }

    fn split(gpa: std.mem.Allocator, memory: []u8, ignore_case: bool, diag: *Diagnostic) Error![]const []const u8 {
        var list: std.ArrayList([]const u8) = .empty;
        errdefer list.deinit(gpa);
        var at: usize = 0;
        while (at < memory.len) {
            const rest = memory[at..];
            const len = if (rest.len < 4) std.math.maxInt(u32) else std.mem.readInt(u32, rest[0..4], .little);
            if (len > rest.len -| 4) {
                diag.set("expected banned strings with their lengths, found {d} bytes at {d}", .{ rest.len, at });
                return error.BadSampler;
            }
            if (len == 0 or len > string_max or list.items.len == strings_max) {
                diag.set("expected up to {d} banned strings of 1 to {d} bytes, found one of {d} at {d}", .{
                    strings_max, string_max, len, list.items.len,
                });
                return error.BadSampler;
            }
            const string = rest[4..][0..len];
            if (ignore_case) for (string) |*byte| {
                byte.* = std.ascii.toLower(byte.*);
            };
            try list.append(gpa, string);
            at += 4 + len;
        }
        return try list.toOwnedSlice(gpa);
    }

    /// Tokens that must not be drawn at the place that comes next.
    pub fn excludedHere(banned: *const Banned) []const u32 {
        const here = banned.released + banned.held_len;
        var from = banned.excluded_len;
        while (from > 0 and banned.places[from - 1] == here) from -= 1;
        return banned.excluded[from..banned.excluded_len];
    }

    /// One more token. On `back` it may be the one that was excluded; what is behind the tokens that stay
    /// is gone.
    pub fn add(banned: *Banned, token: Held, top: []const sampler.TokenLogprob, bytes: []const u8) Verdict {
        if (banned.held_len == banned.held.len or banned.text.len - banned.text_len < bytes.len) return .full;
        banned.held[banned.held_len] = token;
        banned.held[banned.held_len].bytes = @intCast(bytes.len);
        @memcpy(banned.topOf(banned.held_len), top);
        banned.held_len += 1;
        for (bytes, banned.text[banned.text_len..][0..bytes.len]) |from, *to| {
            to.* = if (banned.ignore_case) std.ascii.toLower(from) else from;
        }
        const before = banned.text_len;
        banned.text_len += bytes.len;
        if (banned.find(before)) |at| return banned.goBack(at);
        return .{ .release = banned.tokensBefore(banned.text_len - banned.pending()) };
    }

    /// Where a banned string begins that ends behind `before`; the first one.
    fn find(banned: *const Banned, before: usize) ?usize {
        const text = banned.text[0..banned.text_len];
        var first: ?usize = null;
        for (banned.strings) |string| {
            const from = before -| (string.len - 1);
            const at = std.mem.findPos(u8, text, from, string) orelse continue;
            if (first == null or at < first.?) first = at;
        }
        return first;
    }

    /// Length of the longest end of the text that begins a banned string.
    fn pending(banned: *const Banned) usize {
        const text = banned.text[0..banned.text_len];
        var len = @min(text.len, banned.longest -| 1);
        while (len > 0) : (len -= 1) {
            const end = text[text.len - len ..];
            for (banned.strings) |string| if (string.len > len and std.mem.startsWith(u8, string, end)) return len;
        }
        return 0;
    }

    /// Held tokens that lie wholly before a byte of the text.
    fn tokensBefore(banned: *const Banned, at: usize) usize {
        var end: usize = 0;
        for (banned.held[0..banned.held_len], 0..) |token, index| {
            end += token.bytes;
            if (end > at) return index;
        }
        return banned.held_len;
    }

    fn goBack(banned: *Banned, at: usize) Verdict {
        const kept = banned.tokensBefore(at);
        const place = banned.released + kept;
        while (banned.excluded_len > 0 and banned.places[banned.excluded_len - 1] > place) banned.excluded_len -= 1;
        if (banned.excluded_len == banned.excluded.len) return .full;
        banned.excluded[banned.excluded_len] = banned.held[kept].header.token;
        banned.places[banned.excluded_len] = place;
        banned.excluded_len += 1;
        banned.held_len = kept;
        banned.text_len = 0;
        for (banned.held[0..kept]) |token| banned.text_len += token.bytes;
        return .{ .back = kept };
    }

    /// Sets a chain to where it stands behind the tokens that are held back.
    pub fn follow(banned: *const Banned, chain: *sampler.Chain) void {
        chain.copy(&banned.base);
        for (banned.held[0..banned.held_len]) |token| chain.accept(token.accepted);
    }

    pub fn topOf(banned: *const Banned, index: usize) []sampler.TokenLogprob {
        return banned.tops[index * banned.top_len ..][0..banned.top_len];
    }

    /// The first `count` held tokens have been let go.
    pub fn let(banned: *Banned, count: usize) void {
        var bytes: usize = 0;
        for (banned.held[0..count]) |token| {
            bytes += token.bytes;
            banned.base.accept(token.accepted);
        }
        const rest = banned.held_len - count;
        std.mem.copyForwards(Held, banned.held[0..rest], banned.held[count..banned.held_len]);
        const top = banned.top_len;
        std.mem.copyForwards(sampler.TokenLogprob, banned.tops[0 .. rest * top], banned.tops[count * top .. banned.held_len * top]);
        std.mem.copyForwards(u8, banned.text[0 .. banned.text_len - bytes], banned.text[bytes..banned.text_len]);
        banned.text_len -= bytes;
        banned.held_len = rest;
        banned.released += count;
        var gone: usize = 0;
        while (gone < banned.excluded_len and banned.places[gone] < banned.released) gone += 1;
        const left = banned.excluded_len - gone;
        std.mem.copyForwards(u32, banned.excluded[0..left], banned.excluded[gone..banned.excluded_len]);
        std.mem.copyForwards(u64, banned.places[0..left], banned.places[gone..banned.excluded_len]);
        banned.excluded_len = left;
    }
};

const Fixture = struct {
    chain: sampler.Chain,
    banned: Banned,
    shown: std.ArrayList(u8) = .empty,

    fn init(fixture: *Fixture, data: []const u8, ignore_case: bool) !void {
        const gpa = std.testing.allocator;
        var diag: Diagnostic = .{};
        fixture.chain = try sampler.Chain.init(gpa, &.{}, 8, 0, &diag);
        errdefer fixture.chain.deinit(gpa);
        fixture.banned = try Banned.init(gpa, data, ignore_case, &fixture.chain, 0, 16, &diag);
        fixture.shown = .empty;
    }

    fn deinit(fixture: *Fixture) void {
        fixture.banned.deinit(std.testing.allocator);
        fixture.chain.deinit(std.testing.allocator);
        fixture.shown.deinit(std.testing.allocator);
    }

    fn expect(fixture: *Fixture, token: u32, bytes: []const u8, expected: Verdict) !void {
        const held: Held = .{ .header = .{ .kind = .token, .token = token, .position = 0 }, .accepted = .{ .token = token }, .bytes = 0 };
        const verdict = fixture.banned.add(held, &.{}, bytes);
        try std.testing.expectEqual(expected, verdict);
        if (verdict == .release) fixture.banned.let(verdict.release);
    }
};

test "what could become a banned string is held back, and taken back when it does" {
    var fixture: Fixture = undefined;
    try fixture.init("\x03\x00\x00\x00abc\x02\x00\x00\x00xy", false);
    defer fixture.deinit();
    try fixture.expect(1, "qa", .{ .release = 0 });
    try fixture.expect(2, "b", .{ .release = 0 });
    try std.testing.expectEqual(2, fixture.banned.held_len);
    // The string began in the first token, which is excluded there.
    try fixture.expect(3, "cd", .{ .back = 0 });
    try std.testing.expectEqualSlices(u32, &.{1}, fixture.banned.excludedHere());
    try fixture.expect(4, "a", .{ .release = 0 });
    try std.testing.expectEqual(0, fixture.banned.excludedHere().len);
    try fixture.expect(5, "x", .{ .release = 1 });
    // A whole one in one token: only that is excluded.
    try fixture.expect(6, "xxy", .{ .back = 1 });
    try std.testing.expectEqualSlices(u32, &.{6}, fixture.banned.excludedHere());
    try fixture.expect(7, "y", .{ .back = 0 });
    try std.testing.expectEqualSlices(u32, &.{5}, fixture.banned.excludedHere());
    try fixture.expect(3, "q", .{ .release = 1 });
    try std.testing.expectEqual(2, fixture.banned.released);
    try std.testing.expectEqual(0, fixture.banned.excluded_len);
}

test "letters of either case are one, if asked for" {
    var fixture: Fixture = undefined;
    try fixture.init("\x03\x00\x00\x00AbC", true);
    defer fixture.deinit();
    try fixture.expect(1, "xA", .{ .release = 0 });
    try fixture.expect(2, "", .{ .release = 0 });
    try fixture.expect(3, "Bc", .{ .back = 0 });
}

test "lists that are none are refused" {
    const gpa = std.testing.allocator;
    var diag: Diagnostic = .{};
    var chain = try sampler.Chain.init(gpa, &.{}, 8, 0, &diag);
    defer chain.deinit(gpa);
    for ([_][]const u8{ "\x01", "\x00\x00\x00\x00", "\x05\x00\x00\x00ab", "\xff\xff\xff\xffab" }) |data| {
        try std.testing.expectError(error.BadSampler, Banned.init(gpa, data, false, &chain, 0, 16, &diag));
        try std.testing.expect(std.mem.startsWith(u8, diag.text(), "expected"));
    }
}
