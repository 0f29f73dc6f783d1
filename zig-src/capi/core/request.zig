//! What a session's request says beside its numbers: strings, drafts, and another session as guide.

const std = @import("std");
const abi = @import("abi.zig");
const engine = @import("../../engine.zig");
const table = @import("table.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const Error = @import("errors.zig").Error;
const SessionObject = @import("session_object.zig").SessionObject;

/// The strings behind the struct; read during the call only.
pub fn bannedOf(request: abi.Request, bytes: ?[*]const u8, length: u32, diag: *Diagnostic) Error![]const u8 {
    if (request.banned_length == 0) return "";
    if (request.size > length or request.banned_length > length - request.size) {
        diag.set("expected {d} bytes of banned strings behind a request of {d}, found {d} in all", .{
            request.banned_length, request.size, length,
        });
        return error.InvalidArgument;
    }
    return bytes.?[request.size..][0..request.banned_length];
}

pub fn draftOf(request: abi.Request, diag: *Diagnostic) Error!engine.draft.Settings {
    const source = std.enums.fromInt(abi.DraftSource, request.draft_source) orelse {
        diag.set("expected draft_source to be a source of drafts, found number {d}", .{request.draft_source});
        return error.InvalidArgument;
    };
    return .{
        .source = source,
        .length = request.draft_length,
        .ngram = request.draft_ngram,
        .ngram_min = request.draft_ngram_min,
    };
}

/// The session behind the handle, pinned and locked: nobody else calls it while it is copied.
pub fn guideOf(handle: u32, diag: *Diagnostic) Error!?*SessionObject {
    if (handle == 0) return null;
    const object = table.pin(handle, .session) orelse {
        diag.set("expected a session as guide, found a handle that names none", .{});
        return error.InvalidHandle;
    };
    // Whoever holds the one never waits for the other, as in `exchangeWith`; so the session itself is busy too.
    if (object.mutex.tryLock()) return SessionObject.of(object);
    table.unpin(object);
    diag.set("expected an idle session as guide, found one in another call", .{});
    return error.Busy;
}
