//! Sequence breakers: strings that end what counts as a repetition. A token of the text breaks when an
//! occurrence of a breaker ends in its bytes; where the occurrence began doesn't matter, so that breakers
//! are found however the text was split into tokens.

const std = @import("std");
const data = @import("data.zig");
const stage = @import("stage.zig");
const Vocabulary = @import("vocabulary.zig").Vocabulary;

pub const Breakers = struct {
    strings: []const []const u8,
    /// All strings, one after the other.
    bytes: []const u8,
    /// Which bytes one of them ends with: most bytes of a text end none.
    ends: std.StaticBitSet(256),
    vocabulary: ?Vocabulary,

    pub const none: Breakers = .{ .strings = &.{}, .bytes = "", .ends = .empty, .vocabulary = null };

    const strings_max = 1024;
    const length_max = 256;

    /// From the data of a stage, which has no strings or needs a model.
    pub fn init(making: stage.Making) stage.MakeError!Breakers {
        if (making.data.len == 0) return none;
        const vocabulary = try making.texts("the texts of its sequence breakers");
        const bytes = try making.gpa.dupe(u8, making.data);
        errdefer making.gpa.free(bytes);
        var strings: std.ArrayList([]const u8) = .empty;
        errdefer strings.deinit(making.gpa);
        var ends: std.StaticBitSet(256) = .empty;
        var own = making;
        own.data = bytes;
        var reader: data.Strings = .{ .making = own };
        while (try reader.next()) |string| {
            if (string.len == 0 or string.len > length_max) {
                return making.refuse("expected sequence breakers of 1 to {d} bytes, found {d}", .{ length_max, string.len });
            }
            if (reader.number > strings_max) return making.refuse("expected at most {d} sequence breakers, found more", .{strings_max});
            try strings.append(making.gpa, string);
            ends.set(string[string.len - 1]);
        }
        return .{ .strings = try strings.toOwnedSlice(making.gpa), .bytes = bytes, .ends = ends, .vocabulary = vocabulary };
    }

    pub fn deinit(breakers: *Breakers, gpa: std.mem.Allocator) void {
        gpa.free(breakers.strings);
        gpa.free(breakers.bytes);
    }

    /// Whether an occurrence of a breaker ends in the token at `index`.
    pub fn breaksAt(breakers: *const Breakers, text: []const u32, index: usize) bool {
        const vocabulary = breakers.vocabulary orelse return false;
        for (vocabulary.bytes(text[index]), 0..) |byte, at| {
            if (!breakers.ends.isSet(byte)) continue;
            for (breakers.strings) |string| if (endsAt(vocabulary, text, index, at, string)) return true;
        }
        return false;
    }

    /// Whether `string` ends with the byte `at` of the token at `index`.
    fn endsAt(vocabulary: Vocabulary, text: []const u32, index: usize, at: usize, string: []const u8) bool {
        var left = string;
        var token = index;
        var bytes = vocabulary.bytes(text[token])[0 .. at + 1];
        while (true) {
            const common = @min(left.len, bytes.len);
            if (!std.mem.eql(u8, left[left.len - common ..], bytes[bytes.len - common ..])) return false;
            left = left[0 .. left.len - common];
            if (left.len == 0) return true;
            if (token == 0) return false;
            token -= 1;
            bytes = vocabulary.bytes(text[token]);
        }
    }

    /// How many tokens at the end of the text are behind the last one that breaks.
    pub fn unbroken(breakers: *const Breakers, text: []const u32) usize {
        if (breakers.strings.len == 0) return text.len;
        var index = text.len;
        while (index > 0) : (index -= 1) if (breakers.breaksAt(text, index - 1)) break;
        return text.len - index;
    }
};

const reference = @import("reference.zig");

test "a token breaks where a breaker ends in the text of all tokens before" {
    const gpa = std.testing.allocator;
    const list: []const []const u8 = &.{ "a", "b", "\n", "ab\n", "", "ba", "b\nb", "é" };
    const vocabulary: Vocabulary = .ofList(&list);
    var prng: std.Random.DefaultPrng = .init(9);
    const random = prng.random();
    const sets = [_][]const u8{
        "\x01\x00\x00\x00\n",
        "\x02\x00\x00\x00ba\x03\x00\x00\x00a\nb",
        "\x02\x00\x00\x00\xc3\xa9\x04\x00\x00\x00abab",
    };
    for (sets) |bytes| {
        var breakers: Breakers = try .init(reference.making(.{ .vocab = 9, .data = bytes, .vocabulary = vocabulary }));
        defer breakers.deinit(gpa);
        for (0..300) |_| {
            var text: [12]u32 = undefined;
            for (&text) |*token| token.* = random.uintLessThan(u32, 9);
            var all: std.ArrayList(u8) = .empty;
            defer all.deinit(gpa);
            var last: usize = 0;
            for (text, 0..) |token, index| {
                const from = all.items.len;
                try all.appendSlice(gpa, vocabulary.bytes(token));
                var expected = false;
                for (from..all.items.len) |end| for (breakers.strings) |string| {
                    expected = expected or std.mem.endsWith(u8, all.items[0 .. end + 1], string);
                };
                try std.testing.expectEqual(expected, breakers.breaksAt(&text, index));
                if (expected) last = index + 1;
            }
            try std.testing.expectEqual(text.len - last, breakers.unbroken(&text));
        }
    }
}
