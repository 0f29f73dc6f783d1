//! BLOOM, Poro and GPT-3 Finnish: cut at white space and a few signs.
//! ` ?[^(\s|.,!?…。，、।۔،)]+`

const std = @import("std");
const Name = @import("../pre.zig").Name;
const scan = @import("../scan.zig");
const unicode = @import("../unicode.zig");

pub const names = [_]Name{
    .{ .text = "bloom" },
    .{ .text = "poro-chat" },
    .{ .text = "gpt3-finnish" },
};

/// Neither white space nor one of the signs at which sentences are cut.
pub const words: scan.Set = .{
    .mask = scan.allBut(unicode.space),
    .without_chars = "(|.,!?)",
};
const cuts = [_]u21{ 0x2026, 0x3002, 0xFF0C, 0x3001, 0x0964, 0x06D4, 0x060C };

pub const Words = scan.IsolateType(struct {
    /// ` ?` and a run of anything else.
    pub fn match(text: []const u8, from: usize) usize {
        const at = if (text[from] == ' ') from + 1 else from;
        const end = run(text, at);
        return if (end > at) end else from;
    }

    fn run(text: []const u8, from: usize) usize {
        var at = from;
        while (at < text.len) {
            const char = unicode.decode(text, at);
            if (!words.has(char.code)) break;
            if (std.mem.indexOfScalar(u21, &cuts, char.code) != null) break;
            at += char.len;
        }
        return at;
    }
});

pub const passes = .{Words};
