//! Hidden states of every layer and logits of every position, against values that Hugging Face
//! transformers computed in f64 for small random models of every family. The files, their layout
//! and the tolerances are described in `tools/golden_transformers.py`, which makes them.

const std = @import("std");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const probe = @import("../probe.zig");
const model_module = @import("model.zig");
const Session = @import("session.zig").Session;

const gpa = std.testing.allocator;
const io = std.testing.io;
const folder_name = "tests/golden";

/// A `.golden` file.
const Golden = struct {
    bytes: []align(4) u8,
    n_tokens: u32,
    n_layers: u32,
    n_embd: u32,
    n_vocab: u32,
    context: u32,
    hidden_tolerance: f32,
    logits_tolerance: f32,
    tokens: []const u32, // [n_tokens]
    hidden: []const f32, // [n_layers + 1, n_tokens, n_embd]
    logits: []const f32, // [n_tokens, n_vocab]

    fn read(folder: std.Io.Dir, name: []const u8) !Golden {
        const bytes = try folder.readFileAllocOptions(io, name, gpa, .limited(1 << 24), .@"4", null);
        errdefer gpa.free(bytes);
        try std.testing.expectEqualStrings("VITGOLD1", bytes[0..8]);
        const words: []const u32 = @ptrCast(bytes[8..]);
        const counts = words[0..5];
        const floats: []const f32 = @ptrCast(words);
        const tokens_from = 7;
        const hidden_from = tokens_from + counts[0];
        const logits_from = hidden_from + (counts[1] + 1) * counts[0] * counts[2];
        try std.testing.expectEqual(logits_from + counts[0] * counts[3], words.len);
        return .{
            .bytes = bytes,
            .n_tokens = counts[0],
            .n_layers = counts[1],
            .n_embd = counts[2],
            .n_vocab = counts[3],
            .context = counts[4],
            .hidden_tolerance = floats[5],
            .logits_tolerance = floats[6],
            .tokens = words[tokens_from..hidden_from],
            .hidden = floats[hidden_from..logits_from],
            .logits = floats[logits_from..],
        };
    }
};

/// Collects the residual stream: [n_layers + 1, n_tokens, n_embd].
const Recorder = struct {
    golden: *const Golden,
    hidden: []f32,

    fn wants(_: *anyopaque, point: probe.Point, _: u32) bool {
        return point == .embed or point == .resid_post;
    }

    fn observe(pointer: *anyopaque, point: probe.Point, layer: u32, position: u32, values: []f32, width: u32) void {
        const recorder: *Recorder = @ptrCast(@alignCast(pointer));
        const index = if (point == .embed) 0 else layer + 1;
        const from = (index * recorder.golden.n_tokens + position) * width;
        @memcpy(recorder.hidden[from..][0..values.len], values);
    }
};

fn expectClose(name: []const u8, what: []const u8, expected: []const f32, found: []const f32, tolerance: f32) !void {
    for (expected, found, 0..) |e, f, i| {
        if (@abs(f - e) <= tolerance * (1 + @abs(e))) continue;
        std.debug.print("{s}: {s} {d}: expected {d}, found {d}\n", .{ name, what, i, e, f });
        return error.TestExpectedClose;
    }
}

fn check(folder: std.Io.Dir, name: []const u8, chunk: u32) !void {
    const golden_name = try std.fmt.allocPrint(gpa, "{s}.golden", .{name});
    defer gpa.free(golden_name);
    const golden = try Golden.read(folder, golden_name);
    defer gpa.free(golden.bytes);
    const path = try std.fmt.allocPrint(gpa, folder_name ++ "/{s}.gguf", .{name});
    defer gpa.free(path);
    var diag: Diagnostic = .{};
    errdefer std.debug.print("{s}: {s}\n", .{ name, diag.text() });
    var progress: model_module.Progress = .{};
    const model = try model_module.Model.load(gpa, path, .{ .precision = .float, .threads = 2 }, &progress, &diag);
    defer model.destroy() catch unreachable;
    const session = try Session.create(model, .{
        .context = golden.context,
        .key_format = .f32,
        .value_format = .f32,
        .chunk = chunk,
    }, &diag);
    defer session.destroy();
    var recorder: Recorder = .{ .golden = &golden, .hidden = try gpa.alloc(f32, golden.hidden.len) };
    defer gpa.free(recorder.hidden);
    @memset(recorder.hidden, std.math.nan(f32));
    try session.observe(.{ .context = &recorder, .wants = Recorder.wants, .observe = Recorder.observe }, &diag);
    try session.start(.{ .tokens = golden.tokens, .all_logits = true }, &diag);
    session.wait();
    try expectClose(name, "hidden", golden.hidden, recorder.hidden, golden.hidden_tolerance);
    try std.testing.expectEqual(golden.n_vocab, model.vocab());
    try std.testing.expectEqual(golden.n_tokens, session.allLogitsRows());
    try expectClose(name, "logit", golden.logits, session.all_logits, golden.logits_tolerance);
}

test "hidden states and logits are those of transformers" {
    var folder = try std.Io.Dir.cwd().openDir(io, folder_name, .{ .iterate = true });
    defer folder.close(io);
    var cases: usize = 0;
    var failed: usize = 0;
    var files = folder.iterate();
    while (try files.next(io)) |entry| {
        if (!std.mem.endsWith(u8, entry.name, ".golden")) continue;
        const name = entry.name[0 .. entry.name.len - ".golden".len];
        cases += 1;
        for ([_]u32{ 0, 7 }) |chunk| check(folder, name, chunk) catch |err| {
            std.debug.print("{s}: {t}\n", .{ name, err });
            failed += 1;
        };
    }
    try std.testing.expectEqual(0, failed);
    try std.testing.expect(cases >= 12);
}
