//! What one CPU variant offers: a table of functions, the same for all variants. The engine calls
//! through it; `backend/cpu.zig` chooses it. Everything in it is C calling convention and plain
//! pointers, because a variant is an object file of its own.
//!
//! **Determinism.** Within one variant each output element is reduced in an order that its shape
//! alone fixes. Neither the number of tokens in a call, nor how panels or tokens are shared out,
//! nor where a chunk of positions began can change a bit of a result.
//!
//! Callers check shapes; these functions assert them in safe builds only.

const std = @import("std");
const quant = @import("../quant.zig");
const sampling = @import("../sampler/core/sweep.zig");

/// How activations enter a product with weights.
pub const Precision = enum(u32) {
    /// f32: weights are decoded to what the file means, products and sums are f32.
    float = 0,
    /// Activations rounded to 8 bits in blocks of 32; integer products for quantised weights.
    /// Weights stored as f32, f16 or bf16 are multiplied as in `float`.
    int8 = 1,
};

/// Which dimensions a rotation pairs.
pub const RopeStyle = enum(u32) {
    /// (0, 1), (2, 3), …
    norm = 0,
    /// (0, n/2), (1, n/2 + 1), …
    neox = 1,
};

/// Storage of keys and values; ids are those of the GGUF tensor types, where there is one.
pub const KvFormat = enum(u32) {
    f32 = 0,
    f16 = 1,
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    iq4_nl = 20,
    bf16 = 30,
    mxfp4 = 39,
    nvfp4 = 40,
    f8_e4m3 = 1000,
    f8_e5m2 = 1001,
    int8 = 1002,
    int4 = 1003,
    int2 = 1004,
    int8_channel = 1005,

    /// The tensor type whose blocks the values of a head make up; null for floats.
    pub fn Blocks(comptime format: KvFormat) ?type {
        if (!@hasField(quant.Format, @tagName(format))) return null;
        const Member = quant.Member(@field(quant.Format, @tagName(format)));
        return if (Member.block_len == 1) null else Member;
    }

    /// Of one value, without its scale.
    pub fn bits(format: KvFormat) usize {
        return switch (format) {
            .f32 => 32,
            .f16, .bf16 => 16,
            .f8_e4m3, .f8_e5m2, .int8, .int8_channel => 8,
            .int4 => 4,
            .int2 => 2,
            inline else => |tag| bits: {
                const Member = comptime tag.Blocks().?;
                const terms = comptime Member.block_len / Member.groups.len * tag.termBytes();
                break :bits comptime 8 * (Member.block_bytes - terms) / Member.block_len;
            },
        };
    }

    /// Of one value, without its scale, where that is whole bytes.
    pub fn bytes(format: KvFormat) usize {
        std.debug.assert(!format.narrow());
        return format.bits() / 8;
    }

    /// Whether a code is less than a byte.
    pub fn narrow(format: KvFormat) bool {
        return format.bits() < 8 and !format.grouped();
    }

    /// Whether scales and minimums belong to positions of a channel of keys, and to values of a position
    /// (`attention/channels.zig`).
    pub fn grouped(format: KvFormat) bool {
        return format == .int8_channel or format == .int4 or format == .int2;
    }

    /// Whether values are integers or levels, some of which, or all of a head, share a scale.
    pub fn scaled(format: KvFormat) bool {
        return switch (format) {
            .int8 => true,
            inline else => |tag| comptime tag.Blocks() != null,
        };
    }

    /// Values that share a scale; of int8 all of a head do.
    pub fn scaleLen(comptime format: KvFormat) usize {
        return format.Blocks().?.groups.len;
    }

    /// Bytes of a scale: an f16, or an 8-bit float.
    pub fn scaleBytes(format: KvFormat) usize {
        return switch (format) {
            .int8, .int8_channel, .int4, .int2 => @sizeOf(f16),
            inline else => |tag| comptime if (tag.Blocks()) |Member| @as(usize, if (@hasField(Member.Block, "d")) @sizeOf(f16) else 1) else 0,
        };
    }

    /// Bytes of a scale and the minimum beside it.
    pub fn termBytes(format: KvFormat) usize {
        return format.scaleBytes() * (1 + @as(usize, @intFromBool(format.hasMinimum())));
    }

    /// Whether the 32 values share a minimum too, which is added to them.
    pub fn hasMinimum(format: KvFormat) bool {
        return switch (format) {
            inline else => |tag| comptime if (tag.Blocks()) |Member| Member.groups.offset else false,
        };
    }
};

