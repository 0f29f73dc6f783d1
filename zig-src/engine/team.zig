//! The thread team: one per process, shared by every model, so that two engines in one process
//! take turns instead of fighting for the cores. A job is one function that all members execute
//! together (single program, multiple data); inside it `barrier` separates the steps. The caller
//! of `run` is member 0. Members spin for a short while and then sleep, so an idle team costs
//! nothing and a member that loses its core doesn't make the others burn theirs.
//!
//! Nothing here decides *what* a member computes: work is split by member number, and results
//! never depend on who computed them (DESIGN.md, determinism).

const std = @import("std");
const kernel = @import("../kernel.zig");

const io = std.Io.Threaded.global_single_threaded.io();

/// A pause takes 10 to 50 ns: some 100 µs, longer than any wait within a decode step, and short
/// beside the time slice of a core that somebody else has taken.
const spins_before_sleep = 4_000;

pub const members_max = 256;

const members_bits = 9;
const members_mask = (1 << members_bits) - 1;
comptime {
    std.debug.assert(members_max <= members_mask);
}

pub const Team = struct {
    /// Held for a whole job: jobs of different models alternate.
    busy: std.Io.Mutex = .init,
    threads: [members_max]std.Thread = undefined,
    /// Threads that were started; member numbers 1 to `started`.
    started: u32 = 0,
    users: u32 = 0,

    function: *const fn (context: *anyopaque, member: u32) void = undefined,
    context: *anyopaque = undefined,
    members: u32 = 0,
    /// The number of the job and, in its low bits, how many members it has; a change starts them.
    /// Both are one word, so that a thread which wakes late, after a job it had no part in, can't
    /// mistake the next job's number of members for that job's.
    epoch: Signal = .{},
    /// Members, other than the caller, that have not finished the job.
    unfinished: Signal = .{},
    stopping: bool = false,

    arrived: std.atomic.Value(u32) = .init(0),
    phase: Signal = .{},

    /// Runs `function(context, member)` on `members` threads and returns when all are done.
    /// `members` may be at most the number that `acquire` was asked for.
    pub fn run(
        team: *Team,
        members: u32,
        context: anytype,
        comptime function: fn (context: @TypeOf(context), member: u32) void,
    ) void {
        const Erased = struct {
            fn call(pointer: *anyopaque, member: u32) void {
                function(@ptrCast(@alignCast(pointer)), member);
            }
        };
        team.busy.lockUncancelable(io);
        defer team.busy.unlock(io);
        std.debug.assert(members >= 1);
        std.debug.assert(members <= team.started + 1);
        team.function = Erased.call;
        team.context = @ptrCast(context);
        team.members = members;
        team.arrived.store(0, .monotonic);
        team.unfinished.word.store(members - 1, .monotonic);
        if (members > 1) team.announce(members);
        function(context, 0);
        while (true) {
            const left = team.unfinished.word.load(.acquire);
            if (left == 0) break;
            team.unfinished.waitWhile(left);
        }
    }

    /// Blocks until every member of the running job has come here.
    pub fn barrier(team: *Team) void {
        if (team.members == 1) return;
        const phase = team.phase.word.load(.acquire);
        if (team.arrived.fetchAdd(1, .acq_rel) + 1 == team.members) {
            team.arrived.store(0, .monotonic);
            team.phase.add(1);
            return;
        }
        while (team.phase.word.load(.acquire) == phase) team.phase.waitWhile(phase);
    }

    fn announce(team: *Team, members: u32) void {
        const job = team.epoch.word.load(.monotonic) >> members_bits;
        team.epoch.set(((job +% 1) << members_bits) | members);
    }

    fn work(team: *Team, member: u32, epoch_at_start: u32) void {
        _ = kernel.denormals.flush();
        var seen = epoch_at_start;
        while (true) {
            while (true) {
                const now = team.epoch.word.load(.acquire);
                if (now != seen) {
                    seen = now;
                    break;
                }
                team.epoch.waitWhile(seen);
            }
            if (team.stopping) return;
            if (member >= seen & members_mask) continue;
            team.function(team.context, member);
            team.unfinished.subtract();
        }
    }

    fn grow(team: *Team, members: u32) std.Thread.SpawnError!void {
        team.busy.lockUncancelable(io);
        defer team.busy.unlock(io);
        while (team.started + 1 < members) {
            const epoch = team.epoch.word.load(.acquire);
            team.threads[team.started] = try std.Thread.spawn(.{}, work, .{ team, team.started + 1, epoch });
            team.started += 1;
        }
    }

    fn stop(team: *Team) void {
        team.busy.lockUncancelable(io);
        defer team.busy.unlock(io);
        team.stopping = true;
        team.announce(0);
        for (team.threads[0..team.started]) |thread| thread.join();
        team.started = 0;
        team.stopping = false;
    }
};

