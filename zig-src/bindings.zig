//! Writes what other languages need to call the library, from the list in `capi.zig`:
//!   include/vitrine.h          for C
//!   include/vitrine_abi.json   for everything else, with the fingerprint
//!   src/ffi/symbols.gen.ts     for TypeScript
//! The files are committed. With `--check` nothing is written, and the program fails when a file
//! isn't what it would write. The argument is the folder of the repository.

const std = @import("std");
const c_header = @import("bindings/c_header.zig");
const manifest = @import("bindings/manifest.zig");
const typescript = @import("bindings/typescript.zig");

const outputs = .{
    .{ "include/vitrine.h", c_header.write },
    .{ "include/vitrine_abi.json", manifest.write },
    .{ "src/ffi/symbols.gen.ts", typescript.write },
};

pub fn main(init: std.process.Init) !u8 {
    const arena = init.arena.allocator();
    const arguments = try init.minimal.args.toSlice(arena);
    const check = arguments.len == 3 and std.mem.eql(u8, arguments[2], "--check");
    if (arguments.len != 2 and !check) {
        std.debug.print("expected: bindings FOLDER [--check]\n", .{});
        return 2;
    }
    var folder = try std.Io.Dir.cwd().openDir(init.io, arguments[1], .{});
    defer folder.close(init.io);
    var stale: u8 = 0;
    inline for (outputs) |output| {
        var text: std.Io.Writer.Allocating = .init(arena);
        try output[1](&text.writer);
        if (check) {
            const found = folder.readFileAlloc(init.io, output[0], arena, .limited(16 << 20)) catch "";
            if (!std.mem.eql(u8, found, text.written())) {
                std.debug.print("{s} is stale; write it anew with `zig build bindings`\n", .{output[0]});
                stale = 1;
            }
        } else {
            try folder.createDirPath(init.io, std.fs.path.dirname(output[0]).?);
            try folder.writeFile(init.io, .{ .sub_path = output[0], .data = text.written() });
        }
    }
    return stale;
}
