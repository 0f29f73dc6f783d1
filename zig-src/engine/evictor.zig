//! Evicts tokens from the cache of one session, as its policy says (`evict.zig`), so that it holds no more
//! than a budget however long the text is.
//!
//! Tokens that go leave holes, which the last slots of the cache fill: attention is a sum over slots and
//! doesn't care for their order, so what moves is no more than what goes. So slots are not in the order of
//! the text; `order` tells it. Where layers have windows, which are ranges of slots, all move up instead.
//!
//! Keys keep the rotation of their place in the text, and the next token is rotated by its own place: that is
//! how H2O, SnapKV and TOVA have it. With `cache_positions` the distance to the sinks is that in the cache
//! (StreamingLLM): rotations being relative, it is the sinks that are turned on by as many places as were
//! dropped, from a copy in f32, so that it is rounded once and not with every token.

const std = @import("std");
const cache = @import("../cache.zig");
const evict = @import("../evict.zig");
const rope = @import("../arch/block/rope.zig");
const AttentionMass = @import("attention_mass.zig").AttentionMass;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Model = @import("model.zig").Model;
const session_module = @import("session.zig");
const Error = session_module.Error;
const Job = session_module.Job;
const Session = session_module.Session;

/// Each score is looked at so often.
const pooling_max = 1024;

/// Instead of a sampler stage's number, when the host is asked which tokens stay.
pub const question = 0xffff_ffff;

