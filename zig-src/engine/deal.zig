//! How the members of a team share out the pieces of a step. Each begins with its own share, which lies
//! in the memory it touched first, piece by piece; who is through takes pieces of the others' shares.
//! So a member whose core is slower, or taken away for a while, holds the others up by one piece and
//! not by its share. Who computes a piece changes no bit of it.

const std = @import("std");

pub const Share = struct { from: usize, to: usize };

/// This member's part of `total` equal tasks.
pub fn split(total: usize, member: usize, members: usize) Share {
    return .{ .from = total * member / members, .to = total * (member + 1) / members };
}

/// Steps that have counters of their own at the same time. Members are at most as many steps apart as
/// lie between two barriers, which must be fewer than half of these.
const slots = 16;

/// Counters of the pieces that have been taken of each member's share, for some steps.
pub const Board = struct {
    taken: []Counter, // [slots][members]
    members: u32,

    pub const Counter = struct { pieces: std.atomic.Value(usize) align(std.atomic.cache_line) };

    pub fn counters(members: usize) usize {
        return slots * members;
    }

    pub fn init(taken: []Counter, members: u32) Board {
        const board: Board = .{ .taken = taken, .members = members };
        board.clear();
        return board;
    }

    /// Before a job, whose members begin at step 0.
    pub fn clear(board: *const Board) void {
        for (board.taken) |*counter| counter.pieces.store(0, .monotonic);
    }

    fn of(board: *const Board, step: usize, member: usize) *std.atomic.Value(usize) {
        return &board.taken[step % slots * board.members + member].pieces;
    }
};

/// What a step consists of.
pub const Tasks = struct {
    total: usize,
    /// How often the tasks are gone through: a member does one round of its share after the other.
    rounds: usize = 1,
    /// Tasks in a piece.
    piece: usize = 1,
};

/// Some tasks of one round.
pub const Piece = struct { round: usize, from: usize, to: usize };

/// One member's view of one step.
pub const Deal = struct {
    board: *const Board,
    step: usize,
    member: u32,
    tasks: Tasks,
    /// How many shares have been found empty.
    emptied: u32 = 0,

    /// All members begin the same steps in the same order with the same tasks.
    pub fn begin(board: *const Board, step: usize, member: u32, tasks: Tasks) Deal {
        std.debug.assert(tasks.piece != 0);
        // Everybody has left the step that used these counters, and a barrier comes before they are
        // used again.
        board.of(step + slots / 2, member).store(0, .monotonic);
        return .{ .board = board, .step = step, .member = member, .tasks = tasks };
    }

    /// The next piece; null when all have been taken.
    pub fn next(deal: *Deal) ?Piece {
        const members = deal.board.members;
        const tasks = deal.tasks;
        while (deal.emptied < members) : (deal.emptied += 1) {
            const owner = (deal.member + deal.emptied) % members;
            const share = split(tasks.total, owner, members);
            const pieces = (share.to - share.from + tasks.piece - 1) / tasks.piece;
            const taken = deal.board.of(deal.step, owner);
            // The look spares others' counters the write when nothing is left.
            if (taken.load(.monotonic) >= pieces * tasks.rounds) continue;
            const number = taken.fetchAdd(1, .monotonic);
            if (number >= pieces * tasks.rounds) continue;
            const from = share.from + number % pieces * tasks.piece;
            return .{ .round = number / pieces, .from = from, .to = @min(from + tasks.piece, share.to) };
        }
        return null;
    }

    /// Whether the tasks behind a piece are of this member's own share too.
    pub fn goesOn(deal: *const Deal, piece: Piece) bool {
        const own = split(deal.tasks.total, deal.member, deal.board.members);
        return piece.from >= own.from and piece.to < own.to;
    }
};

test "each task is dealt once, whoever is slow" {
    const team_module = @import("team.zig");
    const members = 3;
    const Job = struct {
        board: Board,
        team: *team_module.Team,
        seen: [100]std.atomic.Value(usize) = @splat(.init(0)),
        failed: std.atomic.Value(bool) = .init(false),

        fn run(job: *@This(), member: u32) void {
            var step: usize = 0;
            for (1..60) |round| {
                for (0..3) |_| {
                    defer step += 1;
                    var deal: Deal = .begin(&job.board, step, member, .{ .total = 97 + round % 4, .rounds = 2, .piece = 1 + round % 7 });
                    while (deal.next()) |piece| {
                        for (job.seen[piece.from..piece.to]) |*times| _ = times.fetchAdd(1 + piece.round, .monotonic);
                        if (member == 1) for (0..2_000) |_| std.atomic.spinLoopHint();
                    }
                }
                job.team.barrier();
                if (member == 0) for (&job.seen, 0..) |*times, task| {
                    const wanted: usize = if (task < 97 + round % 4) 3 * (1 + 2) else 0;
                    if (times.swap(0, .monotonic) != wanted) job.failed.store(true, .monotonic);
                };
                job.team.barrier();
            }
        }
    };
    const team = try team_module.acquire(members);
    defer team_module.release(team);
    const taken = try std.testing.allocator.alloc(Board.Counter, Board.counters(members));
    defer std.testing.allocator.free(taken);
    for (0..20) |_| {
        var job: Job = .{ .board = .init(taken, members), .team = team };
        team.run(members, &job, Job.run);
        try std.testing.expect(!job.failed.load(.monotonic));
    }
}

test "a member that stands still holds up one piece" {
    const members = 2;
    var taken: [Board.counters(members)]Board.Counter = undefined;
    const board: Board = .init(&taken, members);
    var still: Deal = .begin(&board, 0, 1, .{ .total = 64, .piece = 4 });
    var quick: Deal = .begin(&board, 0, 0, .{ .total = 64, .piece = 4 });
    const held = still.next().?;
    var tasks: usize = 0;
    while (quick.next()) |piece| tasks += piece.to - piece.from;
    try std.testing.expectEqual(4, held.to - held.from);
    try std.testing.expectEqual(60, tasks);
    try std.testing.expectEqual(null, still.next());
}

test "behind a piece comes the next one of its member's share, or nothing" {
    const members = 2;
    var taken: [Board.counters(members)]Board.Counter = undefined;
    const board: Board = .init(&taken, members);
    var deal: Deal = .begin(&board, 0, 0, .{ .total = 20, .piece = 4 });
    // Its own share is 4, 4 and 2 tasks; the rest is the other one's.
    for ([_]bool{ true, true, false, false, false, false }) |goes_on| try std.testing.expectEqual(goes_on, deal.goesOn(deal.next().?));
    try std.testing.expectEqual(null, deal.next());
}
