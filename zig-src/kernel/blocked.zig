//! Integer products for many tokens. Tokens pass in blocks whose activations stay in the second cache
//! for all panels. A part of a panel is taken a chunk of units at a time, which stays in the first
//! cache, and all tokens of the block are multiplied with it, `layout.act_width` together. Integers are
//! unpacked once, into a buffer, or for each tile of tokens anew, whichever costs less.
//!
//! The order of loops follows Goto and van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication", 2008.

const std = @import("std");
const amx = @import("amx.zig");
const dot = @import("dot.zig");
const integer = @import("integer.zig");
const layout = @import("layout.zig");
const table = @import("table.zig");
const vector = @import("vector.zig");

const Class = layout.Class;
const Act = layout.Act;
const Vf = vector.Vf;
const lanes = vector.lanes;

/// Panels that share each activation. Loads of many tokens' activations are what holds products of the
/// widest vectors up: two panels halve them, and keep their sums in registers for half of the tokens.
const panels_many = if (dot.in_one and lanes == 16 and !amx.has) table.panels_sharing else 1;
/// Tokens from which on that pays for unpacking all weights into memory.
const tokens_many = 2 * layout.act_width;
/// Most units of a panel in a chunk, a multiple of every `Class.span`: unpacked they take half of the first
/// cache, or less where tiles read activations through it too.
fn chunkUnits(comptime panels: usize) usize {
    return if (amx.has) 24 else 32 / panels;
}
/// Of rows that are a little longer, which would leave a short chunk: it takes the sums in and out for little.
fn chunkMax(comptime panels: usize) usize {
    return if (amx.has) 24 else chunkUnits(panels) * 5 / 4;
}
/// Bytes of activations that are passed again and again for each panel: half of the second
/// cache.
const block_bytes = 1 << 20;
/// Tokens in a block, at most.
pub const tokens_max = (255 / layout.act_width + 1) * layout.act_width;

/// Tokens that keep their sums in registers together, most first.
pub const tiles = switch (layout.act_width) {
    16 => .{ 16, 8, 4, 2, 1 },
    12 => .{ 12, 8, 4, 2, 1 },
    8 => .{ 8, 4, 2, 1 },
    else => .{ 4, 2, 1 },
};
/// The same for two panels.
const tiles_of_two = .{ 6, 4, 2, 1 };
/// Tokens whose products are under way at the same time.
const abreast = 4;

const Unpacking = enum { once, by_tile };

/// An unpacked unit is eight bytes of the first cache for one that is read; integers of 4 or 8 bits take
/// fewer instructions than that. Terms of two levels take many, which only pays while tiles are few and
/// the unpacking would otherwise wait for memory.
inline fn unpackingOf(comptime class: Class, tokens: usize) Unpacking {
    if (amx.has) return .once;
    if (lanes != 16 or class.bits == 5 or class.bits == 6) return .once;
    if (class.scale != .two_level) return .by_tile;
    return if (tokens <= 4 * layout.act_width) .by_tile else .once;
}

/// One unit of the rows of one part, unpacked.
pub fn Unit(comptime class: Class) type {
    return struct {
        pub const signs = dot.signsOfMany(class.bits);

        terms: [integer.termCount(class)]Vf,
        weights: integer.Weights(class, signs),
    };
}

/// The rows of one part of a panel.
fn Rows(comptime class: Class, comptime unpacking: Unpacking) type {
    return struct {
        const zero = switch (unpacking) {
            .once => if (amx.has) 0 else dot.zeroOfMany(class.zero),
            .by_tile => if (dot.wantsSigned(class.bits)) 0 else class.zero,
        };

        panel: [*]const u8,
        /// Bytes of it that are asked for before they are read.
        ahead: usize,
        units: usize,
        part: usize,
        /// The first of them.
        first: usize,

        fn of(args: *const table.MatmulArgs, panel: usize, part: usize) @This() {
            return .{
                .panel = args.panels + panel * class.panelBytes(args.cols),
                .ahead = args.reading.ahead,
                .units = args.cols / layout.unit,
                .part = part,
                .first = panel * layout.panel_rows + part * lanes,
            };
        }

        inline fn unit(rows: @This(), index: usize) [*]const u8 {
            return rows.panel + class.dataAt(rows.units, index);
        }

        inline fn record(rows: @This(), index: usize) [*]const u8 {
            return rows.panel + class.recordAt(index);
        }

        inline fn prefetch(rows: @This(), index: usize) void {
            const bytes = comptime class.unitBytes();
            integer.prefetch(rows.panel + index * bytes + rows.ahead, bytes);
        }
    };
}

