//! One pass of a batch through the model: the tokens, the buffers between the steps, and how the
//! work of a step is divided. A batch may hold rows of several sequences; a row's result never
//! depends on the rows beside it, nor on the number of members (DESIGN.md, determinism).

const std = @import("std");
const cache = @import("../cache.zig");
const kernel = @import("../kernel.zig");
const memory = @import("../memory.zig");
const probe = @import("../probe.zig");
const arch = @import("../arch.zig");
const hyper = @import("../arch/block/hyper.zig");
const AttentionMass = @import("attention_mass.zig").AttentionMass;
const spans = @import("../arch/block/spans.zig");
const Model = @import("model.zig").Model;
const deal = @import("deal.zig");
const meter = @import("meter.zig");
const Team = @import("team.zig").Team;
const weight_module = @import("weight.zig");
const Weight = weight_module.Weight;

/// Rows of logits that are computed in one go: with more of them each weight is read less often. Memory of
/// rows that no batch needs is never touched.
pub const head_rows_max = 64;

/// Products of a weight and an activation in a piece, at most; between two pieces a member looks whether
/// the batch is still wanted. It is one or two milliseconds of a core with integer kernels, some thirty
/// with the slowest ones.
const piece_products = 1 << 28;
/// Bytes of weights in a piece, or products, at least: a few microseconds, beside which the taking is
/// nothing. A batch has many products for each byte, and the last piece is what a barrier waits for.
const piece_bytes = 1 << 16;
const piece_products_least = 1 << 21;
/// Floats of a piece of the gate, and of the up projection, which its member goes on with at once:
/// both stay in its second cache, where they are written again and again.
const gate_floats = 36 << 10;
/// Rows of a batch up to which the reading of panels is what takes time.
const few_rows = 8;
/// Pieces of a member's share otherwise.
const pieces_wanted = 8;

/// One row of a batch: one token of one sequence.
pub const Row = struct {
    id: u32,
    position: u32,
    /// The length that the sequence may reach (LongRoPE chooses by it).
    context: u32,
    sequence: *cache.Sequence,
    /// By how much its rotation is ahead of its position: tokens before it were evicted.
    ahead: u32 = 0,
    /// Who wants to know what it attends to.
    mass: ?*AttentionMass = null,
    /// Leading positions whose pages are those of the row before, a row of another sequence.
    shared: u32 = 0,
};

/// Consecutive rows of one sequence.
pub const Segment = struct {
    from: u32,
    len: u32,
    /// 0: the session's own sequence; else that of its companion of this number.
    companion: u32 = 0,
    /// Whether it stands for its session: it has its own rows or, in a search, the first candidate.
    leads: bool = true,
    /// Of the rows, the last ones: tokens that are guessed to follow.
    guesses: u32 = 0,
    /// Set by another thread when nobody wants the result any more.
    cancel: *const std.atomic.Value(bool),
    /// Rows whose logits were left out, because the request was cancelled meanwhile.
    incomplete: bool = false,
};

pub const Batch = struct {
    rows: []Row,
    len: u32 = 0,
    segments: []Segment,
    segments_len: u32 = 0,
    /// Counts the requests that are cancelled, each behind its mark.
    cancels: *const std.atomic.Value(u32),
    /// What it was before the scheduler looked for marks.
    cancels_before: u32 = 0,
    abandoned: bool = false,
    /// Of the batch's only sequence.
    observer: ?probe.Observer = null,
    /// Whether a session keeps what the pass reads and computes.
    metered: bool = false,

    pub fn clear(batch: *Batch) void {
        batch.len = 0;
        batch.segments_len = 0;
        batch.abandoned = false;
        batch.observer = null;
        batch.metered = false;
    }

    /// Gives the whole batch up as soon as one segment is cancelled: a cancelled caller should be
    /// answered at once, and the others' rows are simply computed again without it.
    pub fn poll(batch: *Batch) void {
        if (batch.unwanted()) batch.abandoned = true;
    }

    /// Whether a segment is cancelled, and so the batch about to be given up. Every member may ask
    /// at any time and leave out the rest of its share of a step; the barriers it must keep. A
    /// cancelled segment stays so, thus the next `poll` says the same to all. Nearly always one word says
    /// that none is: the marks of many sessions are as many lines of memory.
    pub fn unwanted(batch: *const Batch) bool {
        if (batch.cancels.load(.acquire) == batch.cancels_before) return false;
        for (batch.segments[0..batch.segments_len]) |segment| {
            if (segment.cancel.load(.monotonic)) return true;
        }
        return false;
    }
};

