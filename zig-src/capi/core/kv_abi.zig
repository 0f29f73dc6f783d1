//! The types of the KV cache that cross the C ABI; `abi.zig` has the rules and the lists.

const abi = @import("abi.zig");

pub const KvInfo = extern struct {
    key_format: u32 = 0,
    value_format: u32 = 0,
    layers: u32 = 0,
    kv_heads: u32 = 0,
    key_length: u32 = 0,
    value_length: u32 = 0,
    /// Positions in a page.
    page_length: u32 = 0,
    /// Pages that the sequence may come to have.
    page_count: u32 = 0,
    /// Of these pages, in bytes.
    memory_bytes: f64 = 0,
    /// Pages that hold positions of the sequence.
    pages_used: u32 = 0,
    /// Those of them that forks hold too.
    pages_shared: u32 = 0,
    /// Tokens that have keys and values; the one that was sampled last has none yet.
    positions: u32 = 0,
    /// Number of the sequence in its pool, as `KvEvent` names it.
    sequence: u32 = 0,
    /// Pages of tokens at full precision: those that the sequence may come to have, those that it has, and
    /// those of them that forks hold too.
    exact_page_count: u32 = 0,
    exact_pages_used: u32 = 0,
    exact_pages_shared: u32 = 0,
    /// Tokens that have a place in those pages.
    exact_positions: u32 = 0,
    reserved: u32 = 0,
    /// Of all those pages, in bytes; a part of `memory_bytes`.
    exact_bytes: f64 = 0,
};

/// Which keys or values are read.
pub const KvPart = extern struct {
    size: u32 = @sizeOf(KvPart),
    version: u32 = abi.version,
    /// `KvSideId`.
    side: u32 = @backingInt(abi.KvSideId.key),
    /// `KvViewId`.
    view: u32 = @backingInt(abi.KvViewId.decoded),
    layer: u32 = 0,
    /// 0xffffffff: all heads, one after the other.
    head: u32 = abi.none,
    /// Positions: from inclusive, to exclusive.
    from: u32 = 0,
    to: u32 = 0,
};

/// Queries of a layer, for positions that follow each other.
pub const KvQueries = extern struct {
    size: u32 = @sizeOf(KvQueries),
    version: u32 = abi.version,
    layer: u32 = 0,
    /// Of the first one.
    position: u32 = 0,
    rows: u32 = 0,
    /// Query head; 0xffffffff: all.
    head: u32 = abi.none,
    /// Of their values, all together.
    count: u32 = 0,
};
