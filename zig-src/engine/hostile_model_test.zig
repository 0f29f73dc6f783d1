//! Models whose hyperparameters or tensors lie. Every one is refused with a named error and a
//! sentence, before anything is allocated that its file doesn't justify; or, where it is odd but
//! consistent, it runs or fails in its session. The container itself is attacked by `gguf/`.

const std = @import("std");
const gguf = @import("../gguf.zig");
const quant = @import("../quant.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const model_module = @import("model.zig");
const Model = model_module.Model;
const record = @import("record.zig");
const session_module = @import("session.zig");
const Session = session_module.Session;
const tiny_model = @import("tiny_model.zig");

const gpa = std.testing.allocator;

/// What a refused model may allocate: the tables of the largest number of layers, and a small
/// multiple of its file.
const refused_bytes_max = 6 << 20;

const Setting = union(enum) { absent, whole: u32, long: u64, real: f64, text: []const u8, list: []const u32 };

const Change = union(enum) {
    none,
    /// Metadata; a key without a dot is one of the family.
    key: struct { []const u8, Setting },
    drop_tensor: []const u8,
    /// A tensor of this shape with zeros in the place of the one with that name, or beside all.
    tensor: struct { []const u8, []const u64 },
    /// The same with one f32 value everywhere.
    fill: struct { []const u8, []const u64, f32 },
};

/// A tiny model, read back and written again with the changes.
const Patched = struct {
    folder: std.testing.TmpDir,
    path_buffer: [std.fs.max_path_bytes]u8 = undefined,
    path_len: usize = 0,

    fn init(into: *Patched, shape: tiny_model.Shape, changes: []const Change) !void {
        into.* = .{ .folder = std.testing.tmpDir(.{}) };
        errdefer into.folder.cleanup();
        try tiny_model.write(gpa, into.folder.dir, "model.gguf", shape);
        into.path_len = try into.folder.dir.realPathFile(std.testing.io, "model.gguf", &into.path_buffer);
        var arena_state: std.heap.ArenaAllocator = .init(gpa);
        defer arena_state.deinit();
        const bytes = try rewrite(arena_state.allocator(), into.path(), shape.architecture, changes);
        try into.folder.dir.writeFile(std.testing.io, .{ .sub_path = "model.gguf", .data = bytes });
    }

    fn deinit(patched: *Patched) void {
        patched.folder.cleanup();
    }

    fn path(patched: *const Patched) []const u8 {
        return patched.path_buffer[0..patched.path_len];
    }
};

fn rewrite(arena: std.mem.Allocator, path: []const u8, family: []const u8, changes: []const Change) ![]u8 {
    var diag: Diagnostic = .{};
    const file = try gguf.File.open(arena, path, &diag);
    defer file.close();
    var writer: gguf.Writer = try .init(arena, .{}, &diag);
    next_entry: for (file.metadata) |entry| {
        for (changes) |change| {
            if (change == .key and std.mem.eql(u8, try fullKey(arena, family, change.key[0]), entry.key)) continue :next_entry;
        }
        try writer.addValue(entry.key, entry.value);
    }
    next_tensor: for (file.tensors) |tensor| {
        for (changes) |change| switch (change) {
            .none, .key => {},
            .drop_tensor => |name| if (std.mem.eql(u8, name, tensor.name)) continue :next_tensor,
            inline .tensor, .fill => |new| if (std.mem.eql(u8, new[0], tensor.name)) continue :next_tensor,
        };
        try writer.addTensor(tensor.name, tensor.dims[0..tensor.n_dims], tensor.format, tensor.bytes);
    }
    for (changes) |change| switch (change) {
        .none, .drop_tensor => {},
        .key => |new| try addKey(&writer, try fullKey(arena, family, new[0]), new[1]),
        .tensor => |new| try addTensor(arena, &writer, new[0], new[1], 0),
        .fill => |new| try addTensor(arena, &writer, new[0], new[1], new[2]),
    };
    return writer.toBytes(arena);
}

fn fullKey(arena: std.mem.Allocator, family: []const u8, name: []const u8) ![]const u8 {
    if (std.mem.startsWith(u8, name, "general.") or std.mem.startsWith(u8, name, "tokenizer.")) return name;
    return std.fmt.allocPrint(arena, "{s}.{s}", .{ family, name });
}

fn addKey(writer: *gguf.Writer, key: []const u8, setting: Setting) !void {
    switch (setting) {
        .absent => {},
        .whole => |v| try writer.add(key, u32, v),
        .long => |v| try writer.add(key, u64, v),
        .real => |v| try writer.add(key, f64, v),
        .text => |v| try writer.add(key, []const u8, v),
        .list => |v| try writer.addArray(key, u32, v),
    }
}

fn addTensor(arena: std.mem.Allocator, writer: *gguf.Writer, name: []const u8, dims: []const u64, value: f32) !void {
    var count: u64 = 1;
    for (dims) |dim| count *= dim;
    const values = try arena.alloc(f32, @intCast(count));
    @memset(values, value);
    try writer.addTensor(name, dims, .f32, std.mem.sliceAsBytes(values));
}

fn expectRefused(shape: tiny_model.Shape, changes: []const Change, expected: anyerror, words: []const u8) !void {
    errdefer std.debug.print("the changes were {any}\n", .{changes});
    var patched: Patched = undefined;
    try patched.init(shape, changes);
    defer patched.deinit();
    var counting: std.testing.FailingAllocator = .init(gpa, .{});
    var progress: model_module.Progress = .{};
    var diag: Diagnostic = .{};
    if (Model.load(counting.allocator(), patched.path(), .{ .threads = 2 }, &progress, &diag)) |model| {
        model.destroy() catch unreachable;
        return error.TestExpectedError;
    } else |err| {
        errdefer std.debug.print("found {t}: {s}\n", .{ err, diag.text() });
        try std.testing.expectEqual(expected, err);
        try std.testing.expect(std.mem.find(u8, diag.text(), words) != null);
        try std.testing.expect(counting.allocated_bytes < refused_bytes_max);
    }
}

const Case = struct { Change, anyerror, []const u8 };

const nan = std.math.nan(f64);
const inf = std.math.inf(f64);

test "metadata that can't be is refused" {
    for ([_]Case{
        .{ .{ .key = .{ "general.architecture", .absent } }, error.MissingMetadata, "general.architecture" },
        .{ .{ .key = .{ "general.architecture", .{ .whole = 1 } } }, error.MissingMetadata, "general.architecture" },
        .{ .{ .key = .{ "general.architecture", .{ .text = "mamba" } } }, error.UnsupportedArchitecture, "found mamba" },
        .{ .{ .key = .{ "block_count", .absent } }, error.MissingMetadata, "llama.block_count" },
        .{ .{ .key = .{ "block_count", .{ .whole = 0 } } }, error.BadMetadata, "found 0" },
        .{ .{ .key = .{ "block_count", .{ .whole = 4097 } } }, error.BadMetadata, "up to 4096" },
        .{ .{ .key = .{ "block_count", .{ .long = std.math.maxInt(u64) } } }, error.BadMetadata, "up to 4096" },
        .{ .{ .key = .{ "block_count", .{ .text = "2" } } }, error.BadMetadata, "one whole number" },
        .{ .{ .key = .{ "block_count", .{ .real = 2 } } }, error.BadMetadata, "one whole number" },
        .{ .{ .key = .{ "embedding_length", .{ .whole = 0 } } }, error.BadMetadata, "embedding_length" },
        .{ .{ .key = .{ "embedding_length", .{ .whole = std.math.maxInt(u32) } } }, error.BadMetadata, "embedding_length" },
        .{ .{ .key = .{ "feed_forward_length", .{ .whole = 0 } } }, error.BadMetadata, "feed_forward_length" },
        .{ .{ .key = .{ "feed_forward_length", .{ .list = &.{ 96, 97 } } } }, error.BadMetadata, "differing" },
        .{ .{ .key = .{ "feed_forward_length", .{ .list = &.{} } } }, error.BadMetadata, "feed_forward_length" },
        .{ .{ .key = .{ "attention.head_count", .{ .whole = 0 } } }, error.BadMetadata, "head_count" },
        .{ .{ .key = .{ "attention.head_count_kv", .{ .whole = 0 } } }, error.BadMetadata, "head_count_kv" },
        .{ .{ .key = .{ "attention.head_count_kv", .{ .whole = 3 } } }, error.BadMetadata, "a divisor of 4" },
        .{ .{ .key = .{ "attention.head_count_kv", .{ .whole = 8 } } }, error.BadMetadata, "a divisor of 4" },
        .{ .{ .key = .{ "attention.key_length", .{ .whole = 0 } } }, error.BadMetadata, "key_length" },
        .{ .{ .key = .{ "attention.value_length", .{ .whole = 1025 } } }, error.BadMetadata, "up to 1024" },
        .{ .{ .key = .{ "context_length", .{ .whole = 0 } } }, error.BadMetadata, "context_length" },
        .{ .{ .key = .{ "context_length", .{ .whole = 1 << 31 } } }, error.BadMetadata, "context_length" },
        .{ .{ .key = .{ "attention.sliding_window", .{ .whole = 1 << 31 } } }, error.BadMetadata, "sliding_window" },
        .{ .{ .key = .{ "attention.layer_norm_rms_epsilon", .absent } }, error.MissingMetadata, "epsilon" },
        .{ .{ .key = .{ "attention.layer_norm_rms_epsilon", .{ .real = nan } } }, error.BadMetadata, "found nan" },
        .{ .{ .key = .{ "attention.layer_norm_rms_epsilon", .{ .real = 0 } } }, error.BadMetadata, "epsilon" },
        .{ .{ .key = .{ "attention.layer_norm_rms_epsilon", .{ .text = "" } } }, error.MissingMetadata, "epsilon" },
        .{ .{ .key = .{ "attention.scale", .{ .real = -1 } } }, error.BadMetadata, "attention.scale" },
        .{ .{ .key = .{ "rope.dimension_count", .{ .whole = 15 } } }, error.BadMetadata, "an even number" },
        .{ .{ .key = .{ "rope.dimension_count", .{ .whole = 18 } } }, error.BadMetadata, "head size 16" },
        .{ .{ .key = .{ "rope.dimension_count", .{ .whole = 0 } } }, error.BadMetadata, "dimension_count" },
        .{ .{ .key = .{ "rope.freq_base", .{ .real = nan } } }, error.BadMetadata, "freq_base" },
        .{ .{ .key = .{ "rope.freq_base", .{ .real = inf } } }, error.BadMetadata, "freq_base" },
        .{ .{ .key = .{ "rope.scaling.factor", .{ .real = 0 } } }, error.BadMetadata, "scaling.factor" },
        .{ .{ .key = .{ "rope.scaling.type", .{ .text = "\x1b[2J" } } }, error.BadMetadata, "found \"\\x1b[2J\"" },
        .{ .{ .key = .{ "expert_count", .{ .whole = 8 } } }, error.BadMetadata, "mixtures of experts" },
    }) |case| try expectRefused(.{}, &.{case[0]}, case[1], case[2]);
}

test "tensors that don't fit the metadata are refused" {
    for ([_]Case{
        .{ .{ .key = .{ "block_count", .{ .whole = 4096 } } }, error.MissingTensor, "blk.2.attn_norm.weight" },
        .{ .{ .key = .{ "embedding_length", .{ .whole = 1 << 20 } } }, error.BadTensorShape, "token_embd.weight" },
        .{ .{ .key = .{ "feed_forward_length", .{ .whole = 1 << 22 } } }, error.BadTensorShape, "ffn_gate.weight" },
        .{ .{ .key = .{ "attention.head_count", .{ .whole = 4096 } } }, error.BadTensorShape, "[64, 65536], found { 64, 64 }" },
        .{ .{ .key = .{ "attention.key_length", .{ .whole = 1024 } } }, error.BadTensorShape, "attn_q.weight" },
        .{ .{ .key = .{ "attention.value_length", .{ .whole = 1 } } }, error.BadTensorShape, "blk.0.attn_" },
        .{ .{ .drop_tensor = "token_embd.weight" }, error.MissingTensor, "token_embd.weight" },
        .{ .{ .drop_tensor = "output_norm.weight" }, error.MissingTensor, "output_norm.weight" },
        .{ .{ .drop_tensor = "blk.1.ffn_down.weight" }, error.MissingTensor, "blk.1.ffn_down.weight" },
        .{ .{ .tensor = .{ "token_embd.weight", &.{64} } }, error.BadTensorShape, "token_embd.weight" },
        .{ .{ .tensor = .{ "token_embd.weight", &.{ 64, 79 } } }, error.BadTensorShape, "80 tokens, found 79" },
        .{ .{ .tensor = .{ "token_embd.weight", &.{ 64, 80, 2 } } }, error.BadTensorShape, "token_embd.weight" },
        .{ .{ .tensor = .{ "output.weight", &.{ 64, 81 } } }, error.BadTensorShape, "output.weight" },
        .{ .{ .tensor = .{ "output_norm.weight", &.{63} } }, error.BadTensorShape, "output_norm.weight" },
        .{ .{ .tensor = .{ "blk.0.attn_q.weight", &.{ 64, 64, 1, 2 } } }, error.BadTensorShape, "attn_q.weight" },
        .{ .{ .tensor = .{ "blk.0.attn_q.bias", &.{65} } }, error.BadTensorShape, "attn_q.bias" },
        .{ .{ .tensor = .{ "rope_freqs.weight", &.{16} } }, error.BadTensorShape, "rope_freqs.weight" },
        .{ .{ .tensor = .{ "rope_freqs.weight", &.{8} } }, error.BadMetadata, "frequency factors" },
        .{ .{ .fill = .{ "rope_freqs.weight", &.{8}, std.math.nan(f32) } }, error.BadMetadata, "found nan" },
    }) |case| try expectRefused(.{}, &.{case[0]}, case[1], case[2]);
    // A bias that the family requires, and a norm that it has beside the common ones.
    try expectRefused(.{ .architecture = "qwen2" }, &.{.none}, error.MissingTensor, "blk.0.attn_q.bias");
    try expectRefused(.{ .architecture = "qwen3" }, &.{.none}, error.MissingTensor, "blk.0.attn_q_norm.weight");
}

/// Evaluates a prompt and generates; returns how that ended.
fn generate(shape: tiny_model.Shape, changes: []const Change, failure: *Diagnostic) !record.Reason {
    errdefer std.debug.print("the shape was {any}, the changes {any}\n", .{ shape, changes });
    var patched: Patched = undefined;
    try patched.init(shape, changes);
    defer patched.deinit();
    var progress: model_module.Progress = .{};
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}\n", .{diag.text()});
    const model = try Model.load(gpa, patched.path(), .{ .threads = 2 }, &progress, &diag);
    defer model.destroy() catch unreachable;
    const session = try Session.create(model, .{}, &diag);
    defer session.destroy();
    var tokens: [90]u32 = undefined;
    for (&tokens, 0..) |*token, i| token.* = @intCast(1 + i % 5);
    const len = @min(tokens.len, @max(1, session.settings.context - 1));
    try session.start(.{ .tokens = tokens[0..len], .max_tokens = 3, .ignore_eog = true }, &diag);
    session.wait();
    failure.* = session.failure;
    var buffer: [4 << 10]u8 align(4) = undefined;
    const taken = session.take(&buffer).bytes;
    var at: usize = 0;
    while (at < taken) {
        const header: *const record.Header = @ptrCast(@alignCast(&buffer[at]));
        if (header.kind == .end) return std.enums.fromInt(record.Reason, header.token).?;
        at += header.size;
    }
    return error.TestUnexpectedResult;
}

