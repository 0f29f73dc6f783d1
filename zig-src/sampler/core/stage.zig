//! What a stage is: a file that is a struct. Its first fields are its parameters, in the order of
//! `parameters`; fields after them are its state and have default values. The file declares
//!
//!   pub const id: u32            its number on the wire, never reused
//!   pub const name               the file's name without `.zig`
//!   pub const about              one sentence for lists and help texts
//!   pub const parameters         [_]Parameter, with the ranges that are accepted
//!   pub fn apply(*Stage, *Candidates, Step) Candidates.Error!void
//!   pub fn accept(*Stage, Accepted) void         only when it follows what is chosen
//!   pub fn remembers(*const Stage) u32           only when it looks at `step.history`: how many of the
//!                                                last tokens, `whole_text` for all
//!   pub fn state(*const Stage) f32               only when traces shall show a number of it
//!   pub fn complaint(*const Stage) []const u8    only when it can fail for reasons of its own: what was
//!                                                expected and found when `apply` failed, or nothing
//!   pub fn outcome(*const Stage, Accepted) f32   only when traces shall show what it says of a choice
//!   pub fn tosses(*const Stage, Step) bool       only when it draws a number: the coin that says which of
//!                                                two things `apply` does
//!   pub const draws_numbers = true               only when it draws numbers in another way
//!   pub const by_blocks = true                   only when it reads no `values` of a whole vocabulary, but asks
//!                                                the set: `best`, `keep`, `mass`, `head.keep`
//!   pub const data: Data                         only when it has data beside its numbers
//!
//! A stage without memory of its own is a value: resetting and copying it need no code. One that has
//! data, or takes memory, also declares
//!
//!   pub fn init(*Stage, Making) MakeError!void   when the numbers are in their fields; everything is
//!                                                taken here, nothing while it samples
//!   pub fn deinit(*Stage, std.mem.Allocator) void
//!   pub fn reset(*Stage) void                    only when it has state: as behind `init`
//!   pub fn copy(*Stage, *const Stage) void       only when it has state: takes over that of a stage
//!                                                which was made from the same numbers and data

