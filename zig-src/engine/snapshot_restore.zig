//! Reading a file of saved sessions. Nothing in it is believed: preamble and header must agree with their
//! checksum; what the header says of the model, the precision and the cache must be what the loaded model
//! is; what it says of sequences and pages must make sense; and then the header must be, byte for byte, the
//! one that saving these sequences would write. So sizes and offsets of sections are our own, and each must
//! agree with its checksum. New sessions are made of it: whatever is refused has changed nothing.

const std = @import("std");
const cache = @import("../cache.zig");
const gguf = @import("../gguf.zig");
const identity = @import("identity.zig");
const kernel = @import("../kernel.zig");
const layouts = @import("layouts.zig");
const model_module = @import("model.zig");
const session_module = @import("session.zig");
const snapshot = @import("snapshot.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Model = model_module.Model;
const Progress = model_module.Progress;
const Session = session_module.Session;
const Settings = session_module.Settings;
const shown = gguf.shown;
const Io = std.Io;

pub const Error = session_module.Error || snapshot.Error || error{
    Cancelled,
    FileNotFound,
    AccessDenied,
    NotAFile,
    CannotOpen,
    ReadFailed,
    BadMagic,
    Truncated,
    UnsupportedVersion,
};

/// As many as there can be handles.
pub const sequences_max = 4095;

pub const Options = struct {
    /// Positions that the sessions can hold; 0: as many as when they were saved.
    context: u32 = 0,
};

/// What a file became.
pub const Restored = struct {
    arena: std.heap.ArenaAllocator,
    /// In the order in which they were saved.
    sessions: []*Session,
    /// The JSON, checked.
    header: []const u8,

    /// Sessions that were taken out, by setting `sessions` empty, stay.
    pub fn deinit(restored: *Restored) void {
        for (restored.sessions) |session| session.destroy();
        restored.arena.deinit();
    }
};

/// Reads the whole file. Blocks; `progress` may be read and cancelled from other threads.
pub fn restore(model: *Model, path: []const u8, options: Options, progress: *Progress, diag: *Diagnostic) Error!Restored {
    errdefer if (diag.text().len == 0) diag.set("expected memory to restore a session, found that the system has not that much", .{});
    if (model.family == null) {
        diag.set("expected a model with weights, found a vocabulary only", .{});
        return error.VocabularyOnly;
    }
    var arena: std.heap.ArenaAllocator = .init(model.gpa);
    errdefer arena.deinit();
    const io = gguf.Mapping.blockingIo();
    const file = try open(io, path, diag);
    defer file.close(io);
    var reader: Reader = .{
        .arena = arena.allocator(),
        .model = model,
        .file = file,
        .io = io,
        .path = path,
        .progress = progress,
        .diag = diag,
    };
    const header = try reader.readHeader();
    try reader.checkModel(header.value);
    const layout = try reader.layoutOf(header.value.cache.policy);
    try reader.checkSequences(header.value, layout, options);
    try reader.checkWhole(header, layout);
    return .{
        .sessions = try reader.build(header, layout, options),
        .header = std.mem.trimEnd(u8, header.text, " "),
        // As it is now, with all that the calls above have put into it.
        .arena = arena,
    };
}

/// To open a named pipe is to wait for its writer, so the kind is looked at first.
fn open(io: Io, path: []const u8, diag: *Diagnostic) Error!Io.File {
    const cwd: Io.Dir = .cwd();
    return openRegular(cwd, io, path) catch |err| switch (err) {
        error.FileNotFound, error.NotDir => {
            diag.set("{f}: expected a saved session, found no file", .{shown(path)});
            return error.FileNotFound;
        },
        error.NotAFile, error.IsDir => {
            diag.set("{f}: expected a saved session, found something that is no file", .{shown(path)});
            return error.NotAFile;
        },
        error.AccessDenied, error.PermissionDenied => {
            diag.set("{f}: expected a readable file, found {t}", .{ shown(path), err });
            return error.AccessDenied;
        },
        else => {
            diag.set("{f}: expected a file that can be opened, found {t}", .{ shown(path), err });
            return error.CannotOpen;
        },
    };
}

fn openRegular(cwd: Io.Dir, io: Io, path: []const u8) !Io.File {
    const stat = try cwd.statFile(io, path, .{});
    if (stat.kind != .file) return error.NotAFile;
    return cwd.openFile(io, path, .{ .allow_directory = false });
}

/// A header as it was read.
const Found = struct { value: snapshot.Header, text: []const u8, preamble: snapshot.Preamble };

const Reader = struct {
    arena: std.mem.Allocator,
    model: *Model,
    file: Io.File,
    io: Io,
    path: []const u8,
    progress: *Progress,
    diag: *Diagnostic,

    fn refuse(reader: *Reader, err: Error, comptime format: []const u8, args: anytype) Error {
        reader.diag.set("{f}: expected " ++ format, .{shown(reader.path)} ++ args);
        return err;
    }

    fn readHeader(reader: *Reader) Error!Found {
        const size = reader.file.length(reader.io) catch |err| return reader.refuse(error.ReadFailed, "to read the file, found {t}", .{err});
        var preamble: snapshot.Preamble = undefined;
        const head = std.mem.asBytes(&preamble)[0..@intCast(@min(size, @sizeOf(snapshot.Preamble)))];
        try reader.read(head, 0);
        const known = @min(head.len, snapshot.magic.len);
        if (known == 0 or !std.mem.eql(u8, head[0..known], snapshot.magic[0..known])) {
            return reader.refuse(error.BadMagic, "a saved session, found another kind of file", .{});
        }
        if (head.len < @sizeOf(snapshot.Preamble)) {
            return reader.refuse(error.Truncated, "a preamble of {d} bytes, found {d}", .{ @sizeOf(snapshot.Preamble), size });
        }
        if (preamble.version != snapshot.version) {
            return reader.refuse(error.UnsupportedVersion, "version {d} of saved sessions, found {d}", .{ snapshot.version, preamble.version });
        }
        if (preamble.file_bytes != size) {
            return reader.refuse(error.Truncated, "a file of {d} bytes, found {d}", .{ preamble.file_bytes, size });
        }
        if (preamble.header_bytes > snapshot.header_bytes_max or preamble.start() > size or preamble.start() % snapshot.alignment != 0) {
            return reader.refuse(error.Damaged, "a header within the file, found one of {d} bytes", .{preamble.header_bytes});
        }
        const text = try reader.arena.alloc(u8, preamble.header_bytes);
        try reader.read(text, @sizeOf(snapshot.Preamble));
        if (preamble.checksum != preamble.sum(text) or preamble.reserved != 0) {
            return reader.refuse(error.Damaged, "a header that agrees with its checksum, found a damaged one", .{});
        }
        reader.progress.bytes_total.store(size, .monotonic);
        const value = std.json.parseFromSliceLeaky(snapshot.Header, reader.arena, text, .{}) catch |err| switch (err) {
            error.OutOfMemory => return error.OutOfMemory,
            else => return reader.refuse(error.Damaged, "a header of this version, found one that can't be read ({t})", .{err}),
        };
        return .{ .value = value, .text = text, .preamble = preamble };
    }

    fn read(reader: *Reader, into: []u8, at: u64) Error!void {
        const got = reader.file.readPositionalAll(reader.io, into, at) catch |err| {
            return reader.refuse(error.ReadFailed, "to read {d} bytes, found {t}", .{ into.len, err });
        };
        if (got != into.len) return reader.refuse(error.Truncated, "{d} bytes at {d}, found {d}", .{ into.len, at, got });
    }

    fn checkModel(reader: *Reader, header: snapshot.Header) Error!void {
        const model = reader.model;
        var expected: [16]u8 = undefined;
        _ = std.fmt.bufPrint(&expected, "{x:0>16}", .{identity.of(model.file)}) catch unreachable;
        if (!std.mem.eql(u8, &expected, header.model.identity)) {
            return reader.refuse(error.Foreign, "a session of this model ({s} {s}, {s}), found one of another ({s} {s}, {s})", .{
                model.file.getString("general.architecture") orelse "", model.file.getString("general.name") orelse "", expected,
                header.model.architecture,                              header.model.name,                              header.model.identity,
            });
        }
        if (!std.mem.eql(u8, @tagName(model.precision), header.engine.precision)) {
            return reader.refuse(error.Foreign, "a session of precision {t}, as the model is loaded, found {s}; load the model with that precision", .{
                model.precision, header.engine.precision,
            });
        }
    }

    /// The cache that the policy describes, for this model.
    fn layoutOf(reader: *Reader, policy: snapshot.Policy) Error!cache.Layout {
        var layout = reader.model.cacheLayout(try reader.formatOf(policy.key.format), try reader.formatOf(policy.value.format));
        if (policy.rules.len != 0) {
            const formats = try reader.arena.alloc(cache.Layout.Pair, @as(usize, layout.layers) * layout.kv_heads);
            @memset(formats, .{ .key = layout.key_format, .value = layout.value_format });
            for (policy.rules) |rule| {
                const stored = rule.format orelse continue;
                const format = try reader.formatOf(stored.format);
                const options = stored.options() orelse return reader.refuse(error.UnsupportedVersion, "options of cache formats of this version, found groups of {d} and outliers of {d}", .{
                    stored.group, stored.outliers,
                });
                const which = rule.which orelse return reader.refuse(error.Damaged, "formats of keys or of values, found one of neither", .{});
                const from, const to = if (rule.heads) |head| .{ head, head +| 1 } else .{ 0, layout.kv_heads };
                if (rule.layers >= layout.layers or to > layout.kv_heads) {
                    return reader.refuse(error.Damaged, "rules for {d} layers of {d} KV heads, found one for layer {d}, head {d}", .{
                        layout.layers, layout.kv_heads, rule.layers, from,
                    });
                }
                for (formats[rule.layers * layout.kv_heads ..][from..to]) |*pair| switch (which) {
                    .key => {
                        pair.key = format;
                        pair.rotate_key = stored.rotate;
                        pair.early_key = stored.before_rope;
                        pair.key_options = options;
                    },
                    .value => {
                        pair.value = format;
                        pair.rotate_value = stored.rotate;
                        pair.value_options = options;
                    },
                };
            }
            layout.formats = formats;
        }
        if (policy.exact) |name| {
            layout.exact_format = try reader.formatOf(name);
            const windows = try reader.arena.alloc(cache.Layout.Window, layout.layers);
            @memset(windows, .{ .sinks = policy.sinks orelse 0, .recent = policy.recent orelse 0 });
            for (policy.rules) |rule| if (rule.format == null and rule.layers < layout.layers) {
                windows[rule.layers] = .{ .sinks = rule.sinks orelse 0, .recent = rule.recent orelse 0 };
            };
            layout.windows = windows;
        }
        try layouts.check(layout, reader.diag);
        return layout;
    }

    fn formatOf(reader: *Reader, name: []const u8) Error!cache.Format {
        return cache.formatFromName(name) orelse reader.refuse(error.UnsupportedVersion, "a cache format of this version, found {s}", .{name});
    }

    fn checkSequences(reader: *Reader, header: snapshot.Header, layout: cache.Layout, options: Options) Error!void {
        if (header.sequences.len == 0 or header.sequences.len > sequences_max) {
            return reader.refuse(error.Damaged, "from 1 to {d} sequences, found {d}", .{ sequences_max, header.sequences.len });
        }
        var pages: Named = try .init(reader, header.pages.len);
        var exact_pages: Named = try .init(reader, if (header.exact_pages) |counts| counts.len else 0);
        if ((header.exact_pages == null) != (layout.exact() == null)) {
            return reader.refuse(error.Damaged, "tokens at full precision as the policy has them, found others", .{});
        }
        for (header.sequences, 0..) |sequence, i| {
            try reader.checkSequence(sequence, i, options);
            for (sequence.pages, 0..) |page, place| try pages.name(page, place, sequence.evaluated, i);
            const found = try reader.checkFull(sequence, layout, i);
            const places = if (found) |full| try snapshot.Sequence.Full.places(reader.arena, layout, full.from, sequence.evaluated) else &.{};
            for (places, 0..) |place, n| try exact_pages.name(found.?.pages[n], place, sequence.evaluated, i);
        }
        if (!std.mem.eql(u32, pages.counts, header.pages) or !std.mem.eql(u32, exact_pages.counts, header.exact_pages orelse &.{})) {
            return reader.refuse(error.Damaged, "the pages that the sequences hold, found others", .{});
        }
    }

    /// Whether a sequence has the tokens at full precision that its next one looks at, and no others.
    fn checkFull(reader: *Reader, sequence: snapshot.Sequence, layout: cache.Layout, index: usize) Error!?snapshot.Sequence.Full {
        if ((sequence.exact == null) != (layout.exact() == null)) {
            return reader.refuse(error.Damaged, "tokens at full precision as the policy has them, found others in sequence {d}", .{index});
        }
        const full = sequence.exact orelse return null;
        const widest = layout.widest();
        const whole = full.from == 0 or (widest.recent != 0 and full.from % cache.page_len == 0 and full.from +| widest.recent <= sequence.evaluated);
        const places = try snapshot.Sequence.Full.places(reader.arena, layout, if (whole) full.from else 0, sequence.evaluated);
        if (whole and places.len == full.pages.len) return full;
        return reader.refuse(error.Damaged, "the last {d} tokens of sequence {d} at full precision, found them from {d} on in {d} pages", .{
            widest.recent, index, full.from, full.pages.len,
        });
    }

    fn checkSequence(reader: *Reader, sequence: snapshot.Sequence, index: usize, options: Options) Error!void {
        const context = if (options.context == 0) sequence.context else options.context;
        for ([_]u32{ sequence.context, context }) |positions| {
            if (positions == 0 or positions > session_module.context_max) {
                return reader.refuse(error.BadOption, "a context from 1 to {d}, found {d}", .{ session_module.context_max, positions });
            }
        }
        if (context < sequence.tokens) {
            return reader.refuse(error.ContextFull, "a context for the {d} tokens of sequence {d}, found {d}", .{ sequence.tokens, index, context });
        }
        if (!reader.sameRotation(sequence.context, context)) {
            return reader.refuse(error.BadOption, "a context for which keys are rotated as for {d}, found {d}", .{ sequence.context, context });
        }
        const pages = std.math.divCeil(u32, sequence.evaluated, cache.page_len) catch unreachable;
        const carried = sequence.tokens -% sequence.evaluated;
        const kept = sequence.shift_keep orelse 0;
        if (carried > 1 or sequence.pages.len != pages or sequence.tokens > sequence.context or sequence.chunk == 0 or
            (sequence.shift_keep != null and @as(u64, kept) + 2 > sequence.context) or (sequence.logits and sequence.evaluated == 0))
        {
            return reader.refuse(error.Damaged, "a sequence that can be, found {d} tokens, {d} of them in {d} pages, in a context of {d}", .{
                sequence.tokens, sequence.evaluated, sequence.pages.len, sequence.context,
            });
        }
    }

    /// Some models rotate keys in another way when the context is longer.
    fn sameRotation(reader: *const Reader, a: u32, b: u32) bool {
        for (&reader.model.frequencies) |*frequencies| {
            if (frequencies.short.ptr == frequencies.long.ptr) continue;
            const original = frequencies.rope.context_original;
            if ((a > original) != (b > original)) return false;
        }
        return true;
    }

    /// Whether the header is the one of these sequences, and the file as long as it says.
    fn checkWhole(reader: *Reader, found: Found, layout: cache.Layout) Error!void {
        const header = found.value;
        const sequences = try reader.arena.alloc(snapshot.Sequence, header.sequences.len);
        for (sequences, header.sequences) |*to, from| {
            const settings: Settings = .{ .context = from.context, .chunk = from.chunk, .shift_keep = from.shift_keep };
            to.* = try .of(reader.arena, settings, from.tokens, from.evaluated, from.logits, from.pages, from.exact);
        }
        const hash = identity.of(reader.model.file);
        var expected = try snapshot.headerOf(reader.arena, reader.model, hash, layout, header.pages, header.exact_pages, sequences);
        // It may have been computed by another variant.
        expected.engine.cpu_variant = header.engine.cpu_variant;
        if (expected.sections.len != header.sections.len) {
            return reader.refuse(error.Damaged, "{d} sections, found {d}", .{ expected.sections.len, header.sections.len });
        }
        for (expected.sections, header.sections) |*to, from| to.checksum = from.checksum;
        const text = try snapshot.render(reader.arena, expected);
        const total = snapshot.fileBytes(expected, text);
        if (!std.mem.eql(u8, text, found.text) or total != found.preamble.file_bytes) {
            return reader.refuse(error.Damaged, "the header that belongs to its sequences, found another", .{});
        }
    }

    fn build(reader: *Reader, found: Found, given: cache.Layout, options: Options) Error![]*Session {
        const model = reader.model;
        const header = found.value;
        var layout = given;
        layout.chunk = 0;
        for (header.sequences) |from| layout.chunk = @max(layout.chunk, @min(from.chunk, model.options.batch_rows));
        const count = header.sequences.len;
        const pool = try cache.Pool.create(model.gpa, layout);
        // The sequences hold the pool.
        defer pool.release();
        const sequences = try reader.arena.alloc(cache.Sequence, count);
        const tables = try reader.arena.alloc([]const u32, count);
        const settings = try reader.arena.alloc(Settings, count);
        var made: usize = 0;
        var opened: usize = 0;
        // Sessions own their sequences from the moment that there are sessions.
        errdefer for (sequences[opened..made]) |*sequence| sequence.deinit();
        var room: usize = 0;
        for (header.sequences, settings) |from, *to| {
            to.* = .{
                .context = if (options.context == 0) from.context else options.context,
                .chunk = @min(from.chunk, model.options.batch_rows),
                .shift_keep = from.shift_keep,
            };
            room += pagesOf(to.context);
        }
        try pool.prepare(room, reader.diag);
        while (made < count) : (made += 1) {
            sequences[made] = try .init(pool, pagesOf(settings[made].context), reader.diag);
            tables[made] = header.sequences[made].pages;
        }
        const pages = try reader.arena.alloc(*cache.Page, header.pages.len);
        cache.Sequence.fillShared(sequences, tables, pages);
        const exact_pages = try reader.fillExact(header, layout, sequences);
        const states = try reader.readSections(found, layout, pool, pages, exact_pages);

        const sessions = try reader.arena.alloc(*Session, count);
        errdefer for (sessions[0..opened]) |session| session.destroy();
        while (opened < count) : (opened += 1) {
            sequences[opened].len = header.sequences[opened].evaluated;
            sessions[opened] = try Session.open(model, settings[opened], sequences[opened], states[opened], reader.diag);
        }
        return sessions;
    }

    /// Gives the sequences their pages of tokens at full precision.
    fn fillExact(reader: *Reader, header: snapshot.Header, layout: cache.Layout, sequences: []cache.Sequence) Error![]*cache.Page {
        const counts = header.exact_pages orelse return &.{};
        const pages = try reader.arena.alloc(*cache.Page, counts.len);
        const places = try reader.arena.alloc([]const u32, sequences.len);
        for (header.sequences, places) |from, *of| of.* = try snapshot.Sequence.Full.places(reader.arena, layout, from.exact.?.from, from.evaluated);
        sequences[0].pool.exact.?.takeAll(pages);
        for (sequences, header.sequences, places) |*sequence, from, of| sequence.exact.?.fill(from.exact.?.from, of, from.exact.?.pages, pages);
        return pages;
    }

    /// Fills the pages; what the sessions hold beside them is in the arena.
    fn readSections(
        reader: *Reader,
        found: Found,
        layout: cache.Layout,
        pool: *cache.Pool,
        pages: []const *cache.Page,
        exact_pages: []const *cache.Page,
    ) Error![]session_module.State {
        const header = found.value;
        const states = try reader.arena.alloc(session_module.State, header.sequences.len);
        var in: In = .{
            .reader = reader,
            .at = found.preamble.start(),
            .buffer = try reader.arena.alignedAlloc(u8, .@"64", snapshot.bufferBytes(layout)),
        };
        for (header.sections) |section| {
            in.begin(section);
            switch (section.kind) {
                .tokens => {
                    const sequence = header.sequences[section.sequence.?];
                    const tokens = try reader.arena.alloc(u32, sequence.tokens);
                    try in.take(std.mem.sliceAsBytes(tokens));
                    for (tokens, 0..) |token, i| if (token >= reader.model.vocab()) {
                        return reader.refuse(error.Damaged, "tokens under {d}, found {d} at {d}", .{ reader.model.vocab(), token, i });
                    };
                    states[section.sequence.?] = .{
                        .tokens = tokens[0..sequence.evaluated],
                        .carry = if (sequence.tokens > sequence.evaluated) tokens[sequence.evaluated] else null,
                        .logits = null,
                    };
                },
                .logits => {
                    const logits = try reader.arena.alloc(f32, reader.model.vocab());
                    try in.take(std.mem.sliceAsBytes(logits));
                    states[section.sequence.?].logits = logits;
                },
                .key, .value => try in.takeRows(pool, pages, header.pages, section),
                .exact_key, .exact_value => try in.takeRows(pool.exact.?, exact_pages, header.exact_pages.?, section),
            }
            try in.end(section);
        }
        return states;
    }
};

/// Pages as sequences name them: numbered as they come, each at one place in all sequences.
const Named = struct {
    reader: *Reader,
    places: []?usize,
    counts: []u32,
    named: usize = 0,

    fn init(reader: *Reader, count: usize) Error!Named {
        const places = try reader.arena.alloc(?usize, count);
        const counts = try reader.arena.alloc(u32, count);
        @memset(places, null);
        @memset(counts, 0);
        return .{ .reader = reader, .places = places, .counts = counts };
    }

    fn name(pages: *Named, page: u32, place: usize, evaluated: u32, sequence: usize) Error!void {
        const is_new = page == pages.named;
        if (page > pages.named or page >= pages.places.len or (!is_new and pages.places[page] != place)) {
            return pages.reader.refuse(error.Damaged, "pages in the order of their positions, found page {d} in sequence {d}", .{ page, sequence });
        }
        pages.named += @intFromBool(is_new);
        pages.places[page] = place;
        pages.counts[page] = @max(pages.counts[page], @min(cache.page_len, evaluated - place * cache.page_len));
    }
};

const pagesOf = snapshot.pagesOf;

/// Bytes on their way out of the file, section by section.
const In = struct {
    reader: *Reader,
    /// Where the buffer goes on in the file.
    at: u64,
    buffer: []align(64) u8,
    from: usize = 0,
    to: usize = 0,
    /// Of the section, zeros included, not in the buffer yet.
    left: u64 = 0,
    sum: std.hash.XxHash32 = .init(0),

    fn begin(in: *In, section: snapshot.Section) void {
        std.debug.assert(in.left == 0 and in.from == in.to);
        in.left = section.end() - section.offset;
        in.sum = .init(0);
    }

    /// The next bytes of the section; valid until the next call.
    fn next(in: *In, count: usize) Error![]u8 {
        std.debug.assert(count <= in.buffer.len);
        if (in.to - in.from < count) {
            if (in.reader.progress.cancel.load(.monotonic)) return error.Cancelled;
            std.mem.copyForwards(u8, in.buffer, in.buffer[in.from..in.to]);
            in.to -= in.from;
            in.from = 0;
            const more = in.buffer[in.to..][0..@intCast(@min(in.left, in.buffer.len - in.to))];
            try in.reader.read(more, in.at);
            in.sum.update(more);
            in.at += more.len;
            in.left -= more.len;
            in.to += more.len;
            in.reader.progress.bytes_done.store(in.at, .monotonic);
        }
        defer in.from += count;
        return in.buffer[in.from..][0..count];
    }

    fn take(in: *In, out: []u8) Error!void {
        var left = out;
        while (left.len != 0) {
            const part = @min(left.len, in.buffer.len);
            @memcpy(left[0..part], try in.next(part));
            left = left[part..];
        }
    }

    fn takeRows(
        in: *In,
        pool: *cache.Pool,
        pages: []const *cache.Page,
        counts: []const u32,
        section: snapshot.Section,
    ) Error!void {
        const layout = pool.layout;
        const side = section.kind.side();
        const layer = section.layer.?;
        const head = section.head.?;
        const format = snapshot.kernelFormat(layout.format(side, layer, head));
        const row_bytes = snapshot.rowBytes(layout, side, layer, head);
        for (pages, counts) |page, count| {
            const memory = if (side == .key) pool.keys(page, layer, head) else pool.values(page, layer, head);
            const rows = try in.next(count * row_bytes);
            cache.rows.write(format, side, memory, layout.headDim(side), layout.options(side, layer, head), count, rows.ptr);
        }
    }

    fn end(in: *In, section: snapshot.Section) Error!void {
        _ = try in.next(in.to - in.from + @as(usize, @intCast(in.left)));
        var found: [8]u8 = undefined;
        _ = std.fmt.bufPrint(&found, "{x:0>8}", .{in.sum.final()}) catch unreachable;
        if (std.mem.eql(u8, &found, section.checksum)) return;
        const reader = in.reader;
        const expected = section.checksum;
        if (section.sequence) |sequence| {
            return reader.refuse(error.Damaged, "{t} of sequence {d} with the checksum {s}, found {s}", .{ section.kind, sequence, expected, found });
        }
        return reader.refuse(error.Damaged, "{t}s of layer {d}, KV head {d}, with the checksum {s}, found {s}", .{
            section.kind, section.layer.?, section.head.?, expected, found,
        });
    }
};
