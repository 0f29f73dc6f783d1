//! Falcon: punctuation, GPT-2's words, groups of three ASCII digits.
//! `[\p{P}\$\+<=>\^~\|`]+`, GPT-2, `[0-9][0-9][0-9]`

const Name = @import("../pre.zig").Name;
const gpt2 = @import("../scan/gpt2.zig");
const scan = @import("../scan.zig");
const unicode = @import("../unicode.zig");

pub const names = [_]Name{
    .{ .text = "falcon" },
};

const signs: scan.Set = .{ .mask = unicode.punctuation, .chars = "$+<=>^~|`" };

pub const passes = .{ scan.RunsType(signs, scan.unlimited), gpt2.Pass, scan.ThreeDigits };
