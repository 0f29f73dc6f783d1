//! The patterns that descend from OpenAI's cl100k:
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
//! A word takes any one character before it, not only a space; digits come in groups.

const std = @import("std");
const unicode = @import("../unicode.zig");
const scan = @import("../scan.zig");

pub const Options = struct {
    contractions: bool = true,
    /// Combining marks belong to words.
    marks: bool = false,
    /// Digits in a group, at most.
    digits_max: usize,
    /// What follows the other characters: line ends, at most so many, and perhaps slashes.
    tail: scan.Set = scan.newlines,
    tail_max: usize = scan.unlimited,
    /// A single space between two words joins them.
    join_words: bool = false,
};

pub fn PassType(comptime options: Options) type {
    return struct {
        const in_word: scan.Set = .{ .mask = if (options.marks) unicode.letter | unicode.mark else unicode.letter };
        const rest: scan.Set = .{ .mask = scan.allBut(unicode.space | in_word.mask | unicode.number) };

        pub fn next(_: *@This(), text: []const u8, from: usize) usize {
            if (options.contractions) {
                const contracted = scan.contraction(text, from, true);
                if (contracted > from) return contracted;
            }
            const first = unicode.decode(text, from);
            const mask = first.mask();
            if (mask & in_word.mask != 0) return words(text, from);
            if (mask & unicode.number != 0) return scan.runOf(scan.numbers, text, from, options.digits_max);
            const behind = from + first.len;
            if (first.code != '\r' and first.code != '\n') {
                const word = words(text, behind);
                if (word > behind) return word;
            }
            const at = if (first.code == ' ') behind else from;
            const end = scan.run(rest, text, at);
            if (end > at) return tail(text, end);
            return scan.whitespace(text, from, true);
        }

        fn words(text: []const u8, from: usize) usize {
            if (!options.join_words) return scan.run(in_word, text, from);
            // `(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+`
            const marks: scan.Set = .{ .mask = unicode.mark };
            var end = from;
            while (true) {
                const at = if (end > from and end < text.len and text[end] == ' ') end + 1 else end;
                const letter = scan.one(scan.letters, text, at);
                if (letter == at) return end;
                end = scan.run(marks, text, letter);
            }
        }

        fn tail(text: []const u8, from: usize) usize {
            if (options.tail_max == scan.unlimited) return scan.run(options.tail, text, from);
            return scan.runOf(options.tail, text, from, options.tail_max);
        }
    };
}
