//! Drawing from a tape: any chain over recorded logits, without the model.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const Drawing = @import("core/chain.zig").Drawing;
const finish = @import("draw.zig").finish;
const kindOf = @import("recorder.zig").kindOf;
const sampler = @import("../sampler.zig");
const table = @import("core/table.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Reader = engine.tape.Reader;

pub const functions = .{
    .{
        .name = "vitrine_tape_draw",
        .function = "draw",
        .doc =
        \\Draws tokens from the rows of a tape with a sampler chain: those of a row one behind the other. The
        \\first of each row is the one that a session draws at the row's position with the same chain and seed.
        ,
        .params = .{
            .{ "options", "How.", "TapeDraw" },
            .{ "stages", "In the order of their application, each with its data; read during the call only.", "Stage" },
            .{ "rows", "As vitrine_session_tape gives them; read during the call only." },
            .{ "length", "Of the rows, in bytes." },
            .{ "tokens", "The caller's; filled with token ids: [rows behind `skip`][draws]." },
            .{ "count", "Of them, exactly." },
        },
    },
    .{
        .name = "vitrine_tape_distribution",
        .function = "distribution",
        .doc =
        \\The distributions that tokens of the rows of a tape would be drawn from; 0 for those that no stage left,
        \\more than 0 for all others.
        ,
        .params = .{
            .{ "options", "How; `draws` doesn't count.", "TapeDraw" },
            .{ "stages", "In the order of their application, each with its data; read during the call only.", "Stage" },
            .{ "rows", "As vitrine_session_tape gives them; read during the call only." },
            .{ "length", "Of the rows, in bytes." },
            .{ "probabilities", "The caller's; filled: [rows behind `skip`][logits of a row]." },
            .{ "count", "Of them, exactly." },
        },
    },
};

pub fn draw(
    options: ?[*]const u8,
    stages: ?[*]align(1) const sampler.wire.Record,
    rows: ?[*]const u8,
    length: u32,
    tokens: ?[*]align(1) u32,
    count: u32,
) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    return finish(run(options, stages, rows, length, .{ .tokens = tokens }, count, &diag), &diag);
}

pub fn distribution(
    options: ?[*]const u8,
    stages: ?[*]align(1) const sampler.wire.Record,
    rows: ?[*]const u8,
    length: u32,
    probabilities: ?[*]align(1) f32,
    count: u32,
) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    return finish(run(options, stages, rows, length, .{ .probabilities = probabilities }, count, &diag), &diag);
}

const Out = union(enum) {
    tokens: ?[*]align(1) u32,
    probabilities: ?[*]align(1) f32,
};

fn run(
    bytes: ?[*]const u8,
    stages: ?[*]align(1) const sampler.wire.Record,
    rows: ?[*]const u8,
    length: u32,
    out: Out,
    count: u32,
    diag: *Diagnostic,
) errors.Error!void {
    const given = try buffers.options(abi.TapeDraw, bytes, @sizeOf(abi.TapeDraw), "the options", diag);
    const kind = try kindOf(given.kind, diag);
    if (given.vocabulary > 1 << 24) return error.InvalidArgument;
    if (given.count == 0 or given.count > given.vocabulary) return error.InvalidArgument;
    if (kind != .top and given.count != given.vocabulary) return error.InvalidArgument;
    const row_bytes = engine.tape.rowBytes(kind, given.count);
    if (@as(u64, given.rows) * row_bytes != length or given.skip > given.rows) return error.InvalidArgument;
    const each: u64 = if (out == .tokens) given.draws else given.count;
    if ((given.rows - given.skip) * each != count) return error.InvalidArgument;
    const from = try buffers.slice(u8, rows, length, "the rows", diag);
    if (count == 0) return;
    var drawing: Drawing = try .init(.{
        .stages = stages,
        .stage_count = given.stage_count,
        .vocabulary = given.vocabulary,
        .seed_low = given.seed_low,
        .seed_high = given.seed_high,
        .model = given.model,
        .history = if (bytes) |at| @ptrCast(at[given.size..]) else null,
        .history_count = given.history_count,
        .count = given.rows,
    }, diag);
    defer drawing.deinit();
    drawing.chain.logprobs = false;
    var reader = try Reader.init(table.gpa, kind, given.count);
    defer reader.deinit(table.gpa);
    const follows = drawing.chain.follows();
    for (0..given.rows) |r| {
        const row = from[r * row_bytes ..][0..row_bytes];
        const reads = r >= given.skip or follows;
        const head = if (reads) reader.read(row, given.vocabulary) orelse return error.InvalidArgument else engine.tape.headOf(row);
        if (head.token >= given.vocabulary) {
            diag.set("expected tokens under {d}, found {d} in row {d} of a tape", .{ given.vocabulary, head.token, r });
            return error.InvalidArgument;
        }
        if (r >= given.skip) {
            try drawRow(&drawing.chain, &reader, head.position, out, r - given.skip, @intCast(each), diag);
        } else if (follows) _ = try sample(&drawing.chain, &reader, 0, head.position, diag);
        // The text goes on as it was recorded, whatever would have been drawn.
        drawing.chain.accept(.{
            .token = head.token,
            .probability = if (follows) drawing.chain.probabilityOf(head.token) else 0,
            .logprob = head.logprob,
        });
    }
}

