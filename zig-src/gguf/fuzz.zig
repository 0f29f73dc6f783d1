//! Fuzzing of the reader: a target for the coverage-guided fuzzer of the build system, and a
//! fixed-seed run of mutations that every test run makes.
//!
//! What must hold for any bytes at all: no crash, no leak, no more memory than promised; a
//! refusal has a sentence; an acceptance means that every view lies within the file (or its
//! converted copy), that every name can be found again, and that every value can be read.
//! The canaries are readers with one planted fault each, which the same run must catch.

const std = @import("std");
const builtin = @import("builtin");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Error = @import("cursor.zig").Error;
const File = @import("file.zig").File;
const forge = @import("forge.zig");
const quant = @import("../quant.zig");
const reader = @import("reader.zig");
const value = @import("value.zig");
const Writer = @import("writer.zig").Writer;
const Allocator = std.mem.Allocator;
const gpa = std.testing.allocator;

const Open = *const fn (Allocator, []const u8, *Diagnostic) Error!*File;

pub const Broken = error{
    ViewOutsideFile,
    NameNotFound,
    WrongSize,
    TooMuchMemory,
    Leak,
    NoSentence,
    OutOfMemory,
};

const Outcome = enum { accepted, refused };

/// Reads the bytes with a reader and holds it to its promises.
fn check(open: Open, bytes: []const u8) Broken!Outcome {
    var diag: Diagnostic = .{};
    var budget: forge.Budget = .forFile(gpa, bytes.len);
    const outcome: Outcome = if (open(budget.allocator(), bytes, &diag)) |file| accepted: {
        defer file.close();
        try inspect(file, bytes);
        break :accepted .accepted;
    } else |err| refused: {
        if (err == error.OutOfMemory and !budget.refused) return error.OutOfMemory;
        if (!budget.refused) {
            if (std.mem.find(u8, diag.text(), "expected ") == null) return error.NoSentence;
            if (std.mem.find(u8, diag.text(), "found ") == null) return error.NoSentence;
        }
        break :refused .refused;
    };
    if (budget.refused) return error.TooMuchMemory;
    if (budget.live != 0) return error.Leak;
    return outcome;
}

fn inspect(file: *const File, bytes: []const u8) Broken!void {
    for (file.metadata) |entry| {
        try within(entry.key, bytes);
        if (file.get(entry.key) == null) return error.NameNotFound;
        try inspectValue(entry.value, bytes);
    }
    const home: []const u8 = if (file.sources[0].part.converted.len > 0) file.sources[0].part.converted else bytes;
    var total: u64 = 0;
    for (file.tensors) |*t| {
        try within(t.name, bytes);
        if (file.findTensor(t.name) != t) return error.NameNotFound;
        try within(t.bytes, home);
        const row = quant.rowBytes(t.format, t.dims[0]) catch return error.WrongSize;
        if (row * t.dims[1] * t.dims[2] * t.dims[3] != t.bytes.len) return error.WrongSize;
        total += t.bytes.len;
        touch(t.bytes);
    }
    // Tensors that don't overlap cannot be more than the file.
    if (total != file.data_bytes or total > bytes.len) return error.WrongSize;
}

fn inspectValue(v: value.Value, bytes: []const u8) Broken!void {
    switch (v) {
        .string => |s| {
            try within(s, bytes);
            touch(s);
        },
        .array => |a| {
            try within(a.bytes, bytes);
            for (0..a.len) |i| try inspectValue(a.at(i), bytes);
        },
        else => std.mem.doNotOptimizeAway(v.asFloat()),
    }
}

fn within(view: []const u8, home: []const u8) Broken!void {
    if (view.len == 0) return;
    const from = @intFromPtr(view.ptr);
    const home_from = @intFromPtr(home.ptr);
    if (from < home_from or from + view.len > home_from + home.len) return error.ViewOutsideFile;
}

/// Reads both ends, so that memory that isn't there faults.
fn touch(bytes: []const u8) void {
    if (bytes.len == 0) return;
    std.mem.doNotOptimizeAway(bytes[0] +% bytes[bytes.len - 1]);
}

