//! The definition, for tests: a recogniser that tries every alternative and goes back, over the
//! grammar as it was written. It says whether a text is of the grammar, or the beginning of one that
//! is; for the latter every rule must have an end, which `check` sees to. It takes exponential time.

const std = @import("std");
const ast = @import("ast.zig");
const chars = @import("chars.zig");

pub const Question = enum { whole, beginning };

pub fn recognises(tree: *const ast.Ast, text: []const u8, question: Question) bool {
    var recogniser: Recogniser = .{ .tree = tree, .text = text, .question = question };
    const rest: Rest = .{ .what = .{ .node = tree.rules[tree.root].body.? }, .behind = null };
    return recogniser.from(&rest, 0);
}

/// What is still to be read, as a list.
const Rest = struct {
    what: union(enum) {
        node: u32,
        /// More of a repetition, which must have read something since `since`, or would go on for ever.
        more: struct { repeat: ast.Repeat, since: usize },
    },
    behind: ?*const Rest,
};

const Recogniser = struct {
    tree: *const ast.Ast,
    text: []const u8,
    question: Question,

    fn from(recogniser: *Recogniser, rest: ?*const Rest, at: usize) bool {
        const text = recogniser.text;
        const here = rest orelse return at == text.len;
        // All of the text has been read, and what is to come can be.
        if (at == text.len and recogniser.question == .beginning) return true;
        const node = switch (here.what) {
            .node => |node| node,
            .more => |more| return recogniser.repeated(more.repeat, more.since, here.behind, at),
        };
        switch (recogniser.tree.nodes[node]) {
            .literal => |bytes| {
                const len = @min(bytes.len, text.len - at);
                if (!std.mem.eql(u8, bytes[0..len], text[at..][0..len])) return false;
                if (len < bytes.len) return recogniser.question == .beginning;
                return recogniser.from(here.behind, at + len);
            },
            .class => |class| return recogniser.char(&recogniser.tree.classes[class], here.behind, at),
            .rule => |rule| {
                const body: Rest = .{ .what = .{ .node = recogniser.tree.rules[rule].body.? }, .behind = here.behind };
                return recogniser.from(&body, at);
            },
            .sequence => |parts| return recogniser.sequence(parts, here.behind, at),
            .choice => |parts| {
                for (parts) |part| {
                    const one: Rest = .{ .what = .{ .node = part }, .behind = here.behind };
                    if (recogniser.from(&one, at)) return true;
                }
                return false;
            },
            .repeat => |repeat| return recogniser.repeated(repeat, std.math.maxInt(usize), here.behind, at),
            .token => return false,
        }
    }

    fn sequence(recogniser: *Recogniser, parts: []const u32, behind: ?*const Rest, at: usize) bool {
        var list: [16]Rest = undefined;
        var next = behind;
        var number = parts.len;
        while (number > 0) {
            number -= 1;
            list[number] = .{ .what = .{ .node = parts[number] }, .behind = next };
            next = &list[number];
        }
        return recogniser.from(next, at);
    }

    fn repeated(recogniser: *Recogniser, repeat: ast.Repeat, since: usize, behind: ?*const Rest, at: usize) bool {
        if (repeat.min == 0 and recogniser.from(behind, at)) return true;
        if (repeat.max == 0 or (repeat.min == 0 and since == at)) return false;
        const endless = repeat.max == ast.Repeat.unlimited;
        const more: Rest = .{ .what = .{ .more = .{
            .repeat = .{ .of = repeat.of, .min = repeat.min -| 1, .max = if (endless) repeat.max else repeat.max - 1 },
            .since = at,
        } }, .behind = behind };
        const one: Rest = .{ .what = .{ .node = repeat.of }, .behind = &more };
        return recogniser.from(&one, at);
    }

    fn char(recogniser: *Recogniser, class: *const chars.Class, behind: ?*const Rest, at: usize) bool {
        const rest = recogniser.text[at..];
        if (rest.len == 0) return false;
        const len = std.unicode.utf8ByteSequenceLength(rest[0]) catch return false;
        if (rest.len < len) return recogniser.question == .beginning and begins(class, rest, len);
        const code = std.unicode.utf8Decode(rest[0..len]) catch return false;
        for (class.ranges) |range| if (code >= range.first and code <= range.last) return recogniser.from(behind, at + len);
        return false;
    }

    /// Whether some member begins like this: all bytes are tried for those that are missing.
    fn begins(class: *const chars.Class, begun: []const u8, len: usize) bool {
        var buffer: [4]u8 = undefined;
        @memcpy(buffer[0..begun.len], begun);
        const missing = len - begun.len;
        for (0..std.math.pow(usize, 64, missing)) |number| {
            for (0..missing) |i| buffer[begun.len + i] = 0x80 | @as(u8, @truncate((number >> @intCast(6 * i)) & 0x3F));
            const code = std.unicode.utf8Decode(buffer[0..len]) catch continue;
            for (class.ranges) |range| if (code >= range.first and code <= range.last) return true;
        }
        return false;
    }
};
