//! How many threads a computation should have by default: the physical cores that this process
//! may use. A second hardware thread of a core adds nothing to work that is bound by memory or by
//! the vector units, and a container's quota is respected, because threads beyond it are stopped
//! by the kernel in the middle of a step while the others wait for them.

const std = @import("std");
const builtin = @import("builtin");

/// At least 1, at most `std.Thread.getCpuCount()`.
pub fn physical() u32 {
    const logical: u32 = @intCast(@min(std.Thread.getCpuCount() catch 1, 4096));
    if (builtin.os.tag != .linux) return @max(1, logical);
    var cores: u32 = 0;
    for (0..logical) |cpu| {
        var path: [96]u8 = undefined;
        const name = std.fmt.bufPrintSentinel(
            &path,
            "/sys/devices/system/cpu/cpu{d}/topology/thread_siblings_list",
            .{cpu},
            0,
        ) catch return logical;
        var buffer: [256]u8 = undefined;
        const list = readSmall(name, &buffer) orelse return quota(logical);
        // "0,32" or "0-1": a core is counted at its first hardware thread.
        var end: usize = 0;
        while (end < list.len and std.ascii.isDigit(list[end])) end += 1;
        const first = std.fmt.parseInt(usize, list[0..end], 10) catch return quota(logical);
        if (first == cpu) cores += 1;
    }
    return quota(@max(1, cores));
}

/// Lowers `cores` to the control group's processor quota, when there is one.
fn quota(cores: u32) u32 {
    var buffer: [64]u8 = undefined;
    const text = readSmall("/sys/fs/cgroup/cpu.max", &buffer) orelse return cores;
    return @min(cores, parseQuota(text) orelse return cores);
}

/// "200000 100000" means two processors; "max 100000" means no limit.
fn parseQuota(text: []const u8) ?u32 {
    var words = std.mem.tokenizeAny(u8, text, " \n");
    const allowed = std.fmt.parseInt(u64, words.next() orelse return null, 10) catch return null;
    const period = std.fmt.parseInt(u64, words.next() orelse return null, 10) catch return null;
    if (period == 0) return null;
    return @intCast(std.math.clamp(std.math.divCeil(u64, allowed, period) catch return null, 1, 4096));
}

fn readSmall(path: [:0]const u8, buffer: []u8) ?[]const u8 {
    const file = std.posix.openatZ(std.posix.AT.FDCWD, path, .{ .ACCMODE = .RDONLY }, 0) catch return null;
    defer _ = std.c.close(file);
    const len = std.posix.read(file, buffer) catch return null;
    return buffer[0..len];
}

test "the quota is read as the kernel writes it" {
    try std.testing.expectEqual(2, parseQuota("200000 100000\n"));
    try std.testing.expectEqual(2, parseQuota("150000 100000\n"));
    try std.testing.expectEqual(1, parseQuota("1000 100000\n"));
    try std.testing.expectEqual(null, parseQuota("max 100000\n"));
    try std.testing.expectEqual(null, parseQuota("100000"));
    try std.testing.expectEqual(null, parseQuota("100000 0"));
}

test "there is at least one core" {
    const cores = physical();
    try std.testing.expect(cores >= 1);
    try std.testing.expect(cores <= try std.Thread.getCpuCount());
}
