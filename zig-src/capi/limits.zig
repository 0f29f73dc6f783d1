//! What the machine can do at most, measured by the library: the yardstick for every speed.
//! Measuring takes about a second, so it is started, and asked for.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const table = @import("core/table.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const functions = .{
    .{
        .name = "vitrine_limits_start",
        .function = "start",
        .doc =
        \\Begins to measure what the machine can do at most, on a thread of the library, and returns at
        \\once. One measurement at a time. Nothing else should run meanwhile.
        ,
        .params = .{
            .{ "threads", "0: one for each physical core." },
            .{ "mebibytes", "Memory that is read; 0: 1024, but at most a quarter of the machine's." },
        },
    },
    .{
        .name = "vitrine_limits_state",
        .function = "state",
        .doc = "How far the last measurement has come, and what it found.",
        .params = .{
            .{ "out", "The caller's; filled as far as it reaches.", "Limits" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_limits_text",
        .function = "text",
        .doc = "The CPU variant that was measured, or why the measurement failed.",
        .params = .{
            .{ "buffer", "The caller's; filled with UTF-8." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "out_length", "Gets the length of the text, also when the buffer is too small." },
        },
    },
};

/// One for the process: the machine is one too.
var measurement: struct {
    mutex: std.Io.Mutex = .init,
    state: abi.Limits = .{},
    diag: Diagnostic = .{},
} = .{};

pub fn start(threads: u32, mebibytes: u32) callconv(.c) i32 {
    measurement.mutex.lockUncancelable(table.io);
    defer measurement.mutex.unlock(table.io);
    if (measurement.state.phase == @backingInt(abi.LimitsPhase.running)) return errors.code(error.Busy);
    const options: engine.limits.Options = .{ .threads = threads, .bytes = @as(u64, mebibytes) << 20 };
    const thread = std.Thread.spawn(.{}, work, .{options}) catch |err| return errors.code(err);
    thread.detach();
    measurement.diag = .{};
    measurement.state = .{ .phase = @backingInt(abi.LimitsPhase.running) };
    return 0;
}

fn work(options: engine.limits.Options) void {
    var diag: Diagnostic = .{};
    const result = engine.limits.measure(options, &diag);
    {
        measurement.mutex.lockUncancelable(table.io);
        defer measurement.mutex.unlock(table.io);
        if (result) |limits| {
            diag.set("{s}", .{limits.variant});
            measurement.state = .{
                .phase = @backingInt(abi.LimitsPhase.ready),
                .threads = limits.threads,
                .memory_bytes = @floatFromInt(limits.bytes),
                .read_one = limits.rate(.read_one),
                .read_four = limits.rate(.read_four),
                .read_ahead = limits.rate(.read_ahead),
                .int8_ops = limits.rate(.int8),
                .f32_ops = limits.rate(.f32),
                .bf16_ops = limits.rate(.bf16),
            };
        } else |err| {
            measurement.state = .{
                .phase = @backingInt(abi.LimitsPhase.failed),
                .status = @backingInt(errors.statusOf(err)),
            };
        }
        measurement.diag = diag;
    }
    engine.wake.signal();
}

pub fn state(out: ?[*]u8, length: u32) callconv(.c) i32 {
    measurement.mutex.lockUncancelable(table.io);
    defer measurement.mutex.unlock(table.io);
    var diag: Diagnostic = .{};
    return errors.code(buffers.fill(measurement.state, out, length, &diag));
}

pub fn text(buffer: ?[*]u8, length: u32, out_length: ?*align(1) u32) callconv(.c) i32 {
    measurement.mutex.lockUncancelable(table.io);
    defer measurement.mutex.unlock(table.io);
    var diag: Diagnostic = .{};
    return errors.code(buffers.copyOut(&.{measurement.diag.text()}, buffer, length, out_length, &diag));
}

test "a measurement is started once and asked for" {
    var found: abi.Limits = .{};
    // As while one runs, which might have ended before a second call.
    measurement.state = .{ .phase = @backingInt(abi.LimitsPhase.running) };
    try std.testing.expectEqual(@backingInt(abi.Status.busy), start(1, 4));
    measurement.state = .{};
    try std.testing.expectEqual(0, start(1, 4));
    while (true) {
        try std.testing.expectEqual(0, state(std.mem.asBytes(&found), @sizeOf(abi.Limits)));
        if (found.phase != @backingInt(abi.LimitsPhase.running)) break;
        try std.Io.sleep(table.io, .fromMilliseconds(5), .awake);
    }
    try std.testing.expectEqual(@backingInt(abi.LimitsPhase.ready), found.phase);
    try std.testing.expect(found.read_one > 0);
    var name: [64]u8 = undefined;
    var name_len: u32 = 0;
    try std.testing.expectEqual(0, text(&name, name.len, &name_len));
    try std.testing.expect(name_len > 0);
    try std.testing.expectEqual(@backingInt(abi.Status.invalid_argument), state(null, 8));
}
