//! Takes the tensors of a file into a model: shapes are checked against the hyperparameters, then
//! vectors are decoded to f32 and matrices packed by the whole team (`packing.zig`). Pages of the file
//! are handed back to the system meanwhile, so that the weights exist once in memory.

const std = @import("std");
const arch = @import("../arch.zig");
const gguf = @import("../gguf.zig");
const packed_file = @import("packed_file.zig");
const packing = @import("packing.zig");
const memory = @import("../memory.zig");
const quant = @import("../quant.zig");
const layer_table = @import("../arch/block/layer.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Frequencies = @import("../arch/block/rope.zig").Frequencies;
const model_module = @import("model.zig");
const Model = model_module.Model;
const Progress = model_module.Progress;
const Weight = @import("weight.zig").Weight;

pub const Error = arch.Error || error{ OutOfMemory, MissingTensor, BadTensorShape, Cancelled };

/// Fills the model's weights. On an error the caller frees the panels.
pub fn loadWeights(model: *Model, progress: *Progress, diag: *Diagnostic) Error!void {
    const arena = model.arena.allocator();
    const h = &model.hyper;
    const reader: Reader = .{ .model = model, .diag = diag };

    const embd = model.file.findTensor("token_embd.weight") orelse return reader.missing("token_embd.weight");
    if (embd.n_dims != 2 or embd.dims[0] != h.embd or embd.dims[1] == 0 or embd.dims[1] > 1 << 24) {
        return reader.badShape("token_embd.weight", embd, h.embd, null);
    }
    const vocab: u32 = @intCast(embd.dims[1]);
    if (vocab < model.tokenizer.count()) {
        diag.set("expected an embedding for each of the vocabulary's {d} tokens, found {d}", .{ model.tokenizer.count(), vocab });
        return error.BadTensorShape;
    }
    model.token_embd = .{ .format = embd.format, .rows = vocab, .cols = h.embd, .tensor = embd };
    // Without an output matrix of its own a model uses its embeddings.
    model.output = try reader.matrix("output.weight", vocab, h.embd) orelse model.token_embd;
    model.output_norm = try reader.vector("output_norm.weight", h.embd) orelse return reader.missing("output_norm.weight");
    model.layers = try arena.alloc(arch.Layer, h.layers);
    for (model.layers, 0..) |*layer, i| {
        layer.* = try readLayer(reader, i);
    }
    try readFrequencies(reader);
    try pack(model, progress, diag);
}

pub fn freePanels(model: *Model) void {
    if (model.panels_file) |*mapping| mapping.close(model.gpa);
    model.panels_file = null;
    memory.free(model.panels_memory);
    model.panels_memory = &.{};
    model.panels = &.{};
}

fn readLayer(reader: Reader, index: usize) Error!arch.Layer {
    const h = &reader.model.hyper;
    var layer: arch.Layer = undefined;
    inline for (comptime std.meta.fieldNames(arch.Layer)) |field| {
        // Fields that the family has no slot for keep their default.
        if (@FieldType(arch.Layer, field) == ?[]const f32) @field(layer, field) = null;
        for (reader.model.family.?.slots) |slot| {
            if (!std.mem.eql(u8, slot.name, field)) continue;
            var buffer: [96]u8 = undefined;
            const name = std.fmt.bufPrint(&buffer, "blk.{d}.{s}.weight", .{ index, slot.name }) catch unreachable;
            const cols = slot.cols.of(h);
            if (@FieldType(arch.Layer, field) == arch.Linear) {
                const rows = slot.rows.?.of(h);
                const weight = try reader.matrix(name, rows, cols) orelse return reader.missing(name);
                @field(layer, field) = .{ .weight = weight, .bias = try readBias(reader, slot, index, rows) };
            } else {
                @field(layer, field) = try reader.vector(name, cols) orelse return reader.missing(name);
            }
        }
    }
    return layer;
}

fn readBias(reader: Reader, slot: arch.Slot, index: usize, rows: u32) Error!?[]const f32 {
    if (slot.bias == .none) return null;
    var buffer: [96]u8 = undefined;
    const name = std.fmt.bufPrint(&buffer, "blk.{d}.{s}.bias", .{ index, slot.name }) catch unreachable;
    const bias = try reader.vector(name, rows);
    if (bias == null and slot.bias == .required) return reader.missing(name);
    return bias;
}

fn readFrequencies(reader: Reader) Error!void {
    const model = reader.model;
    const h = &model.hyper;
    const arena = model.arena.allocator();
    const half = h.rope.dim / 2;
    const llama3 = try reader.vector("rope_freqs.weight", half);
    const short = try reader.vector("rope_factors_short.weight", half);
    const long = try reader.vector("rope_factors_long.weight", half);
    for ([_]?[]const f32{ llama3, short, long }) |factors| for (factors orelse &.{}) |factor| {
        if (!(factor > 0 and factor < 1e9)) {
            reader.diag.set("expected rotary frequency factors over 0, found {d}", .{factor});
            return error.BadMetadata;
        }
    };
    model.frequencies[0] = try Frequencies.init(arena, h.rope, short orelse llama3, long orelse llama3);
    model.frequencies[1] = try Frequencies.init(arena, h.rope_local orelse h.rope, null, null);
}

/// Finds tensors and checks their shapes.
const Reader = struct {
    model: *Model,
    diag: *Diagnostic,

    fn missing(reader: Reader, name: []const u8) Error {
        reader.diag.set("expected tensor {s}, found none", .{name});
        return error.MissingTensor;
    }

    fn badShape(reader: Reader, name: []const u8, found: *const gguf.Tensor, cols: u64, rows: ?u64) Error {
        if (rows) |r| {
            reader.diag.set("expected tensor {s} to have the shape [{d}, {d}], found {any}", .{ name, cols, r, found.dims[0..found.n_dims] });
        } else {
            reader.diag.set("expected tensor {s} to have rows of {d}, found {any}", .{ name, cols, found.dims[0..found.n_dims] });
        }
        return error.BadTensorShape;
    }

    /// Null when the file has no such tensor.
    fn matrix(reader: Reader, name: []const u8, rows: u32, cols: u32) Error!?Weight {
        const tensor = reader.model.file.findTensor(name) orelse return null;
        if (tensor.dims[0] != cols or tensor.dims[1] != rows or tensor.dims[2] != 1 or tensor.dims[3] != 1) {
            return reader.badShape(name, tensor, cols, rows);
        }
        return .{ .format = tensor.format, .rows = rows, .cols = cols, .tensor = tensor };
    }

    /// Decoded to f32; null when the file has no such tensor.
    fn vector(reader: Reader, name: []const u8, len: u32) Error!?[]const f32 {
        const tensor = reader.model.file.findTensor(name) orelse return null;
        if (tensor.dims[0] != len or tensor.dims[1] != 1 or tensor.dims[2] != 1 or tensor.dims[3] != 1) {
            return reader.badShape(name, tensor, len, 1);
        }
        const values = try reader.model.arena.allocator().alloc(f32, len);
        quant.decodeRow(tensor.format, tensor.bytes, values);
        reader.model.vector_bytes += len * @sizeOf(f32);
        return values;
    }
};

/// Packs every matrix into one region, or maps a file in which that has been done.
fn pack(model: *Model, progress: *Progress, diag: *Diagnostic) Error!void {
    const weights = try matrices(model);
    defer model.gpa.free(weights);
    packOrMap(model, weights, progress, diag) catch |err| {
        if (err == error.Cancelled) diag.set("loading was cancelled", .{});
        return err;
    };
    model.file.advise(.dont_need);
}

/// Every matrix that is packed, in the order of the panels. The caller frees the list.
pub fn matrices(model: *Model) error{OutOfMemory}![]*Weight {
    const gpa = model.gpa;
    var weights: std.ArrayList(*Weight) = .empty;
    defer weights.deinit(gpa);
    try weights.append(gpa, &model.output);
    for (model.layers) |*layer| {
        inline for (comptime std.meta.fieldNames(arch.Layer)) |field| {
            if (@FieldType(arch.Layer, field) == arch.Linear) try weights.append(gpa, &@field(layer, field).weight);
        }
    }
    return weights.toOwnedSlice(gpa);
}

fn packOrMap(model: *Model, weights: []const *Weight, progress: *Progress, diag: *Diagnostic) Error!void {
    if (model.options.packed_path.len == 0) return packIntoMemory(model, weights, progress, diag);
    var file: packed_file.PackedFile = try .init(model, weights, model.options.packed_path, progress);
    defer file.deinit();
    if (try file.open(&model.packed_note)) |mapping| {
        model.panels_file = mapping;
        model.packed_state = .mapped;
        return place(model, weights, file.payload(mapping.bytes));
    }
    try packIntoMemory(model, weights, progress, diag);
    model.packed_state = try file.write(model.panels, &model.packed_note);
}

fn packIntoMemory(model: *Model, weights: []const *Weight, progress: *Progress, diag: *Diagnostic) Error!void {
    const gpa = model.gpa;
    var total: usize = 0;
    var source_total: usize = 0;
    for (weights) |weight| {
        total += packing.alignedBytes(model, weight);
        source_total += weight.tensor.bytes.len;
    }
    progress.bytes_total.store(progress.bytes_done.load(.monotonic) + source_total, .monotonic);
    model.panels_memory = memory.alloc(total, .huge) catch {
        diag.set("expected {d} bytes of memory for the weights, found that the system has not that much", .{total});
        return error.OutOfMemory;
    };
    place(model, weights, model.panels_memory);
    var job: packing.Job = try .init(gpa, model, weights, progress);
    defer job.deinit(gpa);
    model.team.run(model.threads, &job, packing.Job.run);
    if (progress.cancel.load(.monotonic)) return error.Cancelled;
}

/// Tells every matrix where its panels are.
fn place(model: *Model, weights: []const *Weight, panels: []const u8) void {
    model.panels = panels;
    var offset: usize = 0;
    for (weights) |weight| {
        weight.panels = panels[offset..].ptr;
        offset += packing.alignedBytes(model, weight);
    }
    std.debug.assert(offset == panels.len);
}
