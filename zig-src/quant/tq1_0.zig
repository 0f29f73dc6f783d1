//! TQ1_0: 256 values of -1, 0 or 1 times one f16 scale, five to a byte, 1.6875 bits a value.
//!
//! A byte is the fraction 0.abcde in base 3, times 256 and rounded up: multiplying by a power of
//! three and dropping the overflow brings any digit to the front.

const Groups = @import("shared/groups.zig").Groups;
const decoder = @import("shared/groups.zig").decoder;

pub const name = "tq1_0";
pub const id = 34;
pub const block_len = 256;
pub const block_bytes = 54;

pub const Block = extern struct {
    /// 32 bytes of five digits, then 16 bytes of five. The first digits of all bytes come first.
    qs: [48]u8,
    /// Four bytes of four digits.
    qh: [4]u8,
    d: f16,
};

pub const groups: Groups = .{ .len = 32, .offset = false, .q_min = -1, .q_max = 1 };
pub const q_bits = groups.bits();
pub const q_min = groups.q_min;

pub const decodeBlock = decoder(@This());

pub fn decodeGroups(
    block: *align(1) const Block,
    q: *[block_len]i8,
    scale: *[8]f32,
    offset: *[8]f32,
) void {
    digits(32, 5, block.qs[0..32], q[0..160]);
    digits(16, 5, block.qs[32..48], q[160..240]);
    digits(4, 4, &block.qh, q[240..256]);
    scale.* = @splat(block.d);
    offset.* = @splat(0);
}

fn digits(
    comptime n: usize,
    comptime count: usize,
    bytes: *align(1) const [n]u8,
    out: *[n * count]i8,
) void {
    var power: u8 = 1;
    for (0..count) |k| {
        for (bytes, out[n * k ..][0..n]) |byte, *to| {
            const front: u16 = byte *% power;
            to.* = @as(i8, @intCast(front * 3 >> 8)) - 1;
        }
        power *%= 3;
    }
}