const std = @import("std");
const candidates = @import("candidates.zig");
const philox = @import("philox.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const Vocabulary = @import("vocabulary.zig").Vocabulary;

/// One stage with its parameters. Those that it does not have must be 0, so that nothing that was asked
/// for is dropped in silence. `core/wire.zig` has its form in bytes.
pub const StageSpec = struct {
    id: u32,
    p: [slots]f32 = @splat(0),
    /// What `Stage.data` says; read while a chain is made only.
    data: []const u8 = "",

    pub const slots = 6;
};

/// What a stage has beside its numbers, little endian. `data.zig` reads it.
pub const Data = enum {
    none,
    /// Pairs of a token's id (u32) and a number (f32).
    biases,
    /// Each a length (u32) and so many bytes of UTF-8.
    strings,
    /// UTF-8.
    text,
};

/// Of `remembers`: as many tokens as the chain keeps.
pub const whole_text = std.math.maxInt(u32);

/// A token that is now part of the text.
pub const Accepted = struct {
    token: u32,
    /// In the distribution that tokens were drawn from; 0 for one that could not have been.
    probability: f32 = 0,
    /// ln p in the model's own distribution; NaN where nobody knows.
    logprob: f32 = std.math.nan(f32),
};

/// What a stage with memory is made from.
pub const Making = struct {
    gpa: std.mem.Allocator,
    data: []const u8,
    /// How many tokens there are: length of a row of logits.
    vocab: u32,
    /// The most tokens that `step.history` can have.
    history_max: u32,
    /// The texts of tokens; null in draws without a model.
    vocabulary: ?Vocabulary,
    /// Which stage of the chain it is, from 1, and its name.
    number: usize,
    name: []const u8,
    diag: *Diagnostic,

    /// Refuses the stage: `format` says what was expected and what was found.
    pub fn refuse(making: Making, comptime format: []const u8, args: anytype) error{BadSampler} {
        making.diag.set("sampler stage {d} ({s}): " ++ format, .{ making.number, making.name } ++ args);
        return error.BadSampler;
    }

    /// The texts of tokens, which the stage can't do without; `why` ends "expected a model for …".
    pub fn texts(making: Making, why: []const u8) error{BadSampler}!Vocabulary {
        return making.vocabulary orelse making.refuse("expected a model for {s}, found none", .{why});
    }
};

pub const MakeError = error{ OutOfMemory, BadSampler };

pub const Parameter = struct {
    name: [:0]const u8,
    min: f32,
    max: f32,
    /// Only whole numbers are accepted; the field is a u32.
    whole: bool = false,
};

/// Where in the text a stage stands: what its random numbers are keyed by.
pub const Step = struct {
    seed: u64,
    sequence: u32,
    position: u64,
    /// The last tokens of the text, the prompt's too, oldest first: at least as many as the stage
    /// remembers, if there are so many. Valid during the call.
    history: []const u32 = &.{},
    /// Who has the code of stages that are functions, if there is somebody.
    host: ?Host = null,
    /// Logits of the whole vocabulary that a stage may be guided by, if somebody has them.
    guide: ?[]const f32 = null,
    /// Who evaluates tokens before one is chosen, if somebody can.
    ahead: ?Ahead = null,

    /// Draw 0 is the final one; a stage uses its id as `draw`, so that no two share a number.
    pub fn uniform(step: Step, draw: u32) f64 {
        return philox.uniform(step.seed, step.sequence, step.position, draw);
    }
};

/// Tokens that `Ahead` takes, at most.
pub const ahead_max = 32;

/// Evaluates candidates, and tells how much each repeats the text.
pub const Ahead = struct {
    context: *anyopaque,
    /// For each token the largest cosine of its hidden state and those of the text; null when that is
    /// known only after a pass of the model: the stage then returns `error.LookAhead`, and is applied again.
    ask: *const fn (context: *anyopaque, ids: []const u32) ?[]const f32,
};

/// Runs functions that are no part of the engine.
pub const Host = struct {
    context: *anyopaque,
    /// Lets function `number` see the candidates and write their logits; false when it didn't end.
    ask: *const fn (context: *anyopaque, number: u32, step: Step, ids: []const u32, logits: []f32) bool,
};

/// Refuses a member that lacks a declaration, with a text that says which.
pub fn check(comptime Stage: type) void {
    const file = @typeName(Stage);
    for (.{ "id", "name", "about", "parameters", "apply" }) |declaration| {
        if (!@hasDecl(Stage, declaration)) {
            @compileError("sampler stage " ++ file ++ " lacks `pub const/fn " ++ declaration ++ "`");
        }
    }
    if (Stage.id == 0) @compileError("sampler stage " ++ file ++ ": id 0 is not allowed");
    if (Stage.parameters.len > StageSpec.slots) {
        @compileError("sampler stage " ++ file ++ " has more parameters than a StageSpec");
    }
    const info = @typeInfo(Stage).@"struct";
    for (Stage.parameters, 0..) |parameter, slot| {
        if (!std.mem.eql(u8, info.field_names[slot], parameter.name)) {
            @compileError("sampler stage " ++ file ++ ": field " ++ info.field_names[slot] ++
                " stands where parameter " ++ parameter.name ++ " is expected");
        }
        const Field = if (parameter.whole) u32 else f32;
        if (info.field_types[slot] != Field) {
            @compileError("sampler stage " ++ file ++ ": parameter " ++ parameter.name ++
                " must be of type " ++ @typeName(Field));
        }
    }
    if (@hasDecl(Stage, "init") != @hasDecl(Stage, "deinit")) {
        @compileError("sampler stage " ++ file ++ " must declare both of init and deinit, or none");
    }
    if (dataOf(Stage) != .none and !@hasDecl(Stage, "init")) {
        @compileError("sampler stage " ++ file ++ " has data, and no init that reads it");
    }
    if (@hasDecl(Stage, "init") and @hasDecl(Stage, "accept")) for (.{ "reset", "copy" }) |declaration| {
        if (!@hasDecl(Stage, declaration)) @compileError("sampler stage " ++ file ++ " has memory and state, and lacks `pub fn " ++ declaration ++ "`");
    };
}

/// What data a stage has.
pub fn dataOf(comptime Stage: type) Data {
    return if (@hasDecl(Stage, "data")) Stage.data else .none;
}

/// The last `count` tokens of a history, or all.
pub fn last(history: []const u32, count: u32) []const u32 {
    return history[history.len - @min(history.len, count) ..];
}

/// The stage that `spec` describes, before `init`. `number` counts from 1 and is for the message.
pub fn decode(
    comptime Stage: type,
    spec: StageSpec,
    number: usize,
    diag: *Diagnostic,
) error{BadSampler}!Stage {
    if (spec.data.len != 0 and dataOf(Stage) == .none) {
        diag.set("sampler stage {d} ({s}): expected no data, found {d} bytes", .{
            number, Stage.name, spec.data.len,
        });
        return error.BadSampler;
    }
    for (spec.p[Stage.parameters.len..], Stage.parameters.len..) |value, slot| {
        if (value == 0) continue;
        diag.set("sampler stage {d} ({s}): expected {d} parameter{s}, found {d} in place {d}", .{
            number, Stage.name, Stage.parameters.len, if (Stage.parameters.len == 1) "" else "s",
            value,  slot + 1,
        });
        return error.BadSampler;
    }
    var stage: Stage = undefined;
    const info = @typeInfo(Stage).@"struct";
    inline for (Stage.parameters, 0..) |parameter, slot| {
        const value = spec.p[slot];
        try checkRange(parameter, value, Stage.name, number, diag);
        @field(stage, parameter.name) = if (parameter.whole) @intFromFloat(value) else value;
    }
    inline for (info.field_names[Stage.parameters.len..], Stage.parameters.len..) |field, index| {
        @field(stage, field) = info.field_attrs[index].defaultValue(info.field_types[index]).?;
    }
    return stage;
}

fn checkRange(
    parameter: Parameter,
    value: f32,
    stage: []const u8,
    number: usize,
    diag: *Diagnostic,
) error{BadSampler}!void {
    // Written so that NaN fails.
    const inside = value >= parameter.min and value <= parameter.max;
    if (inside and (!parameter.whole or value == @floor(value))) return;
    diag.set("sampler stage {d} ({s}): expected {s} to be a {s} from {d} to {d}, found {d}", .{
        number,
        stage,
        parameter.name,
        if (parameter.whole) "whole number" else "number",
        parameter.min,
        parameter.max,
        value,
    });
    return error.BadSampler;
}
