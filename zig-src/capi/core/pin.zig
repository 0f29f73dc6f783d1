//! Keeps the library in memory. A host may close it, or end a worker that opened it, while threads
//! of the engine run its code; so the library holds itself from the first use on.

const std = @import("std");
const builtin = @import("builtin");

var pinned: std.atomic.Value(bool) = .init(false);

/// Once is enough; a system that refuses leaves everything as it was.
pub fn pin() void {
    if (builtin.output_mode != .Lib) return;
    if (pinned.swap(true, .acq_rel)) return;
    switch (builtin.os.tag) {
        .windows => {
            const from_address = 4;
            const for_ever = 1;
            var module: ?*anyopaque = null;
            _ = GetModuleHandleExW(from_address | for_ever, @ptrCast(&pinned), &module);
        },
        else => {
            var info: DlInfo = .{};
            if (dladdr(@ptrCast(&pinned), &info) == 0) return;
            const now = 2;
            // Opened once more and never closed.
            if (info.file) |file| _ = dlopen(file, now);
        },
    }
}

const DlInfo = extern struct {
    file: ?[*:0]const u8 = null,
    base: ?*anyopaque = null,
    symbol: ?[*:0]const u8 = null,
    address: ?*anyopaque = null,
};

extern "c" fn dladdr(address: *const anyopaque, info: *DlInfo) c_int;
extern "c" fn dlopen(file: [*:0]const u8, mode: c_int) ?*anyopaque;
extern "kernel32" fn GetModuleHandleExW(flags: u32, address: *const anyopaque, module: *?*anyopaque) callconv(.winapi) c_int;
