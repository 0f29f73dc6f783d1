//! Youtu: Hangul, CJK punctuation, Bopomofo and Han with Kana in runs of their own, then o200k
//! with single digits.
//! `[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+`, o200k

const Name = @import("../pre.zig").Name;
const deepseek = @import("../scan/deepseek.zig");
const o200k = @import("../scan/o200k.zig");
const scan = @import("../scan.zig");

pub const names = [_]Name{
    .{ .text = "youtu", .ignore_merges = true },
};

const hangul: scan.Set = .{ .ranges = &.{ .{ 0xAC00, 0xD7A3 }, .{ 0x3131, 0x318E } } };
const signs: scan.Set = .{ .ranges = &.{
    .{ 0xFF01, 0xFF01 }, .{ 0x2026, 0x2026 }, .{ 0x201C, 0x201D }, .{ 0x2018, 0x2019 }, .{ 0x2014, 0x2014 },
    .{ 0xFF1A, 0xFF1B }, .{ 0xFF0C, 0xFF0C }, .{ 0x3001, 0x303F }, .{ 0xFE30, 0xFE4F },
} };
const bopomofo: scan.Set = .{ .ranges = &.{.{ 0x3105, 0x312F }} };

const Scripts = scan.IsolateType(struct {
    pub fn match(text: []const u8, at: usize) usize {
        inline for (.{ hangul, signs, bopomofo, deepseek.cjk }) |set| {
            const end = scan.run(set, text, at);
            if (end > at) return end;
        }
        return at;
    }
});

pub const passes = .{
    Scripts,
    o200k.PassType(.{ .contractions = true, .digits_max = 1, .tail = o200k.newlines_and_slashes }),
};
