//! The sampler: from a row of logits to a token. A chain is the user's ordered list of stages,
//! each of which narrows or reshapes the set of candidates, followed by one draw.
//!
//! Promises. The same logits, stages, seed, sequence and position give the same token, whatever
//! was sampled before. Sampling allocates nothing and sorts no more than a few dozen values. What
//! is out of range, not a number or empty is an error with a text, and the chain stays usable.
//!
//! It knows nothing of the engine, of models or of tokenizers.

const std = @import("std");
const chain_file = @import("sampler/core/chain.zig");
const stage_file = @import("sampler/core/stage.zig");
const candidates_file = @import("sampler/core/candidates.zig");
const top = @import("sampler/core/top.zig");

/// The registry. Each member is a file of `sampler/`; see its README.
pub const stages = .{
    @import("sampler/greedy.zig"),
    @import("sampler/temperature.zig"),
    @import("sampler/top_k.zig"),
    @import("sampler/top_p.zig"),
    @import("sampler/min_p.zig"),
    @import("sampler/typical.zig"),
    @import("sampler/top_n_sigma.zig"),
    @import("sampler/epsilon_cutoff.zig"),
    @import("sampler/eta_cutoff.zig"),
    @import("sampler/tail_free.zig"),
    @import("sampler/top_a.zig"),
    @import("sampler/dynamic_temperature.zig"),
    @import("sampler/p_less.zig"),
    @import("sampler/min_k.zig"),
    @import("sampler/xtc.zig"),
    @import("sampler/repetition_penalty.zig"),
    @import("sampler/presence_penalty.zig"),
    @import("sampler/frequency_penalty.zig"),
    @import("sampler/no_repeat_ngram.zig"),
    @import("sampler/logit_bias.zig"),
    @import("sampler/dry.zig"),
    @import("sampler/mirostat.zig"),
    @import("sampler/mirostat_v2.zig"),
    @import("sampler/adaptive_p.zig"),
    @import("sampler/grammar.zig"),
    @import("sampler/guidance.zig"),
    @import("sampler/contrastive_search.zig"),
    @import("sampler/script.zig"),
};

pub const Chain = chain_file.ChainType(stages);
pub const Choice = chain_file.Choice;
pub const Error = chain_file.Error;
pub const Event = chain_file.Event;
pub const Observer = chain_file.Observer;
pub const stages_max = chain_file.stages_max;

pub const Accepted = stage_file.Accepted;
pub const Candidates = candidates_file.Candidates;
pub const Data = stage_file.Data;
pub const dataOf = stage_file.dataOf;
pub const Host = stage_file.Host;
pub const Ahead = stage_file.Ahead;
pub const ahead_max = stage_file.ahead_max;
pub const Options = chain_file.Options;
pub const Parameter = stage_file.Parameter;
pub const StageSpec = stage_file.StageSpec;
pub const Step = stage_file.Step;
pub const TokenLogprob = top.TokenLogprob;
pub const Vocabulary = @import("sampler/core/vocabulary.zig").Vocabulary;
/// The passes over all logits; `Chain.use` takes those of a CPU variant.
pub const Passes = @import("sampler/core/sweep.zig").Passes;
pub const topLogprobs = top.topLogprobs;
/// What a pass over a row found, for `Chain.sampleKnown`.
pub const Known = candidates_file.Known;
pub const Row = candidates_file.Row;

pub const philox = @import("sampler/core/philox.zig");

/// One stage in bytes, and what reads a list of them.
pub const wire = @import("sampler/core/wire.zig");

/// The name of the stage with this id.
pub fn nameOf(id: u32) ?[]const u8 {
    inline for (stages) |Stage| if (Stage.id == id) return Stage.name;
    return null;
}

/// A stage by its name: `spec("top_p", .{0.9})`.
pub fn spec(comptime name: []const u8, parameters: anytype) StageSpec {
    inline for (stages) |Stage| {
        if (comptime std.mem.eql(u8, Stage.name, name)) {
            if (parameters.len != Stage.parameters.len) {
                @compileError("wrong number of parameters for sampler stage " ++ name);
            }
            var result: StageSpec = .{ .id = Stage.id };
            inline for (parameters, 0..) |value, slot| result.p[slot] = value;
            return result;
        }
    }
    @compileError("no sampler stage is called " ++ name);
}

/// The same for one that has data.
pub fn specWith(comptime name: []const u8, parameters: anytype, data: []const u8) StageSpec {
    var result = spec(name, parameters);
    result.data = data;
    return result;
}

test {
    inline for (stages) |Stage| _ = Stage;
    _ = wire;
    _ = Vocabulary;
    _ = @import("sampler/core/breakers.zig");
    _ = @import("sampler/core/data.zig");
    _ = @import("sampler/core/history.zig");
    _ = @import("sampler/core/token_table.zig");
    _ = chain_file;
    _ = philox;
    _ = top;
    _ = @import("sampler/core/closest.zig");
    _ = @import("sampler/core/counts.zig");
    _ = @import("sampler/core/draw.zig");
    _ = @import("sampler/core/gather.zig");
    _ = @import("sampler/core/half.zig");
    _ = @import("sampler/core/head.zig");
    _ = @import("sampler/core/mask.zig");
    _ = @import("sampler/core/maxima.zig");
    _ = @import("sampler/core/reference.zig");
    _ = @import("sampler/core/remove.zig");
    _ = @import("sampler/core/select.zig");
    _ = @import("sampler/core/sweep.zig");
    _ = @import("sampler/core/test_chain.zig");
    _ = @import("sampler/core/test_draw.zig");
    _ = @import("sampler/core/test_known.zig");
    _ = @import("sampler/core/test_memory.zig");
    _ = @import("sampler/core/untouched_memory.zig");
}

test "every file of sampler/ is registered under its name" {
    const io = std.testing.io;
    var dir = try std.Io.Dir.cwd().openDir(io, "zig-src/sampler", .{ .iterate = true });
    defer dir.close(io);
    var files: usize = 0;
    var entries = dir.iterate();
    while (try entries.next(io)) |entry| {
        if (entry.kind != .file) continue;
        if (!std.mem.endsWith(u8, entry.name, ".zig")) continue;
        files += 1;
        const name = entry.name[0 .. entry.name.len - ".zig".len];
        const known = inline for (stages) |Stage| {
            if (std.mem.eql(u8, Stage.name, name)) break true;
        } else false;
        if (known) continue;
        std.debug.print("zig-src/sampler/{s} is not in the registry of zig-src/sampler.zig\n", .{entry.name});
        return error.TestUnregisteredStage;
    }
    try std.testing.expectEqual(stages.len, files);
}

test "spec fills a stage by its name" {
    const found = spec("top_p", .{0.5});
    try std.testing.expectEqual(StageSpec{ .id = 4, .p = .{ 0.5, 0, 0, 0, 0, 0 } }, found);
    try std.testing.expectEqualStrings("top_p", nameOf(4).?);
    try std.testing.expectEqual(null, nameOf(0));
}
