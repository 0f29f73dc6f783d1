//! Q2_K: 256 unsigned 2-bit integers in groups of 16, each with a 4-bit scale and a 4-bit minimum
//! over two f16 super-scales, 2.625 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const pairs = @import("shared/groups.zig").pairs;
const packPairs = @import("shared/groups.zig").packPairs;
const round = @import("shared/round.zig");
const search = @import("shared/search.zig");

pub const name = "q2_k";
pub const id = 10;
pub const block_len = 256;
pub const block_bytes = 84;

pub const Block = extern struct {
    /// One byte a group: scale in the low nibble, minimum in the high one.
    scales: [16]u8,
    /// The order of `pairs`.
    qs: [64]u8,
    d: f16,
    dmin: f16,
};

pub const groups: Groups = .{ .len = 16, .offset = true, .q_min = 0, .q_max = 3 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[16]f32,
    offset: *[16]f32,
) void {
    for (pairs(&block.qs), q) |u, *i| i.* = @intCast(u);
    const d: f32 = block.d;
    const dmin: f32 = block.dmin;
    for (block.scales, scale, offset) |byte, *s, *o| {
        s.* = d * @as(f32, @floatFromInt(byte & 15));
        o.* = -(dmin * @as(f32, @floatFromInt(byte >> 4)));
    }
}

pub fn encodeBlock(in: *const [block_len]f32, block: *align(1) Block) void {
    const x = round.finite(block_len, in);
    const found = search.affine(.{ .len = 16, .u_max = 3, .code_max = 15 }, &x);
    block.d = found.d;
    block.dmin = found.dmin;
    for (&block.scales, found.scale_codes, found.min_codes) |*byte, s, m| byte.* = s | m << 4;
    packPairs(&found.u, &block.qs);
}