/// Where activations wait for their products. There are two places, so that one can be filled while
/// others still read the other.
pub const Place = enum(u1) { residual, hidden };

/// Rows of activations as the kernels prepare them.
pub const Acts = struct {
    bytes: []u8,
    stride: usize,

    fn init(arena: *memory.Arena, model: *const Model, rows: usize, cols: usize) error{OutOfMemory}!Acts {
        const stride = std.mem.alignForward(usize, model.kernels.act_bytes(@backingInt(model.precision), cols), 64);
        return .{ .bytes = try arena.alloc(u8, stride * rows), .stride = stride };
    }
};

/// Buffers between steps, allocated when the model is loaded. T is the batch's row limit.
pub const Buffers = struct {
    x: []f32, // [T, embd], the residual stream
    q: []f32, // [T, heads * head_dim_k]
    k: []f32, // [T, kv_heads * head_dim_k]
    v: []f32, // [T, kv_heads * head_dim_v]
    attn: []f32, // [T, heads * head_dim_v]
    projected: []f32, // [T, embd]
    /// Activations of the MLP, for an observer.
    mlp_act: []f32, // [T, ff]
    /// Per member: a piece of the gate projection, and of the up projection.
    gate_parts: []f32, // [members, 2, gate_floats]
    logits: []f32, // [head_rows_max, Model.logitsStride]
    /// Cosine and sine per row and pair, for global and for sliding layers.
    angles: [2][][2]f32, // [T, rope.dim / 2]
    /// Prepared activations of each place.
    acts: [2]Acts,
    /// Per member: one row of the widest activation.
    scratch: []f32, // [members, scratch_len]
    scratch_len: usize,
    /// Per member: keys of a group of tokens.
    group_keys: []f32, // [members, channel_group_max, head_dim_k]
    /// Per member: keys that are rotated when they are read, of one page.
    turned_keys: []f32, // [members, 2, page_len, head_dim_k]
    /// Keys before their rotary embedding that are stored so, while somebody looks at them behind it.
    early_keys: []f32, // [T, kv_heads * head_dim_k]
    /// The same of all heads, while somebody looks at them.
    shown_group: []f32, // [channel_group_max, kv_heads * head_dim_k]
    /// Per member: page addresses of one sequence and head.
    page_keys: [][*]const u8, // [members, pages_max]
    page_values: [][*]const u8, // [members, pages_max]
    pages_max: usize,
    /// Attention over positions that sequences have in common, before each goes on by itself.
    shared_sums: []kernel.PartSums, // [T, heads]
    /// Attention over parts of the positions of the rows of a small batch, before they are joined.
    part_values: []f32, // [split rows, parts_max, heads * head_dim_v]
    part_sums: []kernel.PartSums, // [split rows, parts_max, heads]

    pub fn init(arena: *memory.Arena, model: *const Model, rows: usize, members: usize, pages_max: usize) error{OutOfMemory}!Buffers {
        const h = &model.hyper;
        const heads_v = h.heads * h.head_dim_v;
        const widest = @max(@max(h.embd, h.ff), heads_v);
        const split_parts = splitRows(h.kv_heads, members) * spans.parts_max;
        return .{
            .x = try arena.alloc(f32, rows * h.embd),
            .q = try arena.alloc(f32, rows * h.heads * h.head_dim_k),
            .k = try arena.alloc(f32, rows * h.kv_heads * h.head_dim_k),
            .v = try arena.alloc(f32, rows * h.kv_heads * h.head_dim_v),
            .attn = try arena.alloc(f32, rows * heads_v),
            .projected = try arena.alloc(f32, rows * h.embd),
            .mlp_act = try arena.alloc(f32, rows * h.ff),
            .gate_parts = try arena.alloc(f32, members * 2 * gate_floats),
            .logits = try arena.alloc(f32, head_rows_max * model.logitsStride()),
            .angles = .{
                try arena.alloc([2]f32, rows * model.frequencies[0].short.len),
                try arena.alloc([2]f32, rows * model.frequencies[1].short.len),
            },
            .acts = .{
                try .init(arena, model, @max(rows, head_rows_max), @max(h.embd, heads_v)),
                try .init(arena, model, rows, h.ff),
            },
            .scratch = try arena.alloc(f32, members * widest),
            .scratch_len = widest,
            .group_keys = try arena.alloc(f32, members * cache.channel_group_max * h.head_dim_k),
            .turned_keys = try arena.alloc(f32, members * 2 * cache.page_len * h.head_dim_k),
            .early_keys = try arena.alloc(f32, rows * h.kv_heads * h.head_dim_k),
            .shown_group = try arena.alloc(f32, cache.channel_group_max * h.kv_heads * h.head_dim_k),
            .page_keys = try arena.alloc([*]const u8, members * pages_max),
            .page_values = try arena.alloc([*]const u8, members * pages_max),
            .pages_max = pages_max,
            .shared_sums = try arena.alloc(kernel.PartSums, rows * h.heads),
            .part_values = try arena.alloc(f32, split_parts * heads_v),
            .part_sums = try arena.alloc(kernel.PartSums, split_parts * h.heads),
        };
    }
};

