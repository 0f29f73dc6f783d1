//! The tensor formats of GGUF files: one member a file, each turning blocks of stored bytes into
//! f32 and, where the format is one that people write, back.
//!
//! `formats` is the registry. Everything else here, the `Format` enum included, is derived from it,
//! so that a new format is one file in `quant/` and one line below; see `quant/README.md`. Numbers
//! (type ids, block layouts, codebooks) are those of the GGUF specification and the block
//! definitions that go with it.
//!
//! Blocks lie at any byte address: all access is through `align(1)` pointers. Multi-byte fields are
//! in this machine's byte order; `swapEndian` converts a row from a file of the other order.
//! Lengths are asserted: whoever reads a file has checked them with `rowBytes`.

const std = @import("std");
const assert = std.debug.assert;
pub const Groups = @import("quant/shared/groups.zig").Groups;

/// The registry.
pub const formats = .{
    @import("quant/f32.zig"),
    @import("quant/f16.zig"),
    @import("quant/bf16.zig"),
    @import("quant/f64.zig"),
    @import("quant/i8.zig"),
    @import("quant/i16.zig"),
    @import("quant/i32.zig"),
    @import("quant/i64.zig"),
    @import("quant/q4_0.zig"),
    @import("quant/q4_1.zig"),
    @import("quant/q5_0.zig"),
    @import("quant/q5_1.zig"),
    @import("quant/q8_0.zig"),
    @import("quant/q8_1.zig"),
    @import("quant/q2_k.zig"),
    @import("quant/q3_k.zig"),
    @import("quant/q4_k.zig"),
    @import("quant/q5_k.zig"),
    @import("quant/q6_k.zig"),
    @import("quant/q8_k.zig"),
    @import("quant/iq1_s.zig"),
    @import("quant/iq1_m.zig"),
    @import("quant/iq2_xxs.zig"),
    @import("quant/iq2_xs.zig"),
    @import("quant/iq2_s.zig"),
    @import("quant/iq3_xxs.zig"),
    @import("quant/iq3_s.zig"),
    @import("quant/iq4_nl.zig"),
    @import("quant/iq4_xs.zig"),
    @import("quant/tq1_0.zig"),
    @import("quant/tq2_0.zig"),
    @import("quant/mxfp4.zig"),
    @import("quant/nvfp4.zig"),
};

/// One tag a member: its `name`, with its GGUF type id as value.
pub const Format = derived: {
    @setEvalBranchQuota(10_000);
    var names: [formats.len][:0]const u8 = undefined;
    var ids: [formats.len]u32 = undefined;
    for (formats, &names, &ids, 0..) |M, *name, *id, i| {
        checkMember(M);
        name.* = M.name;
        id.* = M.id;
        for (ids[0..i], names[0..i]) |other, other_name| {
            if (other == M.id) @compileError(std.fmt.comptimePrint(
                "expected GGUF type ids to differ, found {d} in both {s} and {s}",
                .{ other, other_name, M.name },
            ));
        }
    }
    break :derived @Enum(u32, .exhaustive, &names, &ids);
};

/// The member's file, as a namespace.
pub fn Member(comptime format: Format) type {
    @setEvalBranchQuota(10_000);
    for (formats) |M| {
        if (M.id == @backingInt(format)) return M;
    }
    unreachable;
}

/// The format with this GGUF type id, or null: the id is unknown, or was withdrawn.
pub fn fromId(id: u32) ?Format {
    return std.enums.fromInt(Format, id);
}

pub const Info = struct {
    name: []const u8,
    /// Values in a block.
    block_len: u32,
    block_bytes: u32,
    bits_per_value: f32,
    can_encode: bool,
};

pub fn info(format: Format) Info {
    switch (format) {
        inline else => |tag| {
            const M = Member(tag);
            return .{
                .name = M.name,
                .block_len = M.block_len,
                .block_bytes = M.block_bytes,
                .bits_per_value = 8.0 * @as(f32, M.block_bytes) / M.block_len,
                .can_encode = @hasDecl(M, "encodeBlock"),
            };
        },
    }
}

/// The bytes that a row of so many values takes.
pub fn rowBytes(format: Format, values: u64) error{ NotWholeBlocks, Overflow }!u64 {
    const of = info(format);
    if (values % of.block_len != 0) return error.NotWholeBlocks;
    return std.math.mul(u64, values / of.block_len, of.block_bytes);
}

/// Decodes whole blocks: the scalar reference.
pub fn decodeRow(format: Format, bytes: []const u8, out: []f32) void {
    switch (format) {
        inline else => |tag| {
            const M = Member(tag);
            assert(out.len % M.block_len == 0);
            const n = out.len / M.block_len;
            assert(bytes.len == n * M.block_bytes);
            const blocks: [*]align(1) const M.Block = @ptrCast(bytes.ptr);
            for (blocks[0..n], 0..) |*block, i| {
                M.decodeBlock(block, out[i * M.block_len ..][0..M.block_len]);
            }
        },
    }
}

