//! The C ABI: the only symbols that the library exports. The rules: at most six parameters, all of
//! them 32-bit numbers, f64 or pointers; a status back; results into the caller's buffers; handles
//! are numbers with a generation; texts are pointer and length; nothing is kept after a call has
//! returned. What a host passes is checked here, so that the engine below never sees it unchecked.
//!
//! Each file in `capi/` declares `functions`. Everything else is derived from that list: the
//! exports, `include/vitrine.h`, `include/vitrine_abi.json` and `src/ffi/symbols.gen.ts`.

const builtin = @import("builtin");

/// The registry.
pub const files = .{
    @import("capi/info.zig"),
    @import("capi/limits.zig"),
    @import("capi/status.zig"),
    @import("capi/model.zig"),
    @import("capi/tokenizer.zig"),
    @import("capi/session.zig"),
    @import("capi/snapshot.zig"),
    @import("capi/kv.zig"),
    @import("capi/pool.zig"),
    @import("capi/events.zig"),
    @import("capi/meter.zig"),
    @import("capi/probe.zig"),
    @import("capi/sampler.zig"),
    @import("capi/grammar.zig"),
    @import("capi/draw.zig"),
    @import("capi/recorder.zig"),
    @import("capi/tape.zig"),
    @import("capi/stage.zig"),
    @import("capi/wake.zig"),
};

pub const abi = @import("capi/core/abi.zig");
pub const describe = @import("capi/core/describe.zig");

comptime {
    // Of each function the beginning of its name, and all names of its file.
    @setEvalBranchQuota(20_000);
    for (files) |file| for (file.functions) |function| {
        _ = describe.parameterTypes(file, function);
        // Programs that only read the list, as the generator does, export nothing.
        if (builtin.output_mode == .Lib) @export(&@field(file, function.function), .{ .name = function.name });
    };
}

test {
    inline for (files) |file| _ = file;
    _ = abi;
    _ = describe;
    _ = @import("capi/core/buffers.zig");
    _ = @import("capi/core/chain.zig");
    _ = @import("capi/core/errors.zig");
    _ = @import("capi/core/table.zig");
    _ = @import("capi/core/model_object.zig");
    _ = @import("capi/core/session_object.zig");
    _ = @import("capi/core/pool_object.zig");
    _ = @import("capi/core/snapshot_object.zig");
}