/// Valid files to begin with, one for each byte order and version.
const Seeds = struct {
    files: [4][]u8,

    fn init() !Seeds {
        var seeds: Seeds = undefined;
        var made: usize = 0;
        errdefer for (seeds.files[0..made]) |bytes| gpa.free(bytes);
        for ([_]u32{ 2, 3 }) |version| {
            for ([_]std.lang.Endian{ .little, .big }) |endian| {
                seeds.files[made] = try seed(version, endian);
                made += 1;
            }
        }
        return seeds;
    }

    fn deinit(s: *Seeds) void {
        for (s.files) |bytes| gpa.free(bytes);
    }

    fn seed(version: u32, endian: std.lang.Endian) ![]u8 {
        var diag: Diagnostic = .{};
        var w: Writer = try .init(gpa, .{ .version = version, .endian = endian, .alignment = 64 }, &diag);
        defer w.deinit();
        try w.add("general.architecture", []const u8, "llama");
        try w.add("n", u32, 7);
        try w.add("f", f64, 0.5);
        try w.add("b", bool, true);
        try w.addArray("tokens", []const u8, &.{ "<s>", "a", "", "bc" });
        try w.addArray("scores", f32, &.{ 0, -1, -2, -3 });
        try w.addArray("flags", bool, &.{ true, false });
        try w.addArray("nested", []const []const u8, &.{ &.{ "x", "y" }, &.{} });
        const plain: [12]f32 = @splat(1);
        try w.addTensor("a.weight", &.{ 4, 3 }, .f32, std.mem.sliceAsBytes(&plain));
        const blocks: [2 * 18]u8 = @splat(3);
        try w.addTensor("b.weight", &.{ 32, 2 }, .q4_0, &blocks);
        const halves: [16]u8 = @splat(0);
        try w.addTensor("c.bias", &.{8}, .f16, &halves);
        return w.toBytes(gpa);
    }
};

/// Numbers at which readers break.
const edges = [_]u64{
    0,                    1,       2,                    3,                    4,                        7,          8,
    9,                    12,      13,                   31,                   32,                       33,         64,
    255,                  256,     65535,                65536,                1 << 24,                  1 << 31,    1 << 32,
    (1 << 32) - 1,        1 << 60, 1 << 61,              1 << 62,              std.math.maxInt(u64) / 2, 1 << 63,    std.math.maxInt(u64) - 31,
    std.math.maxInt(u64), 1 << 40, std.math.maxInt(u32), std.math.maxInt(u16), 0xfffffffffffffff8,       0x46554747, 0x0300_0000,
};

/// One to four small damages to a copy of the seed; `scratch` holds the result.
fn mutate(random: std.Random, original: []const u8, scratch: []u8) []u8 {
    @memcpy(scratch[0..original.len], original);
    var len = original.len;
    for (0..random.intRangeAtMost(u32, 1, 4)) |_| {
        if (len < 16) break;
        switch (random.uintLessThan(u32, 16)) {
            0...4 => scratch[random.uintLessThan(usize, len)] ^= @as(u8, 1) << random.int(u3),
            5, 6 => scratch[random.uintLessThan(usize, len)] = random.int(u8),
            7...11 => edge(random, scratch[0..len]),
            // Header bytes are where the lies are; data may be damaged freely.
            12 => scratch[random.uintLessThan(usize, @min(len, 24))] = random.uintLessThan(u8, 8),
            13 => len = random.uintAtMost(usize, len),
            14 => {
                const n = random.uintLessThan(usize, len / 4);
                const from = random.uintAtMost(usize, len - n);
                const to = random.uintAtMost(usize, len - n);
                @memmove(scratch[to..][0..n], scratch[from..][0..n]);
            },
            else => {
                const n = random.uintLessThan(usize, @min(64, len));
                const at = random.uintAtMost(usize, len - n);
                @memmove(scratch[at .. len - n], scratch[at + n .. len]);
                len -= n;
            },
        }
    }
    return scratch[0..len];
}

fn edge(random: std.Random, bytes: []u8) void {
    const v = edges[random.uintLessThan(usize, edges.len)];
    const endian: std.lang.Endian = if (random.boolean()) .little else .big;
    switch (random.boolean()) {
        true => {
            const at = random.uintAtMost(usize, bytes.len - 8);
            std.mem.writeInt(u64, bytes[at..][0..8], v, endian);
        },
        false => {
            const at = random.uintAtMost(usize, bytes.len - 4);
            std.mem.writeInt(u32, bytes[at..][0..4], @truncate(v), endian);
        },
    }
}

const Tally = struct { accepted: usize = 0, refused: usize = 0 };

fn run(open: Open, mutations: usize) !Tally {
    var seeds: Seeds = try .init();
    defer seeds.deinit();
    for (seeds.files) |bytes| {
        if (try check(open, bytes) != .accepted) return error.SeedRefused;
    }
    var prng: std.Random.DefaultPrng = .init(0x6775_6766);
    var tally: Tally = .{};
    for (0..mutations) |i| {
        const original = seeds.files[i % seeds.files.len];
        // Its own allocation of its exact length, so that a read past its end is noticed.
        const scratch = try gpa.alloc(u8, original.len);
        defer gpa.free(scratch);
        const mutated = try gpa.dupe(u8, mutate(prng.random(), original, scratch));
        defer gpa.free(mutated);
        switch (try check(open, mutated)) {
            .accepted => tally.accepted += 1,
            .refused => tally.refused += 1,
        }
    }
    return tally;
}

