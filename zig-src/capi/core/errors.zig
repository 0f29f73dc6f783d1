//! Zig errors to C status, in one switch without an else: a new error of the engine doesn't
//! compile until somebody has decided what it means outside.

const std = @import("std");
const abi = @import("abi.zig");
const engine = @import("../../engine.zig");
const table = @import("table.zig");
const tokenizer = @import("../../tokenizer.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;

/// Everything that a call can fail with.
pub const Error = engine.LoadError || engine.SessionError || tokenizer.Error || engine.wake.Error || error{
    /// An argument was refused; the text says which.
    InvalidArgument,
    InvalidHandle,
    NotReady,
    TooManyHandles,
};

pub fn statusOf(err: Error) abi.Status {
    return switch (err) {
        error.InvalidArgument,
        error.BadOption,
        error.TokenOutOfRange,
        error.OutOfRange,
        error.BadSampler,
        error.EmptySequence,
        error.UnknownCallback,
        => .invalid_argument,
        error.InvalidHandle => .invalid_handle,
        error.BufferTooSmall => .buffer_too_small,
        error.OutOfMemory, error.ThreadQuotaExceeded, error.SystemResources, error.LockedMemoryLimitExceeded => .out_of_memory,
        error.TooManyHandles, error.TooManyCallbacks => .too_many_handles,
        error.Busy => .busy,
        error.NotReady => .not_ready,
        error.Cancelled => .cancelled,
        error.ContextFull, error.OutOfPages => .context_full,
        error.NoLogits => .no_logits,
        error.Unexpected => .internal,
    };
}

/// Ends a call on an object: the error's text stays on the object, the status goes out.
pub fn finish(object: *table.Object, result: Error!void) i32 {
    result catch |err| {
        if (object.diag.text().len == 0) object.diag.set("{s}", .{@errorName(err)});
        return @backingInt(statusOf(err));
    };
    return @backingInt(abi.Status.ok);
}

/// For calls that have no object to keep a text.
pub fn code(result: Error!void) i32 {
    result catch |err| return @backingInt(statusOf(err));
    return @backingInt(abi.Status.ok);
}
