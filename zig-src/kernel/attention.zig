//! Attention of query tokens over one KV head, for all query heads that share the head ("Flash
//! attention", after Dao 2023, on pages): each key and each value is read and converted once for a
//! tile of rows, a row being one query head of one token.
//!
//! Positions pass in blocks of one page, and blocks add up to parts, whose borders follow from
//! positions alone (`table.partLen`); parts are joined in their order. Every row meets its positions
//! in the same order whatever rows are beside it, so that neither chunks of the prompt nor the
//! threads can change a result. Blocks that no row attends to are not touched; within a page, what
//! lies outside of a row's positions doesn't reach it.

const std = @import("std");
const activations = @import("activations.zig");
const channel_keys = @import("attention/channel_keys.zig");
const channels = @import("attention/channels.zig");
const elementwise = @import("elementwise.zig");
const integer_values = @import("attention/integer_values.zig");
const layout = @import("layout.zig");
const outliers = @import("attention/outliers.zig");
const page_layout = @import("attention/page.zig");
const scores_file = @import("attention/scores.zig");
const softmax = @import("attention/softmax.zig");
const table = @import("table.zig");
const tile = @import("attention/tile.zig");
const values_file = @import("attention/values.zig");

const Args = table.AttentionArgs;
const KvFormat = table.KvFormat;
const PartSums = table.PartSums;
const block = table.page_len;
const rows_max = tile.rows_max;
const floats_max = tile.floats_max;

pub fn attention(args: *const Args) void {
    std.debug.assert(args.part_len % block == 0);
    const at_once = @min(rows_max, floats_max / @max(args.head_dim_k, args.head_dim_v));
    const tokens_at_once = @max(1, at_once / args.group);
    var rows: Rows = undefined;
    var token: u32 = 0;
    while (token < args.tokens) : (token += tokens_at_once) {
        const tokens = @min(tokens_at_once, args.tokens - token);
        var head: u32 = 0;
        while (head < args.group) : (head += at_once) rows.run(args, token, tokens, head, @min(at_once, args.group - head));
    }
}

pub fn merge(args: *const table.MergeArgs) void {
    const n = args.head_dim_v;
    var sums = args.sums[0];
    @memcpy(args.out[0..n], args.parts[0..n]);
    for (1..args.count) |i| {
        softmax.join(args.out, &sums, args.parts + i * args.parts_stride, args.sums[i * args.sums_stride], n);
    }
    elementwise.scale(args.out, n, 1 / sums.total);
}