pub const Evictor = struct {
    gpa: std.mem.Allocator,
    options: evict.Options,
    places: []u32, // [context], by slot: position in the text
    /// Of the next token, in the text.
    next: u32 = 0,
    /// Places by which the sinks have been turned on.
    turned: u32 = 0,
    /// Keys of the sinks before that; known once something was evicted.
    sinks: []f32, // [layers, kv_heads, sinks, head_dim_k]
    sinks_known: bool = false,
    mass: ?AttentionMass = null,
    /// The prompt has been read and is to be cut down.
    prompt_read: bool = false,
    /// Working space, by place in the order of the text: [context].
    slots: []u32,
    positions: []u32,
    scores: []f64,
    pooled: []f64,
    indices: []u32,
    kept: []bool,
    stays: []bool, // [context], by slot

    pub fn create(model: *const Model, options: evict.Options, context: u32) error{OutOfMemory}!*Evictor {
        const gpa = model.gpa;
        const h = &model.hyper;
        const evictor = try gpa.create(Evictor);
        errdefer gpa.destroy(evictor);
        const sinks = if (options.cache_positions) @as(usize, h.layers) * h.kv_heads * options.sinks * h.head_dim_k else 0;
        // In one piece each, so that what fails leaves nothing.
        const words = try gpa.alloc(u32, 4 * @as(usize, context));
        errdefer gpa.free(words);
        const floats = try gpa.alloc(f64, 2 * @as(usize, context));
        errdefer gpa.free(floats);
        const flags = try gpa.alloc(bool, 2 * @as(usize, context));
        errdefer gpa.free(flags);
        const keys = try gpa.alloc(f32, sinks);
        errdefer gpa.free(keys);
        evictor.* = .{
            .gpa = gpa,
            .options = options,
            .places = words[0..context],
            .slots = words[context..][0..context],
            .positions = words[2 * context ..][0..context],
            .indices = words[3 * context ..],
            .scores = floats[0..context],
            .pooled = floats[context..],
            .kept = flags[0..context],
            .stays = flags[context..],
            .sinks = keys,
        };
        @memset(floats, 0);
        if (options.scores() != .none) evictor.mass = try .init(gpa, .{
            .context = context,
            .layers = h.layers,
            .heads = h.heads,
            .kv_heads = h.kv_heads,
            .head_dim_k = h.head_dim_k,
        });
        return evictor;
    }

    pub fn destroy(evictor: *Evictor) void {
        const gpa = evictor.gpa;
        const context = evictor.places.len;
        if (evictor.mass) |*mass| mass.deinit(gpa);
        gpa.free(evictor.places.ptr[0 .. 4 * context]);
        gpa.free(evictor.scores.ptr[0 .. 2 * context]);
        gpa.free(evictor.kept.ptr[0 .. 2 * context]);
        gpa.free(evictor.sinks);
        gpa.destroy(evictor);
    }

    /// For a fork, whose evictor this is.
    pub fn copyFrom(evictor: *Evictor, other: *const Evictor, fork: *Session) void {
        inline for (.{ "next", "turned", "sinks_known", "prompt_read" }) |field| @field(evictor, field) = @field(other, field);
        @memcpy(evictor.places, other.places);
        @memcpy(evictor.sinks, other.sinks);
        if (evictor.mass) |*mass| @memcpy(mass.mass, other.mass.?.mass);
        if (fork.angles) |angles| for (0..fork.length) |slot| angles.put(@intCast(slot), evictor.rotationOf(@intCast(slot)));
    }

    /// The session holds `len` tokens that were never moved.
    pub fn reset(evictor: *Evictor, session: *Session, len: u32) void {
        for (evictor.places[0..len], 0..) |*place, slot| {
            place.* = @intCast(slot);
            if (session.angles) |angles| angles.put(place.*, place.*);
        }
        evictor.next = len;
        evictor.turned = 0;
        evictor.sinks_known = false;
        evictor.prompt_read = false;
        if (evictor.mass) |*mass| @memset(mass.mass, 0);
    }

    /// By how much the rotation of the next tokens is ahead of their slots.
    pub fn ahead(evictor: *const Evictor, session: *const Session) u32 {
        return evictor.next - session.sequence.len;
    }

    /// Slots that may be filled before tokens must go.
    pub fn room(evictor: *const Evictor, session: *const Session) u32 {
        if (!evictor.options.bounded()) return session.settings.context - session.sequence.len;
        return evictor.options.budget + evictor.options.every - session.sequence.len;
    }

    /// A request begins.
    pub fn begin(evictor: *Evictor) void {
        if (evictor.prompt_read or evictor.options.scores() != .prompt_end) return;
        @memset(evictor.mass.?.mass, 0);
    }

    /// Whether the attention of a row counts: of the pending token at `at`, the last of its pass or not.
    pub fn counts(evictor: *const Evictor, job: *const Job, at: usize, last: bool) bool {
        return switch (evictor.options.scores()) {
            .none => false,
            .sum => true,
            .last => last,
            .prompt_end => job.generated == 0 and at + evictor.options.window >= job.pending_len,
        };
    }

    /// Tokens have been evaluated, in the slots from `from` on.
    pub fn appended(evictor: *Evictor, session: *Session, from: u32, reads_on: bool) void {
        const len = session.sequence.len;
        for (evictor.places[from..len]) |*place| {
            place.* = evictor.next;
            evictor.next += 1;
        }
        if (evictor.mass) |*mass| mass.commit(from, len, evictor.options.scores() == .last);
        if (evictor.options.scores() == .prompt_end and session.job.generated == 0 and !reads_on) evictor.prompt_read = true;
    }

    /// Whether tokens must go before the next one is evaluated.
    pub fn due(evictor: *const Evictor, session: *const Session) bool {
        const len = session.sequence.len;
        if (!evictor.options.bounded()) return evictor.prompt_read and len > evictor.options.budget;
        return len >= evictor.options.budget + evictor.options.every;
    }

    /// Lets the tokens go; false: the request was cancelled before the host had said which.
    pub fn run(evictor: *Evictor, session: *Session) Error!bool {
        const tokens = evictor.arrange(session);
        const kept = evictor.kept[0..tokens.len()];
        if (evictor.options.policy != .script) {
            evict.keep(evictor.options, tokens, kept);
        } else if (!evictor.ask(session, kept)) return false;
        if (session.sequence.exact != null) evict.pin(evictor.options, pinsOf(session.sequence.pool.layout), tokens, kept);
        const before = session.sequence.len;
        try evictor.compact(session, kept);
        evictor.prompt_read = false;
        session.stats.evicted_tokens += before - session.sequence.len;
        return true;
    }

    /// The tokens in the order of the text, and their slots.
    pub fn arrange(evictor: *Evictor, session: *const Session) evict.Tokens {
        const len = session.length;
        const slots = evictor.order(len);
        for (slots, evictor.positions[0..len], evictor.scores[0..len]) |slot, *position, *score| {
            position.* = evictor.places[slot];
            score.* = if (evictor.mass) |*mass| mass.mass[slot] else 0;
        }
        return .{
            .positions = evictor.positions[0..len],
            .scores = evictor.scores[0..len],
            .indices = evictor.indices[0..len],
            .pooled = evictor.pooled[0..len],
        };
    }

    /// The slots of the tokens, in the order of the text.
    pub fn order(evictor: *Evictor, len: u32) []const u32 {
        const slots = evictor.slots[0..len];
        for (slots, 0..) |*slot, i| slot.* = @intCast(i);
        std.mem.sortUnstable(u32, slots, evictor.places, earlier);
        return slots;
    }

    fn earlier(places: []const u32, a: u32, b: u32) bool {
        return places[a] < places[b];
    }

    /// The host writes 1 for what stays, and 0 for what goes, in place of the scores.
    fn ask(evictor: *Evictor, session: *Session, kept: []bool) bool {
        const len = kept.len;
        const answers: [*]f32 = @ptrCast(evictor.pooled.ptr);
        for (answers[0..len], evictor.scores[0..len]) |*answer, score| answer.* = @floatCast(score);
        if (!session.gate.ask(question, evictor.next, evictor.positions[0..len], answers[0..len], &.{})) return false;
        // A host that has failed cancels the request next.
        if (std.math.isNan(answers[0])) return false;
        var count: usize = 0;
        for (kept, answers[0..len]) |*is, answer| {
            is.* = answer == 1 and count < evictor.options.budget;
            count += @intFromBool(is.*);
        }
        return true;
    }

    /// Forgets the tokens behind the first `len` of the text.
    pub fn truncate(evictor: *Evictor, session: *Session, len: u32) Error!void {
        const all = session.length;
        _ = evictor.order(all);
        const kept = evictor.kept[0..all];
        for (kept, 0..) |*is, i| is.* = i < len;
        const next = if (len == all) evictor.next else if (len == 0) 0 else evictor.places[evictor.slots[len - 1]] + 1;
        try evictor.compactTo(session, kept, next);
    }

    /// Forgets what the prompt has added, unless something was evicted for it.
    pub fn rollBack(evictor: *Evictor, session: *Session) void {
        const job = &session.job;
        if (session.stats.evicted_tokens != 0) return;
        const again = job.lead and job.start.carry == null;
        const len = @min(session.length, job.start.length - @intFromBool(again));
        if (!session.sequence.canTruncate(len)) return;
        evictor.next -= session.length - len;
        session.sequence.truncate(len);
        session.length = len;
        session.carry = if (job.lead) job.pending[0] else null;
        session.logits_valid = job.start.logits_valid and !again;
        job.lead = false;
    }

    /// The position by which the key in a slot is rotated.
    pub fn rotationOf(evictor: *const Evictor, slot: u32) u32 {
        const turned = evictor.options.cache_positions and slot < evictor.options.sinks;
        return if (turned) slot + evictor.turned else evictor.places[slot];
    }

    fn compact(evictor: *Evictor, session: *Session, kept: []const bool) Error!void {
        return evictor.compactTo(session, kept, evictor.next);
    }

    /// Only the tokens that are marked, in the order of the text, remain.
    fn compactTo(evictor: *Evictor, session: *Session, kept: []const bool, next: u32) Error!void {
        const len: u32 = @intCast(kept.len);
        const stays = evictor.stays[0..len];
        var count: u32 = 0;
        for (kept, evictor.slots[0..len]) |is, slot| {
            stays[slot] = is;
            count += @intFromBool(is);
        }
        const turn = next - count;
        try evictor.own(session, stays, count, turn);
        if (turn != evictor.turned and !evictor.sinks_known) evictor.readSinks(session, @min(evictor.options.sinks, len));
        if (ordered(session)) {
            var to: u32 = 0;
            for (0..len) |from| if (stays[from]) {
                evictor.move(session, to, @intCast(from));
                to += 1;
            };
        } else {
            var from = len;
            for (0..count) |to| if (!stays[to]) {
                from -= 1;
                while (!stays[from]) from -= 1;
                evictor.move(session, @intCast(to), from);
            };
        }
        if (session.sequence.exact) |*exact| exact.compact(stays, count);
        session.sequence.truncate(count);
        session.length = count;
        evictor.next = next;
        if (count < evictor.options.sinks) evictor.sinks_known = false;
        if (turn != evictor.turned and count != 0) evictor.turnSinks(session, @min(evictor.options.sinks, count), turn);
        evictor.turned = turn;
    }

    /// Makes the pages that will be written to the session's own.
    fn own(evictor: *const Evictor, session: *Session, stays: []const bool, count: u32, turn: u32) Error!void {
        const sequence = &session.sequence;
        const first_hole = std.mem.indexOfScalar(bool, stays, false) orelse stays.len;
        const turns = evictor.options.cache_positions and turn != evictor.turned and count != 0;
        const sink_pages = if (turns) (@min(evictor.options.sinks, count) + cache.page_len - 1) / cache.page_len else 0;
        for (0..(count + cache.page_len - 1) / cache.page_len) |page| {
            if (page >= sink_pages and (page + 1) * cache.page_len <= first_hole) continue;
            if (!sequence.ownPage(@intCast(page))) return error.PoolFull;
        }
        if (turns) if (sequence.exact) |*exact| for (0..@min(evictor.options.sinks, count)) |sink| exact.ownAt(@intCast(sink));
    }

    fn move(evictor: *Evictor, session: *Session, to: u32, from: u32) void {
        if (to == from) return;
        session.sequence.move(to, from);
        session.tokens[to] = session.tokens[from];
        if (session.angles) |angles| angles.copy(to, from);
        evictor.places[to] = evictor.places[from];
        if (evictor.mass) |*mass| mass.mass[to] = mass.mass[from];
    }

    fn sinkAt(evictor: *const Evictor, session: *const Session, layer: usize, kv_head: usize, sink: usize) []f32 {
        const h = &session.model.hyper;
        const dim: usize = h.head_dim_k;
        return evictor.sinks[((layer * h.kv_heads + kv_head) * evictor.options.sinks + sink) * dim ..][0..dim];
    }

    /// Keys as they are stored, turned back to where they were.
    fn readSinks(evictor: *Evictor, session: *const Session, count: u32) void {
        if (evictor.sinks.len == 0) return;
        const h = &session.model.hyper;
        const layout = &session.sequence.pool.layout;
        for (0..h.layers) |layer| for (0..h.kv_heads) |kv_head| if (!layout.early(layer, kv_head)) for (0..count) |sink| {
            const key = evictor.sinkAt(session, layer, kv_head, sink);
            const position: u32 = @intCast(sink);
            const k = session.model.kernels;
            if (exactAt(session, layer, position)) |exact| {
                exact.read(k, .key, position, layer, kv_head, key);
            } else session.sequence.read(.key, position, layer, kv_head, key);
            if (evictor.turned != 0) turnKey(session, layer, key, evictor.turned, true);
        };
        evictor.sinks_known = true;
    }

    fn turnSinks(evictor: *Evictor, session: *Session, count: u32, turn: u32) void {
        if (evictor.sinks.len == 0) return;
        // Keys that are rotated when they are read need nothing else.
        if (session.angles) |angles| for (0..count) |sink| angles.put(@intCast(sink), @intCast(sink + turn));
        const h = &session.model.hyper;
        const pool = session.sequence.pool;
        var storage: [rope.dim_max]f32 align(64) = undefined;
        for (0..h.layers) |layer| for (0..h.kv_heads) |kv_head| if (!pool.layout.early(layer, kv_head)) for (0..count) |sink| {
            const master = evictor.sinkAt(session, layer, kv_head, sink);
            const key = storage[0..master.len];
            @memcpy(key, master);
            turnKey(session, layer, key, turn, false);
            const memory = session.sequence.pageMemory(.key, @intCast(sink), layer, kv_head);
            session.model.kernels.kv_store(pool.layout.code(.key, layer, kv_head), 0, key.ptr, key.len, memory, sink % cache.page_len);
            const position: u32 = @intCast(sink);
            if (exactAt(session, layer, position)) |exact| exact.store(session.model.kernels, .key, position, layer, kv_head, key);
        };
    }
};