/// Fills the `each` results of the row at `index`.
fn drawRow(chain: *sampler.Chain, reader: *Reader, position: u64, out: Out, index: usize, each: usize, diag: *Diagnostic) errors.Error!void {
    switch (out) {
        .tokens => |to| {
            const tokens = (try buffers.required(to, "the tokens", diag))[index * each ..][0..each];
            const fixed = chain.isFixed();
            for (tokens, 0..) |*token, sequence| token.* = if (sequence == 0 or !fixed)
                (try sample(chain, reader, @intCast(sequence), position, diag)).token
            else
                chain.drawAgain(@intCast(sequence), position);
        },
        .probabilities => |to| {
            const all = (try buffers.required(to, "the probabilities", diag))[index * each ..][0..each];
            _ = try sample(chain, reader, 0, position, diag);
            spread(&chain.candidates, reader, all);
        },
    }
}

fn sample(chain: *sampler.Chain, reader: *Reader, sequence: u32, position: u64, diag: *Diagnostic) errors.Error!sampler.Choice {
    if (reader.half) |bits| {
        reader.half = null;
        return try chain.sampleHalf(bits, reader.own, sequence, position, diag);
    }
    if (reader.kind != .top) return try chain.sample(reader.logits, sequence, position, diag);
    return try chain.sampleSome(reader.ids, reader.logits, sequence, position, diag);
}

/// What the stages left, at the places of a row.
fn spread(set: *sampler.Candidates, reader: *const Reader, out: []align(1) f32) void {
    for (out) |*p| p.* = 0;
    var at: usize = 0;
    for (set.probabilities(), 0..) |p, index| {
        if (set.values[index] == -std.math.inf(f32)) continue;
        const id = set.id(index);
        if (reader.kind == .top) {
            while (reader.ids[at] != id) at += 1;
        } else at = id;
        out[at] = @max(p, std.math.floatTrueMin(f32));
    }
}

test "a tape draws what the rows say, and what is wrong is refused" {
    const Row = extern struct { head: engine.tape.Head, ids: [3]u32, logits: [3]f32 };
    var rows: [2]Row = undefined;
    for (&rows, 0..) |*row, i| row.* = .{
        .head = .{ .position = @intCast(i), .token = 5, .logprob = 0, .rest = 0 },
        .ids = .{ 2, 5, 9 },
        .logits = .{ 1, 3, 2 },
    };
    const specs = [_]sampler.wire.Record{.{ .id = 3, .p = .{ 2, 0, 0, 0, 0, 0 } }};
    var options: abi.TapeDraw = .{ .seed_low = 7, .stage_count = 1, .vocabulary = 10, .kind = 2, .count = 3, .draws = 50, .rows = 2 };
    const bytes = std.mem.asBytes(&options);
    const given: [*]const u8 = @ptrCast(&rows);
    var tokens: [100]u32 = undefined;
    try std.testing.expectEqual(0, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), &tokens, 100));
    var fives: usize = 0;
    for (tokens) |token| {
        try std.testing.expect(token == 5 or token == 9);
        fives += @intFromBool(token == 5);
    }
    try std.testing.expect(fives > 55 and fives < 95); // 73 of 100 are expected
    var shares: [6]f32 = undefined;
    try std.testing.expectEqual(0, distribution(bytes, &specs, given, @sizeOf(@TypeOf(rows)), &shares, 6));
    try std.testing.expectEqual(0, shares[0]);
    try std.testing.expectApproxEqAbs(1 / (1 + @exp(@as(f32, -1))), shares[1], 1e-6);
    const invalid = @backingInt(abi.Status.invalid_argument);
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(Row), &tokens, 100));
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), &tokens, 99));
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), null, 100));
    rows[1].ids[1] = 2;
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), &tokens, 100));
    rows[1].ids = .{ 2, 5, 10 };
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), &tokens, 100));
    options.kind = 7;
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), &tokens, 100));
}
