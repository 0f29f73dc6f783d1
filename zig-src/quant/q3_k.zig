//! Q3_K: 256 signed 3-bit integers in groups of 16, each with a signed 6-bit scale over one f16
//! super-scale, 3.4375 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const pairs = @import("shared/groups.zig").pairs;
const nibbles = @import("shared/groups.zig").nibbles;
const packPairs = @import("shared/groups.zig").packPairs;
const round = @import("shared/round.zig");
const search = @import("shared/search.zig");

pub const name = "q3_k";
pub const id = 11;
pub const block_len = 256;
pub const block_bytes = 110;

pub const Block = extern struct {
    /// Bit k of byte l is the third bit of value 32 k + l.
    hmask: [32]u8,
    /// The low two bits, in the order of `pairs`.
    qs: [64]u8,
    /// See `unpackScales`.
    scales: [12]u8,
    d: f16,
};

pub const groups: Groups = .{ .len = 16, .offset = false, .q_min = -4, .q_max = 3 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[16]f32,
    offset: *[16]f32,
) void {
    // A set third bit stands for 0 and a clear one for -4.
    const low = pairs(&block.qs);
    for (0..8) |k| {
        for (q[32 * k ..][0..32], low[32 * k ..][0..32], block.hmask) |*i, u, mask| {
            const third = mask >> @intCast(k) & 1;
            i.* = @as(i8, @intCast(u | third << 2)) - 4;
        }
    }
    const d: f32 = block.d;
    for (unpackScales(&block.scales), scale) |s, *to| to.* = d * @as(f32, @floatFromInt(s));
    offset.* = @splat(0);
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const x = round.finite(block_len, in);
    const found = search.symmetric(.{
        .len = 16,
        .q_min = -4,
        .q_max = 3,
        .code_min = -32,
        .code_max = 31,
    }, &x);
    var low: [block_len]u8 = undefined;
    block.hmask = @splat(0);
    for (&low, found.q, 0..) |*pair, q, i| {
        const u: u8 = @intCast(q + 4);
        pair.* = u & 3;
        block.hmask[i % 32] |= (u >> 2) << @intCast(i / 32);
    }
    packPairs(&low, &block.qs);
    block.scales = @splat(0);
    for (found.codes, 0..) |code, i| {
        const u: u8 = @intCast(code + 32);
        block.scales[i % 8] |= (u & 15) << @intCast(i / 8 * 4);
        block.scales[8 + i % 4] |= (u >> 4) << @intCast(i / 4 * 2);
    }
    block.d = found.d;
}

/// Sixteen scales from 12 bytes: the low four bits are the nibbles of the first eight bytes (low
/// nibbles first), the upper two lie in the last four, four scales apart. 32 stands for 0.
fn unpackScales(bytes: *align(1) const [12]u8) [16]i8 {
    var out: [16]i8 = undefined;
    for (nibbles(8, bytes[0..8]), &out, 0..) |low, *s, i| {
        const high = bytes[8 + i % 4] >> @intCast(i / 4 * 2) & 3;
        s.* = @as(i8, @intCast(low | high << 4)) - 32;
    }
    return out;
}
