//! The packed weights of a model, kept on disk: a later load maps them instead of packing again, and
//! no memory has to be cleared and filled for them. The model's own file is still what everything
//! else is read from.
//!
//! **What is believed.** Nothing that is read from a packed file is used as a size, an offset or a
//! count. A load works out the header that its own file ought to have, and takes the packed file
//! only if it says the same; then the weights are those of the checksums in it. So a file that is
//! damaged, cut short, of another model, of another version or of an older state of the same model
//! is refused with the reason, and made anew.
//!
//! **What the identity is.** Number, sizes and modification times of the model's files, a hash of
//! their headers (metadata and tensor table), and a hash of 192 bytes of each matrix. That notices a
//! file replaced by another, edited, or trained on, also where all times are equal, as in an image
//! made reproducibly. What it does not notice is an edit within a matrix that spares all bytes looked
//! at, keeps the size, and restores the time.
//!
//! **What the checksums are.** A 64-bit Wyhash for each MiB of weights, checked by the whole team at
//! every load: that is also the first touch of the pages. They are against accidents; who can write
//! the file can write checksums too. Any bytes are safe to compute with, as they are in a GGUF file.
//!
//! The numbers are those of this machine's byte order; a file of the other one is refused.
//!
//!     Head | a `Record` for each matrix | their names | a checksum for each chunk | zeros | weights

