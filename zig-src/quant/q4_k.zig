//! Q4_K: 256 unsigned 4-bit integers in groups of 32, each with a 6-bit scale and a 6-bit minimum
//! over two f16 super-scales, 4.5 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const k_scales = @import("shared/k_scales.zig");
const nibbles = @import("shared/groups.zig").nibbles;
const round = @import("shared/round.zig");
const sixteen = @import("shared/sixteen.zig");
const search = @import("shared/search.zig");

pub const name = "q4_k";
pub const id = 12;
pub const block_len = 256;
pub const block_bytes = 144;

pub const Block = extern struct {
    d: f16,
    dmin: f16,
    /// See `k_scales`.
    scales: [12]u8,
    /// Each 32 bytes hold 64 values: first the low nibbles, then the high ones.
    qs: [128]u8,
};

pub const groups: Groups = .{ .len = 32, .offset = true, .q_min = 0, .q_max = 15 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[8]f32,
    offset: *[8]f32,
) void {
    for (0..4) |j| {
        const chunk = nibbles(32, block.qs[32 * j ..][0..32]);
        for (chunk, q[64 * j ..][0..64]) |u, *i| i.* = @intCast(u);
    }
    k_scales.scaled(&block.scales, block.d, block.dmin, scale, offset);
}

pub inline fn quads(rows: sixteen.Rows, comptime part: usize) sixteen.Units(2) {
    const words = rows.eight(@offsetOf(Block, "qs") + 32 * part);
    return .{ sixteen.lowNibbles(8, words), sixteen.highNibbles(8, words) };
}

pub inline fn codes(rows: sixteen.Rows) sixteen.Codes(8, 8) {
    return k_scales.codes(rows, @offsetOf(Block, "scales"));
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const x = round.finite(block_len, in);
    const found = search.affine(.{ .len = 32, .u_max = 15, .code_max = 63 }, &x);
    block.d = found.d;
    block.dmin = found.dmin;
    block.scales = k_scales.pack(.from(&found.scale_codes, &found.min_codes));
    for (&block.qs, 0..) |*byte, i| {
        const at = i / 32 * 64 + i % 32;
        byte.* = found.u[at] | found.u[at + 32] << 4;
    }
}
