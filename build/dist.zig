//! The library for every platform that packages are published for.

const std = @import("std");
const library = @import("library.zig");

const platforms = [_][]const u8{
    "x86_64-linux-gnu.2.17",
    "aarch64-linux-gnu.2.17",
    "x86_64-linux-musl",
    "aarch64-linux-musl",
    "aarch64-macos",
    "x86_64-macos",
    "x86_64-windows",
};

pub fn add(b: *std.Build) void {
    const step = b.step("dist", "Build the library for every platform into zig-out/dist");
    for (platforms) |platform| {
        const query = std.Target.Query.parse(.{ .arch_os_abi = platform, .cpu_features = "baseline" }) catch unreachable;
        const compiled = library.add(b, b.resolveTargetQuery(query), .safe);
        const install = b.addInstallArtifact(compiled, .{
            .dest_dir = .{ .override = .{ .custom = b.fmt("dist/{s}", .{platform}) } },
        });
        step.dependOn(&install.step);
    }
}