test "odd but consistent models run" {
    var failure: Diagnostic = .{};
    for ([_]tiny_model.Shape{
        .{ .format = .f32, .layers = 1, .embd = 1, .ff = 1, .heads = 1, .kv_heads = 1, .head_dim = 2 },
        .{ .format = .f32, .layers = 1, .embd = 5, .ff = 7, .heads = 17, .kv_heads = 1, .head_dim = 6 },
        .{ .format = .f16, .layers = 1, .embd = 33, .ff = 31, .heads = 3, .kv_heads = 3, .head_dim = 34 },
        .{ .layers = 1, .embd = 32, .ff = 32, .heads = 1, .kv_heads = 1, .head_dim = 1024 },
        .{ .layers = 1, .heads = 64, .kv_heads = 2, .head_dim = 2 },
        .{ .window = 1 },
        .{ .window = 1 << 30 },
        .{ .architecture = "gemma3", .window = 1 },
    }) |shape| try std.testing.expectEqual(record.Reason.max_tokens, try generate(shape, &.{.none}, &failure));
    for ([_]Change{
        .{ .key = .{ "context_length", .{ .whole = 1 << 30 } } },
        .{ .key = .{ "feed_forward_length", .{ .list = &.{ 96, 96 } } } },
        .{ .key = .{ "attention.head_count", .{ .long = 4 } } },
        .{ .key = .{ "attention.key_length", .absent } },
        .{ .key = .{ "rope.dimension_count", .{ .whole = 2 } } },
        .{ .key = .{ "rope.scaling.type", .{ .text = "yarn" } } },
        .{ .key = .{ "expert_count", .{ .whole = 0 } } },
        // Embeddings that no token of the vocabulary has.
        .{ .tensor = .{ "token_embd.weight", &.{ 64, 99 } } },
    }) |change| try std.testing.expectEqual(record.Reason.max_tokens, try generate(.{}, &.{change}, &failure));
    // One position.
    try std.testing.expectEqual(record.Reason.context_full, try generate(.{ .context = 1 }, &.{.none}, &failure));
}