/// Consecutive units of one or more panels.
fn Chunk(comptime class: Class, comptime unpacking: Unpacking, comptime panels: usize) type {
    return struct {
        from: usize,
        len: usize,
        begins: bool,
        ends: bool,
        unpacked: switch (unpacking) {
            .once => []const [panels]Unit(class),
            .by_tile => void,
        },
    };
}

/// The registers of products where they are the processor's tiles.
fn Registers(comptime class: Class) type {
    return if (amx.has) amx.Registers(class) else void;
}

/// What is to become of the sums of a chunk.
pub const End = struct {
    /// They begin with it.
    begins: bool,
    /// They are results, for rows from `row` and tokens from `token` on; null: others follow.
    args: ?*const table.MatmulArgs,
    row: usize,
    token: usize,

    /// The line that the result of a token will be stored to is under way while its products are.
    pub inline fn expect(end: *const End, at: usize) void {
        const args = end.args orelse return;
        @prefetch(args.out + (end.token + at) * args.out_stride + end.row, .{ .rw = .write });
    }

    pub inline fn store(end: *const End, comptime tokens: usize, number: usize, sums: *const [tokens]Vf) void {
        inline for (sums, 0..) |sum, t| integer.store(end.args.?, sum, end.row, end.token + number * tokens + t);
    }
};

pub fn matmul(comptime class: Class, args: *const table.MatmulArgs) void {
    const step = tokensOf(layout.valueBytes(.int8, args.cols), args.token_to - args.token_from);
    var registers: Registers(class) = if (amx.has) .init() else {};
    defer if (amx.has) registers.deinit();
    var token = args.token_from;
    while (token < args.token_to) : (token += step) {
        const tokens = @min(step, args.token_to - token);
        var panel = args.panel_from;
        if (panels_many > 1 and tokens >= tokens_many) {
            while (panel + panels_many <= args.panel_to) : (panel += panels_many) {
                var rows: [panels_many]Rows(class, .once) = undefined;
                for (&rows, panel..) |*of, index| of.* = .of(args, index, 0);
                multiplyRows(class, .once, panels_many, args, rows, token, tokens, &registers);
            }
        }
        switch (unpackingOf(class, tokens)) {
            inline else => |unpacking| while (panel < args.panel_to) : (panel += 1) for (0..integer.parts) |part| {
                multiplyRows(class, unpacking, 1, args, .{.of(args, panel, part)}, token, tokens, &registers);
            },
        }
    }
}

/// Tokens in a block of `n_tokens`, whose activations take `bytes` each. Blocks are about equally large:
/// a small last one would have the weights unpacked for little.
pub fn tokensOf(bytes: usize, n_tokens: usize) usize {
    const blocks = @max(1, (n_tokens * bytes + block_bytes / 2) / block_bytes);
    const width = blocks * layout.act_width;
    return @min(tokens_max, (n_tokens + width - 1) / width * layout.act_width);
}

