//! Attention of one layer over what is stored in the KV cache. Every function here is executed by all
//! members of the team at once.

const std = @import("std");
const cache = @import("../../cache.zig");
const kernel = @import("../../kernel.zig");
const Layer = @import("layer.zig").Layer;
const Spans = @import("spans.zig").Spans;
const run_module = @import("../../engine/run.zig");
const Run = run_module.Run;
const Span = Spans.Span;
const storing = @import("store.zig");

/// Softmax(q k) v over the cached positions. A prompt is dealt out in tiles: rows that follow each
/// other in one sequence share each read of a KV head. Where there are too few tiles to keep all
/// members busy, the positions of each row are dealt out too, and their parts joined afterwards. The
/// bits are the same either way (`kernel/attention.zig`). What heads found becomes activations at once,
/// where `preparesHeads` says so. With `stores`, queries and keys are rotated, and keys and values stored,
/// just before (`goesWithAttention`).
pub fn attend(run: *Run, layer: *const Layer, index: usize, stores: bool) void {
    if (!run.attentionSplits()) return attendTiles(run, layer, index, stores);
    attendParts(run, index);
    run.sync();
    joinParts(run, layer, index);
}

/// Whether activations of the output projection are prepared head by head, by whoever computed one: that
/// needs heads of whole units, and nobody who changes them before.
pub fn preparesHeads(run: *const Run, index: usize) bool {
    return run.model.hyper.head_dim_v % kernel.page.unit == 0 and !run.observes(.z, index);
}

/// The last step of some heads of a row, which begin at `head`.
fn finishHeads(run: *Run, layer: *const Layer, index: usize, r: usize, head: usize, count: usize) void {
    const h = &run.model.hyper;
    const row = run.row(run.buffers.attn, h.heads * h.head_dim_v, r);
    const part: Run.Share = .{ .from = head * h.head_dim_v, .to = (head + count) * h.head_dim_v };
    turnBack(run, index, r, head / h.group(), row[part.from..part.to]);
    if (preparesHeads(run, index)) run.preparePart(.residual, row, part, r, run.batch.len, &.{&layer.attn_output.weight});
}

/// A task is one tile and one KV head. Those of a head follow each other, so that its keys and values
/// stay in a cache of the processor. Later tokens have more positions to look at, so that who has the
/// earlier ones helps with the later.
fn attendTiles(run: *Run, layer: *const Layer, index: usize, stores: bool) void {
    const h = &run.model.hyper;
    var tiles: usize = 0;
    var tile: Tile = .first(run, index);
    while (tile.len != 0) : (tile = tile.next(run, index)) tiles += 1;

    var tasks = run.dealOut(.{ .total = tiles * h.kv_heads });
    var number = tiles;
    var before: ?usize = null;
    while (tasks.next()) |task| {
        if (run.batch.unwanted()) return;
        const wanted = task.from % tiles;
        if (wanted < number) {
            tile = .first(run, index);
            number = 0;
        }
        while (number < wanted) : (number += 1) tile = tile.next(run, index);
        tile.attend(run, layer, index, task.from / tiles, stores, if (before) |last| last + 1 == task.from else false);
        before = task.from;
    }
}

