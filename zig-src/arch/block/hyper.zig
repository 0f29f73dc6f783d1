//! Hyperparameters: what a GGUF file says about the shape and the constants of its model. The keys
//! are those of the GGUF specification ("LLM" section) and of the converters that write them.
//! Every value is checked here, so that the forward pass may rely on it.

const std = @import("std");
const gguf = @import("../../gguf.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;

pub const Error = error{ MissingMetadata, BadMetadata };

/// Which dimensions a rotation pairs: `adjacent` (2i, 2i+1) as in the original LLaMA weights, or
/// `halves` (i, i + n/2) as GPT-NeoX does.
pub const RopeStyle = enum(u32) { adjacent = 0, halves = 1 };

pub const Activation = enum { silu, gelu };

/// Rotary position embedding (Su et al. 2021) and the ways to stretch it over longer contexts.
pub const Rope = struct {
    style: RopeStyle,
    /// Rotated dimensions of a head, even.
    dim: u32,
    base: f64,
    scaling: Scaling = .none,
    /// Positions are divided by it (linear), or partly so (yarn).
    factor: f64 = 1,
    /// The context that the model was trained on before stretching.
    context_original: u32 = 0,
    /// Multiplies cosine and sine; 0 means what the scaling method prescribes.
    attention_factor: f64 = 0,
    yarn_beta_fast: f64 = 32,
    yarn_beta_slow: f64 = 1,

    pub const Scaling = enum { none, linear, yarn, longrope };
};

pub const Hyper = struct {
    layers: u32,
    embd: u32,
    ff: u32,
    heads: u32,
    kv_heads: u32,
    head_dim_k: u32,
    head_dim_v: u32,
    context_train: u32,
    norm_eps: f32,
    activation: Activation,
    rope: Rope,
    /// Of the layers with a sliding window, where it differs.
    rope_local: ?Rope = null,
    /// Positions that a token of a sliding layer sees, itself included; 0 when no layer slides.
    window: u32 = 0,
    /// Every n-th layer sees the whole context, the others slide; 0: all layers slide.
    window_period: u32 = 0,
    attn_scale: f32,
    /// Scores are cap * tanh(score / cap); 0 is off.
    attn_softcap: f32 = 0,
    logit_softcap: f32 = 0,
    embd_scale: f32 = 1,

    /// The keys that all families share.
    pub fn read(reader: Reader, style: RopeStyle, activation: Activation) Error!Hyper {
        const experts = try reader.uintOr("expert_count", 0, std.math.maxInt(u32));
        if (experts != 0) return reader.bad("expert_count", "absent or 0, because mixtures of experts are not supported", .{}, experts);
        const embd = try reader.count("embedding_length", 1 << 20);
        const heads = try reader.count("attention.head_count", 4096);
        const kv_heads = try reader.countOr("attention.head_count_kv", heads, 4096);
        if (heads % kv_heads != 0) return reader.bad("attention.head_count_kv", "a divisor of {d} heads", .{heads}, kv_heads);
        const per_head: u32 = if (embd % heads == 0) embd / heads else 0;
        const head_dim_k = try reader.countOr("attention.key_length", per_head, head_dim_max);
        const head_dim_v = try reader.countOr("attention.value_length", per_head, head_dim_max);
        const eps = try reader.float("attention.layer_norm_rms_epsilon");
        if (!(eps > 0 and eps < 1)) return reader.badFloat("attention.layer_norm_rms_epsilon", "a number between 0 and 1", eps);
        const context = try reader.count("context_length", 1 << 30);
        return .{
            .layers = try reader.count("block_count", 4096),
            .embd = embd,
            .ff = try reader.count("feed_forward_length", 1 << 22),
            .heads = heads,
            .kv_heads = kv_heads,
            .head_dim_k = head_dim_k,
            .head_dim_v = head_dim_v,
            .context_train = context,
            .norm_eps = @floatCast(eps),
            .activation = activation,
            .rope = try readRope(reader, style, head_dim_k, context),
            .window = try reader.uintOr("attention.sliding_window", 0, 1 << 30),
            .attn_scale = @floatCast(try reader.positiveOr("attention.scale", 1 / @sqrt(@as(f64, @floatFromInt(head_dim_k))))),
        };
    }

    /// Whether a layer sees only the window.
    pub fn slides(h: *const Hyper, layer: usize) bool {
        if (h.window == 0) return false;
        return h.window_period == 0 or (layer + 1) % h.window_period != 0;
    }

    pub fn group(h: *const Hyper) u32 {
        return h.heads / h.kv_heads;
    }
};

pub const head_dim_max = 1024;

fn readRope(reader: Reader, style: RopeStyle, head_dim: u32, context: u32) Error!Rope {
    const dim = try reader.countOr("rope.dimension_count", head_dim, head_dim_max);
    if (dim > head_dim or dim % 2 != 0) {
        return reader.bad("rope.dimension_count", "an even number up to the head size {d}", .{head_dim}, dim);
    }
    var rope: Rope = .{ .style = style, .dim = dim, .base = try reader.positiveOr("rope.freq_base", 10000) };
    if (reader.string("rope.scaling.type")) |name| {
        rope.scaling = std.meta.stringToEnum(Rope.Scaling, name) orelse {
            reader.diag.set("expected rope.scaling.type among none, linear, yarn, longrope, found \"{f}\"", .{
                std.zig.fmtString(name[0..@min(name.len, 64)]),
            });
            return error.BadMetadata;
        };
        rope.factor = try reader.positiveOr("rope.scaling.factor", 1);
    } else for ([_][]const u8{ "rope.scaling.factor", "rope.scale_linear" }) |name| {
        // A factor alone is linear, as is the key of early files.
        if (!reader.has(name)) continue;
        rope.scaling = .linear;
        rope.factor = try reader.positiveOr(name, 1);
        break;
    }
    rope.context_original = try reader.countOr("rope.scaling.original_context_length", context, 1 << 30);
    rope.attention_factor = try reader.positiveOr("rope.scaling.attn_factor", 0);
    rope.yarn_beta_fast = try reader.positiveOr("rope.scaling.yarn_beta_fast", 32);
    rope.yarn_beta_slow = try reader.positiveOr("rope.scaling.yarn_beta_slow", 1);
    return rope;
}

/// Reads keys of the form "<family>.<name>" and reports what is wrong with them.
pub const Reader = struct {
    file: *const gguf.File,
    family: []const u8,
    diag: *Diagnostic,

    fn key(reader: Reader, buffer: *[160]u8, name: []const u8) []const u8 {
        return std.fmt.bufPrint(buffer, "{s}.{s}", .{ reader.family, name }) catch unreachable;
    }

    pub fn has(reader: Reader, name: []const u8) bool {
        var buffer: [160]u8 = undefined;
        return reader.file.get(reader.key(&buffer, name)) != null;
    }

    pub fn string(reader: Reader, name: []const u8) ?[]const u8 {
        var buffer: [160]u8 = undefined;
        return reader.file.getString(reader.key(&buffer, name));
    }

    /// A whole number between 1 and `max`.
    pub fn count(reader: Reader, name: []const u8, max: u32) Error!u32 {
        if (!reader.has(name)) {
            reader.diag.set("expected metadata {s}.{s}, found none", .{ reader.family, name });
            return error.MissingMetadata;
        }
        return reader.countOr(name, 0, max);
    }

    /// A whole number between 1 and `max`; `default` when the key is missing.
    pub fn countOr(reader: Reader, name: []const u8, default: u32, max: u32) Error!u32 {
        const value = try reader.uintOr(name, default, max);
        if (value == 0) return reader.bad(name, "a number between 1 and {d}", .{max}, value);
        return value;
    }

    /// A whole number up to `max`; `default` when the key is missing. A list with one value per
    /// layer is taken when all its values are the same.
    pub fn uintOr(reader: Reader, name: []const u8, default: u32, max: u32) Error!u32 {
        if (!reader.has(name)) return default;
        var buffer: [160]u8 = undefined;
        const full = reader.key(&buffer, name);
        const value = reader.file.getUint(full) orelse reader.uniform(full) orelse {
            reader.diag.set("expected metadata {s} to be one whole number, found another type or differing values per layer", .{full});
            return error.BadMetadata;
        };
        if (value > max) return reader.bad(name, "a number up to {d}", .{max}, value);
        return @intCast(value);
    }

    /// The n of "every n-th layer differs": a whole number, or a list with one truth value per
    /// layer that is false for each n-th and true for the others.
    pub fn periodOr(reader: Reader, name: []const u8, default: u32, max: u32) Error!u32 {
        var buffer: [160]u8 = undefined;
        const full = reader.key(&buffer, name);
        const array = reader.file.getArray(full) orelse return reader.uintOr(name, default, max);
        if (array.element != .bool) return reader.uintOr(name, default, max);
        var period: usize = 0; // All true: every layer slides.
        for (0..array.len) |i| {
            if (!array.bool(i) and period == 0) period = i + 1;
            if (array.bool(i) != (period == 0 or (i + 1) % period != 0)) {
                reader.diag.set("expected metadata {s} to repeat itself, found a difference at layer {d}", .{ full, i });
                return error.BadMetadata;
            }
        }
        return @intCast(@min(period, max));
    }

    fn uniform(reader: Reader, full: []const u8) ?u64 {
        const array = reader.file.getArray(full) orelse return null;
        if (!array.element.isInteger() or array.len == 0) return null;
        const first = array.int(0);
        for (1..@intCast(array.len)) |i| if (array.int(i) != first) return null;
        return std.math.cast(u64, first);
    }

    pub fn float(reader: Reader, name: []const u8) Error!f64 {
        var buffer: [160]u8 = undefined;
        return reader.file.getFloat(reader.key(&buffer, name)) orelse {
            reader.diag.set("expected a number in metadata {s}.{s}, found none", .{ reader.family, name });
            return error.MissingMetadata;
        };
    }

    /// A finite number over 0; `default` when the key is missing.
    pub fn positiveOr(reader: Reader, name: []const u8, default: f64) Error!f64 {
        if (!reader.has(name)) return default;
        const value = try reader.float(name);
        if (!(value > 0 and value < 1e12)) return reader.badFloat(name, "a number over 0", value);
        return value;
    }

    pub fn bad(reader: Reader, name: []const u8, comptime expected: []const u8, args: anytype, found: u64) Error {
        reader.diag.set("expected metadata {s}.{s} to be " ++ expected ++ ", found {d}", .{ reader.family, name } ++ args ++ .{found});
        return error.BadMetadata;
    }

    pub fn badFloat(reader: Reader, name: []const u8, comptime expected: []const u8, found: f64) Error {
        reader.diag.set("expected metadata {s}.{s} to be " ++ expected ++ ", found {d}", .{ reader.family, name, found });
        return error.BadMetadata;
    }
};

test "a window pattern is a number, or a list of truth values" {
    const gpa = std.testing.allocator;
    const lists = [_]struct { list: []const bool, period: ?u32 }{
        .{ .list = &.{ true, true, false, true, true, false, true }, .period = 3 },
        .{ .list = &.{ true, true }, .period = 0 },
        .{ .list = &.{ false, false }, .period = 1 },
        .{ .list = &.{ true, false, true, true }, .period = null },
    };
    for (lists) |case| {
        var diag: Diagnostic = .{};
        var writer: gguf.Writer = try .init(gpa, .{}, &diag);
        defer writer.deinit();
        try writer.addArray("x.pattern", bool, case.list);
        try writer.add("x.number", u32, 5);
        const bytes = try writer.toBytes(gpa);
        defer gpa.free(bytes);
        const file = try gguf.File.openBytes(gpa, bytes, &diag);
        defer file.close();
        const reader: Reader = .{ .file = file, .family = "x", .diag = &diag };
        if (case.period) |period| {
            try std.testing.expectEqual(period, try reader.periodOr("pattern", 6, 100));
        } else try std.testing.expectError(error.BadMetadata, reader.periodOr("pattern", 6, 100));
        try std.testing.expectEqual(5, try reader.periodOr("number", 6, 100));
        try std.testing.expectEqual(6, try reader.periodOr("none", 6, 100));
    }
}