/// The rows of one part, or of some panels, for one block of tokens.
fn multiplyRows(
    comptime class: Class,
    comptime unpacking: Unpacking,
    comptime panels: usize,
    args: *const table.MatmulArgs,
    rows: [panels]Rows(class, unpacking),
    token: usize,
    tokens: usize,
    registers: *Registers(class),
) void {
    const units = args.cols / layout.unit;
    const chunk_units = if (units <= comptime chunkMax(panels)) units else comptime chunkUnits(panels);
    const panel_bytes = class.panelBytes(args.cols);
    const after: integer.After = .of(args, rows[0].first / layout.panel_rows, panels, panel_bytes, units * comptime class.unitBytes());
    const asked = amx.has and amx.askForAll(class, tokens / layout.act_width);
    var buffer: [if (unpacking == .once) chunkMax(panels) else 0][panels]Unit(class) align(64) = undefined;
    var sums: [tokens_max][panels]Vf = undefined;
    var from: usize = 0;
    while (from < units) : (from += chunk_units) {
        const len = @min(chunk_units, units - from);
        if (unpacking == .once) for (buffer[0..len], from..) |*of_panels, index| {
            // Units are unpacked faster than memory answers: the next chunk comes while this one is multiplied.
            const later = after.from((index + chunk_units) * comptime class.unitBytes());
            inline for (of_panels, rows, 0..) |*unit, of, n| {
                if (of.part == 0 and !asked) integer.prefetch(later.at + n * later.stride, comptime class.unitBytes());
                unit.terms = integer.readTerms(class, of.record(index), index % comptime class.span(), of.part);
                unit.weights = .of(of.unit(index), of.part, @TypeOf(of).zero);
            }
        };
        multiplyChunk(class, unpacking, panels, args, rows, .{
            .from = from,
            .len = len,
            .begins = from == 0,
            .ends = from + len == units,
            .unpacked = if (unpacking == .once) buffer[0..len] else {},
        }, token, sums[0..tokens], registers);
    }
}

fn multiplyChunk(
    comptime class: Class,
    comptime unpacking: Unpacking,
    comptime panels: usize,
    args: *const table.MatmulArgs,
    rows: [panels]Rows(class, unpacking),
    chunk: Chunk(class, unpacking, panels),
    token: usize,
    sums: [][panels]Vf,
    registers: *Registers(class),
) void {
    var ends: [panels]End = undefined;
    inline for (&ends, rows) |*end, of| {
        end.* = .{ .begins = chunk.begins, .args = if (chunk.ends) args else null, .row = of.first, .token = token };
    }
    if (amx.has) return multiplyTiles(class, args, rows[0], chunk, token, ends[0], @ptrCast(sums), registers);
    var base: usize = 0;
    while (base < sums.len) : (base += layout.act_width) {
        const row: layout.ActRow = .of(token + base, args.n_tokens, args.act_stride);
        const acts: [*]const Act = @ptrCast(@alignCast(args.acts + row.unitAt(chunk.from)));
        var lane: usize = 0;
        inline for (if (panels == 1) tiles else tiles_of_two) |n_tokens| {
            while (row.width - lane >= n_tokens) : (lane += n_tokens) {
                const at = base + lane;
                inline for (&ends) |*end| end.token = token + at;
                tile(class, unpacking, panels, n_tokens, rows, chunk, &ends, acts + lane, row.width, sums[at..][0..n_tokens]);
            }
        }
    }
}

/// All tokens of a block, with the processor's tiles.
fn multiplyTiles(
    comptime class: Class,
    args: *const table.MatmulArgs,
    rows: Rows(class, .once),
    chunk: Chunk(class, .once, 1),
    token: usize,
    end: End,
    sums: []Vf,
    registers: *Registers(class),
) void {
    const units: []const Unit(class) = @ptrCast(chunk.unpacked);
    const count = sums.len / layout.act_width;
    if (count != 0) {
        var whole = tilesAt(args, token, chunk.from);
        whole.count = count;
        // The rest of the panel, or the next one.
        const later: ?[*]const u8 = if (amx.askForAll(class, count)) rows.panel + (chunk.from + chunk.len) * class.unitBytes() else null;
        registers.multiply(layout.act_width, units, whole, end, later, @ptrCast(sums.ptr));
    }
    var at = count * layout.act_width;
    inline for (tiles) |n_tokens| while (sums.len - at >= n_tokens) : (at += n_tokens) {
        var of_rest = end;
        of_rest.token = token + at;
        registers.multiply(n_tokens, units, tilesAt(args, token + at, chunk.from), of_rest, null, @ptrCast(sums[at..]));
    };
}

comptime {
    if (amx.has) std.debug.assert(chunkUnits(1) % layout.tile_units == 0);
}

