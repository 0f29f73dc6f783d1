//! The pattern of GPT-2, in which words, numbers and everything else take one space before them:
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

const unicode = @import("../unicode.zig");
const scan = @import("../scan.zig");

const rest: scan.Set = .{ .mask = scan.allBut(unicode.space | unicode.letter | unicode.number) };

pub const Pass = struct {
    pub fn next(_: *Pass, text: []const u8, from: usize) usize {
        const contracted = scan.contraction(text, from, false);
        if (contracted > from) return contracted;
        const at = if (text[from] == ' ' and from + 1 < text.len) from + 1 else from;
        const mask = unicode.decode(text, at).mask();
        if (mask & unicode.letter != 0) return scan.run(scan.letters, text, at);
        if (mask & unicode.number != 0) return scan.run(scan.numbers, text, at);
        if (mask & unicode.space == 0) return scan.run(rest, text, at);
        return scan.whitespace(text, from, false);
    }
};
