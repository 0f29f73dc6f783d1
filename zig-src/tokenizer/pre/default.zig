//! What a file without `tokenizer.ggml.pre` gets: punctuation first, then GPT-2's words, then
//! numbers in groups of three ASCII digits.
//! `[\p{P}\$\+<=>\^~\|]+`, GPT-2, `\p{N}+`, `[0-9][0-9][0-9]`

const Name = @import("../pre.zig").Name;
const gpt2 = @import("../scan/gpt2.zig");
const scan = @import("../scan.zig");
const unicode = @import("../unicode.zig");

pub const names = [_]Name{
    .{ .text = "default" },
};

const signs: scan.Set = .{ .mask = unicode.punctuation, .chars = "$+<=>^~|" };

pub const passes = .{
    scan.RunsType(signs, scan.unlimited),
    gpt2.Pass,
    scan.RunsType(scan.numbers, scan.unlimited),
    scan.ThreeDigits,
};
