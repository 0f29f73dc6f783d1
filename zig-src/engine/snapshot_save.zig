//! Writing sessions to a file. `add` takes hold of what the sessions are at that moment and returns at
//! once; `write` may then take its time, on another thread, while the sessions go on: a page that a session
//! writes to meanwhile is copied first, as for a fork. The file is written beside its place and gets its
//! name when it is whole and on the disk, so nobody ever sees half of one.

const std = @import("std");
const cache = @import("../cache.zig");
const gguf = @import("../gguf.zig");
const identity = @import("identity.zig");
const kernel = @import("../kernel.zig");
const model_module = @import("model.zig");
const snapshot = @import("snapshot.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Model = model_module.Model;
const Progress = model_module.Progress;
const Session = @import("session.zig").Session;
const Settings = @import("session.zig").Settings;
const shown = gguf.shown;
const Io = std.Io;

pub const Error = cache.Error || snapshot.Error || error{ Busy, NotReady, BadOption, Cancelled, WriteFailed, NotAFile };

/// Beside the file, while it is written.
const partial_suffix = ".vitrine-partial";

const Item = struct {
    sequence: cache.Sequence,
    settings: Settings,
    /// The sampled one that was not evaluated yet included.
    tokens: []const u32,
    logits: []const f32,
};

pub const Save = struct {
    gpa: std.mem.Allocator,
    model: *Model,
    items: std.ArrayList(Item) = .empty,

    pub fn init(model: *Model) Save {
        return .{ .gpa = model.gpa, .model = model };
    }

    pub fn deinit(save: *Save) void {
        for (save.items.items) |*item| {
            item.sequence.deinit();
            save.gpa.free(item.tokens);
            save.gpa.free(item.logits);
        }
        save.items.deinit(save.gpa);
        // Somebody may wait for the pages.
        save.model.scheduler.nudge();
    }

    /// One more session for the file: as it is now, and idle.
    pub fn add(save: *Save, session: *Session, diag: *Diagnostic) Error!void {
        session.lock();
        defer session.unlock();
        try session.expectIdle(diag);
        try session.expectWhole(diag);
        try session.expectUnevicted(diag);
        errdefer if (diag.text().len == 0) diag.set("expected memory to save a session, found that the system has not that much", .{});
        if (session.model != save.model) {
            diag.set("expected sessions of one model in one file, found them of two", .{});
            return error.Foreign;
        }
        if (save.items.items.len != 0) try expectSamePolicy(save.layout(), session.sequence.pool.layout, diag);
        const gpa = save.gpa;
        try save.items.ensureUnusedCapacity(gpa, 1);
        const state = session.state();
        const tokens = try gpa.alloc(u32, session.position());
        errdefer gpa.free(tokens);
        @memcpy(tokens[0..state.tokens.len], state.tokens);
        if (state.carry) |token| tokens[state.tokens.len] = token;
        const logits = try gpa.dupe(f32, state.logits orelse &.{});
        errdefer gpa.free(logits);
        save.items.appendAssumeCapacity(.{
            .sequence = try session.sequence.hold(diag),
            .settings = session.settings,
            .tokens = tokens,
            .logits = logits,
        });
    }

    fn layout(save: *const Save) cache.Layout {
        return save.items.items[0].sequence.pool.layout;
    }

    /// Writes the file. What was at the path before is replaced if it was such a file too.
    pub fn write(save: *const Save, path: []const u8, progress: *Progress, diag: *Diagnostic) Error!void {
        std.debug.assert(save.items.items.len != 0);
        errdefer if (diag.text().len == 0) diag.set("expected memory to save a session, found that the system has not that much", .{});
        var arena: std.heap.ArenaAllocator = .init(save.gpa);
        defer arena.deinit();
        var plan = try Plan.init(arena.allocator(), save);
        for (plan.header.sections) |section| if (section.bytes > snapshot.section_bytes_max) {
            diag.set("expected at most {d} bytes of keys or values of one head, found {d}", .{ snapshot.section_bytes_max, section.bytes });
            return error.BadOption;
        };
        const partial = try std.mem.concat(arena.allocator(), u8, &.{ path, partial_suffix });
        plan.writeTo(path, partial, progress) catch |err| {
            const why = switch (err) {
                error.Cancelled => return error.Cancelled,
                error.OutOfMemory => return error.OutOfMemory,
                error.NotAFile => {
                    diag.set("{f}: expected a saved session to replace, or nothing, found something else", .{shown(path)});
                    return error.NotAFile;
                },
                error.WouldBlock, error.WrittenMeanwhile => "another one who is writing it",
                error.NoSpaceLeft, error.DiskQuota => "that the disk is full",
                error.ReadOnlyFileSystem, error.AccessDenied, error.PermissionDenied => "that this is not allowed",
                error.FileNotFound, error.NotDir => "that there is no such folder",
                else => @errorName(err),
            };
            diag.set("{f}: expected to write the session, found {s}", .{ shown(path), why });
            return error.WriteFailed;
        };
    }
};

fn expectSamePolicy(a: cache.Layout, b: cache.Layout, diag: *Diagnostic) Error!void {
    for (0..a.layers) |layer| {
        const same_format = a.exact_format == b.exact_format or !a.window(layer).any();
        if (std.meta.eql(a.window(layer), b.window(layer)) and same_format) continue;
        diag.set("expected sessions in one file to have one cache policy, found other tokens at full precision in layer {d}", .{layer});
        return error.Foreign;
    }
    for (0..a.layers) |layer| for (0..a.kv_heads) |head| for ([_]kernel.KvSide{ .key, .value }) |side| {
        if (a.rotates(side, layer, head) != b.rotates(side, layer, head)) {
            diag.set("expected sessions in one file to have one cache policy, found {t}s of layer {d}, KV head {d}, that are rotated in one only", .{
                side, layer, head,
            });
            return error.Foreign;
        }
        if (side == .key and a.early(layer, head) != b.early(layer, head)) {
            diag.set("expected sessions in one file to have one cache policy, found keys of layer {d}, KV head {d}, that are stored " ++
                "before their rotary embedding in one only", .{ layer, head });
            return error.Foreign;
        }
        if (a.code(side, layer, head) == b.code(side, layer, head)) continue;
        if (a.format(side, layer, head) == b.format(side, layer, head)) {
            diag.set("expected sessions in one file to have one cache policy, found {t}s of layer {d}, KV head {d}, with different options", .{
                side, layer, head,
            });
            return error.Foreign;
        }
        diag.set("expected sessions in one file to have one cache policy, found {t}s of layer {d}, KV head {d}, in {t} and in {t}", .{
            side, layer, head, a.format(side, layer, head), b.format(side, layer, head),
        });
        return error.Foreign;
    };
}

/// Pages by number, as they come, and how many positions of each are held.
const Indices = struct {
    arena: std.mem.Allocator,
    map: std.AutoArrayHashMapUnmanaged(*cache.Page, u32) = .empty,

    /// The number of a page that is the `place`th of `len` positions.
    fn put(indices: *Indices, page: *cache.Page, place: usize, len: u32) std.mem.Allocator.Error!u32 {
        const entry = try indices.map.getOrPutValue(indices.arena, page, 0);
        const positions = @min(cache.page_len, len - @as(u32, @intCast(place)) * cache.page_len);
        entry.value_ptr.* = @max(entry.value_ptr.*, positions);
        return @intCast(entry.index);
    }
};

/// What goes where.
const Plan = struct {
    arena: std.mem.Allocator,
    save: *const Save,
    header: snapshot.Header,
    /// In the order of `header.pages`.
    pages: []const *cache.Page,
    /// In the order of `header.exact_pages`.
    exact_pages: []const *cache.Page,

    fn init(arena: std.mem.Allocator, save: *const Save) std.mem.Allocator.Error!Plan {
        const items = save.items.items;
        var indices: Indices = .{ .arena = arena };
        var exact_indices: Indices = .{ .arena = arena };
        const sequences = try arena.alloc(snapshot.Sequence, items.len);
        for (items, sequences) |*item, *sequence| {
            const held = &item.sequence;
            const table = try arena.alloc(u32, held.pages);
            for (held.table[0..held.pages], table, 0..) |page, *index, i| {
                index.* = try indices.put(page, i, held.len);
            }
            const tokens: u32 = @intCast(item.tokens.len);
            const full = if (held.exact) |*exact| try fullOf(arena, exact, save.layout(), held.len, &exact_indices) else null;
            sequence.* = try .of(arena, item.settings, tokens, held.len, item.logits.len != 0, table, full);
        }
        const hash = identity.of(save.model.file);
        return .{
            .arena = arena,
            .save = save,
            .header = try snapshot.headerOf(
                arena,
                save.model,
                hash,
                save.layout(),
                indices.map.values(),
                if (save.layout().exact() != null) exact_indices.map.values() else null,
                sequences,
            ),
            .pages = indices.map.keys(),
            .exact_pages = exact_indices.map.keys(),
        };
    }

    fn fullOf(
        arena: std.mem.Allocator,
        exact: *const cache.Exact,
        layout: cache.Layout,
        len: u32,
        indices: *Indices,
    ) std.mem.Allocator.Error!snapshot.Sequence.Full {
        const places = try snapshot.Sequence.Full.places(arena, layout, exact.from, len);
        const pages = try arena.alloc(u32, places.len);
        for (places, pages) |place, *index| index.* = try indices.put(exact.table[place].?, place, len);
        return .{ .from = exact.from, .pages = pages };
    }

    fn writeTo(plan: *Plan, path: []const u8, partial: []const u8, progress: *Progress) !void {
        const io = gguf.Mapping.blockingIo();
        const cwd: Io.Dir = .cwd();
        try expectReplaceable(cwd, io, path);
        // A name that is taken by something else, a pipe for instance, is not waited for.
        if (cwd.statFile(io, partial, .{ .follow_symlinks = false })) |stat| {
            if (stat.kind != .file) return error.WrittenMeanwhile;
        } else |err| if (err != error.FileNotFound) return err;
        // The lock goes with the process, so what a dead one has left is simply written over.
        const file = try cwd.createFile(io, partial, .{ .truncate = false, .lock = .exclusive, .lock_nonblocking = true });
        defer file.close(io);
        // Between opening and locking, another one may have finished it: the lock is then on the finished
        // file, which must not be touched.
        const named = cwd.statFile(io, partial, .{ .follow_symlinks = false }) catch return error.WrittenMeanwhile;
        if (named.inode != (try file.stat(io)).inode) return error.WrittenMeanwhile;
        errdefer cwd.deleteFile(io, partial) catch {};

        try file.setLength(io, 0);
        // Checksums have one length, so the header has its own before they are known.
        const blank = try snapshot.render(plan.arena, plan.header);
        var preamble: snapshot.Preamble = .{
            .header_bytes = std.math.cast(u32, blank.len) orelse return error.FileTooBig,
            .file_bytes = snapshot.fileBytes(plan.header, blank),
        };
        if (blank.len > snapshot.header_bytes_max) return error.FileTooBig;
        progress.bytes_total.store(preamble.file_bytes, .monotonic);
        try plan.writeSections(file, io, preamble.start(), progress);
        const header = try snapshot.render(plan.arena, plan.header);
        std.debug.assert(header.len == blank.len);
        preamble.checksum = preamble.sum(header);
        try file.writePositionalAll(io, std.mem.asBytes(&preamble), 0);
        try file.writePositionalAll(io, header, @sizeOf(snapshot.Preamble));
        // What has a name is on the disk. That the name itself may not be yet does no harm.
        try file.sync(io);
        progress.bytes_done.store(preamble.file_bytes, .monotonic);
        if (progress.cancel.load(.monotonic)) return error.Cancelled;
        try cwd.rename(partial, cwd, path, io);
    }

    fn writeSections(plan: *Plan, file: Io.File, io: Io, start: u64, progress: *Progress) !void {
        var out: Out = .{
            .file = file,
            .io = io,
            .at = start,
            .buffer = try plan.arena.alignedAlloc(u8, .@"64", snapshot.bufferBytes(plan.save.layout())),
            .progress = progress,
        };
        for (plan.header.sections) |*section| {
            std.debug.assert(out.at + out.used == start + section.offset);
            switch (section.kind) {
                .tokens => try out.add(std.mem.sliceAsBytes(plan.save.items.items[section.sequence.?].tokens)),
                .logits => try out.add(std.mem.sliceAsBytes(plan.save.items.items[section.sequence.?].logits)),
                .key, .value, .exact_key, .exact_value => try plan.addRows(&out, section),
            }
            section.checksum = try std.fmt.allocPrint(plan.arena, "{x:0>8}", .{try out.endSection()});
        }
        try out.flush();
    }

    fn addRows(plan: *const Plan, out: *Out, section: *const snapshot.Section) !void {
        const side = section.kind.side();
        const layer = section.layer.?;
        const head = section.head.?;
        const is_exact = section.kind == .exact_key or section.kind == .exact_value;
        // Forks have one pool, other sessions of the model pools of their own, all with one layout.
        const of_first = plan.save.items.items[0].sequence.pool;
        const pool = if (is_exact) of_first.exact.? else of_first;
        const layout = pool.layout;
        const format = snapshot.kernelFormat(layout.format(side, layer, head));
        const dim = layout.headDim(side);
        const row_bytes = snapshot.rowBytes(layout, side, layer, head);
        const counts = if (is_exact) plan.header.exact_pages.? else plan.header.pages;
        for (if (is_exact) plan.exact_pages else plan.pages, counts) |page, count| {
            const memory = if (side == .key) pool.keys(page, layer, head) else pool.values(page, layer, head);
            const rows = try out.room(count * row_bytes);
            cache.rows.read(format, side, memory, dim, layout.options(side, layer, head), count, rows.ptr);
        }
    }
};

/// Refuses to replace what is no saved session: a model whose path was given by mistake, for instance.
fn expectReplaceable(cwd: Io.Dir, io: Io, path: []const u8) !void {
    const stat = cwd.statFile(io, path, .{}) catch |err| return if (err == error.FileNotFound) {} else err;
    if (stat.kind != .file) return error.NotAFile;
    const file = try cwd.openFile(io, path, .{ .allow_directory = false });
    defer file.close(io);
    var found: [snapshot.magic.len]u8 = undefined;
    const len = try file.readPositionalAll(io, &found, 0);
    if (len == 0) return;
    if (!std.mem.eql(u8, found[0..len], &snapshot.magic)) return error.NotAFile;
}

/// Bytes on their way into the file, and the checksum of the section that they belong to.
const Out = struct {
    file: Io.File,
    io: Io,
    /// Where the buffer will be written.
    at: u64,
    buffer: []align(64) u8,
    used: usize = 0,
    /// Of the buffer, already in the sum.
    summed: usize = 0,
    sum: std.hash.XxHash32 = .init(0),
    progress: *Progress,

    fn add(out: *Out, bytes: []const u8) !void {
        var left = bytes;
        while (left.len != 0) {
            const part = left[0..@min(left.len, out.buffer.len)];
            @memcpy(try out.room(part.len), part);
            left = left[part.len..];
        }
    }

    /// The next bytes, to be filled in.
    fn room(out: *Out, count: usize) ![]u8 {
        std.debug.assert(count <= out.buffer.len);
        if (out.used + count > out.buffer.len) try out.flush();
        defer out.used += count;
        return out.buffer[out.used..][0..count];
    }

    fn flush(out: *Out) !void {
        if (out.progress.cancel.load(.monotonic)) return error.Cancelled;
        out.sumUp();
        try out.file.writePositionalAll(out.io, out.buffer[0..out.used], out.at);
        out.at += out.used;
        out.progress.bytes_done.store(out.at, .monotonic);
        out.used = 0;
        out.summed = 0;
    }

    fn sumUp(out: *Out) void {
        out.sum.update(out.buffer[out.summed..out.used]);
        out.summed = out.used;
    }

    /// Fills the section up with zeros, and returns its checksum.
    fn endSection(out: *Out) !u32 {
        const end = out.at + out.used;
        const padding: usize = @intCast(std.mem.alignForward(u64, end, snapshot.alignment) - end);
        @memset(try out.room(padding), 0);
        out.sumUp();
        defer out.sum = .init(0);
        return out.sum.final();
    }
};
