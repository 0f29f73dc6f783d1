//! Q5_K: 256 unsigned 5-bit integers in groups of 32, each with a 6-bit scale and a 6-bit minimum
//! over two f16 super-scales, 5.5 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const k_scales = @import("shared/k_scales.zig");
const round = @import("shared/round.zig");
const sixteen = @import("shared/sixteen.zig");
const search = @import("shared/search.zig");

pub const name = "q5_k";
pub const id = 13;
pub const block_len = 256;
pub const block_bytes = 176;

pub const Block = extern struct {
    d: f16,
    dmin: f16,
    /// See `k_scales`.
    scales: [12]u8,
    /// Bit g of byte l is the fifth bit of value l of group g.
    qh: [32]u8,
    /// Each 32 bytes hold 64 values: first the low nibbles, then the high ones.
    qs: [128]u8,
};

pub const groups: Groups = .{ .len = 32, .offset = true, .q_min = 0, .q_max = 31 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[8]f32,
    offset: *[8]f32,
) void {
    for (0..8) |g| {
        const shift: u3 = @intCast(g % 2 * 4);
        const low = block.qs[g / 2 * 32 ..][0..32];
        for (q[32 * g ..][0..32], low, block.qh) |*i, byte, high| {
            const fifth = high >> @intCast(g) & 1;
            i.* = @intCast(byte >> shift & 15 | fifth << 4);
        }
    }
    k_scales.scaled(&block.scales, block.d, block.dmin, scale, offset);
}

pub inline fn quads(rows: sixteen.Rows, comptime part: usize) sixteen.Units(2) {
    const words = rows.eight(@offsetOf(Block, "qs") + 32 * part);
    const high = rows.eight(@offsetOf(Block, "qh"));
    var units: sixteen.Units(2) = .{ sixteen.lowNibbles(8, words), sixteen.highNibbles(8, words) };
    inline for (&units, 0..) |*unit, i| inline for (unit, high) |*quad, bits| {
        quad.* |= bits >> sixteen.splat(2 * part + i) << sixteen.splat(4) & sixteen.splat(0x10101010);
    };
    return units;
}

pub inline fn codes(rows: sixteen.Rows) sixteen.Codes(8, 8) {
    return k_scales.codes(rows, @offsetOf(Block, "scales"));
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const x = round.finite(block_len, in);
    const found = search.affine(.{ .len = 32, .u_max = 31, .code_max = 63 }, &x);
    block.d = found.d;
    block.dmin = found.dmin;
    block.scales = k_scales.pack(.from(&found.scale_codes, &found.min_codes));
    for (&block.qs, 0..) |*byte, i| {
        const at = i / 32 * 64 + i % 32;
        byte.* = found.u[at] & 15 | found.u[at + 32] << 4;
    }
    block.qh = @splat(0);
    for (found.u, 0..) |u, i| block.qh[i % 32] |= (u >> 4) << @intCast(i / 32);
}
