//! Rounds f32 values to the format of a KV cache: f32; f16 or bf16, to nearest even; q8_0. Where the
//! bytes lie in a page of the cache is `kernel/attention/page.zig`'s matter.

const std = @import("std");
const quant = @import("../quant.zig");
const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "kv_store";
/// The bytes are those of the format's own encoder: nothing may differ.
pub const tolerance: Tolerance = .{ .relative = 0 };

pub fn check(format: quant.Format, n: usize, bytes: usize) error{Shape}!void {
    const of = quant.info(format);
    if (n % of.block_len != 0 or !of.can_encode) return error.Shape;
    if (bytes != n / of.block_len * of.block_bytes) return error.Shape;
}

pub fn reference(format: quant.Format, x: []const f32, bytes: []u8) void {
    quant.encodeRow(format, x, bytes) catch unreachable;
}
