//! Logit bias: adds a number to the logits of the tokens of a list (OpenAI, API reference, `logit_bias`); -inf
//! takes a token out. Behind a temperature it is added to the divided logits.

const std = @import("std");
const candidates = @import("core/candidates.zig");
const data_file = @import("core/data.zig");
const stage = @import("core/stage.zig");
const LogitBias = @This();

biases: []data_file.Bias = &.{},

pub const id: u32 = 20;
pub const name = "logit_bias";
pub const about = "Adds a number to the logits of some tokens; -inf removes one.";
pub const parameters = [_]stage.Parameter{};
pub const data = stage.Data.biases;

pub fn init(self: *LogitBias, making: stage.Making) stage.MakeError!void {
    const biases = try making.gpa.alloc(data_file.Bias, try data_file.biasCount(making));
    errdefer making.gpa.free(biases);
    for (biases, 0..) |*bias, index| {
        bias.* = try data_file.bias(making, index);
        if (std.math.isFinite(bias.value) or bias.value == -std.math.inf(f32)) continue;
        return making.refuse("expected a bias of token {d} below infinity that is a number, found {d}", .{ bias.token, bias.value });
    }
    std.mem.sort(data_file.Bias, biases, {}, isBefore);
    for (biases[@min(1, biases.len)..], 0..) |bias, before| {
        if (bias.token != biases[before].token) continue;
        return making.refuse("expected one bias of each token, found two of token {d}", .{bias.token});
    }
    self.biases = biases;
}

fn isBefore(_: void, a: data_file.Bias, b: data_file.Bias) bool {
    return a.token < b.token;
}

pub fn deinit(self: *LogitBias, gpa: std.mem.Allocator) void {
    gpa.free(self.biases);
}

pub fn apply(self: *LogitBias, set: *candidates.Candidates, _: stage.Step) candidates.Error!void {
    if (self.biases.len == 0) return;
    for (self.biases) |bias| {
        const index = set.indexOf(bias.token) orelse continue;
        set.change(index, set.values[index] + bias.value / set.beta);
    }
    try set.changed();
}

const reference = @import("core/reference.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

test "biases are added to the logits of their tokens, at every temperature" {
    try reference.forAll(80, 400, struct {
        fn body(random: std.Random, pair: *reference.Pair) !void {
            var biases: [20]data_file.Bias = undefined;
            const count = @min(pair.values.len, 1 + random.uintLessThan(usize, biases.len));
            for (biases[0..count], 0..) |*bias, i| bias.* = .{
                // Some of one block, others anywhere; each once.
                .token = @intCast(if (random.boolean()) i else pair.values.len - count + i),
                .value = if (random.uintLessThan(u32, 4) == 0) -std.math.inf(f32) else random.floatNorm(f32) * 3,
            };
            var self: LogitBias = .{ .biases = biases[0..count] };
            const t = reference.heatAndNarrow(random, pair);
            const before = try std.testing.allocator.dupe(f32, pair.set.values);
            defer std.testing.allocator.free(before);
            const applied = self.apply(&pair.set, reference.step);
            var left: usize = 0;
            for (before, pair.set.values, 0..) |own, found, index| {
                var expected = @as(f64, own) / t;
                for (biases[0..count]) |bias| if (bias.token == pair.set.id(index)) {
                    expected += bias.value;
                };
                try reference.expectLogit(expected, @as(f64, found) / t);
                left += @intFromBool(found > -std.math.inf(f32));
            }
            if (left == 0) return std.testing.expectError(error.NoCandidates, applied);
            try applied;
        }
    }.body);
}

test "what is no list of biases is refused" {
    var diag: Diagnostic = .{};
    const cases = [_]struct { []const u8, []const u8 }{
        .{ "1234", "expected biases of 8 bytes each, found 4 bytes" },
        .{ "\x09\x00\x00\x00\x00\x00\x00\x00", "expected tokens under 9, found 9 in bias 1" },
        .{ "\x01\x00\x00\x00\x00\x00\xc0\x7f", "expected a bias of token 1 below infinity that is a number, found nan" },
        .{ "\x01\x00\x00\x00\x00\x00\x80\x7f", "expected a bias of token 1 below infinity that is a number, found inf" },
        .{
            "\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x80\xff",
            "expected one bias of each token, found two of token 1",
        },
    };
    for (cases) |case| {
        const bytes, const text = case;
        var self: LogitBias = .{};
        const made = self.init(reference.making(.{ .vocab = 9, .data = bytes, .name = name, .diag = &diag }));
        try std.testing.expectError(error.BadSampler, made);
        try std.testing.expectStringStartsWith(diag.text(), "sampler stage 1 (logit_bias): ");
        try std.testing.expectStringEndsWith(diag.text(), text);
    }
}
