//! The last tokens of the text, as one slice. A buffer of twice the window is filled from the left; when
//! it is full, the window moves back to its beginning, so that a token costs a write and, on average, one
//! move. All memory is taken by `init`.

const std = @import("std");

pub const History = struct {
    buffer: []u32,
    window: usize,
    len: usize = 0,

    pub fn init(gpa: std.mem.Allocator, window: u32) error{OutOfMemory}!History {
        return .{ .buffer = try gpa.alloc(u32, 2 * @as(usize, window)), .window = window };
    }

    pub fn deinit(history: *History, gpa: std.mem.Allocator) void {
        gpa.free(history.buffer);
        history.* = undefined;
    }

    /// At least the last `window` tokens, if there were so many; oldest first.
    pub fn tokens(history: *const History) []const u32 {
        return history.buffer[0..history.len];
    }

    pub fn append(history: *History, token: u32) void {
        if (history.window == 0) return;
        if (history.len == history.buffer.len) history.keepLast(history.window - 1);
        history.buffer[history.len] = token;
        history.len += 1;
    }

    pub fn read(history: *History, text: []const u32) void {
        const seen = text[text.len - @min(text.len, history.window) ..];
        if (seen.len == history.window) {
            // There may be a gap between what was there and this.
            history.len = 0;
        } else if (history.len + seen.len > history.buffer.len) history.keepLast(history.window - seen.len);
        @memcpy(history.buffer[history.len..][0..seen.len], seen);
        history.len += seen.len;
    }

    fn keepLast(history: *History, count: usize) void {
        const kept = @min(count, history.len);
        std.mem.copyForwards(u32, history.buffer[0..kept], history.buffer[history.len - kept .. history.len]);
        history.len = kept;
    }

    pub fn reset(history: *History) void {
        history.len = 0;
    }

    /// Both have the same window.
    pub fn copy(history: *History, from: *const History) void {
        std.debug.assert(history.window == from.window);
        @memcpy(history.buffer[0..from.len], from.tokens());
        history.len = from.len;
    }
};

test "the last tokens are there, however they came" {
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(1);
    const random = prng.random();
    for ([_]u32{ 0, 1, 2, 7, 64 }) |window| {
        var history: History = try .init(gpa, window);
        defer history.deinit(gpa);
        var all: std.ArrayList(u32) = .empty;
        defer all.deinit(gpa);
        for (0..400) |_| {
            var piece: [150]u32 = undefined;
            const len = if (random.boolean()) 1 else random.uintLessThan(usize, piece.len);
            for (piece[0..len]) |*token| token.* = random.int(u32);
            try all.appendSlice(gpa, piece[0..len]);
            if (len == 1) history.append(piece[0]) else history.read(piece[0..len]);
            const wanted = @min(window, all.items.len);
            try std.testing.expect(history.tokens().len >= wanted);
            const found = history.tokens();
            try std.testing.expectEqualSlices(u32, all.items[all.items.len - found.len ..], found);
        }
        history.reset();
        try std.testing.expectEqual(0, history.tokens().len);
    }
}
