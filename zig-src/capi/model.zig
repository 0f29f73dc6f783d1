//! Models: loading on a thread of the library, what the file says, and its tokenizer.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const pin = @import("core/pin.zig");
const table = @import("core/table.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const ModelObject = @import("core/model_object.zig").ModelObject;
const Error = errors.Error;

pub const functions = .{
    .{
        .name = "vitrine_model_load",
        .function = "load",
        .doc =
        \\Begins to load a GGUF file and returns at once; vitrine_model_state says when it is done. The
        \\handle is the caller's, also after an error, and is given back with vitrine_model_destroy.
        ,
        .params = .{
            .{ "path", "UTF-8; read during the call only." },
            .{ "path_length", "In bytes." },
            .{ "options", "Read during the call only; null: the defaults.", "LoadOptions" },
            .{ "options_length", "In bytes; 0: the defaults." },
            .{ "out_model", "Gets the handle; 0 when there is none." },
        },
    },
    .{
        .name = "vitrine_model_state",
        .function = "state",
        .doc = "How far the loading has come. Never blocks.",
        .params = .{
            .{ "model", "The model." },
            .{ "out", "The caller's; filled as far as it reaches.", "ModelState" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_model_wait",
        .function = "wait",
        .doc = "Blocks until the model is loaded, or can't be, and returns the load's status.",
        .params = .{.{ "model", "The model." }},
    },
    .{
        .name = "vitrine_model_cancel",
        .function = "cancel",
        .doc = "Asks the loader to stop. Returns at once; harmless when nothing loads.",
        .params = .{.{ "model", "The model." }},
    },
    .{
        .name = "vitrine_model_destroy",
        .function = "destroy",
        .doc =
        \\Ends the handle; again is harmless. Sessions keep the model alive below, and its memory is given
        \\back with the last of them.
        ,
        .params = .{.{ "model", "The model." }},
    },
    .{
        .name = "vitrine_model_info",
        .function = "info",
        .doc = "What the model is, and how it runs.",
        .params = .{
            .{ "model", "A loaded model." },
            .{ "out", "The caller's; filled as far as it reaches.", "ModelInfo" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_model_text",
        .function = "text",
        .doc = "A name of the model.",
        .params = .{
            .{ "model", "A loaded model." },
            .{ "which", "A ModelText." },
            .{ "buffer", "The caller's; filled with UTF-8." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "out_length", "Gets the length of the text, also when the buffer is too small." },
        },
    },
    .{
        .name = "vitrine_model_metadata",
        .function = "metadata",
        .doc = "One entry of the file's metadata: a MetadataEntry, its key, and a string's text.",
        .params = .{
            .{ "model", "A loaded model." },
            .{ "index", "Below `metadata_count`." },
            .{ "buffer", "The caller's." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "out_length", "Gets the length of the entry, also when the buffer is too small." },
        },
    },
    .{
        .name = "vitrine_model_array",
        .function = "array",
        .doc =
        \\Elements of an array in the metadata: numbers as they are, little endian; a bool in one byte;
        \\strings as a u32 length and the bytes.
        ,
        .params = .{
            .{ "model", "A loaded model." },
            .{ "index", "Of the metadata entry." },
            .{ "buffer", "The caller's." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "range", "Two u32. In: first element, how many at most. Out: elements and bytes written, as many as fit; when not one fits, the bytes that it needs." },
        },
    },
    .{
        .name = "vitrine_model_tensor",
        .function = "tensor",
        .doc = "One tensor of the file: a TensorInfo, its name, and its format's name.",
        .params = .{
            .{ "model", "A loaded model." },
            .{ "index", "Below `tensor_count`." },
            .{ "buffer", "The caller's." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "out_length", "Gets the length of the entry, also when the buffer is too small." },
        },
    },
    .{
        .name = "vitrine_model_unembed",
        .function = "unembed",
        .doc =
        \\The logits of any residual stream: the last norm and the output matrix, on the calling thread. It
        \\has the bits that the engine has for the last layer's.
        ,
        .params = .{
            .{ "model", "A loaded model." },
            .{ "residual", "[rows][embedding]; read during the call only." },
            .{ "residual_count", "Rows times the width of the hidden state." },
            .{ "out_logits", "[rows][logits]: the caller's; filled." },
            .{ "logit_count", "Rows times the length of a row of logits." },
        },
    },
};

pub fn load(path: ?[*]align(1) const u8, path_length: u32, options: ?[*]const u8, options_length: u32, out_model: ?*align(1) u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    const out = buffers.required(out_model, "the handle", &diag) catch |err| return errors.code(err);
    out.* = 0;
    pin.pin();
    var refused: ?Error = null;
    const given = buffers.slice(u8, path, path_length, "a path", &diag) catch |err| blk: {
        refused = err;
        break :blk &.{};
    };
    const engine_options = loadOptions(given, options, options_length, &diag) catch |err| blk: {
        if (refused == null) refused = err;
        break :blk engine.ModelOptions{};
    };
    const self = ModelObject.create(if (refused == null) given else "", engine_options) catch |err| return errors.code(err);
    out.* = table.add(&self.object) catch |err| {
        table.unpin(&self.object);
        return errors.code(err);
    };
    self.object.diag = diag;
    if (refused == null) self.start() catch |err| {
        self.object.diag.set("expected the system to start a thread, found {s}", .{@errorName(err)});
        refused = err;
    };
    const err = refused orelse return 0;
    self.fail(err);
    return errors.code(err);
}

fn loadOptions(path: []align(1) const u8, bytes: ?[*]const u8, length: u32, diag: *Diagnostic) Error!engine.ModelOptions {
    if (path.len == 0 or std.mem.indexOfScalar(u8, path, 0) != null) {
        diag.set("expected a path without zero bytes, found {d} bytes", .{path.len});
        return error.InvalidArgument;
    }
    const given = try buffers.options(abi.LoadOptions, bytes, length, "load options", diag);
    try buffers.checkFlags(abi.ModelFlags, given.flags, "flags", diag);
    if (given.precision > 1) {
        diag.set("expected precision 0 (float) or 1 (int8), found {d}", .{given.precision});
        return error.InvalidArgument;
    }
    return .{
        .packed_path = try packedPath(given, bytes, length, diag),
        .threads = given.threads,
        .precision = @fromBackingInt(given.precision),
        .vocab_only = buffers.has(given.flags, abi.ModelFlags.vocabulary_only),
    };
}

/// What follows the struct; `buffers.options` has checked the size that it says it has.
fn packedPath(given: abi.LoadOptions, bytes: ?[*]const u8, length: u32, diag: *Diagnostic) Error![]const u8 {
    if (given.packed_path_length == 0) return "";
    const rest = bytes.?[given.size..length];
    if (given.packed_path_length > rest.len) {
        diag.set("expected a path of {d} bytes behind the load options, found {d} bytes", .{ given.packed_path_length, rest.len });
        return error.InvalidArgument;
    }
    const path = rest[0..given.packed_path_length];
    if (std.mem.indexOfScalar(u8, path, 0) != null) {
        diag.set("expected a path of packed weights without zero bytes, found {d} bytes", .{path.len});
        return error.InvalidArgument;
    }
    return path;
}

pub fn state(handle: u32, out: ?[*]u8, length: u32) callconv(.c) i32 {
    const object = table.pin(handle, .model) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    const self = ModelObject.of(object);
    var diag: Diagnostic = .{};
    const phase = self.phase.load(.acquire);
    return errors.code(buffers.fill(abi.ModelState{
        .phase = phase,
        .status = if (phase == @backingInt(abi.ModelPhase.loading)) 0 else @backingInt(self.status),
        .done = @floatFromInt(self.progress.bytes_done.load(.monotonic)),
        .total = @floatFromInt(self.progress.bytes_total.load(.monotonic)),
    }, out, length, &diag));
}

pub fn wait(handle: u32) callconv(.c) i32 {
    const object = table.pin(handle, .model) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    const self = ModelObject.of(object);
    self.loaded.waitUncancelable(table.io);
    return @backingInt(self.status);
}

pub fn cancel(handle: u32) callconv(.c) i32 {
    const object = table.pin(handle, .model) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    ModelObject.of(object).progress.cancel.store(true, .seq_cst);
    return 0;
}

pub fn destroy(handle: u32) callconv(.c) i32 {
    const object = table.remove(handle, .model) orelse return 0;
    ModelObject.of(object).progress.cancel.store(true, .seq_cst);
    table.unpin(object);
    return 0;
}

/// Runs `body` on a loaded model, one caller at a time, and keeps the text of an error.
pub fn withModel(handle: u32, arguments: anytype, comptime body: anytype) i32 {
    const object = table.pin(handle, .model) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    object.lock();
    defer object.unlock();
    const model = ModelObject.of(object).ready() catch |err| return errors.finish(object, err);
    object.diag.len = 0;
    return errors.finish(object, @call(.auto, body, .{ model, &object.diag } ++ arguments));
}

pub fn info(handle: u32, out: ?[*]u8, length: u32) callconv(.c) i32 {
    return withModel(handle, .{ out, length }, fillInfo);
}

fn fillInfo(model: *engine.Model, diag: *Diagnostic, out: ?[*]u8, length: u32) Error!void {
    const found = model.info();
    const has_weights = found.layers != 0;
    try buffers.fill(abi.ModelInfo{
        .vocabulary = found.vocab,
        .logits = if (has_weights) model.vocab() else 0,
        .layers = found.layers,
        .embedding = found.embd,
        .heads = found.heads,
        .kv_heads = found.kv_heads,
        .key_length = found.head_dim_k,
        .value_length = found.head_dim_v,
        .context_train = found.context_train,
        .threads = found.threads,
        .precision = @backingInt(model.precision),
        .bos = model.tokenizer.bos orelse abi.none,
        .eos = model.tokenizer.eos orelse abi.none,
        .tensor_count = @intCast(model.file.tensors.len),
        .metadata_count = @intCast(model.file.metadata.len),
        .has_weights = @intFromBool(has_weights),
        .weights_bytes = @floatFromInt(found.weights_bytes),
        .packed_state = @backingInt(found.packed_state),
    }, out, length, diag);
}

pub fn text(handle: u32, which: u32, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) callconv(.c) i32 {
    return withModel(handle, .{ which, buffer, length, out_length }, copyText);
}

fn copyText(model: *engine.Model, diag: *Diagnostic, which: u32, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) Error!void {
    const found = model.info();
    const names = [_][]const u8{ found.architecture, found.cpu_variant, found.packed_note };
    if (which >= names.len) {
        diag.set("expected a text under {d}, found {d}", .{ names.len, which });
        return error.InvalidArgument;
    }
    try buffers.copyOut(&.{names[which]}, buffer, length, out_length, diag);
}

pub fn metadata(handle: u32, index: u32, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) callconv(.c) i32 {
    return withModel(handle, .{ index, buffer, length, out_length }, copyMetadata);
}

fn copyMetadata(model: *engine.Model, diag: *Diagnostic, index: u32, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) Error!void {
    try checkIndex(index, model.file.metadata.len, "a metadata entry", diag);
    const entry = model.file.metadata[index];
    const kind = std.meta.activeTag(entry.value);
    var header: abi.MetadataEntry = .{ .size = 0, .kind = @backingInt(kind), .key_length = @intCast(entry.key.len) };
    var bytes: []const u8 = "";
    switch (entry.value) {
        .string => |string| bytes = string,
        .array => |elements| {
            header.element_kind = @backingInt(elements.element);
            header.number = @floatFromInt(elements.len);
        },
        .bool => |on| header.low = @intFromBool(on),
        inline .uint64, .int64 => |number| {
            const exact: u64 = @bitCast(number);
            header.low = @truncate(exact);
            header.high = @truncate(exact >> 32);
            header.number = @floatFromInt(number);
        },
        .uint8, .int8, .uint16, .int16, .uint32, .int32, .float32, .float64 => header.number = entry.value.asFloat().?,
    }
    header.text_length = @intCast(bytes.len);
    header.size = @intCast(@sizeOf(abi.MetadataEntry) + entry.key.len + bytes.len);
    try buffers.copyOut(&.{ std.mem.asBytes(&header), entry.key, bytes }, buffer, length, out_length, diag);
}

pub fn array(handle: u32, index: u32, buffer: ?[*]u8, length: u32, range: ?*align(1) [2]u32) callconv(.c) i32 {
    return withModel(handle, .{ index, buffer, length, range }, copyArray);
}

fn copyArray(model: *engine.Model, diag: *Diagnostic, index: u32, buffer: ?[*]u8, length: u32, range: ?*align(1) [2]u32) Error!void {
    const wanted = try buffers.required(range, "the range", diag);
    try checkIndex(index, model.file.metadata.len, "a metadata entry", diag);
    const entry = model.file.metadata[index];
    const elements = entry.value.asArray() orelse {
        diag.set("expected an array in {s}, found {s}", .{ entry.key, @tagName(entry.value) });
        return error.InvalidArgument;
    };
    if (wanted[0] > elements.len) {
        diag.set("expected a first element up to {d}, found {d}", .{ elements.len, wanted[0] });
        return error.InvalidArgument;
    }
    const to = @min(elements.len, @as(usize, wanted[0]) + wanted[1]);
    const out: []u8 = if (length == 0) &.{} else (try buffers.required(buffer, "the buffer", diag))[0..length];
    var writer: std.Io.Writer = .fixed(out);
    for (wanted[0]..to) |i| {
        const before = writer.end;
        writeElement(&writer, elements.at(i)) catch {
            if (i != wanted[0]) {
                wanted.* = .{ @intCast(i - wanted[0]), @intCast(before) };
                return;
            }
            wanted.* = .{ 0, @intCast(elementBytes(elements.at(i))) };
            diag.set("expected a buffer of {d} bytes for one element, found {d}", .{ wanted[1], length });
            return error.BufferTooSmall;
        };
    }
    wanted.* = .{ @intCast(to - wanted[0]), @intCast(writer.end) };
}

fn elementBytes(value: abi.Value) usize {
    return switch (value) {
        .string => |string| 4 + string.len,
        .array => 8,
        inline else => |number| @sizeOf(@TypeOf(number)),
    };
}

/// An array in an array is written as its element type and its length.
fn writeElement(writer: *std.Io.Writer, value: abi.Value) std.Io.Writer.Error!void {
    if (writer.buffer.len - writer.end < elementBytes(value)) return error.WriteFailed;
    switch (value) {
        .string => |string| {
            try writer.writeInt(u32, @intCast(string.len), .little);
            try writer.writeAll(string);
        },
        .array => |nested| {
            try writer.writeInt(u32, @backingInt(nested.element), .little);
            try writer.writeInt(u32, @truncate(nested.len), .little);
        },
        .bool => |on| try writer.writeByte(@intFromBool(on)),
        .float32 => |number| try writer.writeInt(u32, @bitCast(number), .little),
        .float64 => |number| try writer.writeInt(u64, @bitCast(number), .little),
        inline else => |number| try writer.writeInt(@TypeOf(number), number, .little),
    }
}

pub fn tensor(handle: u32, index: u32, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) callconv(.c) i32 {
    return withModel(handle, .{ index, buffer, length, out_length }, copyTensor);
}

fn copyTensor(model: *engine.Model, diag: *Diagnostic, index: u32, buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) Error!void {
    try checkIndex(index, model.file.tensors.len, "a tensor", diag);
    const found = &model.file.tensors[index];
    const format = @tagName(found.format);
    var header: abi.TensorInfo = .{
        .size = @intCast(@sizeOf(abi.TensorInfo) + found.name.len + format.len),
        .name_length = @intCast(found.name.len),
        .format_length = @intCast(format.len),
        .format = @backingInt(found.format),
        .dimension_count = found.n_dims,
        .byte_count = @floatFromInt(found.bytes.len),
        .dimensions = undefined,
    };
    for (&header.dimensions, found.dims) |*to, from| to.* = @floatFromInt(from);
    try buffers.copyOut(&.{ std.mem.asBytes(&header), found.name, format }, buffer, length, out_length, diag);
}

fn checkIndex(index: u32, count: usize, what: []const u8, diag: *Diagnostic) Error!void {
    if (index < count) return;
    diag.set("expected {s} under {d}, found {d}", .{ what, count, index });
    return error.InvalidArgument;
}

pub fn unembed(handle: u32, residual: ?[*]align(1) const f32, residual_count: u32, out_logits: ?[*]align(1) f32, logit_count: u32) callconv(.c) i32 {
    return withModel(handle, .{ residual, residual_count, out_logits, logit_count }, computeLogits);
}

fn computeLogits(
    model: *engine.Model,
    diag: *Diagnostic,
    residual: ?[*]align(1) const f32,
    residual_count: u32,
    out_logits: ?[*]align(1) f32,
    logit_count: u32,
) Error!void {
    const given = try buffers.slice(f32, residual, residual_count, "the residual stream", diag);
    const out = try buffers.required(out_logits, "the logits", diag);
    try engine.unembed.logits(model, given, out[0..logit_count], diag);
}