/// How grouped formats store one side of a head; nothing to others. Added to the number of a format it makes
/// what functions of the table take as one.
pub const KvOptions = packed struct(u32) {
    format: u16 = 0,
    /// What the engine does before values are stored.
    turned: u4 = 0,
    /// Zero is a level, the scale goes by the largest magnitude, and there is no minimum.
    symmetric: bool = false,
    /// Values that share a scale: 32, and two or four times as many.
    group: u2 = 0,
    unused: u1 = 0,
    /// Values of a thousand that are kept as f16.
    outliers: u8 = 0,

    pub fn groupLen(options: KvOptions) usize {
        return @as(usize, 32) << options.group;
    }

    /// Of what functions of the table take.
    pub fn of(number: u32) KvOptions {
        var options: KvOptions = @bitCast(number);
        options.format = 0;
        options.turned = 0;
        return options;
    }

    pub fn code(options: KvOptions, format: KvFormat) u32 {
        return @as(u32, @bitCast(options)) | @backingInt(format);
    }
};

/// What functions of the table take as a format.
pub fn formatOf(number: u32) KvFormat {
    return @fromBackingInt(number & 0xffff);
}

/// Most values that share a scale in `KvOptions`.
pub const group_max = 128;

/// What is stored; both lie differently in a page (`attention/page.zig`).
pub const KvSide = enum(u32) { key = 0, value = 1 };

/// Positions in a page of the cache, and in a block of the attention kernel.
pub const page_len = 64;

/// Query heads times tokens that pass over a page together: what one call should have at least.
pub const attention_rows = 32;

/// Most rows that keep their sums in registers together, in any variant: where a variant has tiles of so many, or
/// of half, a call whose rows are a multiple of it has no smaller ones, which convert the same keys and values once more.
pub const attention_tile = 8;

/// Most parts of one token's positions.
pub const parts_max = 32;

/// Attention adds up positions in parts, which begin at multiples of this length, and then the
/// parts in their order: so the parts of a token may be computed by different threads. The length
/// follows from the token's positions alone.
pub fn partLen(to: u32) u32 {
    const least = 256;
    const whole = std.math.ceilPowerOfTwoAssert(u32, @max(to, least * parts_max));
    return whole / parts_max;
}

/// Rows (outputs) of a weight that are interleaved in one panel.
pub const panel_rows = 16;

/// Most panels that a product of few tokens reads at the same time: whoever shares them out gives as many
/// together.
pub const panels_abreast = 4;
/// The same for a product of many tokens, where panels share activations; not all variants do.
pub const panels_sharing = 2;

/// How products of few tokens read weights, and attention its pages. What is fastest differs from processor to
/// processor (`backend.cpu.reading`); no result depends on it.
pub const Reading = extern struct {
    /// Panels with integers that are read at the same time: 1 or `panels_abreast`. Of those without as many
    /// are read as fit into registers.
    panels: u32,
    /// Bytes of each panel with integers that are asked for before they are read, and of each without.
    ahead: u32,
    ahead_floats: u32,
    /// The cache that pages are asked for into: the first one or the second.
    pages_into: u32,

    pub const abreast: Reading = .{ .panels = panels_abreast, .ahead = 2048, .ahead_floats = 4096, .pages_into = 2 };
    pub const single: Reading = .{ .panels = 1, .ahead = 6144, .ahead_floats = 2048, .pages_into = 1 };
    pub const all = [_]Reading{ abreast, single };
};

/// out[t * out_stride + row] = sum over k of weight[row][k] * activation[t][k], for the rows of
/// panels `panel_from` to `panel_to` (exclusive) and the tokens `token_from` to `token_to`.
pub const MatmulArgs = extern struct {
    format: u32,
    precision: u32,
    /// Panel 0 of the packed weight.
    panels: [*]const u8,
    panel_from: usize,
    panel_to: usize,
    rows: usize,
    cols: usize,
    /// `n_tokens` rows written by `prepare` with the same precision, cols, stride and number.
    acts: [*]const u8,
    act_stride: usize,
    n_tokens: usize,
    /// A multiple of what `block_tokens` returns, for any number of tokens.
    token_from: usize,
    token_to: usize,
    out: [*]f32,
    out_stride: usize,
    /// Where the caller reads weights next, and how many bytes their panels have: a product of few tokens asks
    /// for the begin of `panels_abreast` of them meanwhile. Anything else does no harm.
    next: [*]const u8,
    next_bytes: usize,
    reading: Reading,
};

