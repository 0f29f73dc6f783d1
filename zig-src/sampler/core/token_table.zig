//! A number for each of a few tokens, in memory that is taken once: open addressing over twice as many
//! places, and a list of the tokens that are there, in the order in which they came. Clearing touches only
//! those.

const std = @import("std");
const assert = std.debug.assert;

pub const TokenTable = struct {
    places: []u32,
    /// The entries, and how many there are.
    tokens: []u32 = &.{},
    values: []u32 = &.{},
    len: usize = 0,

    pub const empty: TokenTable = .{ .places = &.{} };
    const free = std.math.maxInt(u32);

    /// Room for `tokens_max` tokens.
    pub fn init(gpa: std.mem.Allocator, tokens_max: usize) error{OutOfMemory}!TokenTable {
        const places = try gpa.alloc(u32, std.math.ceilPowerOfTwoAssert(usize, 2 * tokens_max + 1));
        errdefer gpa.free(places);
        @memset(places, free);
        const tokens = try gpa.alloc(u32, tokens_max);
        errdefer gpa.free(tokens);
        return .{ .places = places, .tokens = tokens, .values = try gpa.alloc(u32, tokens_max) };
    }

    pub fn deinit(table: *TokenTable, gpa: std.mem.Allocator) void {
        gpa.free(table.places);
        gpa.free(table.tokens);
        gpa.free(table.values);
    }

    pub fn clear(table: *TokenTable) void {
        // From the last on, so that each is still found on the way that it came.
        while (table.len > 0) : (table.len -= 1) table.places[table.placeOf(table.tokens[table.len - 1])] = free;
    }

    /// The number of a token, 0 for a new one; valid until the next call.
    pub fn at(table: *TokenTable, token: u32) *u32 {
        const place = table.placeOf(token);
        if (table.places[place] == free) {
            assert(table.len < table.tokens.len);
            table.places[place] = @intCast(table.len);
            table.tokens[table.len] = token;
            table.values[table.len] = 0;
            table.len += 1;
        }
        return &table.values[table.places[place]];
    }

    /// How often each token is in `text`, which has at most as many tokens as there is room for.
    pub fn count(table: *TokenTable, text: []const u32) void {
        table.clear();
        for (text) |token| table.at(token).* += 1;
    }

    fn placeOf(table: *const TokenTable, token: u32) usize {
        const mask = table.places.len - 1;
        var place = @as(usize, token *% 0x9E3779B1 >> 7) & mask;
        while (table.places[place] != free and table.tokens[table.places[place]] != token) place = (place + 1) & mask;
        return place;
    }
};

test "counts are those of a list" {
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(4);
    const random = prng.random();
    var table: TokenTable = try .init(gpa, 200);
    defer table.deinit(gpa);
    for (0..300) |round| {
        var text: [200]u32 = undefined;
        const len = random.uintLessThan(usize, text.len + 1);
        // Few tokens, many, and such as fall to one place.
        for (text[0..len]) |*token| token.* = switch (round % 3) {
            0 => random.uintLessThan(u32, 9),
            1 => random.int(u32),
            else => random.uintLessThan(u32, 300) << 24,
        };
        table.count(text[0..len]);
        var sum: usize = 0;
        for (table.tokens[0..table.len], table.values[0..table.len], 0..) |token, value, i| {
            try std.testing.expectEqual(std.mem.countScalar(u32, text[0..len], token), value);
            try std.testing.expectEqual(null, std.mem.findScalar(u32, table.tokens[0..i], token));
            sum += value;
        }
        try std.testing.expectEqual(len, sum);
    }
    table.clear();
    for (table.places) |place| try std.testing.expectEqual(TokenTable.free, place);
}