/// Encodes whole blocks. Block formats limit values to the f16 range and take NaN as 0; plain
/// floats round to nearest even.
pub fn encodeRow(format: Format, values: []const f32, bytes: []u8) error{CannotEncode}!void {
    switch (format) {
        inline else => |tag| {
            const M = Member(tag);
            if (!@hasDecl(M, "encodeBlock")) return error.CannotEncode;
            assert(values.len % M.block_len == 0);
            const n = values.len / M.block_len;
            assert(bytes.len == n * M.block_bytes);
            const blocks: [*]align(1) M.Block = @ptrCast(bytes.ptr);
            for (blocks[0..n], 0..) |*block, i| {
                M.encodeBlock(values[i * M.block_len ..][0..M.block_len], block);
            }
        },
    }
}

/// Reverses the bytes of every multi-byte field of every block, in place: turns a row of a
/// big-endian file into one of this machine, or the other way round.
pub fn swapEndian(format: Format, bytes: []u8) void {
    switch (format) {
        inline else => |tag| {
            const M = Member(tag);
            assert(bytes.len % M.block_bytes == 0);
            const blocks: [*]align(1) M.Block = @ptrCast(bytes.ptr);
            for (blocks[0 .. bytes.len / M.block_bytes]) |*block| swapFields(M.Block, block);
        },
    }
}

fn swapFields(comptime Block: type, block: *align(1) Block) void {
    const fields = @typeInfo(Block).@"struct";
    inline for (fields.field_names, fields.field_types) |name, Field| {
        const Element = switch (@typeInfo(Field)) {
            .array => |array| array.child,
            else => Field,
        };
        if (@sizeOf(Element) > 1) {
            const elements: [*]align(1) Element = @ptrCast(&@field(block, name));
            for (elements[0 .. @sizeOf(Field) / @sizeOf(Element)]) |*element| {
                std.mem.reverse(u8, std.mem.asBytes(element));
            }
        }
    }
}

/// Says in one sentence what a member lacks.
fn checkMember(comptime M: type) void {
    const path = @typeName(M);
    for (.{ "name", "id", "block_len", "block_bytes", "Block", "decodeBlock" }) |declaration| {
        if (!@hasDecl(M, declaration)) @compileError(path ++
            ": expected `pub const " ++ declaration ++ "`, which every format declares, found none");
    }
    if (@sizeOf(M.Block) != M.block_bytes) @compileError(std.fmt.comptimePrint(
        "{s}: expected a Block of {d} bytes as `block_bytes` says, found {d}",
        .{ path, M.block_bytes, @sizeOf(M.Block) },
    ));
    if (M.block_len == 1) return;
    for (.{ "groups", "decodeGroups", "q_bits", "q_min" }) |declaration| {
        if (!@hasDecl(M, declaration)) @compileError(path ++
            ": expected `pub const " ++ declaration ++
            "`, which every block format declares, found none");
    }
    if (M.groups.len != 16 and M.groups.len != 32) @compileError(std.fmt.comptimePrint(
        "{s}: expected groups of 16 or 32 values, found {d}",
        .{ path, M.groups.len },
    ));
    if (M.block_len % M.groups.len != 0) @compileError(std.fmt.comptimePrint(
        "{s}: expected whole groups in a block of {d} values, found groups of {d}",
        .{ path, M.block_len, M.groups.len },
    ));
}

test {
    inline for (formats) |M| _ = M;
    _ = @import("quant/shared/groups.zig");
    _ = @import("quant/shared/grids.zig");
    _ = @import("quant/shared/k_scales.zig");
    _ = @import("quant/shared/round.zig");
    _ = @import("quant/shared/search.zig");
    _ = @import("quant/shared/sixteen.zig");
    _ = @import("quant/tests/golden.zig");
    _ = @import("quant/tests/properties.zig");
    _ = @import("quant/tests/registry.zig");
}

test "ids, names and sizes" {
    const expect = std.testing.expectEqual;
    try expect(Format.q4_0, fromId(2).?);
    try expect(null, fromId(4));
    try expect(null, fromId(std.math.maxInt(u32)));
    try expect(8, @backingInt(Format.q8_0));
    try std.testing.expectEqualStrings("bf16", info(.bf16).name);
    try expect(4.5, info(.q4_0).bits_per_value);
    try expect(36, rowBytes(.q4_0, 64));
    try expect(0, rowBytes(.q8_0, 0));
    try expect(error.NotWholeBlocks, rowBytes(.q4_0, 33));
    try expect(error.Overflow, rowBytes(.f32, std.math.maxInt(u64)));
}