/// The tile that begins with a token.
fn tilesAt(args: *const table.MatmulArgs, token: usize, unit: usize) amx.Tiles {
    const row: layout.ActRow = .of(token, args.n_tokens, args.act_stride);
    return .{
        .acts = args.acts + row.tileAt(unit),
        .factors = args.acts + row.factorsAt(args.cols / layout.unit, unit),
        .halves = args.acts + row.halvesAt(args.cols / layout.unit, unit),
        .stride = layout.act_width * args.act_stride,
        .width = row.width,
        .count = 1,
    };
}

/// Adds a chunk to sums that were begun, or begins them.
fn tile(
    comptime class: Class,
    comptime unpacking: Unpacking,
    comptime panels: usize,
    comptime n_tokens: usize,
    rows: [panels]Rows(class, unpacking),
    chunk: Chunk(class, unpacking, panels),
    ends: *const [panels]End,
    acts: [*]const Act,
    width: usize,
    result: *[n_tokens][panels]Vf,
) void {
    const zero = Rows(class, unpacking).zero;
    inline for (0..n_tokens) |t| inline for (ends) |*end| end.expect(t);
    var sums: [n_tokens][panels]Vf = if (chunk.begins) @splat(@splat(@splat(0))) else result.*;
    const of_one: *[n_tokens]Vf = if (panels == 1) @ptrCast(&sums) else undefined;
    var of_unit = acts;
    switch (unpacking) {
        .once => for (chunk.unpacked) |*units| {
            if (panels > 1) {
                together(class, zero, panels, n_tokens, units, of_unit, &sums);
            } else {
                const set = comptime @min(abreast, n_tokens);
                comptime std.debug.assert(n_tokens % set == 0);
                inline for (0..n_tokens / set) |s| {
                    integer.step(class, zero, Unit(class).signs, set, &units[0].weights, &units[0].terms, of_unit + s * set, of_one[s * set ..][0..set]);
                }
            }
            of_unit += width;
        },
        .by_tile => {
            const span = comptime class.span();
            var index = chunk.from;
            while (index < chunk.from + chunk.len) : (index += span) for (0..span) |i| {
                rows[0].prefetch(index + i);
                const weights: integer.Weights(class, .value) = .of(rows[0].unit(index + i), rows[0].part, zero);
                const terms = integer.readTerms(class, rows[0].record(index), i, rows[0].part);
                integer.step(class, zero, .value, n_tokens, &weights, &terms, of_unit, of_one);
                of_unit += width;
            };
        },
    }
    if (!chunk.ends) {
        result.* = sums;
        return;
    }
    inline for (ends, 0..) |*end, panel| {
        var own: [n_tokens]Vf = undefined;
        inline for (&own, sums) |*sum, of_token| sum.* = of_token[panel];
        end.store(n_tokens, 0, &own);
    }
}

/// One unit of some panels for some tokens, with the operations of `integer.step` for each.
inline fn together(
    comptime class: Class,
    comptime zero: u8,
    comptime panels: usize,
    comptime n_tokens: usize,
    units: *const [panels]Unit(class),
    acts: [*]const Act,
    sums: *[n_tokens][panels]Vf,
) void {
    const groups = comptime class.groups();
    const quads = layout.quads / groups;
    var totals: [n_tokens][panels]Vf = undefined;
    inline for (0..groups) |g| {
        var products: [n_tokens][panels]dot.Ints = undefined;
        inline for (&products, 0..) |*of, t| of.* = @splat(integer.start(zero, groups, &acts[t], g));
        inline for (0..quads) |j| inline for (&products, 0..) |*of, t| {
            const a = dot.broadcast(acts[t].q[g * quads + j]);
            inline for (of, units) |*product, *unit| product.* = dot.quads(product.*, unit.weights.vectors[g * quads + j], a);
        };
        inline for (&totals, products) |*of_token, of| inline for (of_token, of, units) |*total, product, *unit| {
            const value = integer.scaled(class, product, unit.terms[g], unit.terms[class.terms() + g]);
            total.* = if (g == 0) value else total.* + value;
        };
    }
    inline for (sums, totals, 0..) |*of_token, of, t| inline for (of_token, of, units) |*sum, total, *unit| {
        integer.addTotal(class, total, &unit.terms, &acts[t].factors, &acts[t].sums, sum);
    };
}
