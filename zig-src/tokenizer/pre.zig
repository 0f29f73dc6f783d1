//! The pre-tokenizers of byte-pair encodings: how a text is split into words before merges are
//! looked for, which must be exactly as the model was trained. A GGUF file names its own in
//! `tokenizer.ggml.pre`.
//!
//! A family is a file in `pre/` that declares
//!   `names`    the values of `tokenizer.ggml.pre` that mean it, with what else they imply
//!   `passes`   the passes that split the text one after the other (scan.zig)
//!   `byte_level` = false when the vocabulary is plain UTF-8 instead of GPT-2's byte characters
//! and says its pattern in its header. The patterns are those that the models' authors published;
//! where a family is made of scanners, golden/pretokenizer.txt holds what the patterns
//! themselves give for difficult text.

const std = @import("std");

/// The registry.
pub const families = .{
    @import("pre/afmoe.zig"),
    @import("pre/bailingmoe.zig"),
    @import("pre/bloom.zig"),
    @import("pre/chameleon.zig"),
    @import("pre/deepseek_coder.zig"),
    @import("pre/deepseek_llm.zig"),
    @import("pre/deepseek_v3.zig"),
    @import("pre/default.zig"),
    @import("pre/exaone_moe.zig"),
    @import("pre/falcon.zig"),
    @import("pre/gemma4.zig"),
    @import("pre/gpt2.zig"),
    @import("pre/gpt4o.zig"),
    @import("pre/jais2.zig"),
    @import("pre/kimi_k2.zig"),
    @import("pre/laguna.zig"),
    @import("pre/llama3.zig"),
    @import("pre/minicpm5.zig"),
    @import("pre/qwen2.zig"),
    @import("pre/qwen35.zig"),
    @import("pre/seed_coder.zig"),
    @import("pre/spark2_5.zig"),
    @import("pre/starcoder.zig"),
    @import("pre/superbpe.zig"),
    @import("pre/tekken.zig"),
    @import("pre/tiny_aya.zig"),
    @import("pre/ufakzeka.zig"),
    @import("pre/viking.zig"),
    @import("pre/youtu.zig"),
};

pub const Name = struct {
    text: []const u8,
    /// A word that is a token is that token, whatever the merges would give.
    ignore_merges: bool = false,
    /// What `add_bos_token` is when the file doesn't say.
    add_bos: bool = false,
    /// A run of line ends that is a token is that token.
    whole_newlines: bool = false,
    /// The file may have no merges at all.
    merges_optional: bool = false,
};

/// The index of a family in `families`.
pub const Family = @Enum(u8, .exhaustive, family_names, &std.simd.iota(u8, family_names.len));

const family_names = blk: {
    var names: [families.len][]const u8 = undefined;
    for (&names, 0..) |*name, i| {
        // @import("pre/x.zig") is a type whose name ends in ".x".
        const full = @typeName(families[i]);
        const dot = std.mem.lastIndexOfScalar(u8, full, '.').?;
        name.* = full[dot + 1 ..];
    }
    const fixed = names;
    break :blk &fixed;
};

pub fn MemberType(comptime family: Family) type {
    return families[@backingInt(family)];
}

pub fn isByteLevel(family: Family) bool {
    return switch (family) {
        inline else => |tag| byteLevel(MemberType(tag)),
    };
}

fn byteLevel(comptime Member: type) bool {
    return if (@hasDecl(Member, "byte_level")) Member.byte_level else true;
}

pub const Found = struct { family: Family, name: Name };

/// The family and the implications of a name; null for an unknown one.
pub fn find(text: []const u8) ?Found {
    inline for (families, 0..) |Member, i| {
        for (Member.names) |name| {
            if (std.mem.eql(u8, name.text, text)) return .{ .family = @fromBackingInt(@intCast(i)), .name = name };
        }
    }
    return null;
}

/// All names, separated by commas, for messages.
pub const known_names = blk: {
    var text: []const u8 = "";
    for (families) |Member| {
        for (Member.names) |name| text = text ++ (if (text.len == 0) "" else ", ") ++ name.text;
    }
    break :blk text;
};

