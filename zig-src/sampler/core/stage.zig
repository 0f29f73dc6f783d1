//! What a stage is: a file that is a struct. Its first fields are its parameters, in the order of
//! `parameters`; fields after them are its state and have default values. The file declares
//!
//!   pub const id: u32            its number on the wire, never reused
//!   pub const name               the file's name without `.zig`
//!   pub const about              one sentence for lists and help texts
//!   pub const parameters         [_]Parameter, with the ranges that are accepted
//!   pub fn apply(*Stage, *Candidates, Step) Candidates.Error!void
//!   pub fn accept(*Stage, token: u32) void       only when it has state
//!   pub fn state(*const Stage) f32               only when traces shall show a number of it
//!   pub const draws_numbers = true               only when it does
//!
//! A stage allocates nothing. Resetting and cloning need no code, because a stage is a value.

const std = @import("std");
const candidates = @import("candidates.zig");
const philox = @import("philox.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;

/// One stage with its parameters on the wire: 32 bytes, little endian. Parameters that a stage
/// does not have must be 0, so that nothing that was asked for is dropped in silence.
pub const StageSpec = extern struct {
    id: u32,
    flags: u32 = 0,
    p: [slots]f32 = @splat(0),

    pub const slots = 6;

    comptime {
        if (@sizeOf(StageSpec) != 32) @compileError("a stage takes 32 bytes on the wire");
    }
};

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
    /// Who has the code of stages that are functions, if there is somebody.
    host: ?Host = null,

    /// Draw 0 is the final one; a stage uses its id as `draw`, so that no two share a number.
    pub fn uniform(step: Step, draw: u32) f64 {
        return philox.uniform(step.seed, step.sequence, step.position, draw);
    }
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
}

/// The stage that `spec` describes. `number` counts from 1 and is for the message.
pub fn decode(
    comptime Stage: type,
    spec: StageSpec,
    number: usize,
    diag: *Diagnostic,
) error{BadSampler}!Stage {
    if (spec.flags != 0) {
        diag.set("sampler stage {d} ({s}): expected flags to be 0, found {d}", .{
            number, Stage.name, spec.flags,
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
