//! Digits in groups of three, counted from the right: "1234567" is 1, 234, 567. The length of a
//! run of digits is counted once and kept, so that a million digits are not counted a third of a
//! million times.

const scan = @import("../scan.zig");
const unicode = @import("../unicode.zig");
const Mask = unicode.Mask;

pub const Options = struct {
    /// The classes that count as digits.
    digit: Mask,
    /// A run before one of these characters is not grouped.
    not_before: scan.Set = .{},
};

const Run = struct { end: usize, count: usize };

fn runOf(comptime digit: Mask, text: []const u8, from: usize) Run {
    var at = from;
    var count: usize = 0;
    while (at < text.len) : (count += 1) {
        const char = unicode.decode(text, at);
        if (char.mask() & digit == 0) break;
        at += char.len;
    }
    return .{ .end = at, .count = count };
}

fn skip(text: []const u8, from: usize, count: usize) usize {
    var at = from;
    for (0..count) |_| at += unicode.decode(text, at).len;
    return at;
}

/// The groups and what lies between them: `\d{1,3}(?=(?:\d{3})*\b)`.
pub fn PassType(comptime options: Options) type {
    return struct {
        /// Digits of the current run that are still to come, from `at` on.
        left: usize = 0,
        at: usize = 0,

        pub fn next(pass: *@This(), text: []const u8, from: usize) usize {
            if (pass.left == 0 or pass.at != from) {
                pass.find(text, from);
                if (pass.at > from) return pass.at;
            }
            const count = if (pass.left % 3 == 0) 3 else pass.left % 3;
            pass.left -= count;
            pass.at = skip(text, from, count);
            return pass.at;
        }

        /// The next run that is grouped; `at` is the text's end when there is none.
        fn find(pass: *@This(), text: []const u8, from: usize) void {
            var at = from;
            pass.left = 0;
            while (at < text.len) {
                const run = runOf(options.digit, text, at);
                if (run.count == 0) {
                    at += unicode.decode(text, at).len;
                    continue;
                }
                if (run.end == text.len or !options.not_before.has(unicode.decode(text, run.end).code)) {
                    pass.left = run.count;
                    break;
                }
                at = run.end;
            }
            pass.at = at;
        }
    };
}

/// Cuts before every group: `(?=(\d{3})+(?!\d))` splits without taking a character, so what
/// stands around the groups stays with the piece it touches.
pub fn CutType(comptime digit: Mask) type {
    return struct {
        left: usize = 0,
        at: usize = 0,

        pub fn next(pass: *@This(), text: []const u8, from: usize) usize {
            var at = from;
            if (pass.left > 0 and pass.at == from) {
                const count = if (pass.left % 3 == 0) 3 else pass.left % 3;
                at = skip(text, at, count);
                pass.left -= count;
                if (pass.left > 0) {
                    pass.at = at;
                    return at;
                }
            } else if (unicode.decode(text, from).mask() & digit == 0) {
                at += unicode.decode(text, from).len;
            }
            pass.left = 0;
            while (at < text.len) {
                const run = runOf(digit, text, at);
                const lead = run.count % 3;
                if (run.count >= 3) {
                    const cut = skip(text, at, lead);
                    pass.left = run.count - lead;
                    pass.at = cut;
                    if (cut > from) return cut;
                    // The text begins with whole groups.
                    return pass.next(text, from);
                }
                at = if (run.count > 0) run.end else at + unicode.decode(text, at).len;
            }
            return text.len;
        }
    };
}

const testing = @import("std").testing;

fn expectPieces(comptime Pass: type, text: []const u8, expected: []const []const u8) !void {
    var pass: Pass = .{};
    var at: usize = 0;
    for (expected) |piece| {
        const end = pass.next(text, at);
        try testing.expectEqualStrings(piece, text[at..end]);
        at = end;
    }
    try testing.expectEqual(text.len, at);
}

test "groups of three from the right" {
    const Pass = PassType(.{ .digit = unicode.number });
    try expectPieces(Pass, "1234567", &.{ "1", "234", "567" });
    try expectPieces(Pass, "a1b12345c123456", &.{ "a", "1", "b", "12", "345", "c", "123", "456" });
    const Whole = PassType(.{ .digit = unicode.bit(.nd), .not_before = scan.letters });
    try expectPieces(Whole, "1234a 1234 x", &.{ "1234a ", "1", "234", " x" });
}

test "cuts before groups of three" {
    const Pass = CutType(unicode.bit(.nd));
    try expectPieces(Pass, "1234567", &.{ "1", "234", "567" });
    try expectPieces(Pass, "123456", &.{ "123", "456" });
    try expectPieces(Pass, "12", &.{"12"});
    try expectPieces(Pass, "½1234½", &.{ "½1", "234½" });
}
