//! Models for tests: small, with random weights from a fixed seed, written as real GGUF files, so
//! that tests go the way that users' files go.

const std = @import("std");
const gguf = @import("../gguf.zig");
const quant = @import("../quant.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const Shape = struct {
    architecture: []const u8 = "llama",
    layers: u32 = 2,
    embd: u32 = 64,
    ff: u32 = 96,
    heads: u32 = 4,
    kv_heads: u32 = 2,
    head_dim: u32 = 16,
    vocab: u32 = 80,
    context: u32 = 512,
    window: u32 = 0,
    format: quant.Format = .q8_0,
    seed: u64 = 1,
};

/// Writes the model into `folder` under `name`.
pub fn write(gpa: std.mem.Allocator, folder: std.Io.Dir, name: []const u8, shape: Shape) !void {
    var arena_state: std.heap.ArenaAllocator = .init(gpa);
    defer arena_state.deinit();
    const arena = arena_state.allocator();
    var diag: Diagnostic = .{};
    var writer: gguf.Writer = try .init(arena, .{}, &diag);
    const prefix = shape.architecture;
    try writer.add("general.architecture", []const u8, prefix);
    const counts = [_]struct { []const u8, u32 }{
        .{ "block_count", shape.layers },
        .{ "embedding_length", shape.embd },
        .{ "feed_forward_length", shape.ff },
        .{ "attention.head_count", shape.heads },
        .{ "attention.head_count_kv", shape.kv_heads },
        .{ "attention.key_length", shape.head_dim },
        .{ "attention.value_length", shape.head_dim },
        .{ "context_length", shape.context },
        .{ "attention.sliding_window", shape.window },
    };
    for (counts) |count| {
        const key = try std.fmt.allocPrint(arena, "{s}.{s}", .{ prefix, count[0] });
        try writer.add(key, u32, count[1]);
    }
    try writer.add(try std.fmt.allocPrint(arena, "{s}.attention.layer_norm_rms_epsilon", .{prefix}), f32, 1e-5);
    try vocabulary(arena, &writer, shape.vocab);

    var random: Random = .{ .arena = arena, .state = .init(shape.seed), .format = shape.format };
    try random.matrix(&writer, "token_embd.weight", shape.vocab, shape.embd);
    try random.vector(&writer, "output_norm.weight", shape.embd);
    for (0..shape.layers) |i| {
        const q = shape.heads * shape.head_dim;
        const kv = shape.kv_heads * shape.head_dim;
        const matrices = [_]struct { []const u8, u32, u32 }{
            .{ "attn_q", q, shape.embd },
            .{ "attn_k", kv, shape.embd },
            .{ "attn_v", kv, shape.embd },
            .{ "attn_output", shape.embd, q },
            .{ "ffn_gate", shape.ff, shape.embd },
            .{ "ffn_up", shape.ff, shape.embd },
            .{ "ffn_down", shape.embd, shape.ff },
        };
        for (matrices) |m| try random.matrix(&writer, try std.fmt.allocPrint(arena, "blk.{d}.{s}.weight", .{ i, m[0] }), m[1], m[2]);
        const norms: []const struct { []const u8, u32 } = if (std.mem.eql(u8, prefix, "gemma3")) &.{
            .{ "attn_norm", shape.embd },
            .{ "ffn_norm", shape.embd },
            .{ "post_attention_norm", shape.embd },
            .{ "post_ffw_norm", shape.embd },
            .{ "attn_q_norm", shape.head_dim },
            .{ "attn_k_norm", shape.head_dim },
        } else &.{ .{ "attn_norm", shape.embd }, .{ "ffn_norm", shape.embd } };
        for (norms) |n| try random.vector(&writer, try std.fmt.allocPrint(arena, "blk.{d}.{s}.weight", .{ i, n[0] }), n[1]);
    }
    const bytes = try writer.toBytes(arena);
    try folder.writeFile(std.testing.io, .{ .sub_path = name, .data = bytes });
}

/// A vocabulary of the SPM kind: three special tokens, then single characters and pairs.
fn vocabulary(arena: std.mem.Allocator, writer: *gguf.Writer, len: u32) !void {
    const tokens = try arena.alloc([]const u8, len);
    const scores = try arena.alloc(f32, len);
    const types = try arena.alloc(i32, len);
    for (tokens, scores, types, 0..) |*token, *score, *kind, i| {
        token.* = switch (i) {
            0 => "<unk>",
            1 => "<s>",
            2 => "</s>",
            3...28 => try std.fmt.allocPrint(arena, "{c}", .{@as(u8, @intCast('a' + i - 3))}),
            else => try std.fmt.allocPrint(arena, "▁{c}{c}", .{
                @as(u8, @intCast('a' + (i - 29) % 26)), @as(u8, @intCast('a' + (i - 29) / 26)),
            }),
        };
        score.* = -@as(f32, @floatFromInt(i));
        kind.* = if (i == 0) 2 else if (i < 3) 3 else 1;
    }
    try writer.add("tokenizer.ggml.model", []const u8, "llama");
    try writer.addArray("tokenizer.ggml.tokens", []const u8, tokens);
    try writer.addArray("tokenizer.ggml.scores", f32, scores);
    try writer.addArray("tokenizer.ggml.token_type", i32, types);
    try writer.add("tokenizer.ggml.bos_token_id", u32, 1);
    try writer.add("tokenizer.ggml.eos_token_id", u32, 2);
}

const Random = struct {
    arena: std.mem.Allocator,
    state: std.Random.DefaultPrng,
    format: quant.Format,

    fn matrix(random: *Random, writer: *gguf.Writer, name: []const u8, rows: u32, cols: u32) !void {
        const values = try random.arena.alloc(f32, @as(usize, rows) * cols);
        const deviation = 1 / @sqrt(@as(f32, @floatFromInt(cols)));
        for (values) |*value| value.* = random.state.random().floatNorm(f32) * deviation;
        const bytes = try random.arena.alloc(u8, @intCast(try quant.rowBytes(random.format, values.len)));
        try quant.encodeRow(random.format, values, bytes);
        try writer.addTensor(name, try random.arena.dupe(u64, &.{ cols, rows }), random.format, bytes);
    }

    fn vector(random: *Random, writer: *gguf.Writer, name: []const u8, len: u32) !void {
        const values = try random.arena.alloc(f32, len);
        for (values) |*value| value.* = 1 + 0.1 * random.state.random().floatNorm(f32);
        try writer.addTensor(name, try random.arena.dupe(u64, &.{len}), .f32, std.mem.sliceAsBytes(values));
    }
};
