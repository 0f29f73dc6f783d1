//! Which model a file is: a hash that stays the same when the file is copied, renamed or touched, and that
//! another model doesn't have. It covers everything before the tensors (metadata, vocabulary, names, shapes
//! and types of all tensors), of each file of a split model, and 192 bytes of each tensor. So it is quick,
//! and notices other weights; what it doesn't notice is an edit within a tensor that spares the bytes
//! looked at. XXH64 with seed 0.

const std = @import("std");
const gguf = @import("../gguf.zig");

/// At the beginning, in the middle and at the end of a tensor.
const piece_bytes = 64;

pub fn of(file: *const gguf.File) u64 {
    var state: std.hash.XxHash64 = .init(0);
    for (file.sources) |*source| {
        const bytes = source.mapping.bytes;
        state.update(bytes[0..@intCast(@min(source.part.data_start, bytes.len))]);
    }
    for (file.tensors) |*tensor| {
        const last = tensor.bytes.len -| piece_bytes;
        for ([_]usize{ 0, last / 2, last }) |at| state.update(tensor.bytes[at..@min(at + piece_bytes, tensor.bytes.len)]);
    }
    return state.final();
}