/// Rows that pass over keys and values together: tokens that follow each other in one sequence, or one
/// token each of sequences that have pages in common.
const Tile = struct {
    from: u32,
    len: u32,
    /// Where the positions that several sequences have in common end; 0: there is one sequence.
    shared: u32,

    fn first(run: *const Run, index: usize) Tile {
        return .at(run, index, 0);
    }

    fn next(tile: Tile, run: *const Run, index: usize) Tile {
        return .at(run, index, tile.from + tile.len);
    }

    /// Empty behind the last row.
    fn at(run: *const Run, index: usize, from: u32) Tile {
        const h = &run.model.hyper;
        const rows = run.batch.rows[from..run.batch.len];
        if (rows.len == 0) return .{ .from = from, .len = 0, .shared = 0 };
        const rows_max = tokensMax(h.group());
        const spans: Spans = .of(run, index, from);
        var len: u32 = 1;
        while (len < @min(rows_max, rows.len)) : (len += 1) {
            if (rows[len].sequence != rows[0].sequence or rows[len].position != rows[0].position + len) break;
            if (!spans.joins(.of(run, index, from + len))) break;
        }
        if (len > 1) return .{ .from = from, .len = len, .shared = 0 };
        // Tiles of several sequences leave work for all.
        const sequences_max = @min(rows_max, rows.len, run.batch.len * h.kv_heads / (run_module.attention_tasks_min * run.members));
        const main = spans.main() orelse return .{ .from = from, .len = 1, .shared = 0 };
        var shared: u32 = 0;
        while (len < sequences_max) : (len += 1) {
            const row = rows[len];
            const others: Spans = .of(run, index, from + len);
            if (row.sequence == rows[len - 1].sequence or !spans.joins(others)) break;
            if (h.slides(index) and row.position != rows[0].position) break;
            const before = if (len == 1) @min(row.shared, main.to) else shared;
            const common = @min(before, row.shared, others.main().?.to) / spans.part_len * spans.part_len;
            if (common <= main.from) break;
            shared = common;
        }
        return .{ .from = from, .len = len, .shared = shared };
    }

    /// Rows of the batch in a tile, each of `group` rows of the kernel: a multiple of its tile, where it can be.
    fn tokensMax(group: u32) u32 {
        const most = @max(1, kernel.attention_rows / group);
        const whole = kernel.attention_tile / std.math.gcd(kernel.attention_tile, group);
        return if (most < whole) most else most / whole * whole;
    }

    /// `follows`: this member comes from the tile before it.
    fn attend(tile: Tile, run: *Run, layer: *const Layer, index: usize, kv_head: usize, stores: bool, follows: bool) void {
        const spans: Spans = .of(run, index, tile.from);
        if (stores) for (tile.from..tile.from + tile.len) |r| storing.rotate(run, layer, index, r, kv_head);
        // Pages of their own are asked for first where there are others to read before.
        if (stores and tile.shared == 0) for (tile.from..tile.from + tile.len) |r| storing.storeRow(run, index, r, kv_head);
        for (spans.slice(), 0..) |span, i| {
            const place: Place = .{ .before = i != 0, .after = i + 1 != spans.count };
            if (tile.shared == 0) {
                const after = if (place.after) keysOf(run, index, kv_head, tile.from, spans.all[i + 1]) else tile.keysBehind(run, index, kv_head);
                attendSpan(run, index, kv_head, tile.from, tile.len, span, spans.part_len, place, &.{after});
            } else if (span.store == .exact) {
                for (tile.from..tile.from + tile.len) |r| {
                    attendSpan(run, index, kv_head, r, 1, Spans.of(run, index, r).all[i], spans.part_len, place, &.{});
                }
            } else tile.attendShared(run, index, kv_head, i, place, stores, follows);
        }
        const group = run.model.hyper.group();
        for (tile.from..tile.from + tile.len) |r| finishHeads(run, layer, index, r, kv_head * group, group);
    }

    /// The pages of the cache: first what all rows have in common, then the rest of each.
    fn attendShared(tile: Tile, run: *Run, index: usize, kv_head: usize, i: usize, place: Place, stores: bool, follows: bool) void {
        const spans: Spans = .of(run, index, tile.from);
        var own: [own_max]kernel.Later = undefined;
        const common: Span = .{ .store = .main, .from = spans.all[i].from, .to = tile.shared, .step = 0 };
        const later, const asked = tile.ownPages(run, index, kv_head, i, follows, &own);
        const kept = tile.shared * headBytes(run, index, kv_head, tile.from) <= common_bytes_max;
        const of_common: Place = .{ .before = place.before, .after = true, .near = follows and tile.from != 0 and kept };
        attendSpan(run, index, kv_head, tile.from, tile.len, common, spans.part_len, of_common, later);
        for (tile.from..tile.from + tile.len) |r| {
            var rest = Spans.of(run, index, r).all[i];
            rest.from = tile.shared;
            rest.window = 0;
            if (rest.from == rest.to) continue;
            if (stores) storing.storeRow(run, index, r, kv_head);
            const last = r + 1 == tile.from + tile.len;
            var after: [1 + next_max]kernel.Later = undefined;
            after[0] = if (last) tile.keysBehind(run, index, kv_head) else if (r + 1 < asked) nothing else keysAt(run, index, kv_head, r + 1, tile.shared);
            const of_next = tile.keysOfNext(run, index, kv_head, r, after[1..]);
            const of_rest: Place = .{ .before = true, .after = place.after, .near = r < asked };
            attendSpan(run, index, kv_head, r, 1, rest, spans.part_len, of_rest, after[0 .. 1 + of_next]);
        }
    }

    /// The keys that the next tile's row in the place of row `r` has for itself, as far as what that row shares
    /// is what this one does; their number is returned. Asked for while rows go alone, so that the whole of the
    /// time for which a tile takes has memory at work, and not only that for the pages in common.
    fn keysOfNext(tile: Tile, run: *const Run, index: usize, kv_head: usize, r: usize, found: *[next_max]kernel.Later) usize {
        const ahead = r + tile.len;
        const wraps = ahead >= run.batch.len;
        const head = kv_head + @intFromBool(wraps);
        if (head == run.model.hyper.kv_heads) return 0;
        const row = if (wraps) ahead - run.batch.len else ahead;
        for (found, 0..) |*keys, page| {
            keys.* = keysAt(run, index, head, row, tile.shared + @as(u32, @intCast(page)) * cache.page_len);
            if (keys.len == 0) return page;
        }
        return found.len;
    }

    /// The pages that rows have for themselves, in the order in which they are read; as many of the first ones
    /// as a cache of the processor keeps meanwhile. And the row before which they are all. Of rows that follow a
    /// tile the keys have been asked for (`keysOfNext`).
    fn ownPages(
        tile: Tile,
        run: *const Run,
        index: usize,
        kv_head: usize,
        i: usize,
        follows: bool,
        found: *[own_max]kernel.Later,
    ) struct { []const kernel.Later, usize } {
        var count: usize = 0;
        var left: usize = own_bytes_max;
        for (tile.from..tile.from + tile.len) |r| {
            const sequence = run.batch.rows[r].sequence;
            const layout = &sequence.pool.layout;
            const to = Spans.of(run, index, r).all[i].to;
            var from = tile.shared;
            while (from < to) : (from += cache.page_len) {
                const page = sequence.table[from / cache.page_len];
                const positions = @min(to - from, cache.page_len);
                const pair = [_]kernel.Later{
                    .{
                        .at = sequence.pool.keys(page, index, kv_head),
                        .len = layout.firstBytes(.key, index, kv_head, positions),
                    },
                    .{
                        .at = sequence.pool.values(page, index, kv_head),
                        .len = layout.firstBytes(.value, index, kv_head, positions),
                    },
                };
                const bytes = pair[0].len + pair[1].len;
                if (count + pair.len > found.len or bytes > left) return .{ found[0..count], r };
                const keys_asked = follows and (from - tile.shared) / cache.page_len < next_max;
                for (pair[@intFromBool(keys_asked)..]) |piece| {
                    found[count] = piece;
                    count += 1;
                }
                left -= bytes;
            }
        }
        return .{ found[0..count], tile.from + tile.len };
    }

    /// What the next tile begins with.
    fn keysBehind(tile: Tile, run: *const Run, index: usize, kv_head: usize) kernel.Later {
        const r = tile.from + tile.len;
        if (r == run.batch.len) return nothing;
        const span = Spans.of(run, index, r).main() orelse return nothing;
        return keysAt(run, index, kv_head, r, span.from);
    }
};

