//! How a host is woken: it registers a callback without arguments, which a thread of the library
//! calls when there is something to take. See `engine/wake.zig` for the promises.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const errors = @import("core/errors.zig");
const wake = @import("../engine.zig").wake;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

pub const functions = .{
    .{
        .name = "vitrine_wake_register",
        .function = "register",
        .doc =
        \\Starts a thread that calls `callback` after there was news for any session or model; many
        \\news make one call. The callback must stay valid until vitrine_wake_join has returned.
        ,
        .params = .{
            .{ "callback", "Called from a thread of the library." },
            .{ "out_slot", "Gets the name of this registration." },
        },
    },
    .{
        .name = "vitrine_wake_unregister",
        .function = "unregister",
        .doc = "Asks the thread to end and returns at once; a call may still be on its way. Again is harmless.",
        .params = .{.{ "slot", "From vitrine_wake_register." }},
    },
    .{
        .name = "vitrine_wake_join",
        .function = "join",
        .doc =
        \\Blocks until the thread has ended; afterwards the callback is never called again. Must not be
        \\called by a thread that the callback waits for.
        ,
        .params = .{.{ "slot", "From vitrine_wake_register." }},
    },
    .{
        .name = "vitrine_wake_stats",
        .function = "stats",
        .doc = "How many signals there were, and how many calls they made.",
        .params = .{
            .{ "slot", "From vitrine_wake_register." },
            .{ "out", "The caller's; filled as far as it reaches.", "WakeStats" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_wake_exercise",
        .function = "exercise",
        .doc =
        \\Starts a thread that signals so many times and then ends: with it a host can test that its
        \\callbacks survive.
        ,
        .params = .{
            .{ "signals", "How many." },
            .{ "pause_ns", "Between two signals; 0: none." },
        },
    },
};

pub fn register(callback: ?wake.Callback, out_slot: ?*align(1) u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    const out = buffers.required(out_slot, "the slot", &diag) catch |err| return errors.code(err);
    const function = buffers.required(callback, "the callback", &diag) catch |err| return errors.code(err);
    out.* = wake.register(function) catch |err| return errors.code(err);
    return 0;
}

pub fn unregister(slot: u32) callconv(.c) i32 {
    return errors.code(wake.unregister(slot));
}

pub fn join(slot: u32) callconv(.c) i32 {
    return errors.code(wake.join(slot));
}

pub fn stats(slot: u32, out: ?[*]u8, length: u32) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    const found = wake.stats(slot) catch |err| return errors.code(err);
    const result: abi.WakeStats = .{ .signals = @floatFromInt(found.signals), .calls = @floatFromInt(found.calls) };
    return errors.code(buffers.fill(result, out, length, &diag));
}

pub fn exercise(signals: u32, pause_ns: u32) callconv(.c) i32 {
    const thread = std.Thread.spawn(.{ .stack_size = 256 << 10 }, exerciseLoop, .{ signals, pause_ns }) catch |err|
        return errors.code(err);
    thread.detach();
    return 0;
}

fn exerciseLoop(signals: u32, pause_ns: u32) void {
    const io = @import("core/table.zig").io;
    for (0..signals) |_| {
        wake.signal();
        if (pause_ns == 0) continue;
        std.Io.sleep(io, .fromNanoseconds(pause_ns), .awake) catch return;
    }
}