/// What activations will be multiplied with: weights that have integers, and weights without.
pub const kind_integer = 1;
pub const kind_float = 2;

/// Writes one of `n_tokens` rows of activations.
pub const PrepareArgs = extern struct {
    precision: u32,
    /// `kind_integer`, `kind_float` or both. In float precision all weights are without integers.
    kinds: u32,
    x: [*]const f32, // [cols]
    cols: usize,
    /// The inputs to write, `from` a multiple of 32, `to` too or `cols`: several threads may share a row.
    from: usize,
    to: usize,
    acts: [*]u8,
    /// At least `act_bytes`, a multiple of 64.
    act_stride: usize,
    token: usize,
    n_tokens: usize,
};

/// Query tokens that follow each other, one KV head and the query heads that share it. The bits of
/// a token's result don't depend on the tokens beside it.
pub const AttentionArgs = extern struct {
    q: [*]const f32, // [tokens][group][head_dim_k]
    /// Floats between the tokens, and between the heads.
    q_token_stride: usize,
    q_stride: usize,
    tokens: u32,
    group: u32,
    head_dim_k: u32,
    head_dim_v: u32,
    key_format: u32,
    value_format: u32,
    /// Pages of this KV head, indexed by position / page_len. Only those of positions that a token
    /// attends to are read.
    key_pages: [*]const [*]const u8,
    value_pages: [*]const [*]const u8,
    /// Memory that the caller reads next, keys first: it is asked for while this call computes. Anything
    /// else does no harm.
    later: [*]const Later,
    later_len: usize,
    /// 1: what this call reads is in a cache of the processor, so that nothing but `later` is asked for.
    near: u32 = 0,
    reading: Reading,
    /// As in `PrepareArgs`: with integers weights too may be rounded, to 16 bits, before they meet values of 8.
    precision: u32,
    /// Positions that the first token attends to: from inclusive, to exclusive. Each next token
    /// attends to `step` more: 1 where tokens follow each other, 0 where they attend to the same.
    from: u32,
    to: u32,
    step: u32,
    /// Positions that a token sees, itself included; 0: all from `from` on.
    window: u32,
    /// `partLen` of every token's own `to`: tokens that differ in it go in several calls.
    part_len: u32,
    scale: f32,
    /// 0 is off, otherwise scores become softcap * tanh(score / softcap).
    softcap: f32,
    out: [*]f32, // [tokens][group][head_dim_v]
    out_token_stride: usize,
    out_stride: usize,
    /// Of the parts before `from`, which is where a part begins: `out` holds what they left. Null where
    /// there are none.
    before: ?[*]const PartSums, // [tokens][group]
    /// Null for the whole of the attention. Otherwise `out` stays unscaled: for one part it is what
    /// `attention_merge` takes, and for the parts up to the border `to` what a call with `before` goes
    /// on from.
    sums: ?[*]PartSums, // [tokens][group]
    /// Sums between the tokens.
    sums_token_stride: usize,
    /// Of keys that are stored before their rotary embedding; null where they are stored behind it.
    turns: ?*const KeyTurns = null,
};

/// How keys become those that queries are multiplied with: a page is decoded, its Hadamard rotation is taken
/// back, and each key is rotated by its angles, with the operations and in the order of rotating before
/// storing. The keys are f32 then, whatever they are stored in.
pub const KeyTurns = extern struct {
    /// Cosine and sine, indexed by position / page_len: [page_len][rot_dim / 2][2].
    angles: [*]const [*]const f32,
    rot_dim: usize,
    style: u32,
    /// 1: the keys lie behind a Hadamard rotation.
    hadamard: u32,
    /// Working space of the caller: two pages of keys in f32.
    room: [*]f32, // [2][page_len][head_dim_k]
};

/// Memory to be read later.
pub const Later = extern struct { at: [*]const u8, len: usize };

/// What belongs to the unscaled output of one part: the largest score, and the sum of the weights
/// relative to it.
pub const PartSums = extern struct { top: f32, total: f32 };