/// The rows that pass over the pages together.
const Rows = struct {
    args: *const Args,
    key: KvFormat,
    value: KvFormat,
    /// Of the current block.
    keys: [*]const u8,
    key_options: table.KvOptions,
    value_options: table.KvOptions,
    /// Whether weights are rounded (`integer_values.zig`).
    rounds: bool,
    count: usize,
    from: [rows_max]u32,
    to: [rows_max]u32,
    out: [rows_max][*]f32,
    /// Where the sum of the current part grows: in `out`, or beside it once there is a part before.
    sum: [rows_max][*]f32,
    running: [rows_max]softmax.Running,
    /// Of the parts before the current one.
    sums: [rows_max]PartSums,
    /// Tile by tile, [head_dim_k][rows of the tile]; or row by row for keys in groups of positions.
    floats: [floats_max]f32 align(64),
    /// [rows][head_dim_k / 32]
    integers: [floats_max / page_layout.unit]layout.Act align(64),
    /// The same for keys in groups of positions, of a tile at a time.
    rounded: [floats_max / page_layout.unit]channel_keys.Rounded align(64),
    scores: [rows_max][block]f32 align(64),
    ahead: tile.Ahead,
    /// [rows][head_dim_v]
    part: [floats_max]f32 align(64),

    fn run(rows: *Rows, args: *const Args, token: u32, tokens: u32, head: u32, heads: u32) void {
        rows.args = args;
        rows.ahead.start(args.later[0..args.later_len], args.near != 0, args.reading);
        rows.key = if (args.turns == null) table.formatOf(args.key_format) else .f32;
        rows.value = table.formatOf(args.value_format);
        rows.key_options = .of(args.key_format);
        rows.value_options = .of(args.value_format);
        rows.rounds = args.precision == @backingInt(table.Precision.int8) and integer_values.takes(rows.value);
        rows.count = 0;
        for (token..token + tokens) |t| {
            const to = args.to + args.step * @as(u32, @intCast(t));
            const from = if (args.window == 0) args.from else @max(args.from, to -| args.window);
            for (head..head + heads) |h| {
                const r = rows.count;
                rows.out[r] = args.out + t * args.out_token_stride + h * args.out_stride;
                rows.sum[r] = rows.out[r];
                if (args.before) |before| {
                    rows.sums[r] = before[t * args.sums_token_stride + h];
                    rows.sum[r] = rows.part[r * args.head_dim_v ..].ptr;
                }
                clear(rows.sum[r], args.head_dim_v);
                rows.from[r] = from;
                rows.to[r] = to;
                rows.running[r] = .{};
                rows.count += 1;
            }
        }
        rows.gather(args.q + token * args.q_token_stride + head * args.q_stride, heads);
        const last = rows.to[rows.count - 1];
        var at = rows.from[0] / block * block;
        while (at < last) : (at += block) rows.pass(at);
        for (0..rows.count) |r| {
            if (args.sums) |sums| {
                sums[(token + r / heads) * args.sums_token_stride + head + r % heads] = rows.sums[r];
            } else elementwise.scale(rows.out[r], args.head_dim_v, 1 / rows.sums[r].total);
        }
    }

    /// Brings the queries into the form that the keys are multiplied with.
    fn gather(rows: *Rows, q: [*]const f32, heads: usize) void {
        const args = rows.args;
        const dim = args.head_dim_k;
        if (rows.key.scaled()) {
            const units = dim / page_layout.unit;
            for (0..rows.count) |r| {
                const row = q + r / heads * args.q_token_stride + r % heads * args.q_stride;
                for (0..units) |u| rows.integers[r * units + u] = activations.quantise(row[u * page_layout.unit ..][0..page_layout.unit].*);
            }
            return;
        }
        if (rows.key.grouped()) {
            for (0..rows.count) |r| {
                const row = q + r / heads * args.q_token_stride + r % heads * args.q_stride;
                @memcpy(rows.floats[r * dim ..][0..dim], row[0..dim]);
            }
            return;
        }
        const Context = struct { rows: *Rows, q: [*]const f32, heads: usize };
        tile.each(rows.count, Context{ .rows = rows, .q = q, .heads = heads }, struct {
            fn body(context: Context, comptime n: usize, first: usize) void {
                const of = context.rows.args;
                var from: [n][*]const f32 = undefined;
                inline for (&from, first..) |*row, r| {
                    row.* = context.q + r / context.heads * of.q_token_stride + r % context.heads * of.q_stride;
                }
                tile.interlace(n, &from, of.head_dim_k, context.rows.floats[first * of.head_dim_k ..].ptr);
            }
        }.body);
    }

    /// One block of positions, from `at` on.
    fn pass(rows: *Rows, at: u32) void {
        const Context = struct { rows: *Rows, at: u32 };
        const context: Context = .{ .rows = rows, .at = at };
        rows.keys = rows.args.key_pages[at / block];
        if (rows.args.turns) |turns| rows.turnKeys(turns, at);
        // No more than what is read: of a sequence that decodes, half of the last page on average.
        const last = rows.to[rows.count - 1];
        const values = page_layout.bytesOf(rows.value, .value, rows.args.head_dim_v, @min(block, last - at), rows.value_options);
        rows.ahead.begin(rows.args.value_pages[at / block], values);
        tile.each(rows.count, context, struct {
            fn body(c: Context, comptime n: usize, first: usize) void {
                c.rows.score(n, first, c.at);
            }
        }.body);
        tile.each(rows.count, context, struct {
            fn body(c: Context, comptime n: usize, first: usize) void {
                c.rows.weigh(n, first, c.at);
            }
        }.body);
        if (at + block < last) {
            const format = table.formatOf(rows.args.key_format);
            const keys = page_layout.bytesOf(format, .key, rows.args.head_dim_k, @min(block, last - at - block), rows.key_options);
            rows.ahead.begin(rows.args.key_pages[at / block + 1], keys);
        } else rows.ahead.last();
        tile.each(rows.count, context, struct {
            fn body(c: Context, comptime n: usize, first: usize) void {
                c.rows.accumulate(n, first, c.at);
            }
        }.body);
        const end = at + block;
        for (0..rows.count) |r| {
            if (at >= rows.to[r] or end <= rows.from[r]) continue;
            if (end >= rows.to[r] or end % rows.args.part_len == 0) rows.endPart(r, end);
        }
    }

    /// Rotates the keys of a block that rows attend to, and lays them out as a page of f32.
    fn turnKeys(rows: *Rows, turns: *const table.KeyTurns, at: u32) void {
        const dim = rows.args.head_dim_k;
        const from = rows.from[0] -| at;
        const to = @min(block, rows.to[rows.count - 1] - at);
        const keys = turns.room + block * dim;
        page_layout.readRange(table.formatOf(rows.args.key_format), .key, rows.keys, dim, from, to, keys, rows.key_options);
        if (turns.hadamard != 0) elementwise.hadamard(keys, to - from, dim);
        const style: table.RopeStyle = @fromBackingInt(@intCast(turns.style));
        const page: [*]u8 = @ptrCast(turns.room);
        for (from..to) |position| {
            const key = keys + (position - from) * dim;
            elementwise.rope(key, 1, dim, turns.rot_dim, style, turns.angles[at / block] + position * turns.rot_dim);
            page_layout.store(.f32, .key, key[0..dim], page, position, .{});
        }
        rows.keys = page;
    }

    /// The columns of a block that a row attends to.
    fn range(rows: *const Rows, row: usize, at: u32) struct { usize, usize } {
        return .{ @min(block, rows.from[row] -| at), @min(block, rows.to[row] -| at) };
    }

    fn score(rows: *Rows, comptime n: usize, first: usize, at: u32) void {
        var from: usize = block;
        var to: usize = 0;
        for (first..first + n) |r| {
            const low, const high = rows.range(r, at);
            if (low >= high) continue;
            from = @min(from, low);
            to = @max(to, high);
        }
        if (from >= to) return;
        const group = page_layout.group;
        const low = from / group;
        const high = (to + group - 1) / group;
        const dim = rows.args.head_dim_k;
        const page = rows.keys;
        const scores = rows.scores[first..][0..n];
        switch (rows.key) {
            inline else => |key| if (comptime key.grouped()) {
                const kind: channels.Kind = .{ .format = key, .side = .key, .dim = dim, .options = rows.key_options };
                channel_keys.scores(key, n, kind, rows.floats[first * dim ..].ptr, &rows.rounded, page, low, high, scores, &rows.ahead);
            } else if (comptime key.scaled()) {
                const q = rows.integers[first * (dim / page_layout.unit) ..].ptr;
                scores_file.integers(key, n, q, page, dim, low, high, scores, &rows.ahead);
            } else {
                const q = rows.floats[first * dim ..].ptr;
                scores_file.floats(key, n, q, page, dim, low, high, scores, &rows.ahead);
            },
        }
    }

    fn weigh(rows: *Rows, comptime n: usize, first: usize, at: u32) void {
        const scores = rows.scores[first..][0..n];
        const running = rows.running[first..][0..n];
        var highest: [n]softmax.Vf = undefined;
        for (first..first + n, scores, &highest) |r, *row, *high| {
            const from, const to = rows.range(r, at);
            high.* = softmax.scaled(row, from, @max(from, to), rows.args.scale, rows.args.softcap);
        }
        var shrink: [n]f32 = undefined;
        var begun: [n]bool = undefined;
        for (running, &begun) |of, *any| any.* = of.top != -std.math.inf(f32);
        softmax.raise(n, &highest, running, &shrink);
        for (first..first + n, scores, running, shrink, begun) |r, *row, *of, factor, any| {
            const from, const to = rows.range(r, at);
            if (from >= to) continue;
            softmax.weigh(row, from, to, factor, of);
            // A sum that has not begun is zero.
            if (factor != 1 and any) elementwise.scale(rows.sum[r], rows.args.head_dim_v, factor);
        }
    }

    fn accumulate(rows: *Rows, comptime n: usize, first: usize, at: u32) void {
        if (rows.rounds) return rows.accumulateIntegers(n, first, at);
        // What all rows of the tile attend to; before and behind it rows go alone.
        var from: usize = 0;
        var to: usize = block;
        for (first..first + n) |r| {
            const low, const high = rows.range(r, at);
            from = @max(from, low);
            to = @min(to, high);
        }
        if (from >= to) {
            for (first..first + n) |r| {
                const low, const high = rows.range(r, at);
                rows.accumulateRange(1, r, at, low, high);
            }
        } else {
            for (first..first + n) |r| rows.accumulateRange(1, r, at, rows.range(r, at)[0], from);
            rows.accumulateRange(n, first, at, from, to);
            for (first..first + n) |r| rows.accumulateRange(1, r, at, to, rows.range(r, at)[1]);
        }
        // Behind all others of the block, whatever rows are beside.
        for (first..first + n) |r| {
            const low, const high = rows.range(r, at);
            if (low < high) rows.addRest(r, at, low, high);
        }
    }

    fn accumulateIntegers(rows: *Rows, comptime n: usize, first: usize, at: u32) void {
        var ranges: [n]integer_values.Range = undefined;
        var all: integer_values.Range = .{ .from = block, .to = 0 };
        for (&ranges, first..) |*of, r| {
            const from, const to = rows.range(r, at);
            of.* = .{ .from = from, .to = @max(from, to) };
            if (from >= to) continue;
            all = .{ .from = @min(all.from, from), .to = @max(all.to, to) };
        }
        if (all.from >= all.to) return;
        const page = rows.args.value_pages[at / block];
        switch (rows.value) {
            inline else => |value| if (comptime integer_values.takes(value)) {
                const weights = rows.scores[first..][0..n];
                integer_values.accumulate(value, n, page, rows.args.head_dim_v, weights, &ranges, all, rows.sum[first..][0..n], &rows.ahead);
            },
        }
    }

    /// What values have beside their codes and scales.
    fn addRest(rows: *Rows, r: usize, at: u32, from: usize, to: usize) void {
        const dim = rows.args.head_dim_v;
        const page = rows.args.value_pages[at / block];
        const weights = &rows.scores[r];
        if (rows.value.hasMinimum()) values_file.addMinimums(rows.value, page, dim, weights, from, to, rows.sum[r]);
        if (!rows.value.grouped()) return;
        const kind: channels.Kind = .{ .format = rows.value, .side = .value, .dim = dim, .options = rows.value_options };
        channels.addMinimums(kind, page, weights, from, to, rows.sum[r]);
        if (kind.options.outliers != 0) outliers.accumulate(kind, page, weights, from, to, rows.sum[r]);
    }

    fn accumulateRange(rows: *Rows, comptime n: usize, first: usize, at: u32, from: usize, to: usize) void {
        if (from >= to) return;
        const page = rows.args.value_pages[at / block];
        switch (rows.value) {
            inline else => |value| {
                const dim = rows.args.head_dim_v;
                const weights = rows.scores[first..][0..n];
                const sums = rows.sum[first..][0..n];
                if (comptime value.grouped()) {
                    const kind: channels.Kind = .{ .format = value, .side = .value, .dim = dim, .options = rows.value_options };
                    return channels.accumulate(value, n, kind, page, weights, from, to, sums, &rows.ahead);
                }
                const accumulateOf = comptime if (value.narrow()) values_file.accumulateNarrow else values_file.accumulate;
                accumulateOf(value, n, page, dim, weights, from, to, sums, &rows.ahead);
            },
        }
    }

    /// Joins the part that ends at `end` to the parts before it.
    fn endPart(rows: *Rows, row: usize, end: u32) void {
        const dim = rows.args.head_dim_v;
        const of_part = rows.running[row].sums();
        if (rows.sum[row] == rows.out[row]) {
            rows.sums[row] = of_part;
        } else softmax.join(rows.out[row], &rows.sums[row], rows.sum[row], of_part, dim);
        if (end >= rows.to[row]) return;
        rows.sum[row] = rows.part[row * dim ..].ptr;
        rows.running[row] = .{};
        clear(rows.sum[row], dim);
    }
};

/// A head is too short for a call.
fn clear(values: [*]f32, n: usize) void {
    const lanes = softmax.lanes;
    var i: usize = 0;
    while (i + lanes <= n) : (i += lanes) values[i..][0..lanes].* = @splat(0);
    while (i < n) : (i += 1) values[i] = 0;
}
