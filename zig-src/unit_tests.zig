//! The root of the unit tests: everything that has tests is named here or in an umbrella that is.

test {
    _ = @import("diagnostic.zig");
    _ = @import("memory.zig");
    _ = @import("grammar.zig");
    _ = @import("gguf.zig");
    _ = @import("quant.zig");
    _ = @import("tokenizer.zig");
    _ = @import("sampler.zig");
    _ = @import("op.zig");
    _ = @import("kernel.zig");
    _ = @import("backend.zig");
    _ = @import("cache.zig");
    _ = @import("evict.zig");
    _ = @import("probe.zig");
    _ = @import("arch.zig");
    _ = @import("engine.zig");
    _ = @import("capi.zig");
}
