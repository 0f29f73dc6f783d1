//! Packs the matrices of a model by the whole team in one job. Every matrix is divided among the
//! members as a decode step divides it, so that panels lie on the memory of the processor that will
//! read them; who has done its part takes pieces of the others', so that a member whose core is taken
//! away holds nobody up. What is written doesn't depend on who wrote it.

const std = @import("std");
const memory = @import("../memory.zig");
const tiny_model = @import("tiny_model.zig");
const Session = @import("session.zig").Session;
const model_module = @import("model.zig");
const weight_module = @import("weight.zig");
const Model = model_module.Model;
const Progress = model_module.Progress;
const Weight = weight_module.Weight;

/// Source bytes of a piece: some 0.1 ms of work, the time after which a cancelled load ends.
const piece_bytes = 1 << 20;

/// Source bytes after which the pages of the file go back to the system. Each time takes a walk over
/// the mapping and an interruption of every core; at most so much of the file is in memory twice.
const forget_bytes = 16 << 20;

/// Bytes of a packed matrix, up to a whole number of cache lines.
pub fn alignedBytes(model: *const Model, weight: *const Weight) usize {
    const bytes = model.kernels.packed_bytes(@backingInt(weight.format), @backingInt(model.precision), weight.rows, weight.cols);
    return std.mem.alignForward(usize, bytes, 64);
}

/// Some panels of one matrix.
const Piece = struct {
    weight: *const Weight,
    from: u32,
    to: u32,
};

/// What one member does, first by itself: pieces `next` to `end`.
const Share = struct {
    next: std.atomic.Value(usize) align(std.atomic.cache_line),
    end: usize,

    fn take(share: *Share) ?usize {
        // Without the look, an end that everybody comes back to would count on for ever.
        if (share.next.load(.monotonic) >= share.end) return null;
        const index = share.next.fetchAdd(1, .monotonic);
        return if (index < share.end) index else null;
    }
};

pub const Job = struct {
    model: *const Model,
    progress: *Progress,
    pieces: []const Piece,
    shares: []Share, // [members]

    pub fn init(gpa: std.mem.Allocator, model: *const Model, weights: []const *Weight, progress: *Progress) error{OutOfMemory}!Job {
        const members = model.threads;
        const shares = try gpa.alloc(Share, members);
        errdefer gpa.free(shares);
        var pieces: std.ArrayList(Piece) = .empty;
        errdefer pieces.deinit(gpa);
        for (shares, 0..) |*share, member| {
            const first = pieces.items.len;
            for (weights) |weight| {
                const panels: usize = weight.panelCount();
                const end = panels * (member + 1) / members;
                const step = @max(1, piece_bytes / @max(1, weight.tensor.bytes.len / panels));
                var from = panels * member / members;
                while (from < end) : (from += step) {
                    try pieces.append(gpa, .{ .weight = weight, .from = @intCast(from), .to = @intCast(@min(from + step, end)) });
                }
            }
            share.* = .{ .next = .init(first), .end = pieces.items.len };
        }
        return .{ .model = model, .progress = progress, .pieces = try pieces.toOwnedSlice(gpa), .shares = shares };
    }

    pub fn deinit(job: *Job, gpa: std.mem.Allocator) void {
        gpa.free(job.pieces);
        gpa.free(job.shares);
    }

    pub fn run(job: *Job, member: u32) void {
        for (0..job.shares.len) |i| {
            const share = &job.shares[(member + i) % job.shares.len];
            while (share.take()) |index| {
                if (job.progress.cancel.load(.monotonic)) return;
                job.pack(job.pieces[index]);
            }
        }
    }

    fn pack(job: *Job, piece: Piece) void {
        const weight = piece.weight;
        const model = job.model;
        const panel_bytes = model.kernels.packed_bytes(
            @backingInt(weight.format),
            @backingInt(model.precision),
            weight_module.panel_rows,
            weight.cols,
        );
        const into = @constCast(weight.panels);
        var source_bytes: u64 = 0;
        for (piece.from..piece.to) |panel| {
            const first = panel * weight_module.panel_rows;
            const n_rows = @min(weight_module.panel_rows, weight.rows - first);
            model.kernels.pack(
                @backingInt(weight.format),
                @backingInt(model.precision),
                weight.cols,
                weight.row(first).ptr,
                n_rows,
                into + panel * panel_bytes,
            );
            source_bytes += n_rows * weight.tensor.bytes.len / weight.rows;
        }
        const before = job.progress.bytes_done.fetchAdd(source_bytes, .monotonic);
        // Others may be reading: what they still need comes back from the system's cache.
        if (before / forget_bytes != (before + source_bytes) / forget_bytes) model.file.advise(.dont_need);
    }
};

test "the weights are in memory once" {
    const gpa = std.testing.allocator;
    var folder = std.testing.tmpDir(.{});
    defer folder.cleanup();
    // More than 32 MiB of matrices: twice `forget_bytes`.
    try tiny_model.write(gpa, folder.dir, "model.gguf", .{ .layers = 1, .embd = 1024, .ff = 3072, .heads = 8, .head_dim = 16, .format = .f32 });
    var path: [std.fs.max_path_bytes]u8 = undefined;
    const len = try folder.dir.realPathFile(std.testing.io, "model.gguf", &path);
    var progress: Progress = .{};
    var diag: @import("../diagnostic.zig").Diagnostic = .{};
    const before = memory.residentBytes() orelse return error.SkipZigTest;
    const model = try Model.load(gpa, path[0..len], .{ .threads = 2 }, &progress, &diag);
    defer model.destroy() catch unreachable;
    const session = try Session.create(model, .{ .context = 512 }, &diag);
    defer session.destroy();
    try session.start(.{ .tokens = &.{ 1, 30, 31 }, .max_tokens = 2 }, &diag);
    session.wait();
    const after = memory.residentBytes().?;
    try std.testing.expect(model.panels.len > 32 << 20);
    // The rest is the team's stacks, buffers of a few rows and a page of the KV cache.
    const allowed = model.panels.len + model.panels.len / 10 + (4 << 20);
    errdefer std.debug.print("expected at most {d} bytes more in memory, found {d}\n", .{ allowed, after -| before });
    try std.testing.expect(after -| before < allowed);
}
