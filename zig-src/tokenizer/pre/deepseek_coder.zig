//! DeepSeek Coder: line ends, then words, punctuation (one white-space character may come before
//! each), East Asian runs and digits.
//! `[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, `[一-龥ࠀ-一가-퟿]+`, `\p{N}`

const Name = @import("../pre.zig").Name;
const scan = @import("../scan.zig");
const unicode = @import("../unicode.zig");

pub const names = [_]Name{
    .{ .text = "deepseek-coder" },
};

const punctuation: scan.Set = .{ .mask = unicode.punctuation };

/// The East Asian blocks as the model's authors wrote them down: the second range begins at
/// U+0800, so it holds much else.
pub const asian: scan.Set = .{ .ranges = &.{ .{ 0x4E00, 0x9FA5 }, .{ 0x0800, 0x4E00 }, .{ 0xAC00, 0xD7FF } } };

/// `\s?` and a run of the set.
pub fn SpacedType(comptime set: scan.Set) type {
    return scan.IsolateType(struct {
        pub fn match(text: []const u8, from: usize) usize {
            const at = scan.one(scan.spaces, text, from);
            const end = scan.run(set, text, at);
            // The white space may be of the set itself.
            return if (end > at) end else scan.run(set, text, from);
        }
    });
}

pub const passes = .{
    scan.RunsType(scan.newlines, 1),
    SpacedType(scan.letters),
    SpacedType(punctuation),
    scan.RunsType(asian, scan.unlimited),
    scan.RunsType(scan.numbers, 1),
};