/// Rows times KV heads, per member, from which on a batch keeps the team busy without a split of the
/// positions of its rows.
pub const attention_tasks_min = 4;

/// Most rows of a batch whose positions are split.
fn splitRows(kv_heads: usize, members: usize) usize {
    return if (members == 1) 0 else (attention_tasks_min * members - 1) / kv_heads;
}

pub const Run = struct {
    model: *const Model,
    buffers: *Buffers,
    batch: *Batch,
    team: *Team,
    member: u32,
    members: u32,
    board: *const deal.Board,
    /// Null where nobody wants to know.
    counters: ?*meter.Counters,
    /// Where the pass is: a layer, or behind the last one for embeddings and the output head.
    place: usize,
    /// Steps whose pieces have been dealt so far.
    step: usize = 0,

    pub const Share = deal.Share;
    pub const Piece = deal.Piece;

    pub fn sync(run: *const Run) void {
        run.team.barrier();
    }

    pub fn layers(run: *const Run) []const arch.Layer {
        return run.model.layers;
    }

    /// The pass comes to a layer.
    pub fn enter(run: *Run, place: usize) void {
        run.place = place;
        const counters = run.counters orelse return;
        if (run.member == 0) counters.enter(place, meter.now());
    }

    /// Adds what this member read and computed, in the place where the pass is.
    pub fn count(run: *const Run, counts: meter.Counts) void {
        const counters = run.counters orelse return;
        counters.of(run.member, run.place).add(counts);
    }

    /// This member's part of `total` equal tasks.
    pub fn split(run: *const Run, total: u32) Share {
        return deal.split(total, run.member, run.members);
    }

    /// Begins a step whose pieces go to whoever has time for them.
    pub fn dealOut(run: *Run, tasks: deal.Tasks) deal.Deal {
        defer run.step += 1;
        return .begin(run.board, run.step, run.member, tasks);
    }

    /// This member's rows of the batch.
    pub fn rows(run: *const Run) Share {
        return run.split(run.batch.len);
    }

    pub fn row(run: *const Run, buffer: []f32, width: u32, index: usize) []f32 {
        _ = run;
        return buffer[index * width ..][0..width];
    }

    /// One row of working space of this member.
    pub fn scratch(run: *const Run) []f32 {
        return run.buffers.scratch[run.member * run.buffers.scratch_len ..][0..run.buffers.scratch_len];
    }

    /// Working space of this member for the keys of a group of tokens.
    pub fn group(run: *const Run, values: usize) []f32 {
        const len = cache.channel_group_max * run.model.hyper.head_dim_k;
        return run.buffers.group_keys[run.member * len ..][0..values];
    }

    /// Working space of this member for the keys of a page.
    pub fn turned(run: *const Run) []f32 {
        const len = 2 * cache.page_len * run.model.hyper.head_dim_k;
        return run.buffers.turned_keys[run.member * len ..][0..len];
    }

    /// How attention reads keys of a head that are stored before their rotary embedding; null: they are not.
    pub fn keyTurns(run: *const Run, sequence: *const cache.Sequence, index: usize, kv_head: usize) ?kernel.KeyTurns {
        const layout = &sequence.pool.layout;
        if (!layout.early(index, kv_head)) return null;
        const h = &run.model.hyper;
        const kind = @intFromBool(h.slides(index) and h.rope_local != null);
        const turn = &run.model.frequencies[kind].rope;
        return .{
            .angles = sequence.angles.?[kind],
            .rot_dim = turn.dim,
            .style = @backingInt(turn.style),
            .hadamard = @intFromBool(layout.rotates(.key, index, kv_head)),
            .room = run.turned().ptr,
        };
    }

    pub const Pages = struct { keys: [][*]const u8, values: [][*]const u8 };

    pub fn pages(run: *const Run) Pages {
        const from = run.member * run.buffers.pages_max;
        return .{
            .keys = run.buffers.page_keys[from..][0..run.buffers.pages_max],
            .values = run.buffers.page_values[from..][0..run.buffers.pages_max],
        };
    }

    /// The sums of row `r` over positions that it has in common with others: [heads]; the next row's
    /// follow.
    pub fn sharedSums(run: *const Run, r: usize) []kernel.PartSums {
        const heads = run.model.hyper.heads;
        return run.buffers.shared_sums[r * heads ..][0..heads];
    }

    /// Whether the members share out the positions of each row, and not only rows and KV heads.
    pub fn attentionSplits(run: *const Run) bool {
        return run.batch.len <= splitRows(run.model.hyper.kv_heads, run.members);
    }

    pub const Parts = struct {
        values: []f32, // [heads * head_dim_v]
        sums: []kernel.PartSums, // [heads]
    };

    /// Where part `number` of the positions of row `r` goes; the next part follows.
    pub fn attentionParts(run: *const Run, r: usize, number: usize) Parts {
        const h = &run.model.hyper;
        const at = r * spans.parts_max + number;
        const width = h.heads * h.head_dim_v;
        return .{
            .values = run.buffers.part_values[at * width ..][0..width],
            .sums = run.buffers.part_sums[at * h.heads ..][0..h.heads],
        };
    }

    /// Where this member keeps its piece of the gate projection, and of the up projection.
    pub fn gateParts(run: *const Run) [2][]f32 {
        const own = run.buffers.gate_parts[run.member * 2 * gate_floats ..][0 .. 2 * gate_floats];
        return .{ own[0..gate_floats], own[gate_floats..] };
    }

    /// Pairs of panels of which one piece fits there: for each two panels the activations of 32 inputs
    /// are prepared together.
    pub fn gateTasks(run: *const Run, weight: *const Weight, blocks: Blocks) deal.Tasks {
        const panels = run.panelTasks(weight, blocks);
        const fits = gate_floats / (2 * weight_module.panel_rows * @as(usize, blocks.len));
        return .{
            .total = (panels.total + 1) / 2,
            .rounds = panels.rounds,
            .piece = @max(1, @min((panels.piece + 1) / 2, fits)),
        };
    }

    /// Makes `x` row `index` of the `n_rows` activations that the next products with `weights` read.
    pub fn prepare(run: *const Run, x: []const f32, index: usize, n_rows: usize, weights: []const *const Weight) void {
        run.preparePart(.residual, x, .{ .from = 0, .to = x.len }, index, n_rows, weights);
    }

    /// The same for a part of the row that begins at a multiple of 32, in either place.
    pub fn preparePart(run: *const Run, place: Place, x: []const f32, part: Share, index: usize, n_rows: usize, weights: []const *const Weight) void {
        var kinds: u32 = 0;
        for (weights) |weight| kinds |= weight.kind();
        const acts = run.buffers.acts[@backingInt(place)];
        run.model.kernels.prepare(&.{
            .precision = @backingInt(run.model.precision),
            .kinds = kinds,
            .x = x.ptr,
            .cols = x.len,
            .from = part.from,
            .to = part.to,
            .acts = acts.bytes.ptr,
            .act_stride = acts.stride,
            .token = index,
            .n_tokens = n_rows,
        });
    }

    /// out = weight * activations for all rows of the batch, until it is no longer wanted. `after` is the weight
    /// of the product that comes behind this one.
    pub fn matmul(run: *Run, place: Place, weight: *const Weight, out: []f32, after: *const Weight) void {
        const blocks: Blocks = .of(run, weight, run.batch.len);
        var pieces = run.dealOut(run.panelTasks(weight, blocks));
        while (pieces.next()) |piece| {
            if (run.batch.unwanted()) return;
            run.multiply(place, weight, out, blocks, piece, run.behind(&pieces, piece, weight, after));
        }
    }

    /// The same for the first `n_rows` rows, with results `stride` apart, and never left out.
    pub fn matmulRows(run: *Run, weight: *const Weight, out: []f32, stride: usize, n_rows: u32, after: *const Weight) void {
        std.debug.assert(stride >= weight.rows);
        std.debug.assert(out.len >= n_rows * stride);
        const blocks: Blocks = .of(run, weight, n_rows);
        var pieces = run.dealOut(run.panelTasks(weight, blocks));
        while (pieces.next()) |piece| {
            run.multiplyTo(.residual, weight, out.ptr, stride, blocks, piece, run.behind(&pieces, piece, weight, after));
        }
    }

    /// Where weights are read next.
    pub const Next = struct {
        weight: *const Weight,
        panel: usize = 0,

        /// This member's share of a product.
        pub fn shareOf(run: *const Run, weight: *const Weight) Next {
            return .{ .weight = weight, .panel = run.split(weight.panelCount()).from };
        }
    };

    /// What a member reads behind a piece: the next one of its share, or the begin of its share of the next
    /// product.
    fn behind(run: *const Run, pieces: *const deal.Deal, piece: Piece, weight: *const Weight, after: *const Weight) Next {
        if (pieces.goesOn(piece)) return .{ .weight = weight, .panel = piece.to };
        return .shareOf(run, after);
    }

    /// Rows whose activations stay in a cache of the processor while panels pass by.
    pub const Blocks = struct {
        rows: u32,
        len: u32,

        pub fn of(run: *const Run, weight: *const Weight, n_rows: u32) Blocks {
            const len = run.model.kernels.block_tokens(@backingInt(weight.format), @backingInt(run.model.precision), weight.cols, n_rows);
            return .{ .rows = n_rows, .len = @intCast(@min(len, n_rows)) };
        }

        pub fn count(blocks: Blocks) usize {
            return (blocks.rows + blocks.len - 1) / blocks.len;
        }

        pub fn share(blocks: Blocks, number: usize) Share {
            const from = number * blocks.len;
            return .{ .from = from, .to = @min(from + blocks.len, blocks.rows) };
        }
    };

    /// A task is one panel; a round is one block of rows.
    pub fn panelTasks(run: *const Run, weight: *const Weight, blocks: Blocks) deal.Tasks {
        const panels = weight.panelCount();
        const products = @as(u64, weight_module.panel_rows) * weight.cols * blocks.len;
        const most: usize = @intCast(@max(1, piece_products / products));
        const bytes = run.panelBytes(weight);
        const least = @min((piece_bytes + bytes - 1) / bytes, (piece_products_least + products - 1) / products);
        const wanted = panels / (run.members * pieces_wanted);
        // Kernels take so many panels together where they can; of many rows, a panel is much work.
        const abreast: usize = if (blocks.rows <= few_rows) kernel.panels_abreast else kernel.panels_sharing;
        const piece = std.mem.alignForward(usize, @min(most, @max(least, wanted)), abreast);
        return .{ .total = panels, .rounds = blocks.count(), .piece = piece };
    }

    /// Chosen panels and one block of rows.
    pub fn multiply(run: *const Run, place: Place, weight: *const Weight, out: []f32, blocks: Blocks, piece: Piece, next: Next) void {
        std.debug.assert(out.len >= @as(usize, blocks.rows) * weight.rows);
        run.multiplyTo(place, weight, out.ptr, weight.rows, blocks, piece, next);
    }

    /// The same with results side by side: `part` is [rows of the block][`width` outputs of the piece].
    pub fn multiplyPart(run: *const Run, weight: *const Weight, part: []f32, width: usize, blocks: Blocks, piece: Piece, next: Next) void {
        const share = blocks.share(piece.round);
        std.debug.assert(part.len >= (share.to - share.from) * width);
        const skipped = share.from * width + piece.from * weight_module.panel_rows;
        run.multiplyTo(.residual, weight, wholeOf(part.ptr, skipped), width, blocks, piece, next);
    }

    /// Where the whole would begin of which a part without the first `skipped` values is at `part`. Only
    /// the part may be touched.
    pub fn wholeOf(part: [*]f32, skipped: usize) [*]f32 {
        return @ptrFromInt(@intFromPtr(part) -% skipped * @sizeOf(f32));
    }

    fn multiplyTo(run: *const Run, place: Place, weight: *const Weight, out: [*]f32, stride: usize, blocks: Blocks, piece: Piece, next: Next) void {
        const acts = run.buffers.acts[@backingInt(place)];
        const share = blocks.share(piece.round);
        if (run.counters != null) run.count(.ofProducts(run.model, weight, piece, share));
        const next_bytes = run.panelBytes(next.weight);
        run.model.kernels.matmul(&.{
            .format = @backingInt(weight.format),
            .precision = @backingInt(run.model.precision),
            .panels = weight.panels,
            .panel_from = piece.from,
            .panel_to = piece.to,
            .rows = weight.rows,
            .cols = weight.cols,
            .acts = acts.bytes.ptr,
            .act_stride = acts.stride,
            .n_tokens = blocks.rows,
            .token_from = share.from,
            .token_to = share.to,
            .out = out,
            .out_stride = stride,
            .next = next.weight.panels + next.panel * next_bytes,
            .next_bytes = next_bytes,
            .reading = run.model.reading,
        });
    }

    fn panelBytes(run: *const Run, weight: *const Weight) usize {
        return run.model.kernels.packed_bytes(@backingInt(weight.format), @backingInt(run.model.precision), weight_module.panel_rows, weight.cols);
    }

    /// Whether somebody wants to see the point; the same answer for all members.
    pub fn observes(run: *const Run, point: probe.Point, layer: usize) bool {
        const observer = run.batch.observer orelse return false;
        return observer.wants(observer.context, point, @intCast(layer));
    }

    /// Shows `values` [n_tokens, width] to whoever wants to see them; they may be other ones afterwards.
    pub fn observe(run: *const Run, point: probe.Point, layer: usize, values: []f32, width: usize) void {
        if (!run.observes(point, layer)) return;
        run.show(point, layer, run.batch.rows[0].position, values[0 .. run.batch.len * width], width);
    }

    /// The same for rows of any positions, where somebody wants to see them.
    pub fn show(run: *const Run, point: probe.Point, layer: usize, position: u32, values: []f32, width: usize) void {
        run.sync();
        // What members left out of an unwanted batch is nothing to show.
        if (run.member == 0 and !run.batch.unwanted()) {
            const observer = run.batch.observer.?;
            observer.observe(observer.context, point, @intCast(layer), position, values, @intCast(width));
        }
        run.sync();
    }
};