/// A word that threads wait on: first spinning, then asleep.
const Signal = struct {
    word: std.atomic.Value(u32) align(std.atomic.cache_line) = .init(0),
    sleepers: std.atomic.Value(u32) = .init(0),

    /// Returns when the word is no longer `value`, or spuriously; callers loop.
    fn waitWhile(signal: *Signal, value: u32) void {
        for (0..spins_before_sleep) |_| {
            if (signal.word.load(.acquire) != value) return;
            std.atomic.spinLoopHint();
        }
        // Sequentially consistent with `wake`: either the sleeper sees the new word, or the
        // waker sees the sleeper.
        _ = signal.sleepers.fetchAdd(1, .seq_cst);
        defer _ = signal.sleepers.fetchSub(1, .seq_cst);
        if (signal.word.load(.seq_cst) != value) return;
        io.futexWaitUncancelable(u32, &signal.word.raw, value);
    }

    fn set(signal: *Signal, value: u32) void {
        signal.word.store(value, .seq_cst);
        signal.wake();
    }

    fn add(signal: *Signal, count: u32) void {
        _ = signal.word.fetchAdd(count, .seq_cst);
        signal.wake();
    }

    fn subtract(signal: *Signal) void {
        _ = signal.word.fetchSub(1, .seq_cst);
        signal.wake();
    }

    fn wake(signal: *Signal) void {
        if (signal.sleepers.load(.seq_cst) == 0) return;
        io.futexWake(u32, &signal.word.raw, std.math.maxInt(u32));
    }
};

var shared: Team = .{};
var shared_lock: std.Io.Mutex = .init;

/// The process's team, with at least `members` members. Pair with `release`.
pub fn acquire(members: u32) std.Thread.SpawnError!*Team {
    std.debug.assert(members >= 1);
    std.debug.assert(members <= members_max);
    shared_lock.lockUncancelable(io);
    defer shared_lock.unlock(io);
    errdefer if (shared.users == 0) shared.stop();
    try shared.grow(members);
    shared.users += 1;
    return &shared;
}

/// The last user's release ends the threads.
pub fn release(team: *Team) void {
    shared_lock.lockUncancelable(io);
    defer shared_lock.unlock(io);
    std.debug.assert(team.users > 0);
    team.users -= 1;
    if (team.users == 0) team.stop();
}

test "every member runs, and a barrier separates the steps" {
    const Count = struct {
        team: *Team,
        members: u32,
        first: std.atomic.Value(u32) = .init(0),
        failed: std.atomic.Value(bool) = .init(false),

        fn step(count: *@This(), member: u32) void {
            _ = member;
            for (1..200) |round| {
                _ = count.first.fetchAdd(1, .acq_rel);
                count.team.barrier();
                if (count.first.load(.acquire) != round * count.members) count.failed.store(true, .release);
                count.team.barrier();
            }
        }
    };
    for ([_]u32{ 1, 2, 5 }) |members| {
        const team = try acquire(members);
        defer release(team);
        for (0..20) |_| {
            var count: Count = .{ .team = team, .members = members };
            team.run(members, &count, Count.step);
            try std.testing.expectEqual(199 * members, count.first.load(.acquire));
            try std.testing.expect(!count.failed.load(.acquire));
        }
    }
}

test "two users from two threads take turns" {
    const User = struct {
        total: u64 = 0,
        lock: std.atomic.Value(u32) = .init(0),

        fn step(user: *@This(), member: u32) void {
            _ = member;
            while (user.lock.swap(1, .acquire) == 1) std.atomic.spinLoopHint();
            user.total += 1;
            user.lock.store(0, .release);
        }

        fn drive(user: *@This()) void {
            const team = acquire(3) catch return;
            defer release(team);
            for (0..300) |_| team.run(3, user, step);
        }
    };
    var users: [2]User = .{ .{}, .{} };
    const other = try std.Thread.spawn(.{}, User.drive, .{&users[0]});
    users[1].drive();
    other.join();
    for (users) |user| try std.testing.expectEqual(900, user.total);
}
