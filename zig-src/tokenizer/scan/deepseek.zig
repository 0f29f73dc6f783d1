//! The last pattern of DeepSeek V3's sequence, which several models share:
//! `[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|
//! ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
//! What it doesn't match (control characters, digits) lies between its pieces.

const unicode = @import("../unicode.zig");
const scan = @import("../scan.zig");

pub const Options = struct {
    /// Line ends belong to the punctuation before them and to the blanks before them; otherwise
    /// each is a piece of its own.
    join_newlines: bool = true,
};

const ascii_punctuation: scan.Set = .{ .chars = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" };
const ascii_letters: scan.Set = .{ .ranges = &.{ .{ 'A', 'Z' }, .{ 'a', 'z' } } };
const in_word: scan.Set = .{ .mask = unicode.letter | unicode.mark };
const before_word: scan.Set = .{
    .mask = scan.allBut(unicode.letter | unicode.punctuation | unicode.symbol),
    .without_chars = "\r\n",
};
const signs: scan.Set = .{ .mask = unicode.punctuation | unicode.symbol };

/// The Han, Hiragana and Katakana blocks that are split off before.
pub const cjk: scan.Set = .{ .ranges = &.{ .{ 0x4E00, 0x9FA5 }, .{ 0x3040, 0x309F }, .{ 0x30A0, 0x30FF } } };

pub fn PassType(comptime options: Options) type {
    return scan.IsolateType(struct {
        pub fn match(text: []const u8, from: usize) usize {
            const behind_sign = scan.one(ascii_punctuation, text, from);
            if (behind_sign > from) {
                const end = scan.run(ascii_letters, text, behind_sign);
                if (end > behind_sign) return end;
            }
            const before = scan.one(before_word, text, from);
            const word = scan.run(in_word, text, before);
            if (word > before) return word;
            // A mark alone was taken for the character before a word.
            const marks = scan.run(in_word, text, from);
            if (marks > from) return marks;
            const at = if (text[from] == ' ') from + 1 else from;
            const end = scan.run(signs, text, at);
            if (end > at) return if (options.join_newlines) scan.run(scan.newlines, text, end) else end;
            if (!options.join_newlines and (text[from] == '\n' or text[from] == '\r')) return from + 1;
            return scan.whitespace(text, from, options.join_newlines);
        }
    });
}
