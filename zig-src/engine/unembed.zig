//! The logits of any residual stream: what the model would say if it ended there. This is the logit
//! lens (nostalgebraist 2020, "interpreting GPT: the logit lens"). It runs on the caller's thread, beside
//! whatever the engine computes, and has the bits that the engine's own last step has.

const std = @import("std");
const kernel = @import("../kernel.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Model = @import("model.zig").Model;
const run = @import("run.zig");
const weight_module = @import("weight.zig");

pub const Error = error{ OutOfMemory, VocabularyOnly, BadOption, BufferTooSmall };

/// `residual` is [rows, embd], `out` [rows, vocab]. Neither needs an alignment.
pub fn logits(model: *const Model, residual: []align(1) const f32, out: []align(1) f32, diag: *Diagnostic) Error!void {
    if (model.family == null) {
        diag.set("expected a model with weights, found a vocabulary only", .{});
        return error.VocabularyOnly;
    }
    const embd = model.hyper.embd;
    const vocab = model.vocab();
    if (residual.len == 0 or residual.len % embd != 0) {
        diag.set("expected rows of {d} values, found {d} values", .{ embd, residual.len });
        return error.BadOption;
    }
    const rows = residual.len / embd;
    if (out.len != rows * vocab) {
        diag.set("expected room for {d} rows of {d} logits, found {d}", .{ rows, vocab, out.len });
        return error.BufferTooSmall;
    }
    const gpa = model.gpa;
    errdefer if (diag.text().len == 0) diag.set("expected memory for {d} rows of logits, found that the system has not that much", .{rows});
    const stride = std.mem.alignForward(usize, model.kernels.act_bytes(@backingInt(model.precision), embd), 64);
    const acts = try gpa.alignedAlloc(u8, .@"64", stride * run.head_rows_max);
    defer gpa.free(acts);
    const row = try gpa.alignedAlloc(f32, .@"64", embd);
    defer gpa.free(row);
    const found = try gpa.alignedAlloc(f32, .@"64", run.head_rows_max * vocab);
    defer gpa.free(found);
    var from: usize = 0;
    while (from < rows) : (from += run.head_rows_max) {
        const count = @min(run.head_rows_max, rows - from);
        for (0..count) |i| {
            @memcpy(std.mem.sliceAsBytes(row), std.mem.sliceAsBytes(residual[(from + i) * embd ..][0..embd]));
            prepare(model, row, acts, stride, i, count);
        }
        multiply(model, acts, stride, found, count);
        @memcpy(std.mem.sliceAsBytes(out[from * vocab ..][0 .. count * vocab]), std.mem.sliceAsBytes(found[0 .. count * vocab]));
    }
}

fn prepare(model: *const Model, row: []f32, acts: []u8, stride: usize, index: usize, count: usize) void {
    model.kernels.rms_norm(row.ptr, model.output_norm.ptr, row.len, model.hyper.norm_eps, row.ptr);
    model.kernels.prepare(&.{
        .precision = @backingInt(model.precision),
        .kinds = model.output.kind(),
        .x = row.ptr,
        .cols = row.len,
        .from = 0,
        .to = row.len,
        .acts = acts.ptr,
        .act_stride = stride,
        .token = index,
        .n_tokens = count,
    });
}

fn multiply(model: *const Model, acts: []const u8, stride: usize, out: []f32, count: usize) void {
    const weight = &model.output;
    const block = model.kernels.block_tokens(@backingInt(weight.format), @backingInt(model.precision), weight.cols, count);
    var from: usize = 0;
    while (from < count) : (from += block) model.kernels.matmul(&.{
        .format = @backingInt(weight.format),
        .precision = @backingInt(model.precision),
        .panels = weight.panels,
        .panel_from = 0,
        .panel_to = weight.panelCount(),
        .rows = weight.rows,
        .cols = weight.cols,
        .acts = acts.ptr,
        .act_stride = stride,
        .n_tokens = count,
        .token_from = from,
        .token_to = @min(from + block, count),
        .out = out.ptr,
        .out_stride = weight.rows,
        .next = weight.panels,
        .next_bytes = 0,
        .reading = model.reading,
    });
    if (model.hyper.logit_softcap == 0) return;
    for (0..count) |i| model.kernels.softcap(out[i * weight.rows ..].ptr, weight.rows, model.hyper.logit_softcap);
}