comptime {
    @setEvalBranchQuota(200_000);
    var seen: []const []const u8 = &.{};
    for (families) |Member| {
        if (!@hasDecl(Member, "names") or !@hasDecl(Member, "passes")) {
            @compileError(@typeName(Member) ++ " must declare `names` and `passes`");
        }
        for (Member.names) |name| {
            for (seen) |other| {
                if (std.mem.eql(u8, name.text, other)) @compileError("two families are called " ++ name.text);
            }
            seen = seen ++ .{name.text};
        }
    }
}

/// The words of a text, as slices of it. Each pass splits what the one before it found.
pub fn WordsType(comptime Member: type) type {
    const count = Member.passes.len;
    const types: [count]type = Member.passes;
    const States = @Tuple(&types);
    return struct {
        text: []const u8,
        at: usize = 0,
        states: States = initial,
        /// Where the current piece of each pass ends.
        ends: [count]usize = @splat(0),

        const initial: States = blk: {
            var states: States = undefined;
            for (0..count) |i| states[i] = .{};
            break :blk states;
        };

        pub fn next(words: *@This()) ?[]const u8 {
            if (words.at == words.text.len) return null;
            const from = words.at;
            var bound = words.text.len;
            var new_bound = false;
            inline for (0..count) |i| {
                if (words.ends[i] == from) {
                    // A pass that keeps notes keeps them within one piece of the pass before.
                    if (new_bound) words.states[i] = .{};
                    words.ends[i] = words.states[i].next(words.text[0..bound], from);
                    std.debug.assert(words.ends[i] > from);
                    std.debug.assert(words.ends[i] <= bound);
                    new_bound = true;
                }
                bound = words.ends[i];
            }
            words.at = bound;
            return words.text[from..bound];
        }
    };
}

const testing = std.testing;
const Io = std.Io;

/// The words of a text by a family chosen at run time; for tests and tools.
pub fn split(gpa: std.mem.Allocator, family: Family, text: []const u8, out: *std.ArrayList([]const u8)) !void {
    switch (family) {
        inline else => |tag| {
            var words: WordsType(MemberType(tag)) = .{ .text = text };
            while (words.next()) |word| try out.append(gpa, word);
        },
    }
}

test "every file of pre/ is registered" {
    const io = testing.io;
    var dir = Io.Dir.cwd().openDir(io, "zig-src/tokenizer/pre", .{ .iterate = true }) catch
        try Io.Dir.cwd().openDir(io, "tokenizer/pre", .{ .iterate = true });
    defer dir.close(io);
    var files: usize = 0;
    var entries = dir.iterate();
    while (try entries.next(io)) |entry| {
        if (!std.mem.endsWith(u8, entry.name, ".zig")) continue;
        files += 1;
        const name = entry.name[0 .. entry.name.len - ".zig".len];
        if (std.meta.stringToEnum(Family, name) == null) {
            std.debug.print("expected pre/{s} in the registry of pre.zig, found it missing\n", .{entry.name});
            return error.NotRegistered;
        }
    }
    try testing.expectEqual(families.len, files);
}

test "names lead to families" {
    try testing.expectEqual(Family.llama3, find("llama-bpe").?.family);
    try testing.expect(find("llama-bpe").?.name.ignore_merges);
    try testing.expect(!find("dbrx").?.name.ignore_merges);
    try testing.expectEqual(Family.starcoder, find("smollm").?.family);
    try testing.expectEqual(null, find("smollm2"));
    try testing.expect(std.mem.indexOf(u8, known_names, "gpt-4o, ") != null);
    try testing.expect(!isByteLevel(.gemma4));
}

test "every family covers any bytes without overlap" {
    const gpa = testing.allocator;
    var random: std.Random.DefaultPrng = .init(7);
    var words: std.ArrayList([]const u8) = .empty;
    defer words.deinit(gpa);
    for (0..400) |round| {
        var buffer: [64]u8 = undefined;
        const text = buffer[0 .. round % buffer.len];
        for (text) |*byte| byte.* = if (round % 2 == 0) random.random().int(u8) else " \n\t'sAB1é.\xCC\x81"[random.random().uintLessThan(usize, 13)];
        inline for (0..families.len) |i| {
            words.clearRetainingCapacity();
            try split(gpa, @fromBackingInt(@intCast(i)), text, &words);
            var at: usize = 0;
            for (words.items) |word| {
                try testing.expectEqual(text.ptr + at, word.ptr);
                try testing.expect(word.len > 0);
                at += word.len;
            }
            try testing.expectEqual(text.len, at);
        }
    }
}
