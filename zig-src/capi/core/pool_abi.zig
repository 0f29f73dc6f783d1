//! The types of pools that cross the C ABI; `abi.zig` has the rules and the lists.

const abi = @import("abi.zig");
const cache = @import("../../cache.zig");

/// Pages that sessions share, and no more of them.
pub const PoolOptions = extern struct {
    size: u32 = @sizeOf(PoolOptions),
    version: u32 = abi.version,
    /// 0: as many as fit into `bytes_wanted`.
    pages: u32 = 0,
    /// `WhenFullId`.
    when_full: u32 = @backingInt(cache.WhenFull.fail),
    bytes_wanted: f64 = 0,
    /// `CacheFormatId`.
    key_format: u32 = @backingInt(cache.Format.f16),
    value_format: u32 = @backingInt(cache.Format.f16),
    /// Of tokens at full precision, which take memory of each session besides.
    exact_format: u32 = @backingInt(cache.Format.f16),
    /// How many layers' sinks and recent tokens stand behind the formats, 0 or all.
    window_layers: u32 = 0,
};

pub const PoolInfo = extern struct {
    /// Positions in a page.
    page_length: u32 = 0,
    page_count: u32 = 0,
    /// Pages that sequences hold.
    pages_used: u32 = 0,
    /// Those of them that several hold.
    pages_shared: u32 = 0,
    /// Free pages that are kept for their content.
    pages_kept: u32 = 0,
    /// Sequences that hold pages.
    sequences: u32 = 0,
    page_bytes: f64 = 0,
    /// Of all pages.
    memory_bytes: f64 = 0,
    /// Pages that were found by their content, since the pool was made.
    found: f64 = 0,
    /// Free pages whose content was given up.
    evicted: f64 = 0,
};
