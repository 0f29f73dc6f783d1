//! What passes read from memory and compute, layer by layer: counted where kernels are called, not
//! guessed. Members of the team count by themselves; what they counted is added up behind the pass and
//! kept by each session that asked for it. A session that doesn't costs one branch a call.
//!
//! A weight counts as often as its panels come from memory: once for each block of tokens. Keys and
//! values count once for the rows of a tile that share the read. Floating-point operations are those of
//! products and of attention, a multiplication and an addition as two.

const std = @import("std");
const cache = @import("../cache.zig");
const deal = @import("deal.zig");
const kernel = @import("../kernel.zig");
const weight_module = @import("weight.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Error = @import("session.zig").Error;
const Model = @import("model.zig").Model;
const Session = @import("session.zig").Session;

const io = std.Io.Threaded.global_single_threaded.io();

pub fn now() i96 {
    return std.Io.Clock.awake.now(io).nanoseconds;
}

pub const Counts = struct {
    weight_bytes: u64 = 0,
    key_bytes: u64 = 0,
    value_bytes: u64 = 0,
    flops: u64 = 0,

    pub fn add(counts: *Counts, other: Counts) void {
        inline for (@typeInfo(Counts).@"struct".field_names) |name| @field(counts, name) += @field(other, name);
    }

    /// Of some panels of a weight and one block of tokens.
    pub fn ofProducts(model: *const Model, weight: *const weight_module.Weight, piece: deal.Piece, tokens: deal.Share) Counts {
        const panel_rows = weight_module.panel_rows;
        const panels = piece.to - piece.from;
        const rows = @min(piece.to * panel_rows, weight.rows) - piece.from * panel_rows;
        return .{
            .weight_bytes = model.kernels.packed_bytes(@backingInt(weight.format), @backingInt(model.precision), panels * panel_rows, weight.cols),
            .flops = 2 * @as(u64, rows) * weight.cols * (tokens.to - tokens.from),
        };
    }

    /// Of one call of the attention kernel for a KV head of a layout.
    pub fn ofAttention(args: *const kernel.AttentionArgs, layout: cache.Layout, layer: usize, kv_head: usize) Counts {
        const positions: u64 = args.to + (args.tokens - 1) * args.step - args.from;
        var attended: u64 = 0;
        for (0..args.tokens) |t| {
            const to: u32 = args.to + @as(u32, @intCast(t)) * args.step;
            attended += to - if (args.window == 0) args.from else @max(args.from, to -| args.window);
        }
        return .{
            .key_bytes = positions * (layout.headBytes(.key, layer, kv_head) / cache.page_len),
            .value_bytes = positions * (layout.headBytes(.value, layer, kv_head) / cache.page_len),
            .flops = 2 * attended * args.group * (args.head_dim_k + args.head_dim_v),
        };
    }
};

/// The counters of one model's scheduler: those of the pass that is under way.
pub const Counters = struct {
    /// Each layer's; the last are those of embeddings and of the output head.
    counts: []Counts, // [members, layers + 1]
    ns: []u64, // [layers + 1]
    places: usize,
    /// The place whose time runs, and since when.
    current: usize = 0,
    began: i96 = 0,

    pub fn init(arena: std.mem.Allocator, members: usize, layers: usize) error{OutOfMemory}!Counters {
        const places = layers + 1;
        return .{
            .counts = try arena.alloc(Counts, members * places),
            .ns = try arena.alloc(u64, places),
            .places = places,
        };
    }

    pub fn begin(counters: *Counters, at: i96) void {
        @memset(counters.counts, .{});
        @memset(counters.ns, 0);
        counters.current = counters.places - 1;
        counters.began = at;
    }

    /// Time runs for another place from now on.
    pub fn enter(counters: *Counters, place: usize, at: i96) void {
        counters.ns[counters.current] += @intCast(@max(0, at - counters.began));
        counters.current = place;
        counters.began = at;
    }

    /// The layers are through; what follows belongs to the output head.
    pub fn leave(counters: *Counters, at: i96) void {
        counters.enter(counters.places - 1, at);
    }

    /// What happened since `leave` is nobody's time.
    pub fn resumeAt(counters: *Counters, at: i96) void {
        counters.began = at;
    }

    pub fn of(counters: *const Counters, member: usize, place: usize) *Counts {
        return &counters.counts[member * counters.places + place];
    }

    fn sum(counters: *const Counters, place: usize) Counts {
        var total: Counts = .{};
        var at = place;
        while (at < counters.counts.len) : (at += counters.places) total.add(counters.counts[at]);
        return total;
    }
};

/// What a session keeps: the youngest passes, as numbers in a row.
pub const Meter = struct {
    values: []f64, // [passes_max, head_values + layers + 1, place_values]
    places: usize,
    passes_max: usize,
    /// Passes so far; the youngest `held` of them are kept.
    passes: u64 = 0,
    held: usize = 0,

    /// Number of the pass, its rows, the session's own rows, the position of the first of them.
    pub const head_values = 4;
    /// Bytes of weights, keys and values; operations; seconds.
    pub const place_values = 5;

    pub fn init(gpa: std.mem.Allocator, layers: usize, passes_max: usize) error{OutOfMemory}!Meter {
        const places = layers + 1;
        return .{
            .values = try gpa.alloc(f64, passes_max * (head_values + places * place_values)),
            .places = places,
            .passes_max = passes_max,
        };
    }

    pub fn deinit(meter: *Meter, gpa: std.mem.Allocator) void {
        gpa.free(meter.values);
    }

    pub fn width(meter: *const Meter) usize {
        return head_values + meter.places * place_values;
    }

    pub fn append(meter: *Meter, counters: *const Counters, rows: u32, own: u32, position: u32) void {
        const at: usize = @intCast(meter.passes % meter.passes_max);
        const values = meter.values[at * meter.width() ..][0..meter.width()];
        values[0..head_values].* = .{ @floatFromInt(meter.passes), @floatFromInt(rows), @floatFromInt(own), @floatFromInt(position) };
        for (0..meter.places) |place| {
            const counts = counters.sum(place);
            values[head_values + place * place_values ..][0..place_values].* = .{
                @floatFromInt(counts.weight_bytes),
                @floatFromInt(counts.key_bytes),
                @floatFromInt(counts.value_bytes),
                @floatFromInt(counts.flops),
                @as(f64, @floatFromInt(counters.ns[place])) / std.time.ns_per_s,
            };
        }
        meter.passes += 1;
        meter.held = @min(meter.held + 1, meter.passes_max);
    }

    /// Moves the oldest passes that are held out, as many as fit.
    pub fn take(meter: *Meter, out: []align(1) f64) usize {
        const count = @min(meter.held, out.len / meter.width());
        for (0..count) |i| {
            const at: usize = @intCast((meter.passes - meter.held + i) % meter.passes_max);
            @memcpy(out[i * meter.width() ..][0..meter.width()], meter.values[at * meter.width() ..][0..meter.width()]);
        }
        meter.held -= count;
        return count;
    }
};

const passes_limit = 1 << 16;

/// Keeps what the session's following passes read and compute, the youngest `passes` of them; 0: no
/// longer. What was kept before is forgotten.
pub fn start(session: *Session, passes: u32, diag: *Diagnostic) Error!void {
    try session.expectIdle(diag);
    if (passes > passes_limit) {
        diag.set("expected at most {d} passes to keep, found {d}", .{ passes_limit, passes });
        return error.BadOption;
    }
    errdefer if (diag.text().len == 0) diag.set("expected memory to keep {d} passes, found that the system has not that much", .{passes});
    const fresh: ?Meter = if (passes == 0) null else try .init(session.gpa, session.model.hyper.layers, passes);
    if (session.meter) |*kept| kept.deinit(session.gpa);
    session.meter = fresh;
}

/// What has been kept since `start`.
pub fn of(session: *Session, diag: *Diagnostic) Error!*Meter {
    try session.expectIdle(diag);
    if (session.meter) |*kept| return kept;
    diag.set("expected a session whose meter runs, found none", .{});
    return error.BadOption;
}

test "the youngest passes are kept, and taken in their order" {
    const gpa = std.testing.allocator;
    var arena: std.heap.ArenaAllocator = .init(gpa);
    defer arena.deinit();
    var counters: Counters = try .init(arena.allocator(), 2, 1);
    var meter: Meter = try .init(gpa, 1, 3);
    defer meter.deinit(gpa);
    for (0..5) |pass| {
        counters.begin(0);
        counters.enter(0, 1_000_000_000);
        counters.of(0, 0).add(.{ .weight_bytes = pass });
        counters.of(1, 0).add(.{ .weight_bytes = 10 });
        counters.leave(3_000_000_000);
        meter.append(&counters, 7, 1, @intCast(100 + pass));
    }
    var out: [2 * (4 + 2 * 5)]f64 = undefined;
    try std.testing.expectEqual(2, meter.take(&out));
    try std.testing.expectEqualSlices(f64, &.{ 2, 7, 1, 102, 12, 0, 0, 0, 2, 0, 0, 0, 0, 1 }, out[0..14]);
    try std.testing.expectEqual(3, out[14]);
    try std.testing.expectEqual(1, meter.take(&out));
    try std.testing.expectEqual(4, out[0]);
    try std.testing.expectEqual(0, meter.take(&out));
}