const smoke_mutations = 20_000;

test "fixed-seed mutations" {
    const tally = try run(&File.openBytes, smoke_mutations);
    // Both ways through the reader are well used, or the mutations are too wild or too tame.
    try std.testing.expect(tally.accepted > smoke_mutations / 50);
    try std.testing.expect(tally.refused > smoke_mutations / 4);
}

test "the canaries are caught" {
    try std.testing.expectError(error.ViewOutsideFile, run(&canary.pastEnd, smoke_mutations));
    try std.testing.expectError(error.TooMuchMemory, run(&canary.trustingCount, smoke_mutations));
    defer if (canary.lost) |memory| gpa.free(memory);
    try std.testing.expectError(error.Leak, run(&canary.leaky, 4 * smoke_mutations));
    try std.testing.expectError(error.NoSentence, run(&canary.silent, smoke_mutations));
    try std.testing.expectError(error.WrongSize, run(&canary.wrongShape, smoke_mutations));
    try std.testing.expectError(error.NameNotFound, run(&canary.shadowed, smoke_mutations));
}

/// Readers with a fault that the valid seeds don't show: only a mutation brings it out.
const canary = struct {
    /// Forgets the end of the file for one string length that no seed has.
    fn pastEnd(allocator: Allocator, bytes: []const u8, diag: *Diagnostic) Error!*File {
        const file: *File = try .openBytes(allocator, bytes, diag);
        for (@constCast(file.metadata)) |*entry| {
            if (entry.value == .uint32 and entry.value.uint32 > 1 << 20) {
                entry.value = .{ .string = (bytes.ptr + bytes.len - 1)[0..2] };
            }
        }
        return file;
    }

    /// Makes a table for as many entries as the header claims, before it counts them.
    fn trustingCount(allocator: Allocator, bytes: []const u8, diag: *Diagnostic) Error!*File {
        if (bytes.len >= 24) {
            const claimed = std.mem.readInt(u64, bytes[16..24], .little);
            if (claimed > 64 and claimed < 1 << 40) allocator.free(try allocator.alloc(value.Entry, @intCast(claimed)));
        }
        return File.openBytes(allocator, bytes, diag);
    }

    /// Loses what it had allocated when a name repeats.
    fn leaky(allocator: Allocator, bytes: []const u8, diag: *Diagnostic) Error!*File {
        return File.openBytes(allocator, bytes, diag) catch |err| {
            if (err == error.DuplicateKey and lost == null) lost = try allocator.alloc(u8, 1);
            return err;
        };
    }

    /// What `leaky` lost, for the test to free.
    var lost: ?[]u8 = null;

    /// Refuses one kind of lie without a word.
    fn silent(allocator: Allocator, bytes: []const u8, diag: *Diagnostic) Error!*File {
        return File.openBytes(allocator, bytes, diag) catch |err| {
            if (err == error.OffsetMisaligned) diag.* = .{};
            return err;
        };
    }

    /// Takes a dimension that was changed for the one that the data was measured with.
    fn wrongShape(allocator: Allocator, bytes: []const u8, diag: *Diagnostic) Error!*File {
        const file: *File = try .openBytes(allocator, bytes, diag);
        for (@constCast(file.tensors)) |*t| {
            if (t.n_dims == 2 and t.dims[1] == 1) t.dims[1] = 2;
        }
        return file;
    }

    /// Shows one name otherwise than it was entered in the table.
    fn shadowed(allocator: Allocator, bytes: []const u8, diag: *Diagnostic) Error!*File {
        const file: *File = try .openBytes(allocator, bytes, diag);
        for (@constCast(file.tensors)) |*t| {
            if (t.name.len > 0 and t.name[0] == 'e') t.name = t.name[1..];
        }
        return file;
    }
};

fn fuzzOne(_: void, smith: *std.testing.Smith) anyerror!void {
    var buffer: [8192]u8 = undefined;
    const len = smith.slice(&buffer);
    const bytes = try gpa.dupe(u8, buffer[0..len]);
    defer gpa.free(bytes);
    _ = try check(&File.openBytes, bytes);
}

test "fuzz" {
    var seeds: Seeds = try .init();
    defer seeds.deinit();
    var corpus: [seeds.files.len][]u8 = undefined;
    var made: usize = 0;
    defer for (corpus[0..made]) |entry| gpa.free(entry);
    for (seeds.files) |bytes| {
        // The fuzzer's own form of a slice: its length in front.
        var len: [4]u8 = undefined;
        std.mem.writeInt(u32, &len, @intCast(bytes.len), .little);
        corpus[made] = try std.mem.concat(gpa, u8, &.{ &len, bytes });
        made += 1;
    }
    try std.testing.fuzz({}, fuzzOne, .{ .corpus = &corpus });
}
