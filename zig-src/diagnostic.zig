//! The text that goes with an error. Everything that can fail on a file, a prompt or a
//! parameter takes a `*Diagnostic` and leaves one sentence in it that says what was expected and
//! what was found. The buffer is fixed, so that reporting an error can't itself fail; a longer
//! text is cut at the end of its last whole UTF-8 character.

const std = @import("std");

pub const Diagnostic = struct {
    buffer: [1024]u8 = undefined,
    len: usize = 0,

    /// Replaces the text.
    pub fn set(diag: *Diagnostic, comptime format: []const u8, args: anytype) void {
        var writer: std.Io.Writer = .fixed(&diag.buffer);
        writer.print(format, args) catch {};
        var end = writer.end;
        // A cut in the middle of a character would make the text invalid UTF-8.
        while (end > 0 and !std.unicode.utf8ValidateSlice(diag.buffer[0..end])) {
            end -= 1;
            if (writer.end - end > 3) {
                end = writer.end;
                break;
            }
        }
        diag.len = end;
    }

    /// Empty until `set` is called. Valid until the next `set`.
    pub fn text(diag: *const Diagnostic) []const u8 {
        return diag.buffer[0..diag.len];
    }
};

test "text is kept, and cut on a character" {
    var diag: Diagnostic = .{};
    try std.testing.expectEqualStrings("", diag.text());
    diag.set("expected {s}, found {d}", .{ "a block", 3 });
    try std.testing.expectEqualStrings("expected a block, found 3", diag.text());
    const long: [600][2]u8 = @splat("é".*);
    diag.set("x{s}", .{@as([]const u8, @ptrCast(&long))});
    try std.testing.expect(diag.text().len >= 1020);
    try std.testing.expect(std.unicode.utf8ValidateSlice(diag.text()));
}
