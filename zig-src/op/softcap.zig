//! x = cap * tanh(x / cap): limits logits and attention scores smoothly (Gemma 2 report, 2024).

const std = @import("std");
const Tolerance = @import("shared/tolerance.zig").Tolerance;

pub const name = "softcap";
/// tanh of the kernels is within 1e-6 of the result; division and product round once each.
pub const tolerance: Tolerance = .{ .relative = 2e-6 };

/// A cap of 0 means that there is none; whoever calls leaves the operation out.
pub fn check(cap: f32) error{Shape}!void {
    if (!(cap > 0)) return error.Shape;
}

pub fn reference(x: []f32, cap: f32) void {
    for (x) |*value| value.* = cap * std.math.tanh(value.* / cap);
}