/// Whether slots have the order of the text: a layer, or what is at full precision, is a range of them.
fn ordered(session: *const Session) bool {
    return session.model.hyper.window != 0 or session.sequence.exact != null;
}

/// Where a position is at full precision, in a layer that keeps it so.
fn exactAt(session: *const Session, layer: usize, position: u32) ?*const cache.Exact {
    const exact = if (session.sequence.exact) |*held| held else return null;
    return if (exact.takes(layer, position) and exact.has(position)) exact else null;
}

/// Tokens that stay because they are at full precision.
pub fn pinsOf(layout: cache.Layout) evict.Pins {
    const widest = layout.widest();
    return .{ .sinks = widest.sinks, .recent = widest.recent };
}

/// Rotates a key on, or back, by so many places, without what the rotation multiplies besides.
fn turnKey(session: *const Session, layer: usize, key: []f32, places: u32, back: bool) void {
    const h = &session.model.hyper;
    const local = h.slides(layer) and h.rope_local != null;
    const frequencies = &session.model.frequencies[@intFromBool(local)];
    var storage: [rope.dim_max / 2][2]f32 = undefined;
    const angles = storage[0..frequencies.short.len];
    frequencies.at(places, session.settings.context, angles);
    const magnitude: f32 = @floatCast(frequencies.magnitude);
    for (angles) |*pair| pair.* = .{ pair[0] / magnitude, if (back) -pair[1] / magnitude else pair[1] / magnitude };
    session.model.kernels.rope(key.ptr, 1, key.len, frequencies.rope.dim, @backingInt(frequencies.rope.style), @ptrCast(angles.ptr));
}

