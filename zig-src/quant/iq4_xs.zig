//! IQ4_XS: the levels of IQ4_NL in blocks of 256, with a signed 6-bit scale for 32 values over one
//! f16 super-scale, 4.25 bits a value.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;
const levels = @import("iq4_nl.zig").levels;
const nibblePairs = @import("shared/groups.zig").nibblePairs;
const nibbles = @import("shared/groups.zig").nibbles;

pub const name = "iq4_xs";
pub const id = 23;
pub const block_len = 256;
pub const block_bytes = 136;

pub const Block = extern struct {
    d: f16,
    /// The upper two bits of eight scales, the first lowest.
    scales_high: u16,
    /// The low four bits of eight scales, low nibbles first. 32 stands for 0.
    scales_low: [4]u8,
    /// Each 16 bytes hold 32 values: first the low nibbles, then the high ones.
    qs: [128]u8,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -127, .q_max = 113 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[8]f32,
    offset: *[8]f32,
) void {
    const d: f32 = block.d;
    for (nibblePairs(4, &block.scales_low), scale, 0..) |low, *s, g| {
        const high: u8 = @intCast(block.scales_high >> @intCast(2 * g) & 3);
        s.* = d * @as(f32, @floatFromInt(@as(i8, @intCast(low | high << 4)) - 32));
        const indices = nibbles(16, block.qs[16 * g ..][0..16]);
        for (indices, q[32 * g ..][0..32]) |u, *i| i.* = levels[u];
    }
    offset.* = @splat(0);
}
