//! The manifest: the whole interface as JSON, for languages that have no generator of their own.

const std = @import("std");
const capi = @import("../capi.zig");
const sampler = @import("../sampler.zig");
const describe = capi.describe;
const Writer = std.Io.Writer;

pub fn write(writer: *Writer) Writer.Error!void {
    var json: std.json.Stringify = .{ .writer = writer, .options = .{ .whitespace = .indent_2 } };
    try json.beginObject();
    try json.objectField("hash");
    try json.print("\"{x:0>16}\"", .{comptime describe.hash()});
    try json.objectField("functions");
    try json.beginArray();
    inline for (capi.files) |file| {
        inline for (file.functions) |function| try writeFunction(&json, file, function);
    }
    try json.endArray();
    try json.objectField("structs");
    try json.beginObject();
    inline for (capi.abi.structs) |entry| try writeStruct(&json, entry[0], entry[1]);
    try json.endObject();
    try json.objectField("enums");
    try json.beginObject();
    inline for (capi.abi.enums) |entry| {
        const info = @typeInfo(entry[1]).@"enum";
        try json.objectField(entry[0]);
        try json.beginObject();
        inline for (info.field_names, info.field_values) |name, value| {
            try json.objectField(name);
            try json.write(@as(i64, value));
        }
        try json.endObject();
    }
    try json.endObject();
    try json.objectField("samplerStages");
    try json.beginArray();
    inline for (sampler.stages) |stage| {
        try json.beginObject();
        try json.objectField("name");
        try json.write(stage.name);
        try json.objectField("id");
        try json.write(stage.id);
        try json.objectField("parameters");
        try json.beginArray();
        inline for (stage.parameters) |parameter| {
            try json.write(.{ .name = parameter.name, .min = parameter.min, .max = parameter.max, .whole = parameter.whole });
        }
        try json.endArray();
        try json.objectField("data");
        try json.write(@tagName(comptime sampler.dataOf(stage)));
        try json.endObject();
    }
    try json.endArray();
    try json.endObject();
    try writer.writeAll("\n");
}

fn writeFunction(json: *std.json.Stringify, comptime file: type, comptime function: anytype) Writer.Error!void {
    try json.beginObject();
    try json.objectField("name");
    try json.write(function.name);
    try json.objectField("doc");
    try json.write(function.doc);
    try json.objectField("parameters");
    try json.beginArray();
    inline for (function.params, comptime describe.parameterTypes(file, function)) |parameter, T| {
        try json.beginObject();
        try json.objectField("name");
        try json.write(parameter[0]);
        try json.objectField("type");
        try json.write(@tagName(comptime describe.kindOf(T.?)));
        try json.objectField("doc");
        try json.write(parameter[1]);
        try json.endObject();
    }
    try json.endArray();
    try json.endObject();
}

fn writeStruct(json: *std.json.Stringify, comptime name: []const u8, comptime T: type) Writer.Error!void {
    try json.objectField(name);
    try json.beginObject();
    try json.objectField("bytes");
    try json.write(@sizeOf(T));
    try json.objectField("fields");
    try json.beginArray();
    const info = @typeInfo(T).@"struct";
    inline for (info.field_names, info.field_types) |field, Field| {
        const described = comptime describe.fieldType(Field);
        try json.beginObject();
        try json.objectField("name");
        try json.write(field);
        try json.objectField("offset");
        try json.write(@offsetOf(T, field));
        try json.objectField("type");
        try json.write(described[0]);
        try json.objectField("count");
        try json.write(described[1]);
        try json.endObject();
    }
    try json.endArray();
    try json.endObject();
}