/// Whether the options can be for a session of so many positions.
pub fn check(model: *const Model, options: evict.Options, context: u32, layout: cache.Layout, diag: *Diagnostic) Error!void {
    if (options.budget == 0 or options.every == 0 or @as(u64, options.budget) + options.every >= context) {
        diag.set("expected a budget from 1 and, before it is held again, one token or more that fit with one besides into a context of {d}, found {d} and {d}", .{
            context, options.budget, options.every,
        });
        return error.BadOption;
    }
    if (@as(u64, options.sinks) + options.recent > options.budget or options.window > options.budget) {
        diag.set("expected sinks, recent tokens and a window within the budget of {d}, found {d}, {d} and {d}", .{
            options.budget, options.sinks, options.recent, options.window,
        });
        return error.BadOption;
    }
    const pins = pinsOf(layout).with(options);
    if (layout.widest().any() and pins.count() > options.budget) {
        diag.set("expected a budget for the tokens that stay, because they are at full precision or the policy says so, found {d} for " ++
            "{d} sinks and {d} recent ones", .{ options.budget, pins.sinks, pins.recent });
        return error.BadOption;
    }
    for (0..layout.layers) |layer| for (0..layout.kv_heads) |kv_head| if (layout.groups(layer, kv_head)) {
        diag.set("expected keys that are rounded token by token for an eviction policy, found {t} in layer {d}, KV head {d}, which rounds {d} at a time", .{
            layout.format(.key, layer, kv_head), layer, kv_head, layout.keyGroup(layer, kv_head),
        });
        return error.BadOption;
    };
    if (options.pooling == 0 or options.pooling > pooling_max) {
        diag.set("expected scores to be pooled over 1 to {d} neighbours, found {d}", .{ pooling_max, options.pooling });
        return error.BadOption;
    }
    const dims = [_]u32{ model.hyper.head_dim_k, model.hyper.head_dim_v };
    if (dims[0] > rope.dim_max or dims[1] > cache.rows.bytes_max / @sizeOf(f32)) {
        diag.set("expected heads of at most {d} and {d} values to evict from, found {d} and {d}", .{
            rope.dim_max, cache.rows.bytes_max / @sizeOf(f32), dims[0], dims[1],
        });
        return error.BadOption;
    }
}
