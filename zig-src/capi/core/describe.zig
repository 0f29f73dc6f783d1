//! The interface as data, read off the registry: what kind each parameter is, and the fingerprint
//! over every name, type, offset and number. Whatever would break a host changes the fingerprint;
//! documentation doesn't.

const std = @import("std");
const abi = @import("abi.zig");
const registry = @import("../../capi.zig");
const sampler = @import("../../sampler.zig");

/// How a parameter crosses: the words of the generated tables.
pub const Kind = enum { u32, i32, f64, buffer, callback };

pub const parameters_max = 6;

/// The parameter types of a registered function, whose entry is checked against them. The entry
/// names the function, so that whoever reads the list doesn't compile the engine.
pub fn parameterTypes(comptime file: type, comptime function: anytype) []const ?type {
    const info = @typeInfo(@TypeOf(@field(file, function.function))).@"fn";
    if (info.param_types.len > parameters_max) @compileError(function.name ++ " has more than six parameters");
    if (info.param_types.len != function.params.len) @compileError(function.name ++ ": parameters are not all described");
    if (info.return_type.? != i32) @compileError(function.name ++ " must return a status");
    if (!std.mem.startsWith(u8, function.name, "vitrine_")) @compileError(function.name ++ " lacks the prefix");
    return info.param_types;
}

pub fn kindOf(comptime T: type) Kind {
    if (T == u32) return .u32;
    if (T == i32) return .i32;
    if (T == f64) return .f64;
    const Pointer = switch (@typeInfo(T)) {
        .optional => |optional| optional.child,
        else => @compileError("a pointer that crosses may be null: " ++ @typeName(T)),
    };
    const pointer = @typeInfo(Pointer).pointer;
    if (@typeInfo(pointer.child) == .@"fn") return .callback;
    if (pointer.size == .slice) @compileError("a slice can't cross: " ++ @typeName(T));
    return .buffer;
}

/// What the pointer points to, in C.
pub fn cPointer(comptime T: type) []const u8 {
    const pointer = @typeInfo(@typeInfo(T).optional.child).pointer;
    if (@typeInfo(pointer.child) == .@"fn") return "vitrine_callback";
    const Element = switch (@typeInfo(pointer.child)) {
        .array => |array| array.child,
        else => pointer.child,
    };
    const name = switch (Element) {
        u8, sampler.wire.Record => "void",
        u32 => "uint32_t",
        f32 => "float",
        f64 => "double",
        else => @compileError("no C type for " ++ @typeName(T)),
    };
    return if (pointer.attrs.@"const") "const " ++ name ++ " *" else name ++ " *";
}

/// C name of a field's type and how many there are.
pub fn fieldType(comptime T: type) struct { []const u8, u32 } {
    return switch (T) {
        u32 => .{ "uint32_t", 1 },
        i32 => .{ "int32_t", 1 },
        f32 => .{ "float", 1 },
        f64 => .{ "double", 1 },
        else => switch (@typeInfo(T)) {
            .array => |array| .{ fieldType(array.child)[0], array.len },
            else => @compileError("no C type for a field of " ++ @typeName(T)),
        },
    };
}

/// FNV-1a over a canonical text of the interface.
pub fn hash() u64 {
    @setEvalBranchQuota(4_000_000);
    var state: u64 = 0xcbf2_9ce4_8422_2325;
    for (registry.files) |file| for (file.functions) |function| {
        mix(&state, function.name);
        for (parameterTypes(file, function), function.params) |T, parameter| {
            mix(&state, @tagName(kindOf(T.?)));
            mix(&state, parameter[0]);
        }
    };
    for (abi.structs) |entry| {
        mix(&state, entry[0]);
        const info = @typeInfo(entry[1]).@"struct";
        for (info.field_names, info.field_types) |name, T| {
            mix(&state, name);
            mix(&state, std.fmt.comptimePrint("{d} {s} {d}", .{ @offsetOf(entry[1], name), fieldType(T)[0], fieldType(T)[1] }));
        }
    }
    for (abi.enums) |entry| {
        mix(&state, entry[0]);
        const info = @typeInfo(entry[1]).@"enum";
        for (info.field_names, info.field_values) |name, value| mix(&state, std.fmt.comptimePrint("{s} {d}", .{ name, value }));
    }
    for (sampler.stages) |stage| {
        mix(&state, std.fmt.comptimePrint("{s} {d}", .{ stage.name, stage.id }));
        for (stage.parameters) |parameter| mix(&state, parameter.name);
        mix(&state, @tagName(sampler.dataOf(stage)));
    }
    return state;
}

fn mix(state: *u64, text: []const u8) void {
    for (text) |byte| state.* = (state.* ^ byte) *% 0x100_0000_01b3;
    state.* = (state.* ^ 0xff) *% 0x100_0000_01b3;
}
