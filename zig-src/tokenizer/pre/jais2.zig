//! Jais 2: cl100k, with blanks in pieces of powers of two.
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
//! \s{512}(?!\S)|\s{256}(?!\S)| … |\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}`

const Name = @import("../pre.zig").Name;
const cl100k = @import("../scan/cl100k.zig");
const scan = @import("../scan.zig");
const unicode = @import("../unicode.zig");

pub const names = [_]Name{
    .{ .text = "jais-2" },
};

const Words = cl100k.PassType(.{ .digits_max = 3 });

/// The pattern with its white space changed. A run of blanks without a line end is remembered,
/// so that its pieces don't each look for one again.
const Pass = struct {
    blank_end: usize = 0,
    words: Words = .{},

    pub fn next(pass: *Pass, text: []const u8, from: usize) usize {
        if (from < pass.blank_end) return blanks(text, from);
        const end = pass.words.next(text, from);
        if (scan.one(scan.spaces, text, from) == from) return end;
        // A word or a sign may begin with its blank; only a piece that is all white space and has
        // no line end, behind which white space would go on, is cut differently.
        if (scan.run(scan.spaces, text, from) < end) return end;
        if (text[end - 1] == '\n' or text[end - 1] == '\r') return end;
        pass.blank_end = end;
        return blanks(text, from);
    }

    fn blanks(text: []const u8, from: usize) usize {
        var size: usize = 512;
        while (size >= 1) : (size /= 2) {
            const end = exactly(text, from, size) orelse continue;
            if (end == text.len or unicode.decode(text, end).mask() & unicode.space != 0) return end;
        }
        return scan.one(scan.spaces, text, from);
    }

    fn exactly(text: []const u8, from: usize, size: usize) ?usize {
        var at = from;
        for (0..size) |_| {
            const end = scan.one(scan.spaces, text, at);
            if (end == at) return null;
            at = end;
        }
        return at;
    }
};

pub const passes = .{Pass};