const std = @import("std");
const kernel = @import("../kernel.zig");
const gguf = @import("../gguf.zig");
const memory = @import("../memory.zig");
const model_module = @import("model.zig");
const packing = @import("packing.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Model = model_module.Model;
const Progress = model_module.Progress;
const Weight = @import("weight.zig").Weight;
const shown = gguf.shown;
const Io = std.Io;
const Wyhash = std.hash.Wyhash;

pub const Error = error{ OutOfMemory, Cancelled };

/// What became of the packed file that a load was asked to keep.
pub const State = enum(u32) {
    /// None was asked for.
    off = 0,
    /// The weights are the file's pages.
    mapped = 1,
    /// There was none that fits; it is written now, and the weights are in memory.
    written = 2,
    /// There was none that fits, and none could be written. The weights are in memory.
    unsaved = 3,
};

const magic = "VITRPACK".*;
const version = 1;
const byte_order = 0x01020304;

/// Weights that share a checksum.
const chunk_bytes = 1 << 20;

/// Where the weights begin, and the least step of writing: a huge page, so that the system's cache
/// can hold the file in such pages, and map them as such.
const payload_alignment = memory.huge_bytes;

/// Bytes in one write: some milliseconds, the time after which a cancelled load ends.
const write_bytes = 8 << 20;

/// Beside the file, while it is written.
const partial_suffix = ".vitrine-partial";

const Head = extern struct {
    magic: [8]u8,
    version: u32,
    byte_order: u32,
    /// Of all that is before the weights, without the zeros.
    header_bytes: u64,
    /// Wyhash of those bytes, with 0 in place of itself.
    header_checksum: u64,
    file_bytes: u64,
    payload_start: u64,
    payload_bytes: u64,
    chunk_bytes: u64,
    /// `kernel.Precision`
    precision: u32,
    /// Matrices.
    count: u32,
    /// What the kernels make of known rows in the formats that occur: any change of how they pack is
    /// another number.
    layout: u64,
    source: Source,
};

/// Which model the weights are of.
const Source = extern struct {
    /// More than one of a split model.
    files: u64,
    /// Of all of them.
    bytes: u64,
    /// Of all, nanoseconds since 1970 hashed together.
    modified: u64,
    /// Of all bytes before the tensors.
    header: u64,
    /// Of some bytes of every matrix.
    sample: u64,
};

const Record = extern struct {
    /// In the weights.
    offset: u64,
    bytes: u64,
    rows: u32,
    cols: u32,
    /// A GGUF tensor type.
    format: u32,
    name_bytes: u32,
};

/// The packed file of one load.
pub const PackedFile = struct {
    gpa: std.mem.Allocator,
    model: *Model,
    progress: *Progress,
    path: []const u8,
    /// As it ought to be; the checksums are 0 until they are known.
    header: []align(@alignOf(Head)) u8,
    /// What is at `path` is not ours to replace.
    foreign: bool = false,

    /// `weights` in the order of the panels. The path is the caller's.
    pub fn init(model: *Model, weights: []const *Weight, path: []const u8, progress: *Progress) Error!PackedFile {
        const gpa = model.gpa;
        var names_bytes: usize = 0;
        var payload_bytes: usize = 0;
        for (weights) |weight| {
            names_bytes += weight.tensor.name.len;
            payload_bytes += packing.alignedBytes(model, weight);
        }
        const sums_at = std.mem.alignForward(usize, @sizeOf(Head) + weights.len * @sizeOf(Record) + names_bytes, 8);
        const header_bytes = sums_at + chunkCount(payload_bytes) * 8;
        const header = try gpa.alignedAlloc(u8, .of(Head), header_bytes);
        errdefer gpa.free(header);
        @memset(header, 0);
        const payload_start = std.mem.alignForward(usize, header_bytes, payload_alignment);
        const file: PackedFile = .{ .gpa = gpa, .model = model, .progress = progress, .path = path, .header = header };
        file.head().* = .{
            .magic = magic,
            .version = version,
            .byte_order = byte_order,
            .header_bytes = header_bytes,
            .header_checksum = 0,
            .file_bytes = payload_start + payload_bytes,
            .payload_start = payload_start,
            .payload_bytes = payload_bytes,
            .chunk_bytes = chunk_bytes,
            .precision = @backingInt(model.precision),
            .count = @intCast(weights.len),
            .layout = layoutOf(model, weights),
            .source = sourceOf(model, weights),
        };
        var name_at = @sizeOf(Head) + weights.len * @sizeOf(Record);
        var offset: u64 = 0;
        for (weights, 0..) |weight, i| {
            const record: Record = .{
                .offset = offset,
                .bytes = packing.alignedBytes(model, weight),
                .rows = weight.rows,
                .cols = weight.cols,
                .format = @backingInt(weight.format),
                .name_bytes = @intCast(weight.tensor.name.len),
            };
            @memcpy(header[@sizeOf(Head) + i * @sizeOf(Record) ..][0..@sizeOf(Record)], std.mem.asBytes(&record));
            @memcpy(header[name_at..][0..record.name_bytes], weight.tensor.name);
            name_at += record.name_bytes;
            offset += record.bytes;
        }
        std.debug.assert(offset == payload_bytes);
        return file;
    }

    pub fn deinit(file: *PackedFile) void {
        file.gpa.free(file.header);
    }

    fn head(file: *const PackedFile) *Head {
        return @ptrCast(file.header.ptr);
    }

    fn sums(file: *const PackedFile) []u64 {
        const bytes = chunkCount(file.head().payload_bytes) * 8;
        return @alignCast(std.mem.bytesAsSlice(u64, file.header[file.header.len - bytes ..]));
    }

    /// The mapping whose weights may be used, or null; the note says why not.
    pub fn open(file: *PackedFile, note: *Diagnostic) Error!?gguf.Mapping {
        var mapping = gguf.Mapping.open(file.gpa, file.path, .{ .what = "a file of packed weights", .huge = true }, note) catch |err| {
            switch (err) {
                error.OutOfMemory => return error.OutOfMemory,
                error.FileNotFound, error.EmptyFile => {},
                else => file.foreign = true,
            }
            return null;
        };
        if (try file.accept(mapping.bytes, note)) return mapping;
        mapping.close(file.gpa);
        return null;
    }

    /// The weights within the bytes of `open`.
    pub fn payload(file: *const PackedFile, bytes: []const u8) []const u8 {
        const expected = file.head();
        return bytes[@intCast(expected.payload_start)..][0..@intCast(expected.payload_bytes)];
    }

    /// Whether these bytes are a whole file of the weights that `init` was given.
    pub fn accept(file: *PackedFile, bytes: []const u8, note: *Diagnostic) Error!bool {
        var refusal: Refusal = .{ .path = file.path, .note = note };
        if (!std.mem.startsWith(u8, bytes, &magic)) {
            file.foreign = true;
            return refusal.because("expected a file of packed weights, found another kind of file", .{});
        }
        if (!file.sameHeader(bytes, &refusal)) return false;
        // The header's own sum covered these.
        const found = bytes[file.header.len - file.sums().len * 8 ..][0 .. file.sums().len * 8];
        const damaged = try file.sumUp(file.payload(bytes), std.mem.bytesAsSlice(u64, found));
        if (damaged) |chunk| {
            return refusal.because("expected weights that agree with their checksums, found others in MiB {d} of {d}", .{ chunk, found.len / 8 });
        }
        return true;
    }

    fn sameHeader(file: *const PackedFile, bytes: []const u8, refusal: *Refusal) bool {
        if (bytes.len < @sizeOf(Head)) return refusal.because("expected a header of {d} bytes, found {d}", .{ @sizeOf(Head), bytes.len });
        const found = std.mem.bytesToValue(Head, bytes[0..@sizeOf(Head)]);
        const expected = file.head().*;
        if (found.version != version) return refusal.because("expected version {d} of packed weights, found {d}", .{ version, found.version });
        if (found.byte_order != byte_order) return refusal.because("expected this machine's byte order, found another", .{});
        if (found.file_bytes != bytes.len) return refusal.because("expected a file of {d} bytes, found {d}", .{ found.file_bytes, bytes.len });
        if (found.header_bytes < @sizeOf(Head) or found.header_bytes > bytes.len or
            found.header_checksum != headerSum(bytes[0..@intCast(found.header_bytes)]))
        {
            return refusal.because("expected a header that agrees with its checksum, found a damaged one", .{});
        }
        if (found.precision != expected.precision) return refusal.because("expected weights packed for precision {d}, found {d}", .{ expected.precision, found.precision });
        if (!std.meta.eql(found.source, expected.source)) return refusal.because("expected packed weights of {s}, found those of {s}", .{
            "this model as it is now", differences(expected.source, found.source),
        });
        if (found.layout != expected.layout) return refusal.because("expected weights as this version packs them, found those of another", .{});
        // All that is left: the table of matrices, and sizes that follow from it.
        const table = file.header.len - file.sums().len * 8;
        const same = found.header_bytes == expected.header_bytes and found.file_bytes == expected.file_bytes and
            found.payload_start == expected.payload_start and found.payload_bytes == expected.payload_bytes and
            found.chunk_bytes == chunk_bytes and found.count == expected.count and
            std.mem.eql(u8, file.header[@sizeOf(Head)..table], bytes[@sizeOf(Head)..table]);
        if (!same) return refusal.because("expected the matrices of this model, found others", .{});
        return true;
    }

    /// Writes the weights beside the path and then gives them their name, so that no other load
    /// sees a half-written file. Whatever the system refuses is left in the note.
    pub fn write(file: *PackedFile, weights: []const u8, note: *Diagnostic) Error!State {
        if (file.foreign) return .unsaved;
        const sums_here = try file.gpa.alloc(u64, file.sums().len);
        defer file.gpa.free(sums_here);
        _ = try file.sumUpInto(weights, sums_here);
        @memcpy(file.sums(), sums_here);
        file.head().header_checksum = headerSum(file.header);
        const partial = try std.mem.concat(file.gpa, u8, &.{ file.path, partial_suffix });
        defer file.gpa.free(partial);
        file.writeTo(partial, weights) catch |err| {
            if (err == error.Cancelled) return error.Cancelled;
            const why = switch (err) {
                error.WouldBlock, error.WrittenMeanwhile => "another load that is writing it",
                error.NoSpaceLeft, error.DiskQuota => "that the disk is full",
                error.ReadOnlyFileSystem, error.AccessDenied, error.PermissionDenied => "that this is not allowed",
                error.FileNotFound, error.NotDir => "that there is no such folder",
                else => @errorName(err),
            };
            // Nothing more will come.
            file.progress.bytes_total.store(file.progress.bytes_done.load(.monotonic), .monotonic);
            note.set("{f}: expected to write the packed weights, found {s}", .{ shown(file.path), why });
            return .unsaved;
        };
        return .written;
    }

    fn writeTo(file: *PackedFile, partial: []const u8, weights: []const u8) !void {
        const io = gguf.Mapping.blockingIo();
        const cwd: Io.Dir = .cwd();
        // A name that is taken by something else, a pipe for instance, is not waited for.
        if (cwd.statFile(io, partial, .{ .follow_symlinks = false })) |stat| {
            if (stat.kind != .file) return error.NotAFile;
        } else |err| if (err != error.FileNotFound) return err;
        // The lock goes with the process, so what a dead one has left is simply written over.
        const out = try cwd.createFile(io, partial, .{ .truncate = false, .lock = .exclusive, .lock_nonblocking = true });
        defer out.close(io);
        // Between opening and locking, another load may have finished it: the lock is then on the
        // finished file, which must not be touched.
        const named = cwd.statFile(io, partial, .{ .follow_symlinks = false }) catch return error.WrittenMeanwhile;
        if (named.inode != (try out.stat(io)).inode) return error.WrittenMeanwhile;
        errdefer cwd.deleteFile(io, partial) catch {};

        try out.setLength(io, 0);
        try out.writePositionalAll(io, file.header, 0);
        file.beginPhase(weights.len);
        var at: usize = 0;
        while (at < weights.len) : (at += write_bytes) {
            if (file.progress.cancel.load(.monotonic)) return error.Cancelled;
            const part = weights[at..@min(at + write_bytes, weights.len)];
            try out.writePositionalAll(io, part, file.head().payload_start + at);
            _ = file.progress.bytes_done.fetchAdd(part.len, .monotonic);
        }
        // What has a name is on the disk. That the name itself may not be yet does no harm.
        try out.sync(io);
        try cwd.rename(partial, cwd, file.path, io);
    }

    /// Goes over the payload with the whole team; the first chunk that differs from `expected`.
    fn sumUp(file: *PackedFile, weights: []const u8, expected: []align(1) const u64) Error!?usize {
        const found = try file.gpa.alloc(u64, expected.len);
        defer file.gpa.free(found);
        try file.sumUpInto(weights, found);
        for (found, expected, 0..) |a, b, i| if (a != b) return i;
        return null;
    }

    fn sumUpInto(file: *PackedFile, weights: []const u8, into: []u64) Error!void {
        file.beginPhase(weights.len);
        var job: SumJob = .{ .weights = weights, .sums = into, .progress = file.progress };
        file.model.team.run(file.model.threads, &job, SumJob.run);
        if (file.progress.cancel.load(.monotonic)) return error.Cancelled;
    }

    /// What is done stays done when more is to do.
    fn beginPhase(file: *PackedFile, bytes: usize) void {
        file.progress.bytes_total.store(file.progress.bytes_done.load(.monotonic) + bytes, .monotonic);
    }
};

/// Says why a file isn't used, with its name.
const Refusal = struct {
    path: []const u8,
    note: *Diagnostic,

    fn because(refusal: *Refusal, comptime format: []const u8, args: anytype) bool {
        refusal.note.set("{f}: " ++ format, .{shown(refusal.path)} ++ args);
        return false;
    }
};

const SumJob = struct {
    weights: []const u8,
    sums: []u64,
    progress: *Progress,
    next: std.atomic.Value(usize) = .init(0),

    /// In the file's order, so that the disk is read from front to back.
    fn run(job: *SumJob, _: u32) void {
        while (!job.progress.cancel.load(.monotonic)) {
            const index = job.next.fetchAdd(1, .monotonic);
            if (index >= job.sums.len) return;
            const from = index * chunk_bytes;
            const chunk = job.weights[from..@min(from + chunk_bytes, job.weights.len)];
            job.sums[index] = Wyhash.hash(index, chunk);
            _ = job.progress.bytes_done.fetchAdd(chunk.len, .monotonic);
        }
    }
};

fn chunkCount(payload_bytes: u64) usize {
    return @intCast((payload_bytes + chunk_bytes - 1) / chunk_bytes);
}

fn headerSum(bytes: []const u8) u64 {
    const at = @offsetOf(Head, "header_checksum");
    var state: Wyhash = .init(version);
    state.update(bytes[0..at]);
    state.update(&@as([8]u8, @splat(0)));
    state.update(bytes[at + 8 ..]);
    return state.final();
}

/// What tells two models apart that the user calls by one name.
fn differences(expected: Source, found: Source) []const u8 {
    if (found.files != expected.files or found.bytes != expected.bytes) return "a model of another size";
    if (found.header != expected.header) return "a model with other metadata or tensors";
    if (found.sample != expected.sample) return "a model with other weights";
    return "a file with another time of modification";
}

fn sourceOf(model: *const Model, weights: []const *Weight) Source {
    var header: Wyhash = .init(0);
    var modified: Wyhash = .init(0);
    for (model.file.sources) |*source| {
        const bytes = source.mapping.bytes;
        const end: usize = @intCast(@min(source.part.data_start, bytes.len));
        header.update(std.mem.asBytes(&@as(u64, end)));
        header.update(bytes[0..end]);
        modified.update(std.mem.asBytes(&@as(i128, source.mapping.modified_ns)));
    }
    var sample: Wyhash = .init(0);
    const piece = 64;
    for (weights) |weight| {
        const bytes = weight.tensor.bytes;
        const last = bytes.len -| piece;
        for ([_]usize{ 0, last / 2, last }) |at| sample.update(bytes[at..@min(at + piece, bytes.len)]);
    }
    return .{
        .files = model.file.sources.len,
        .bytes = model.file.file_bytes,
        .modified = modified.final(),
        .header = header.final(),
        .sample = sample.final(),
    };
}

/// Packs the same 16 rows in every format that occurs, and hashes what comes out.
fn layoutOf(model: *const Model, weights: []const *Weight) u64 {
    const cols = 512;
    var source: [kernel.panel_rows * cols * 8]u8 = undefined;
    // Without the second-highest bit no byte belongs to a NaN, whose bits conversions may change.
    for (&source, 0..) |*byte, i| byte.* = @truncate((i *% 0x9e3779b97f4a7c15 >> 37) & 0xbf);
    var panel: [kernel.panel_rows * cols * 8]u8 align(64) = undefined;
    var done: std.EnumSet(@TypeOf(weights[0].format)) = .empty;
    var state: Wyhash = .init(kernel.panel_rows);
    for (weights) |weight| {
        if (done.contains(weight.format)) continue;
        done.insert(weight.format);
        const format: u32 = @backingInt(weight.format);
        const precision: u32 = @backingInt(model.precision);
        const bytes = model.kernels.packed_bytes(format, precision, kernel.panel_rows, cols);
        model.kernels.pack(format, precision, cols, &source, kernel.panel_rows, &panel);
        state.update(std.mem.asBytes(&format));
        state.update(panel[0..bytes]);
    }
    return state.final();
}
