//! The floating-point mode of the engine's threads, in which kernels run: what is too small for a normal
//! number counts as zero, where it is read and where it would be written, because such numbers cost
//! a processor a hundred cycles. It is of a thread, and the host's own threads keep theirs.
//!
//! So a kernel must not make an f32 that is not normal on the way to one that is.

const builtin = @import("builtin");

/// Of the calling thread, as `restore` takes it.
pub const Mode = switch (builtin.cpu.arch) {
    .x86_64 => u32,
    .aarch64 => u64,
    else => u0,
};

/// Sets the mode for the calling thread, and returns the one it had.
pub fn flush() Mode {
    const before = current();
    restore(switch (builtin.cpu.arch) {
        // Flush-to-zero and denormals-are-zero.
        .x86_64 => before | (1 << 15) | (1 << 6),
        .aarch64 => before | (1 << 24),
        else => before,
    });
    return before;
}

fn current() Mode {
    switch (builtin.cpu.arch) {
        .x86_64 => {
            var mode: u32 = undefined;
            asm volatile ("stmxcsr (%[mode])"
                :
                : [mode] "r" (&mode),
                : .{ .memory = true });
            return mode;
        },
        .aarch64 => return asm volatile ("mrs %[mode], fpcr"
            : [mode] "=r" (-> u64),
        ),
        else => return 0,
    }
}

/// Gives the calling thread the mode that it had before `flush`.
pub fn restore(mode: Mode) void {
    switch (builtin.cpu.arch) {
        .x86_64 => asm volatile ("ldmxcsr (%[mode])"
            :
            : [mode] "r" (&mode),
            : .{ .memory = true }),
        .aarch64 => asm volatile ("msr fpcr, %[mode]"
            :
            : [mode] "r" (mode),
        ),
        else => {},
    }
}
