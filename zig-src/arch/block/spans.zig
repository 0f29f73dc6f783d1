//! Where a query finds the positions that it attends to: in the pages of the cache, or at full precision
//! beside them (`cache/core/exact.zig`). The borders follow from its position and from the layer's window
//! alone, and so does the order in which spans, and the parts of each, are added up: neither pieces of a
//! prompt nor threads can change a bit.

const std = @import("std");
const cache = @import("../../cache.zig");
const kernel = @import("../../kernel.zig");
const Run = @import("../../engine/run.zig").Run;

/// Most parts of all spans of one row: two borders of spans cut parts in two.
pub const parts_max = kernel.parts_max + 2;

/// The positions of one row in one layer.
pub const Spans = struct {
    all: [3]Span,
    count: u32,
    part_len: u32,
    /// The next token sees other positions of the first span, which has no way to say so.
    alone: bool,

    pub const Store = enum { main, exact };

    pub const Span = struct {
        store: Store,
        from: u32,
        to: u32,
        /// What the next token of the sequence sees more.
        step: u32,
        /// Positions before `to` that are seen; 0: all from `from` on. Nothing else for this row, but the
        /// next ones begin later.
        window: u32 = 0,

        pub fn len(span: Span) usize {
            return span.to - span.from;
        }

        fn parts(span: Span, part_len: u32) usize {
            return (span.to - 1) / part_len - span.from / part_len + 1;
        }
    };

    pub fn of(run: *const Run, index: usize, r: usize) Spans {
        const h = &run.model.hyper;
        const row = run.batch.rows[r];
        return .at(row.sequence.pool.layout.window(index), row.position + 1, if (h.slides(index)) h.window else 0);
    }

    /// Of the last of `to` tokens, in a layer that sees `sees` of them; 0: all.
    pub fn at(window: cache.Layout.Window, to: u32, sees: u32) Spans {
        const from = if (sees == 0) 0 else to -| sees;
        var spans: Spans = .{ .all = undefined, .count = 0, .part_len = kernel.partLen(to), .alone = false };
        if (!window.any()) {
            spans.add(.{ .store = .main, .from = from, .to = to, .step = 1, .window = sees });
            return spans;
        }
        if (to <= window.sinks +| window.recent) {
            spans.add(.{ .store = .exact, .from = from, .to = to, .step = 1, .window = sees });
            return spans;
        }
        const border = to - window.recent;
        if (from < window.sinks) {
            spans.add(.{ .store = .exact, .from = from, .to = window.sinks, .step = 0 });
            spans.alone = from != 0;
        }
        const behind = @max(from, window.sinks);
        if (behind < border) spans.add(.{ .store = .main, .from = behind, .to = border, .step = 1, .window = sees -| window.recent });
        if (window.recent != 0) {
            const recent = if (sees == 0) window.recent else @min(sees, window.recent);
            spans.add(.{ .store = .exact, .from = @max(from, border), .to = to, .step = 1, .window = recent });
        }
        return spans;
    }

    fn add(spans: *Spans, span: Span) void {
        spans.all[spans.count] = span;
        spans.count += 1;
    }

    pub fn slice(spans: *const Spans) []const Span {
        return spans.all[0..spans.count];
    }

    /// That of the cache's pages.
    pub fn main(spans: *const Spans) ?Span {
        for (spans.slice()) |span| if (span.store == .main) return span;
        return null;
    }

    /// Whether another row can pass over its spans together with this one.
    pub fn joins(spans: *const Spans, other: Spans) bool {
        if (spans.alone or other.alone or spans.count != other.count or spans.part_len != other.part_len) return false;
        for (spans.slice(), other.slice()) |a, b| if (a.store != b.store or a.step != b.step) return false;
        return true;
    }

    pub fn positions(spans: *const Spans) usize {
        var sum: usize = 0;
        for (spans.slice()) |span| sum += span.len();
        return sum;
    }

    pub fn parts(spans: *const Spans) usize {
        var sum: usize = 0;
        for (spans.slice()) |span| sum += span.parts(spans.part_len);
        return sum;
    }

    /// One of them, for one row.
    pub fn part(spans: *const Spans, number: usize) Span {
        var left = number;
        for (spans.slice()) |span| {
            const count_of_span = span.parts(spans.part_len);
            if (left >= count_of_span) {
                left -= count_of_span;
                continue;
            }
            const begin = (span.from / spans.part_len + @as(u32, @intCast(left))) * spans.part_len;
            return .{ .store = span.store, .from = @max(span.from, begin), .to = @min(span.to, begin + spans.part_len), .step = 0 };
        }
        unreachable;
    }
};

test "spans make up what a row sees, and full precision is where it belongs" {
    const sinks = [_]u32{ 0, 1, 4, 64, 300 };
    const recents = [_]u32{ 0, 1, 32, 100 };
    for (sinks) |s| for (recents) |r| for ([_]u32{ 0, 1, 16, 90, 500 }) |sees| for (1..1200) |n| {
        const to: u32 = @intCast(n);
        const window: cache.Layout.Window = .{ .sinks = s, .recent = r };
        const spans: Spans = .at(window, to, sees);
        var position = if (sees == 0) 0 else to -| sees;
        for (spans.slice()) |span| {
            try std.testing.expectEqual(position, span.from);
            try std.testing.expect(span.to > span.from);
            for (span.from..span.to) |p| {
                const full = p < s or p + r >= to;
                try std.testing.expectEqual(full, span.store == .exact);
            }
            // What the kernel makes of the window is this row's own.
            if (span.window != 0) try std.testing.expect(span.to -| span.window <= span.from);
            position = span.to;
        }
        try std.testing.expectEqual(to, position);
        try std.testing.expect(spans.parts() <= parts_max);
        var begin = spans.all[0].from;
        for (0..spans.parts()) |i| {
            const part = spans.part(i);
            try std.testing.expectEqual(begin, part.from);
            try std.testing.expect((part.to - 1) / spans.part_len == part.from / spans.part_len);
            begin = part.to;
        }
        try std.testing.expectEqual(to, begin);
        // A row that joins sees what the kernel makes of the first one's spans.
        const next: Spans = .at(window, to + 1, sees);
        if (spans.joins(next)) for (spans.slice(), next.slice()) |a, b| {
            try std.testing.expectEqual(b.to, a.to + a.step);
            const from = if (a.window == 0) a.from else @max(a.from, (a.to + a.step) -| a.window);
            try std.testing.expectEqual(b.from, from);
        };
    };
}
