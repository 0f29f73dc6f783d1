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
        \\An index makes further draws from the same rows faster, and changes no token.
        ,
        .params = .{
            .{ "options", "How.", "TapeDraw" },
            .{ "stages", "In the order of their application, each with its data; read during the call only.", "Stage" },
            .{ "rows", "As vitrine_session_tape gives them; read during the call only." },
            .{ "length", "Of the rows, in bytes." },
            .{ "index", "The caller's, `index_length` bytes at a multiple of 4, all 0 before the first draw; filled with what was found out of rows, and read again. Rows that have changed since need another one. Null for none." },
            .{ "tokens", "The caller's; filled with token ids: [rows behind `skip`][draws], `token_count` of them." },
        },
    },
    .{
        .name = "vitrine_tape_index_length",
        .function = "indexLength",
        .doc = "How long an index of a tape is: 0 where the rows have few logits.",
        .params = .{
            .{ "options", "Of which kind, count, vocabulary and rows count.", "TapeDraw" },
            .{ "out_length", "Gets the length, in bytes." },
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
    index: ?[*]u8,
    tokens: ?[*]align(1) u32,
) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    return finish(run(options, stages, rows, length, .{ .tokens = .{ .index = index, .tokens = tokens } }, &diag), &diag);
}

pub fn indexLength(options: ?[*]const u8, out_length: ?*align(1) u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    return finish(writeIndexLength(options, out_length, &diag), &diag);
}

fn writeIndexLength(bytes: ?[*]const u8, out_length: ?*align(1) u32, diag: *Diagnostic) errors.Error!void {
    const given = try buffers.options(abi.TapeDraw, bytes, @sizeOf(abi.TapeDraw), "the options", diag);
    const out = try buffers.required(out_length, "the length", diag);
    const kind = try kindOf(given.kind, diag);
    try checkShape(given, kind);
    const length = @as(u64, given.rows) * engine.tape_index.entryBytes(kind, given.count);
    out.* = std.math.cast(u32, length) orelse return error.InvalidArgument;
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
    const out: Out = .{ .probabilities = .{ .probabilities = probabilities, .count = count } };
    return finish(run(options, stages, rows, length, out, &diag), &diag);
}

const Out = union(enum) {
    tokens: struct { index: ?[*]u8, tokens: ?[*]align(1) u32 },
    probabilities: struct { probabilities: ?[*]align(1) f32, count: u32 },
};

/// The entries of the index that a draw was given, one behind the other; none where it was given none.
fn entriesOf(given: abi.TapeDraw, out: Out, entry_bytes: usize, diag: *Diagnostic) errors.Error![]align(4) u8 {
    if (out != .tokens or given.index_length == 0) return &.{};
    const expected = @as(u64, given.rows) * entry_bytes;
    if (given.index_length != expected) {
        diag.set("expected an index of {d} bytes or none, found {d}", .{ expected, given.index_length });
        return error.InvalidArgument;
    }
    const ptr = try buffers.required(out.tokens.index, "the index", diag);
    if (!std.mem.isAligned(@intFromPtr(ptr), 4)) {
        diag.set("expected an index at a multiple of 4 bytes, found it {d} behind one", .{@intFromPtr(ptr) % 4});
        return error.InvalidArgument;
    }
    return @alignCast(ptr[0..given.index_length]);
}

fn checkShape(given: abi.TapeDraw, kind: engine.tape.Kind) errors.Error!void {
    if (given.vocabulary > 1 << 24) return error.InvalidArgument;
    if (given.count == 0 or given.count > given.vocabulary) return error.InvalidArgument;
    if (kind != .top and given.count != given.vocabulary) return error.InvalidArgument;
}