test "numbers without end or meaning fail in the session, with the reason" {
    const infinite = std.math.inf(f32);
    for ([_]Change{
        .{ .fill = .{ "output_norm.weight", &.{64}, std.math.nan(f32) } },
        .{ .fill = .{ "token_embd.weight", &.{ 64, 80 }, std.math.nan(f32) } },
        .{ .fill = .{ "token_embd.weight", &.{ 64, 80 }, infinite } },
        .{ .fill = .{ "blk.0.attn_norm.weight", &.{64}, infinite } },
        .{ .fill = .{ "blk.1.ffn_norm.weight", &.{64}, -infinite } },
        .{ .fill = .{ "blk.0.attn_k.weight", &.{ 64, 32 }, infinite } },
    }) |change| {
        var failure: Diagnostic = .{};
        try std.testing.expectEqual(record.Reason.failed, try generate(.{}, &.{change}, &failure));
        errdefer std.debug.print("found \"{s}\" for {any}\n", .{ failure.text(), change });
        try std.testing.expect(std.mem.find(u8, failure.text(), ": expected logits") != null);
    }
    // Whatever these give, nothing breaks.
    for ([_]Change{
        .{ .fill = .{ "blk.0.ffn_norm.weight", &.{64}, 1e38 } },
        .{ .key = .{ "attention.layer_norm_rms_epsilon", .{ .real = 1e-300 } } },
        .{ .key = .{ "attention.scale", .{ .real = 1e11 } } },
        .{ .key = .{ "rope.freq_base", .{ .real = 1e-300 } } },
        .{ .key = .{ "rope.freq_base", .{ .real = 1 } } },
        .{ .key = .{ "rope.scaling.factor", .{ .real = 1e-300 } } },
    }) |change| {
        var failure: Diagnostic = .{};
        const reason = try generate(.{}, &.{change}, &failure);
        try std.testing.expect(reason == .max_tokens or reason == .failed);
    }
}
