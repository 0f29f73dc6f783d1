//! Sampler chains of a host: stages with their data, and for draws without a session the text before and
//! the texts of tokens.

const std = @import("std");
const backend = @import("../../backend.zig");
const buffers = @import("buffers.zig");
const engine = @import("../../engine.zig");
const errors = @import("errors.zig");
const host = @import("../stage.zig").host;
const sampler = @import("../../sampler.zig");
const table = @import("table.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const ModelObject = @import("model_object.zig").ModelObject;

pub const Specs = [sampler.stages_max]sampler.StageSpec;

/// A record for each stage, and those that hold all data.
const records_max = 2 * sampler.stages_max + sampler.wire.data_bytes_max / @sizeOf(sampler.wire.Record);
/// The most tokens of the text that a draw without a session keeps.
const history_max = 1 << 20;

/// The stages of a host, which stay where they are: valid during its call.
pub fn stages(ptr: ?[*]align(1) const sampler.wire.Record, count: u32, out: *Specs, diag: *Diagnostic) errors.Error![]const sampler.StageSpec {
    if (count > records_max) {
        diag.set("expected at most {d} records of sampler stages, found {d}", .{ records_max, count });
        return error.InvalidArgument;
    }
    const records = try buffers.slice(sampler.wire.Record, ptr, count, "the sampler stages", diag);
    return try sampler.wire.read(records, out, sampler.nameOf, diag);
}

/// What a draw without a session is made of.
pub const Given = struct {
    stages: ?[*]align(1) const sampler.wire.Record,
    stage_count: u32,
    vocabulary: u32,
    seed_low: u32,
    seed_high: u32,
    /// A handle, or 0.
    model: u32,
    /// Token ids of any alignment.
    history: ?[*]align(1) const u32,
    history_count: u32,
    /// How many tokens will follow.
    count: u32,
};

/// A chain that has read the text before, and holds the model that its stages ask.
pub const Drawing = struct {
    chain: sampler.Chain,
    model: ?*table.Object,

    pub fn init(given: Given, diag: *Diagnostic) errors.Error!Drawing {
        if (given.vocabulary > 1 << 24) {
            diag.set("expected a vocabulary of at most {d} tokens, found {d}", .{ 1 << 24, given.vocabulary });
            return error.InvalidArgument;
        }
        var specs: Specs = undefined;
        const wanted = try stages(given.stages, given.stage_count, &specs, diag);
        const before = try buffers.slice(u32, given.history, given.history_count, "the history", diag);
        const model = try pinModel(given.model, diag);
        errdefer if (model) |object| table.unpin(object);
        var chain = try sampler.Chain.initWith(table.gpa, wanted, .{
            .vocab = given.vocabulary,
            .seed = @as(u64, given.seed_high) << 32 | given.seed_low,
            .history_max = @intCast(@min(history_max, @as(u64, given.history_count) + given.count)),
            .vocabulary = if (model) |object| engine.texts(ModelObject.of(object).model.?) else null,
        }, diag);
        errdefer chain.deinit(table.gpa);
        for (before, 0..) |token, index| {
            if (token >= given.vocabulary) {
                diag.set("expected tokens under {d}, found {d} at index {d} of the history", .{ given.vocabulary, token, index });
                return error.InvalidArgument;
            }
            chain.read(&.{token});
        }
        chain.use((try backend.cpu.choose(diag)).sampling);
        chain.host = host();
        return .{ .chain = chain, .model = model };
    }

    pub fn deinit(drawing: *Drawing) void {
        drawing.chain.deinit(table.gpa);
        if (drawing.model) |object| table.unpin(object);
    }
};

fn pinModel(handle: u32, diag: *Diagnostic) errors.Error!?*table.Object {
    if (handle == 0) return null;
    const object = table.pin(handle, .model) orelse {
        diag.set("expected a model, found a handle that names none", .{});
        return error.InvalidHandle;
    };
    if (ModelObject.of(object).phaseNow() == .ready) return object;
    table.unpin(object);
    diag.set("expected a loaded model, found one that isn't", .{});
    return error.NotReady;
}