/// Pieces and bytes that are asked for ahead of rows of a tile: half of the second cache of a small core.
const own_max = 64;
/// Pages of keys of a row of the next tile: while a row goes alone it asks for as much as it reads values.
const next_max = 8;
const own_bytes_max = 256 << 10;
/// Bytes that a tile has in common with the one before it and finds in the cache: the other half.
const common_bytes_max = 256 << 10;

const nothing: kernel.Later = .{ .at = @ptrFromInt(8), .len = 0 };

/// The page with a row's keys from `position` on; nothing where it sees none there.
fn keysAt(run: *const Run, index: usize, kv_head: usize, r: usize, position: u32) kernel.Later {
    const row = run.batch.rows[r];
    if (position > row.position) return nothing;
    const pool = row.sequence.pool;
    const page = position / cache.page_len;
    const positions = @min(cache.page_len, row.position + 1 - page * cache.page_len);
    return .{
        .at = pool.keys(row.sequence.table[page], index, kv_head),
        .len = pool.layout.firstBytes(.key, index, kv_head, positions),
    };
}

/// What a position of a row's sequence takes in a head.
fn headBytes(run: *const Run, index: usize, kv_head: usize, r: usize) usize {
    const layout = &run.batch.rows[r].sequence.pool.layout;
    return (layout.headBytes(.key, index, kv_head) + layout.headBytes(.value, index, kv_head)) / cache.page_len;
}

