//! The bytes of a model file: mapped where the system can, read into memory where it can't (a
//! file system without mappings, a target without them). Which of the two happened is visible
//! in `kind`.
//!
//! Only regular files are opened. The kind is looked at before the file is opened, because to
//! open a named pipe is to wait for its writer. A mapped file that another process shortens
//! faults when it is touched; no reader of mappings can prevent that.

const std = @import("std");
const builtin = @import("builtin");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Error = @import("cursor.zig").Error;
const Io = std.Io;

pub const Mapping = struct {
    bytes: []const u8,
    kind: Kind,
    /// When the file was last written, in nanoseconds since 1970; 0 for bytes without a file.
    modified_ns: i96 = 0,

    pub const Kind = union(enum) {
        /// Pages of the file itself.
        mapped: Io.File.MemoryMap,
        /// A copy on the heap, as aligned as a page would be needed for vectors.
        read: []align(64) u8,
        /// Somebody else's bytes.
        borrowed,
    };

    pub const Options = struct {
        /// False takes the way of systems without mappings.
        map: bool = true,
        /// What is expected, in messages.
        what: []const u8 = "a GGUF file",
        /// Ask for the huge pages of the system's file cache, for a file that is read as a whole.
        huge: bool = false,
    };

    /// The engine's threads are its own; file calls simply block.
    pub fn blockingIo() Io {
        return Io.Threaded.global_single_threaded.io();
    }

    pub fn borrow(bytes: []const u8) Mapping {
        return .{ .bytes = bytes, .kind = .borrowed };
    }

    pub fn open(gpa: std.mem.Allocator, path: []const u8, options: Options, diag: *Diagnostic) Error!Mapping {
        const io = blockingIo();
        const cwd: Io.Dir = .cwd();
        const before = cwd.statFile(io, path, .{}) catch |err| return openFailure(err, path, diag);
        if (before.kind != .file) return refuseKind(before.kind, path, diag);
        const file = cwd.openFile(io, path, .{ .allow_directory = false }) catch |err| return openFailure(err, path, diag);
        // A mapping outlives the handle that it was made with.
        defer file.close(io);
        const stat = file.stat(io) catch |err| return openFailure(err, path, diag);
        if (stat.kind != .file) return refuseKind(stat.kind, path, diag);
        if (stat.size == 0) {
            diag.set("{f}: expected {s}, found an empty one", .{ shown(path), options.what });
            return error.EmptyFile;
        }
        const size = std.math.cast(usize, stat.size) orelse {
            diag.set("{f}: expected a file that fits in the address space, found {d} bytes", .{ shown(path), stat.size });
            return error.FileTooLarge;
        };
        if (options.map) {
            // Nothing is fetched ahead: a look at the metadata must not read the tensors.
            if (file.createMemoryMap(io, .{ .len = size, .protection = .{ .read = true, .write = false }, .populate = false })) |map| {
                if (options.huge and builtin.os.tag == .linux) {
                    // Where the system can't, small pages do the same.
                    std.posix.madvise(map.memory.ptr, map.memory.len, std.posix.MADV.HUGEPAGE) catch {};
                }
                return .{ .bytes = map.memory, .kind = .{ .mapped = map }, .modified_ns = stat.mtime.nanoseconds };
            } else |_| {}
        }
        var copy = try readWhole(gpa, io, file, size, path, diag);
        copy.modified_ns = stat.mtime.nanoseconds;
        return copy;
    }

    pub fn close(m: *Mapping, gpa: std.mem.Allocator) void {
        switch (m.kind) {
            .mapped => |*map| map.destroy(blockingIo()),
            .read => |copy| gpa.free(copy),
            .borrowed => {},
        }
        m.* = undefined;
    }

    pub const Advice = enum {
        /// These bytes are wanted soon: fetch them in the background.
        will_need,
        /// These bytes have been copied elsewhere: their pages may go. They can still be read,
        /// and come back from the file.
        dont_need,
    };

    /// A hint about bytes of this mapping. Does nothing where the system takes none.
    pub fn advise(m: *const Mapping, bytes: []const u8, advice: Advice) void {
        if (m.kind != .mapped) return;
        if (builtin.os.tag != .linux and !builtin.os.tag.isDarwin()) return;
        const page = std.heap.pageSize();
        const start = @intFromPtr(bytes.ptr);
        const end = start + bytes.len;
        // Whole pages: those that a neighbour shares are fetched, but not given up.
        const from = if (advice == .will_need) std.mem.alignBackward(usize, start, page) else std.mem.alignForward(usize, start, page);
        const to = if (advice == .will_need) std.mem.alignForward(usize, end, page) else std.mem.alignBackward(usize, end, page);
        if (from >= to) return;
        const first: [*]align(std.heap.page_size_min) u8 = @ptrFromInt(from);
        const code: u32 = switch (advice) {
            .will_need => std.posix.MADV.WILLNEED,
            .dont_need => std.posix.MADV.DONTNEED,
        };
        // A hint that is refused changes nothing but speed.
        std.posix.madvise(first, to - from, code) catch {};
    }
};

/// A path in a message. Of a long one the end is shown, so that the message itself still fits.
pub const Shown = struct {
    path: []const u8,

    const bytes_max = 512;

    pub fn format(s: Shown, writer: *Io.Writer) Io.Writer.Error!void {
        if (s.path.len <= bytes_max) return writer.writeAll(s.path);
        var tail = s.path[s.path.len - bytes_max ..];
        // Not from the middle of a UTF-8 character.
        while (tail.len > 0 and tail[0] & 0xc0 == 0x80) tail = tail[1..];
        try writer.print("…{s}", .{tail});
    }
};

pub fn shown(path: []const u8) Shown {
    return .{ .path = path };
}

fn readWhole(gpa: std.mem.Allocator, io: Io, file: Io.File, size: usize, path: []const u8, diag: *Diagnostic) Error!Mapping {
    const copy = try gpa.alignedAlloc(u8, .@"64", size);
    errdefer gpa.free(copy);
    const got = file.readPositionalAll(io, copy, 0) catch |err| {
        diag.set("{f}: expected to read {d} bytes, found {t}", .{ shown(path), size, err });
        return error.ReadFailed;
    };
    if (got != size) {
        diag.set("{f}: expected {d} bytes, found the end of the file after {d}", .{ shown(path), size, got });
        return error.FileChanged;
    }
    return .{ .bytes = copy, .kind = .{ .read = copy } };
}

fn refuseKind(kind: Io.File.Kind, path: []const u8, diag: *Diagnostic) Error {
    diag.set("{f}: expected a regular file, found a {t}", .{ shown(path), kind });
    return error.NotAFile;
}

fn openFailure(err: anyerror, path: []const u8, diag: *Diagnostic) Error {
    switch (err) {
        error.FileNotFound, error.NotDir => {
            diag.set("{f}: expected a file, found none", .{shown(path)});
            return error.FileNotFound;
        },
        error.IsDir => return refuseKind(.directory, path, diag),
        error.AccessDenied, error.PermissionDenied => {
            diag.set("{f}: expected a readable file, found {t}", .{ shown(path), err });
            return error.AccessDenied;
        },
        else => {
            diag.set("{f}: expected a file that can be opened, found {t}", .{ shown(path), err });
            return error.CannotOpen;
        },
    }
}
