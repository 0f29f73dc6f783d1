//! Q6_K: 256 signed 6-bit integers in groups of 16, each with a signed 8-bit scale over one f16
//! super-scale, 6.5625 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const nibbles = @import("shared/groups.zig").nibbles;
const pairs = @import("shared/groups.zig").pairs;
const packPairs = @import("shared/groups.zig").packPairs;
const round = @import("shared/round.zig");
const sixteen = @import("shared/sixteen.zig");
const search = @import("shared/search.zig");

pub const name = "q6_k";
pub const id = 14;
pub const block_len = 256;
pub const block_bytes = 210;

pub const Block = extern struct {
    /// Low four bits: each 64 bytes hold 128 values, first the low nibbles, then the high ones.
    ql: [128]u8,
    /// Upper two bits, in the order of `pairs`.
    qh: [64]u8,
    scales: [16]i8,
    d: f16,
};

pub const groups: Groups = .{ .len = 16, .offset = false, .q_min = -32, .q_max = 31 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[16]f32,
    offset: *[16]f32,
) void {
    const high = pairs(&block.qh);
    for (0..2) |h| {
        const low = nibbles(64, block.ql[64 * h ..][0..64]);
        for (q[128 * h ..][0..128], low, high[128 * h ..][0..128]) |*i, a, b| {
            i.* = @as(i8, @intCast(a | b << 4)) - 32;
        }
    }
    const d: f32 = block.d;
    for (block.scales, scale) |s, *to| to.* = d * @as(f32, @floatFromInt(s));
    offset.* = @splat(0);
}

pub inline fn quads(rows: sixteen.Rows, comptime part: usize) sixteen.Units(4) {
    const low = .{ rows.eight(@offsetOf(Block, "ql") + 64 * part), rows.eight(@offsetOf(Block, "ql") + 64 * part + 32) };
    const high = rows.eight(@offsetOf(Block, "qh") + 32 * part);
    var units: sixteen.Units(4) = .{
        sixteen.lowNibbles(8, low[0]),  sixteen.lowNibbles(8, low[1]),
        sixteen.highNibbles(8, low[0]), sixteen.highNibbles(8, low[1]),
    };
    inline for (&units, 0..) |*unit, i| inline for (unit, high) |*quad, bits| {
        quad.* |= bits >> sixteen.splat(2 * i) << sixteen.splat(4) & sixteen.splat(0x30303030);
    };
    return units;
}

pub inline fn codes(rows: sixteen.Rows) sixteen.Codes(16, 0) {
    const words = rows.four(@offsetOf(Block, "scales"));
    var scales: [16]sixteen.Bytes = undefined;
    inline for (&scales, 0..) |*scale, i| scale.* = sixteen.byte(words[i / 4], i % 4);
    return .{ .scales = scales, .offsets = .{} };
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const x = round.finite(block_len, in);
    const found = search.symmetric(.{
        .len = 16,
        .q_min = -32,
        .q_max = 31,
        .code_min = -128,
        .code_max = 127,
    }, &x);
    var u: [block_len]u8 = undefined;
    var high: [block_len]u8 = undefined;
    for (&u, &high, found.q) |*six, *upper, q| {
        six.* = @intCast(q + 32);
        upper.* = six.* >> 4;
    }
    for (&block.ql, 0..) |*byte, i| {
        const at = i / 64 * 128 + i % 64;
        byte.* = u[at] & 15 | u[at + 64] << 4;
    }
    packPairs(&high, &block.qh);
    block.scales = found.codes;
    block.d = found.d;
}
