//! The model families. A family's file in `arch/` says which metadata and tensors it has and how
//! a batch of tokens passes through it; it is built from the blocks in `arch/block/`. The
//! hyperparameters always come from the GGUF metadata, never from constants.
//!
//! A family declares:
//!   `names`            values of `general.architecture` that it serves
//!   `rope_style`       how rotated dimensions are paired
//!   `activation`       of the gated MLP
//!   `tensors`          the tensors of one layer, with their shapes
//!   `hyperparameters`  adjusts what `Hyper.read` took from the common keys
//!   `forward`          embeddings to the last hidden state, executed by all members of the team

const std = @import("std");
const gguf = @import("gguf.zig");
const Diagnostic = @import("diagnostic.zig").Diagnostic;
const hyper = @import("arch/block/hyper.zig");
const layer = @import("arch/block/layer.zig");

/// The registry of families.
pub const families = .{
    @import("arch/llama.zig"),
    @import("arch/qwen2.zig"),
    @import("arch/qwen3.zig"),
    @import("arch/gemma3.zig"),
};

pub const Hyper = hyper.Hyper;
pub const Rope = hyper.Rope;
pub const Layer = layer.Layer;
pub const Linear = layer.Linear;
pub const Slot = layer.Slot;
pub const Run = @import("engine/run.zig").Run;

pub const Error = error{ UnsupportedArchitecture, MissingMetadata, BadMetadata };

/// The family's functions and tables, chosen once when a model is loaded.
pub const Family = struct {
    name: []const u8,
    slots: []const Slot,
    forward: *const fn (run: *Run) void,
};

/// Reads the hyperparameters of the family that `general.architecture` names.
pub fn open(file: *const gguf.File, into: *Hyper, diag: *Diagnostic) Error!Family {
    const wanted = file.getString("general.architecture") orelse {
        diag.set("expected metadata general.architecture to name the model's family, found none", .{});
        return error.MissingMetadata;
    };
    inline for (families) |family| {
        inline for (family.names) |name| {
            if (std.mem.eql(u8, name, wanted)) {
                const reader: hyper.Reader = .{ .file = file, .family = name, .diag = diag };
                into.* = try Hyper.read(reader, family.rope_style, family.activation);
                try family.hyperparameters(into, reader);
                return .{ .name = name, .slots = family.tensors, .forward = family.forward };
            }
        }
    }
    diag.set("expected an architecture among {s}, found {f}", .{ known, std.zig.fmtString(wanted[0..@min(wanted.len, 64)]) });
    return error.UnsupportedArchitecture;
}

/// "llama, mistral, …" for messages.
pub const known: []const u8 = blk: {
    var text: []const u8 = "";
    for (families) |family| for (family.names) |name| {
        text = text ++ (if (text.len == 0) "" else ", ") ++ name;
    };
    break :blk text;
};

test "every family file is registered" {
    const io = std.testing.io;
    var folder = std.Io.Dir.cwd().openDir(io, "zig-src/arch", .{ .iterate = true }) catch |err| switch (err) {
        error.FileNotFound => try std.Io.Dir.cwd().openDir(io, "arch", .{ .iterate = true }),
        else => return err,
    };
    defer folder.close(io);
    var files = folder.iterate();
    var count: usize = 0;
    while (try files.next(io)) |entry| {
        if (entry.kind != .file) continue;
        if (!std.mem.endsWith(u8, entry.name, ".zig")) continue;
        count += 1;
        // A family's file is named after the first architecture that it serves.
        var found = false;
        inline for (families) |family| {
            if (std.mem.eql(u8, family.names[0], entry.name[0 .. entry.name.len - 4])) found = true;
        }
        try std.testing.expect(found);
    }
    try std.testing.expectEqual(families.len, count);
}

test {
    _ = hyper;
    _ = layer;
    _ = @import("arch/block/rope.zig");
    _ = @import("arch/block/spans.zig");
    inline for (families) |family| _ = family;
}