/// What a span of a row begins with.
fn keysOf(run: *const Run, index: usize, kv_head: usize, r: usize, span: Span) kernel.Later {
    if (span.store == .main) return keysAt(run, index, kv_head, r, span.from);
    const exact = &run.batch.rows[r].sequence.exact.?;
    const page = exact.table[span.from / cache.page_len] orelse return nothing;
    const layout = &exact.pool.layout;
    const first = span.from % cache.page_len / kernel.page.group * kernel.page.group;
    const end = @min(cache.page_len, first + span.len());
    const before = layout.firstBytes(.key, index, kv_head, first);
    return .{
        .at = exact.pool.keys(page, index, kv_head) + before,
        .len = layout.firstBytes(.key, index, kv_head, end) - before,
    };
}

/// What heads found of values that are stored behind a rotation.
fn turnBack(run: *const Run, index: usize, r: usize, kv_head: usize, found: []f32) void {
    if (!run.batch.rows[r].sequence.pool.layout.rotates(.value, index, kv_head)) return;
    const dim = run.model.hyper.head_dim_v;
    run.model.kernels.hadamard(found.ptr, found.len / dim, dim);
}

/// Whether a call goes on from earlier positions of its rows, and whether others follow.
const Place = struct {
    before: bool,
    after: bool,
    /// The pages are in a cache.
    near: bool = false,
};

/// `later` is what is read after these pages.
fn attendSpan(run: *Run, index: usize, kv_head: usize, r: usize, tokens: u32, span: Span, part_len: u32, place: Place, later: []const kernel.Later) void {
    var args = arguments(run, index, kv_head, r, tokens, span, part_len, later);
    const sums = run.sharedSums(r)[kv_head * run.model.hyper.group() ..].ptr;
    if (place.before) args.before = sums;
    if (place.after) args.sums = sums;
    args.near = @intFromBool(place.near);
    call(run, index, kv_head, r, span.store, &args);
}

/// Members take consecutive parts of about equally many positions. A part of all rows comes before
/// the next part: sequences that have it in common find it in a cache of the processor.
fn attendParts(run: *Run, index: usize) void {
    const h = &run.model.hyper;
    const group = h.group();
    var total: usize = 0;
    var parts_max: usize = 0;
    for (0..run.batch.len) |r| {
        const whole: Spans = .of(run, index, r);
        total += h.kv_heads * whole.positions();
        parts_max = @max(parts_max, whole.parts());
    }
    var before: usize = 0;
    for (0..h.kv_heads) |kv_head| for (0..parts_max) |number| for (0..run.batch.len) |r| {
        const whole: Spans = .of(run, index, r);
        if (number >= whole.parts()) continue;
        const span = whole.part(number);
        defer before += span.len();
        // The middle of a part decides whose it is.
        if ((2 * before + span.len()) * run.members / (2 * total) != run.member) continue;
        if (run.batch.unwanted()) return;
        const parts = run.attentionParts(r, number);
        const later = [_]kernel.Later{keysAt(run, index, kv_head, r, span.to)};
        var args = arguments(run, index, kv_head, r, 1, span, whole.part_len, &later);
        args.out = parts.values[kv_head * group * h.head_dim_v ..].ptr;
        args.sums = parts.sums[kv_head * group ..].ptr;
        call(run, index, kv_head, r, span.store, &args);
    };
}

