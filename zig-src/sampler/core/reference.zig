//! What the stages are tested against: the textbook definitions, in f64 over a fully sorted list,
//! sharing no code with the sampler. Only tests use it.

const std = @import("std");
const candidates = @import("candidates.zig");
const stage = @import("stage.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const Step = stage.Step;
const Vocabulary = @import("vocabulary.zig").Vocabulary;

pub const Member = struct { id: u32, logit: f64, p: f64 };

/// A distribution as a list in descending order of logit, ascending id among equals.
pub const Reference = struct {
    members: std.ArrayList(Member),

    pub fn init(gpa: std.mem.Allocator, logits: []const f32) !Reference {
        var members: std.ArrayList(Member) = .empty;
        errdefer members.deinit(gpa);
        for (logits, 0..) |logit, id| {
            if (logit == -std.math.inf(f32)) continue;
            try members.append(gpa, .{ .id = @intCast(id), .logit = logit, .p = 0 });
        }
        std.mem.sort(Member, members.items, {}, isBefore);
        var reference: Reference = .{ .members = members };
        reference.normalise();
        return reference;
    }

    pub fn deinit(reference: *Reference, gpa: std.mem.Allocator) void {
        reference.members.deinit(gpa);
    }

    fn isBefore(_: void, a: Member, b: Member) bool {
        return if (a.logit != b.logit) a.logit > b.logit else a.id < b.id;
    }

    pub fn normalise(reference: *Reference) void {
        const items = reference.members.items;
        var total: f64 = 0;
        for (items) |*member| {
            member.p = @exp(member.logit - items[0].logit);
            total += member.p;
        }
        for (items) |*member| member.p /= total;
    }

    pub fn heat(reference: *Reference, temperature: f64) void {
        for (reference.members.items) |*member| member.logit /= temperature;
        reference.normalise();
    }

    pub fn truncate(reference: *Reference, len: usize) void {
        reference.members.shrinkRetainingCapacity(@min(len, reference.members.items.len));
        reference.normalise();
    }

    /// How many members the nucleus of `p` has.
    pub fn nucleus(reference: *const Reference, p: f64) usize {
        var sum: f64 = 0;
        for (reference.members.items, 1..) |member, count| {
            sum += member.p;
            if (sum >= p) return count;
        }
        return reference.members.items.len;
    }

    /// How many members are at least `p` times as probable as the first.
    pub fn above(reference: *const Reference, p: f64) usize {
        const items = reference.members.items;
        var count: usize = 0;
        while (count < items.len and items[count].p >= p * items[0].p) count += 1;
        return count;
    }

    /// -Σ p ln p.
    pub fn entropy(reference: *const Reference) f64 {
        var sum: f64 = 0;
        for (reference.members.items) |member| {
            if (member.p > 0) sum -= member.p * @log(member.p);
        }
        return sum;
    }

    /// The set is the members of a probability of at least `bound`, but for those so close to it
    /// that rounding decides, and in any case those as probable as the first.
    pub fn expectFrom(reference: *const Reference, bound: f64, set: *const candidates.Candidates) !void {
        try reference.expectPrefix(set);
        const items = reference.members.items;
        try std.testing.expect(set.len() >= 1);
        for (items, 0..) |member, rank| {
            const expected = member.p >= bound or member.logit == items[0].logit;
            if (expected == (rank < set.len())) continue;
            try std.testing.expectApproxEqRel(bound, member.p, 2e-4);
        }
    }

    /// The set is exactly the first `set.len()` members, in ascending order of id.
    pub fn expectPrefix(reference: *const Reference, set: *const candidates.Candidates) !void {
        try std.testing.expect(set.len() <= reference.members.items.len);
        var previous: ?u32 = null;
        for (0..set.len()) |index| {
            const id = set.id(index);
            if (previous) |before| try std.testing.expect(id > before);
            previous = id;
        }
        for (reference.members.items[0..set.len()]) |member| {
            const index = indexOf(set, member.id) orelse return error.TestExpectedMember;
            try std.testing.expectEqual(member.id, set.id(index));
        }
    }

    pub fn indexOf(set: *const candidates.Candidates, id: u32) ?usize {
        var from: usize = 0;
        var to = set.len();
        while (from < to) {
            const middle = (from + to) / 2;
            if (set.id(middle) == id) return middle;
            if (set.id(middle) < id) from = middle + 1 else to = middle;
        }
        return null;
    }
};

/// A step for stages that draw no numbers.
pub const step: Step = .{ .seed = 0, .sequence = 0, .position = 0 };

/// A step behind a text.
pub fn stepAfter(text: []const u32) Step {
    return .{ .seed = 0, .sequence = 0, .position = text.len, .history = text };
}

/// What a stage of a test is made from.
pub fn making(given: struct {
    vocab: u32,
    history_max: u32 = 1000,
    data: []const u8 = "",
    name: []const u8 = "test",
    vocabulary: ?Vocabulary = null,
    diag: ?*Diagnostic = null,
}) stage.Making {
    return .{
        .gpa = std.testing.allocator,
        .data = given.data,
        .vocab = given.vocab,
        .history_max = given.history_max,
        .vocabulary = given.vocabulary,
        .number = 1,
        .name = given.name,
        .diag = given.diag orelse &unread,
    };
}

var unread: Diagnostic = .{};
var text_buffer: [100]u32 = undefined;

/// A text of tokens of a pair, with many repetitions; valid until the next one.
pub fn randomText(random: std.Random, pair: *const Pair) []const u32 {
    const len = random.uintLessThan(usize, text_buffer.len + 1);
    const kinds = 1 + random.uintLessThan(usize, 12);
    for (text_buffer[0..len]) |*token| {
        const kind = random.uintLessThan(usize, kinds);
        token.* = @intCast(kind * 37 % pair.values.len);
    }
    return text_buffer[0..len];
}

/// Gives the set of a pair a temperature, which is returned, and leaves only some members, each in half of
/// the cases. The reference stays as it was.
pub fn heatAndNarrow(random: std.Random, pair: *Pair) f64 {
    const inf = std.math.inf(f32);
    if (random.boolean()) pair.set.keep(pair.set.cut(.count, @floatFromInt(1 + random.uintLessThan(usize, pair.set.len())), -inf));
    if (random.boolean()) return 1;
    pair.set.heat(0.5 + random.float(f32));
    return 1 / @as(f64, pair.set.beta);
}

/// A logit as it should be, but for rounding.
pub fn expectLogit(expected: f64, found: f64) !void {
    if (expected == found) return;
    // Two or three roundings of f32, of the larger of what was added.
    try std.testing.expectApproxEqAbs(expected, found, 4e-7 * @max(@abs(expected), @abs(found)) + 2e-5);
}

/// Gives both of a pair the same temperature, in half of the cases.
pub fn heatSometimes(random: std.Random, pair: *Pair) void {
    if (random.boolean()) return;
    const t = 0.1 + 2 * random.float(f32);
    pair.set.heat(t);
    pair.reference.heat(t);
}

/// Logits of seven sorts, chosen by `kind`; at least one is above -inf.
pub fn fillRandom(random: std.Random, kind: usize, values: []f32) void {
    const spread = random.float(f32) * 8 + 0.01;
    for (values) |*x| x.* = switch (kind % 7) {
        0 => random.floatNorm(f32) * spread,
        1 => random.float(f32) * spread - 100,
        // Many ties.
        2 => @round(random.floatNorm(f32) * spread),
        // One in three is masked.
        3 => if (random.uintLessThan(u32, 3) == 0)
            -std.math.inf(f32)
        else
            random.floatNorm(f32) * spread,
        4 => 1.5,
        // A few are far above a flat rest.
        5 => (if (random.uintLessThan(u32, 50) == 0) spread * 3 else 0) + random.float(f32),
        // Every exponent that a float has.
        else => @as(f32, @bitCast(random.int(u32) & 0xfeffffff)),
    };
    const at = random.uintLessThan(usize, values.len);
    if (values[at] == -std.math.inf(f32)) values[at] = 0;
}

/// A set over `values` and the reference for it, for the tests of the stages.
pub const Pair = struct {
    gpa: std.mem.Allocator,
    values: []const f32,
    set: candidates.Candidates,
    reference: Reference,

    pub fn init(gpa: std.mem.Allocator, values: []const f32) !Pair {
        var set: candidates.Candidates = try .init(gpa, @intCast(values.len));
        errdefer set.deinit(gpa);
        try set.begin(values);
        return .{
            .gpa = gpa,
            .values = values,
            .set = set,
            .reference = try .init(gpa, values),
        };
    }

    pub fn deinit(pair: *Pair) void {
        pair.reference.deinit(pair.gpa);
        pair.set.deinit(pair.gpa);
    }
};

/// Calls `body(random, pair)` with many pairs of all sorts and sizes.
pub fn forAll(seed: u64, rounds: usize, comptime body: fn (std.Random, *Pair) anyerror!void) !void {
    const gpa = std.testing.allocator;
    var prng: std.Random.DefaultPrng = .init(seed);
    const random = prng.random();
    var buffer: [3000]f32 = undefined;
    for (0..rounds) |round| {
        const len_max: usize = if (round % 4 == 0) 20 else buffer.len;
        const values = buffer[0 .. 1 + random.uintLessThan(usize, len_max)];
        fillRandom(random, round, values);
        var pair: Pair = try .init(gpa, values);
        defer pair.deinit();
        body(random, &pair) catch |err| {
            std.testing.failPrint("round {d}, {d} values\n", .{ round, values.len });
            return err;
        };
    }
}
