//! What this machine can do at most: how fast all threads together read memory, and how many
//! operations a second the arithmetic of the chosen CPU variant does. Every speed of the engine is
//! a share of one of these, and they are measured rather than looked up: a virtual machine says
//! little about its processor and nothing about its neighbours.
//!
//! Each figure is the median of some passes of `kernel/limits.zig`: what else runs on the machine slows
//! passes as it slows the engine, and the best of them would be a limit of moments that nothing longer
//! can reach.

const std = @import("std");
const backend = @import("../backend.zig");
const cores = @import("cores.zig");
const kernel = @import("../kernel.zig");
const memory = @import("../memory.zig");
const team_module = @import("team.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;

const io = std.Io.Threaded.global_single_threaded.io();

pub const Error = backend.Error || std.Thread.SpawnError || error{ BadOption, OutOfMemory };

pub const bytes_min = 1 << 20;

pub const Options = struct {
    /// 0: one for each physical core.
    threads: u32 = 0,
    /// Memory that is read, shared out among the threads; 0: 1 GiB, which is beyond any cache, but
    /// at most a quarter of the machine's memory.
    bytes: u64 = 0,
};

/// Rates are of all threads together, in bytes or operations a second.
pub const Limits = struct {
    threads: u32,
    variant: []const u8,
    bytes: u64,
    /// By `kernel.LimitKind`; 0: the variant has no such instruction.
    rates: [kinds.len]f64,

    pub fn rate(limits: *const Limits, kind: kernel.LimitKind) f64 {
        return limits.rates[@backingInt(kind)];
    }
};

const kinds = [_]kernel.LimitKind{ .read_one, .read_four, .int8, .f32, .bf16, .read_ahead };
comptime {
    for (kinds, 0..) |kind, i| std.debug.assert(@backingInt(kind) == i);
    std.debug.assert(kinds.len == std.meta.fieldNames(kernel.LimitKind).len);
}

const passes = 9;
/// Of one pass of arithmetic.
const arithmetic_ns = 15 * std.time.ns_per_ms;
/// Between two looks at the clock; a few hundred microseconds at most.
const arithmetic_turns = 10_000;

/// Takes a second or two.
pub fn measure(options: Options, diag: *Diagnostic) Error!Limits {
    if (options.threads > team_module.members_max) {
        diag.set("expected at most {d} threads, found {d}", .{ team_module.members_max, options.threads });
        return error.BadOption;
    }
    const bytes = if (options.bytes == 0) defaultBytes() else options.bytes;
    if (bytes < bytes_min) {
        diag.set("expected at least {d} bytes of memory to read, found {d}", .{ bytes_min, bytes });
        return error.BadOption;
    }
    const kernels = try backend.cpu.choose(diag);
    errdefer if (diag.text().len == 0) {
        diag.set("expected {d} bytes of memory and threads, found that the system has not that much", .{bytes});
    };
    const threads = if (options.threads != 0) options.threads else @min(cores.physical(), team_module.members_max);
    const size = std.math.cast(usize, bytes) orelse return error.OutOfMemory;
    const buffer = try memory.alloc(size, .huge);
    defer memory.free(buffer);
    const team = try team_module.acquire(threads);
    defer team_module.release(team);

    var job: Job = .{ .team = team, .kernels = kernels, .members = threads, .memory = buffer };
    team.run(threads, &job, Job.run);
    return .{ .threads = threads, .variant = std.mem.span(kernels.variant), .bytes = bytes, .rates = job.medians() };
}

fn defaultBytes() u64 {
    const total = std.process.totalSystemMemory() catch return 1 << 30;
    return @max(bytes_min, @min(1 << 30, total / 4));
}

const Job = struct {
    team: *team_module.Team,
    kernels: *const kernel.Table,
    members: u32,
    memory: []u8,
    /// Of the members, in the running pass.
    done: [team_module.members_max]f64 = undefined,
    seconds: [team_module.members_max]f64 = undefined,
    rates: [kinds.len][passes]f64 = @splat(@splat(0)),

    fn run(job: *Job, member: u32) void {
        const part = job.memory.len / job.members;
        const own = job.memory[member * part ..][0..part];
        // Pages belong to the processor that touches them first, and must not all be the zero page.
        @memset(own, 1);
        for (0..passes) |number| {
            for (kinds) |kind| {
                job.team.barrier();
                const begun = nowNs();
                job.done[member] = job.pass(kind, own, begun);
                job.seconds[member] = @as(f64, @floatFromInt(nowNs() - begun)) / std.time.ns_per_s;
                job.team.barrier();
                if (member == 0) job.add(kind, number);
            }
        }
    }

    fn pass(job: *const Job, kind: kernel.LimitKind, own: []const u8, begun: i96) f64 {
        switch (kind) {
            .read_one, .read_four, .read_ahead => return job.kernels.measure(@backingInt(kind), own.ptr, own.len),
            .int8, .f32, .bf16 => {
                var done: f64 = 0;
                while (nowNs() - begun < arithmetic_ns) {
                    const more = job.kernels.measure(@backingInt(kind), own.ptr, arithmetic_turns);
                    if (more == 0) return 0;
                    done += more;
                }
                return done;
            },
        }
    }

    /// The work of all members over the time of the slowest. The others have at most begun the next
    /// pass's barrier, which waits for this member.
    fn add(job: *Job, kind: kernel.LimitKind, number: usize) void {
        var done: f64 = 0;
        var seconds: f64 = 0;
        for (job.done[0..job.members], job.seconds[0..job.members]) |amount, time| {
            done += amount;
            seconds = @max(seconds, time);
        }
        if (seconds > 0) job.rates[@backingInt(kind)][number] = done / seconds;
    }

    fn medians(job: *Job) [kinds.len]f64 {
        var out: [kinds.len]f64 = undefined;
        for (&out, &job.rates) |*median, *rates| {
            std.mem.sort(f64, rates, {}, std.sort.asc(f64));
            median.* = rates[passes / 2];
        }
        return out;
    }
};

fn nowNs() i96 {
    return std.Io.Clock.awake.now(io).nanoseconds;
}

test "limits are those of a processor, for one thread and for two" {
    var diag: Diagnostic = .{};
    for ([_]u32{ 1, 2 }) |threads| {
        const found = try measure(.{ .threads = threads, .bytes = 16 << 20 }, &diag);
        try std.testing.expectEqual(threads, found.threads);
        for (kinds) |kind| {
            errdefer std.debug.print("{d} threads, {s}: {d}\n", .{ threads, @tagName(kind), found.rate(kind) });
            if (kind == .bf16 and found.rate(kind) == 0) continue;
            // Neither below what any processor does nor above what any can. More can't be asked of a
            // machine that may be busy with something else in one second and not in the next.
            try std.testing.expect(found.rate(kind) > 1e8);
            try std.testing.expect(found.rate(kind) < 1e14);
        }
    }
}

test "a rate is the work of all over the time of the slowest, and the median of the passes" {
    var job: Job = .{ .team = undefined, .kernels = undefined, .members = 2, .memory = &.{} };
    for (0..passes) |number| {
        job.done[0..2].* = .{ 30, 10 };
        // From 1 to 9 seconds, not in order.
        job.seconds[0..2].* = .{ 0.5, @floatFromInt(1 + number * 4 % passes) };
        job.add(.int8, number);
    }
    const medians = job.medians();
    try std.testing.expectEqual(40.0 / 5.0, medians[@backingInt(kernel.LimitKind.int8)]);
    try std.testing.expectEqual(0, medians[@backingInt(kernel.LimitKind.f32)]);
}

test "options out of range are refused by name" {
    var diag: Diagnostic = .{};
    try std.testing.expectError(error.BadOption, measure(.{ .threads = 1 << 20 }, &diag));
    try std.testing.expect(std.mem.indexOf(u8, diag.text(), "threads") != null);
    try std.testing.expectError(error.BadOption, measure(.{ .bytes = 5 }, &diag));
    try std.testing.expect(std.mem.indexOf(u8, diag.text(), "found 5") != null);
}