fn joinParts(run: *Run, layer: *const Layer, index: usize) void {
    const h = &run.model.hyper;
    const share = run.split(run.batch.len * h.heads);
    for (share.from..share.to) |task| {
        const r = task / h.heads;
        const head = task % h.heads;
        const first = run.attentionParts(r, 0);
        const out = run.row(run.buffers.attn, h.heads * h.head_dim_v, r)[head * h.head_dim_v ..][0..h.head_dim_v];
        run.model.kernels.attention_merge(&.{
            .parts = first.values[head * h.head_dim_v ..].ptr,
            .parts_stride = first.values.len,
            .sums = first.sums[head..].ptr,
            .sums_stride = first.sums.len,
            .count = Spans.of(run, index, r).parts(),
            .head_dim_v = h.head_dim_v,
            .out = out.ptr,
        });
        finishHeads(run, layer, index, r, head, 1);
    }
}

fn call(run: *const Run, index: usize, kv_head: usize, r: usize, store: Spans.Store, args: *kernel.AttentionArgs) void {
    if (run.counters != null) {
        const layout = layoutOf(run.batch.rows[r].sequence, store);
        run.count(.ofAttention(args, layout, index, kv_head));
    }
    const turns = run.keyTurns(run.batch.rows[r].sequence, index, kv_head);
    args.turns = if (turns) |*of| of else null;
    run.model.kernels.attention(args);
}

fn layoutOf(sequence: *const cache.Sequence, store: Spans.Store) cache.Layout {
    return switch (store) {
        .main => sequence.pool.layout,
        .exact => sequence.exact.?.pool.layout,
    };
}

/// The kernel's arguments for `tokens` rows that follow each other, and one KV head.
fn arguments(run: *Run, index: usize, kv_head: usize, r: usize, tokens: u32, span: Span, part_len: u32, later: []const kernel.Later) kernel.AttentionArgs {
    const h = &run.model.hyper;
    const group = h.group();
    const sequence = run.batch.rows[r].sequence;
    const pages = run.pages();
    const page_end = (span.to + span.step * (tokens - 1) - 1) / cache.page_len + 1;
    switch (span.store) {
        .main => for (span.from / cache.page_len..page_end) |i| {
            pages.keys[i] = sequence.pool.keys(sequence.table[i], index, kv_head);
            pages.values[i] = sequence.pool.values(sequence.table[i], index, kv_head);
        },
        .exact => {
            const exact = &sequence.exact.?;
            for (span.from / cache.page_len..page_end) |i| {
                pages.keys[i] = exact.pool.keys(exact.table[i].?, index, kv_head);
                pages.values[i] = exact.pool.values(exact.table[i].?, index, kv_head);
            }
        },
    }
    const layout = layoutOf(sequence, span.store);
    return .{
        .q = run.row(run.buffers.q, h.heads * h.head_dim_k, r)[kv_head * group * h.head_dim_k ..].ptr,
        .q_token_stride = h.heads * h.head_dim_k,
        .q_stride = h.head_dim_k,
        .tokens = tokens,
        .group = group,
        .head_dim_k = h.head_dim_k,
        .head_dim_v = h.head_dim_v,
        .key_format = layout.code(.key, index, kv_head),
        .value_format = layout.code(.value, index, kv_head),
        .key_pages = pages.keys.ptr,
        .value_pages = pages.values.ptr,
        .later = later.ptr,
        .later_len = later.len,
        .reading = run.model.reading,
        .precision = @backingInt(run.model.precision),
        .from = span.from,
        .to = span.to,
        .step = span.step,
        .window = span.window,
        .part_len = part_len,
        .scale = h.attn_scale,
        .softcap = h.attn_softcap,
        .out = run.row(run.buffers.attn, h.heads * h.head_dim_v, r)[kv_head * group * h.head_dim_v ..].ptr,
        .out_token_stride = h.heads * h.head_dim_v,
        .out_stride = h.head_dim_v,
        .before = null,
        .sums = null,
        .sums_token_stride = h.heads,
    };
}
