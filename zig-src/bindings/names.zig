//! Names of the interface in the spelling of the generated languages.

const std = @import("std");

/// `LoadOptions` as `load_options`.
pub fn snake(comptime name: []const u8) []const u8 {
    comptime {
        var result: []const u8 = "";
        for (name, 0..) |letter, i| {
            if (std.ascii.isUpper(letter) and i != 0) result = result ++ "_";
            result = result ++ [1]u8{std.ascii.toLower(letter)};
        }
        return result;
    }
}

/// `LoadOptions` as `LOAD_OPTIONS`.
pub fn upper(comptime name: []const u8) []const u8 {
    comptime {
        var result: []const u8 = "";
        for (snake(name)) |letter| result = result ++ [1]u8{std.ascii.toUpper(letter)};
        return result;
    }
}