fn run(
    bytes: ?[*]const u8,
    stages: ?[*]align(1) const sampler.wire.Record,
    rows: ?[*]const u8,
    length: u32,
    out: Out,
    diag: *Diagnostic,
) errors.Error!void {
    const given = try buffers.options(abi.TapeDraw, bytes, @sizeOf(abi.TapeDraw), "the options", diag);
    const kind = try kindOf(given.kind, diag);
    try checkShape(given, kind);
    const row_bytes = engine.tape.rowBytes(kind, given.count);
    if (@as(u64, given.rows) * row_bytes != length or given.skip > given.rows) return error.InvalidArgument;
    const each: u64 = if (out == .tokens) given.draws else given.count;
    const count = switch (out) {
        .tokens => given.token_count,
        .probabilities => |to| to.count,
    };
    if ((given.rows - given.skip) * each != count) return error.InvalidArgument;
    const from = try buffers.slice(u8, rows, length, "the rows", diag);
    const entry_bytes = engine.tape_index.entryBytes(kind, given.count);
    const entries = try entriesOf(given, out, entry_bytes, diag);
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
        if (reads and entries.len > 0) reader.look(row, .init(@alignCast(entries[r * entry_bytes ..][0..entry_bytes])), drawing.chain.candidates.passes);
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
/// For more of them each draw samples for itself: there are twice as many ways to fall with each.
const coins_max = 3;

/// The stages run once for all draws whose coins fall alike.
fn drawRow(chain: *sampler.Chain, reader: *Reader, position: u64, out: Out, index: usize, each: usize, diag: *Diagnostic) errors.Error!void {
    switch (out) {
        .tokens => |to| {
            const tokens = (try buffers.required(to.tokens, "the tokens", diag))[index * each ..][0..each];
            const count = chain.coinCount() orelse coins_max + 1;
            if (count > coins_max) {
                for (tokens, 0..) |*token, sequence| token.* = (try sample(chain, reader, @intCast(sequence), position, diag)).token;
            } else for (0..@as(usize, 1) << @intCast(count)) |fallen| {
                var again = false;
                for (tokens, 0..) |*token, sequence| {
                    if (count != 0 and chain.coins(@intCast(sequence), position) != fallen) continue;
                    token.* = if (again)
                        chain.drawAgain(@intCast(sequence), position)
                    else
                        (try sample(chain, reader, @intCast(sequence), position, diag)).token;
                    again = true;
                }
            }
        },
        .probabilities => |to| {
            const all = (try buffers.required(to.probabilities, "the probabilities", diag))[index * each ..][0..each];
            _ = try sample(chain, reader, 0, position, diag);
            spread(&chain.candidates, reader, all);
        },
    }
}

fn sample(chain: *sampler.Chain, reader: *Reader, sequence: u32, position: u64, diag: *Diagnostic) errors.Error!sampler.Choice {
    if (reader.kind == .top) return try chain.sampleSome(reader.ids, reader.logits, sequence, position, diag);
    return try chain.sampleRow(reader.whole(), sequence, position, diag);
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
    var options: abi.TapeDraw = .{ .seed_low = 7, .stage_count = 1, .vocabulary = 10, .kind = 2, .count = 3, .draws = 50, .rows = 2, .token_count = 100 };
    const bytes = std.mem.asBytes(&options);
    const given: [*]const u8 = @ptrCast(&rows);
    var tokens: [100]u32 = undefined;
    try std.testing.expectEqual(0, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), null, &tokens));
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
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(Row), null, &tokens));
    options.token_count = 99;
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), null, &tokens));
    options.token_count = 100;
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), null, null));
    rows[1].ids[1] = 2;
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), null, &tokens));
    rows[1].ids = .{ 2, 5, 10 };
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), null, &tokens));
    options.kind = 7;
    try std.testing.expectEqual(invalid, draw(bytes, &specs, given, @sizeOf(@TypeOf(rows)), null, &tokens));
}

test "an index changes no token, whatever is in it" {
    const vocab = 300;
    var prng: std.Random.DefaultPrng = .init(5);
    const specs = [_]sampler.wire.Record{.{ .id = 3, .p = .{ 9, 0, 0, 0, 0, 0 } }};
    inline for (.{ engine.tape.Kind.f32, engine.tape.Kind.f16 }) |kind| {
        const row_bytes = comptime engine.tape.rowBytes(kind, vocab);
        var rows: [4 * row_bytes]u8 align(4) = undefined;
        for (0..4) |r| {
            const head: *engine.tape.Head = @ptrCast(@alignCast(rows[r * row_bytes ..].ptr));
            head.* = .{ .position = @intCast(r), .token = 1, .logprob = 0, .rest = 0 };
            const at = rows[r * row_bytes + @sizeOf(engine.tape.Head) ..];
            const T = if (kind == .f32) f32 else f16;
            const values: []align(1) T = std.mem.bytesAsSlice(T, at[0 .. vocab * @sizeOf(T)]);
            for (values) |*x| x.* = @floatCast(prng.random().floatNorm(f32) * 3);
        }
        var options: abi.TapeDraw = .{
            .stage_count = 1,
            .vocabulary = vocab,
            .kind = @backingInt(kind),
            .count = vocab,
            .draws = 20,
            .rows = 4,
            .token_count = 80,
        };
        const bytes = std.mem.asBytes(&options);
        var length: u32 = 0;
        try std.testing.expectEqual(0, indexLength(bytes, &length));
        var index: [4 * 24]u8 align(4) = @splat(0);
        try std.testing.expectEqual(index.len, length);
        var expected: [80]u32 = undefined;
        try std.testing.expectEqual(0, draw(bytes, &specs, &rows, rows.len, null, &expected));
        options.index_length = length;
        for (0..6) |round| {
            var tokens: [80]u32 = undefined;
            try std.testing.expectEqual(0, draw(bytes, &specs, &rows, rows.len, &index, &tokens));
            try std.testing.expectEqualSlices(u32, &expected, &tokens);
            if (round % 2 == 1) prng.random().bytes(&index);
        }
        const invalid = @backingInt(abi.Status.invalid_argument);
        var tokens: [80]u32 = undefined;
        try std.testing.expectEqual(invalid, draw(bytes, &specs, &rows, rows.len, null, &tokens));
        try std.testing.expectEqual(invalid, draw(bytes, &specs, &rows, rows.len, @ptrFromInt(@intFromPtr(&index) + 1), &tokens));
        options.index_length = length - 4;
        try std.testing.expectEqual(invalid, draw(bytes, &specs, &rows, rows.len, &index, &tokens));
        options.index_length = length;
        const first: *align(1) f32 = @ptrCast(rows[@sizeOf(engine.tape.Head)..].ptr);
        first.* = std.math.nan(f32);
        const numeric = @backingInt(abi.Status.numeric);
        for (0..2) |_| try std.testing.expectEqual(numeric, draw(bytes, &specs, &rows, rows.len, &index, &tokens));
    }
}
