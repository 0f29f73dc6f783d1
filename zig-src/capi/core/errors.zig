//! Zig errors to C status, in one switch without an else: a new error of the engine doesn't
//! compile until somebody has decided what it means outside.

const std = @import("std");
const abi = @import("abi.zig");
const engine = @import("../../engine.zig");
const table = @import("table.zig");
const tokenizer = @import("../../tokenizer.zig");
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;

/// Everything that a call can fail with.
pub const Error = engine.LoadError || engine.SessionError || tokenizer.Error || engine.wake.Error ||
    engine.SaveError || engine.RestoreError || error{
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
        => .invalid_argument,
        error.NoGuide, error.NoSession, error.UnknownCallback, error.TextTooLong, error.UnknownCpuVariant => .invalid_argument,
        error.InvalidHandle => .invalid_handle,
        error.BufferTooSmall => .buffer_too_small,
        error.OutOfMemory, error.ThreadQuotaExceeded, error.SystemResources, error.LockedMemoryLimitExceeded => .out_of_memory,
        error.TooManyHandles, error.TooManyCallbacks => .too_many_handles,
        error.Busy => .busy,
        error.NotReady, error.NoHost => .not_ready,
        error.Cancelled => .cancelled,
        error.ContextFull => .context_full,
        error.PoolFull => .pool_full,
        error.NoLogits => .no_logits,
        error.Foreign => .foreign,
        error.NotANumber, error.NoCandidates => .numeric,
        error.FileNotFound => .file_not_found,
        error.AccessDenied, error.NotAFile, error.CannotOpen, error.ReadFailed, error.WriteFailed, error.FileChanged => .input_output,
        // The file is not what it claims to be.
        error.EmptyFile,
        error.Damaged,
        error.FileTooLarge,
        error.BadMagic,
        error.Truncated,
        error.CountTooLarge,
        error.StringPastEnd,
        error.NameTooLong,
        error.UnknownValueType,
        error.InvalidBool,
        error.NestedTooDeep,
        error.DuplicateKey,
        error.BadAlignment,
        error.DuplicateTensor,
        error.ZeroDimension,
        error.TooManyDimensions,
        error.ShapeOverflow,
        error.NotWholeBlocks,
        error.OffsetMisaligned,
        error.OverlappingTensors,
        error.TensorPastEnd,
        error.MissingSplit,
        error.NotFirstSplit,
        error.BadSplitName,
        error.SplitMismatch,
        error.MissingMetadata,
        error.BadMetadata,
        error.MissingTensor,
        error.BadTensorShape,
        error.MissingVocabulary,
        error.InvalidVocabulary,
        => .invalid_file, // The file may be right below, and this version doesn't know it.
        error.UnsupportedVersion,
        error.UnknownTensorType,
        error.UnsupportedArchitecture,
        error.UnknownTokenizer,
        error.UnknownPreTokenizer,
        error.VocabularyOnly,
        error.CpuVariantUnavailable,
        => .unsupported,
        error.Unexpected, error.LookAhead => .internal,
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
