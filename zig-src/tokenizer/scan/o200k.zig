//! The patterns that descend from OpenAI's o200k, which also split words where a capital follows
//! a small letter:
//! `P?U*L+S?|P?U+L*S?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+` with
//! P = `[^\r\n\p{L}\p{N}]`, U = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, L = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
//! and S = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`.

const unicode = @import("../unicode.zig");
const scan = @import("../scan.zig");

pub const Options = struct {
    contractions: bool,
    digits_max: usize,
    tail: scan.Set,
    /// Han characters make pieces of their own: `[\p{Han}]+` comes first, and U and L are without.
    han_apart: bool = false,
};

pub const newlines_and_slashes: scan.Set = .{ .chars = "\r\n/" };

pub fn PassType(comptime options: Options) type {
    return struct {
        const without: unicode.Mask = if (options.han_apart) unicode.han else 0;
        const both_mask = unicode.set(&.{ .lm, .lo }) | unicode.mark;
        const upper: scan.Set = .{ .mask = unicode.set(&.{ .lu, .lt }) | both_mask, .without = without };
        const lower: scan.Set = .{ .mask = unicode.bit(.ll) | both_mask, .without = without };
        const both: scan.Set = .{ .mask = both_mask, .without = without };
        const han: scan.Set = .{ .mask = unicode.han };
        const rest: scan.Set = .{ .mask = scan.allBut(unicode.space | unicode.letter | unicode.number) };

        pub fn next(_: *@This(), text: []const u8, from: usize) usize {
            if (options.han_apart) {
                const end = scan.run(han, text, from);
                if (end > from) return end;
            }
            const first = unicode.decode(text, from);
            if (word(text, from, first)) |end| {
                return if (options.contractions) scan.contraction(text, end, true) else end;
            }
            if (first.mask() & unicode.number != 0) return scan.runOf(scan.numbers, text, from, options.digits_max);
            const at = if (first.code == ' ') from + 1 else from;
            const end = scan.run(rest, text, at);
            if (end > at) return scan.run(options.tail, text, end);
            return scan.whitespace(text, from, true);
        }

        /// The first two alternatives. The character before the word is tried as part of the word
        /// only after it was tried as the character before it, as a backtracking matcher does.
        fn word(text: []const u8, from: usize, first: unicode.Char) ?usize {
            const newline = first.code == '\r' or first.code == '\n';
            if (newline or first.mask() & (unicode.letter | unicode.number) != 0) {
                return endingLow(text, from) orelse endingHigh(text, from);
            }
            const behind = from + first.len;
            return endingLow(text, behind) orelse endingLow(text, from) orelse
                endingHigh(text, behind) orelse endingHigh(text, from);
        }

        /// `U*L+`: when nothing small follows the capitals, the match ends with the last character
        /// among them that counts as small as well.
        fn endingLow(text: []const u8, from: usize) ?usize {
            var at = from;
            var both_end = from;
            while (at < text.len) {
                const char = unicode.decode(text, at);
                if (!upper.has(char.code)) break;
                at += char.len;
                if (both.has(char.code)) both_end = at;
            }
            const end = scan.run(lower, text, at);
            if (end > at) return end;
            return if (both_end > from) both_end else null;
        }

        /// `U+L*`, tried where `U*L+` doesn't match.
        fn endingHigh(text: []const u8, from: usize) ?usize {
            const at = scan.run(upper, text, from);
            return if (at > from) scan.run(lower, text, at) else null;
        }
    };
}