/// out = the attention of one head over all its parts, in their order.
pub const MergeArgs = extern struct {
    parts: [*]const f32, // [count][head_dim_v]
    /// Floats between the parts.
    parts_stride: usize,
    sums: [*]const PartSums, // [count]
    sums_stride: usize,
    count: usize,
    head_dim_v: usize,
    out: [*]f32, // [head_dim_v]
};

pub const Table = extern struct {
    /// The variant's name.
    variant: [*:0]const u8,
    /// Bytes of a packed weight: a whole number of panels of equal size.
    packed_bytes: *const fn (format: u32, precision: u32, rows: usize, cols: usize) callconv(.c) usize,
    /// Packs one panel: `n_rows` (at most 16) row-major rows as in the file.
    pack: *const fn (format: u32, precision: u32, cols: usize, source: [*]const u8, n_rows: usize, panel: [*]u8) callconv(.c) void,
    /// Bytes of one token's prepared activations.
    act_bytes: *const fn (precision: u32, cols: usize) callconv(.c) usize,
    /// Prepares one token's activations for `matmul`.
    prepare: *const fn (args: *const PrepareArgs) callconv(.c) void,
    matmul: *const fn (args: *const MatmulArgs) callconv(.c) void,
    /// How many of so many tokens have activations that stay in the second cache while panels pass by;
    /// a multiple of its result for one token.
    block_tokens: *const fn (format: u32, precision: u32, cols: usize, n_tokens: usize) callconv(.c) usize,
    /// out = x / sqrt(mean(x²) + eps) * weight. `out` may be `x`.
    rms_norm: *const fn (x: [*]const f32, weight: ?[*]const f32, n: usize, eps: f32, out: [*]f32) callconv(.c) void,
    /// out = (x - mean) / sqrt(variance + eps) * weight + bias. `out` may be `x`.
    layer_norm: *const fn (x: [*]const f32, weight: ?[*]const f32, bias: ?[*]const f32, n: usize, eps: f32, out: [*]f32) callconv(.c) void,
    /// Rotates the first `rot_dim` values of each head in place; `cos_sin` is [rot_dim/2][2].
    rope: *const fn (x: [*]f32, n_heads: usize, head_dim: usize, rot_dim: usize, style: u32, cos_sin: [*]const f32) callconv(.c) void,
    /// out = silu(gate) * up. `out` may be `gate` or `up`.
    silu_mul: *const fn (gate: [*]const f32, up: [*]const f32, n: usize, out: [*]f32) callconv(.c) void,
    /// out = gelu(gate) * up with the tanh form of gelu. `out` may be `gate` or `up`.
    gelu_mul: *const fn (gate: [*]const f32, up: [*]const f32, n: usize, out: [*]f32) callconv(.c) void,
    /// a += b
    add: *const fn (a: [*]f32, b: [*]const f32, n: usize) callconv(.c) void,
    /// x *= factor
    scale: *const fn (x: [*]f32, n: usize, factor: f32) callconv(.c) void,
    /// x = cap * tanh(x / cap)
    softcap: *const fn (x: [*]f32, n: usize, cap: f32) callconv(.c) void,
    /// Multiplies each head in place with the Hadamard matrix over the root of its size, a power of two.
    hadamard: *const fn (x: [*]f32, n_heads: usize, head_dim: usize) callconv(.c) void,
    /// Rounds the key or value of one position of one KV head to the format of the cache; or, where keys are
    /// rounded in groups, those of a group of positions from `position` on: [group][dim]. A format here, in
    /// `kv_read` and in `attention` is that of `KvOptions.code`.
    kv_store: *const fn (format: u32, side: u32, x: [*]const f32, n: usize, page: [*]u8, position: usize) callconv(.c) void,
    /// What is stored at positions [from, to) of one KV head of a page: out is [to - from][dim].
    kv_read: *const fn (format: u32, side: u32, page: [*]const u8, dim: usize, from: usize, to: usize, out: [*]f32) callconv(.c) void,
    attention: *const fn (args: *const AttentionArgs) callconv(.c) void,
    attention_merge: *const fn (args: *const MergeArgs) callconv(.c) void,
    /// The sampler's passes over all logits; the same bits in every variant.
    sampling: sampling.Passes,
    /// One pass of the loop `kind` of `limits.zig`, for measuring what the machine can do. Returns
    /// bytes read or operations done.
    measure: *const fn (kind: u32, memory: [*]const u8, length: usize) callconv(.c) f64,
};
