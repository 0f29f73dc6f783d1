//! Philox4x32-10, the counter-based random number generator of Salmon, Moraes, Dror and Shaw,
//! "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). A number is a pure function of a key
//! and a counter, so there is no state to keep, to save or to get out of step: any draw of any
//! token can be made again at any time, alone.
//!
//! The mapping, which is part of what a seed promises and therefore never changes:
//!   key     = { seed bits 0–31, seed bits 32–63 }
//!   counter = { position bits 0–31, position bits 32–63, sequence, draw }
//! `draw` separates several numbers needed for one token; the final draw of a chain is number 0.
//!
//! It is not a cryptographic generator.

const std = @import("std");

pub const Block = [4]u32;
pub const Key = [2]u32;

/// The number of the final inverse-CDF draw. Stages that need randomness use the others.
pub const final_draw: u32 = 0;

/// A uniform number in [0, 1) with 53 random bits: words 0 and 1 of one block.
pub fn uniform(seed: u64, sequence: u32, position: u64, draw: u32) f64 {
    const words = generate(.{
        @truncate(position),
        @truncate(position >> 32),
        sequence,
        draw,
    }, .{ @truncate(seed), @truncate(seed >> 32) });
    const bits = (@as(u64, words[1]) << 32 | words[0]) >> 11;
    return @as(f64, @floatFromInt(bits)) * 0x1p-53;
}

/// Ten rounds of the bijection on one counter.
pub fn generate(counter: Block, key: Key) Block {
    var block = counter;
    var round_key = key;
    for (0..10) |round| {
        if (round > 0) {
            round_key[0] +%= 0x9E3779B9; // The golden ratio.
            round_key[1] +%= 0xBB67AE85; // sqrt(3) - 1.
        }
        const a = @as(u64, 0xD2511F53) * block[0];
        const b = @as(u64, 0xCD9E8D57) * block[2];
        const high_a: u32 = @truncate(a >> 32);
        const high_b: u32 = @truncate(b >> 32);
        const first = high_b ^ block[1] ^ round_key[0];
        const third = high_a ^ block[3] ^ round_key[1];
        block = .{ first, @truncate(b), third, @truncate(a) };
    }
    return block;
}

test "Random123 known-answer vectors of philox4x32-10" {
    const ones: u32 = 0xffffffff;
    const vectors = [_]struct { Block, Key, Block }{
        .{
            .{ 0, 0, 0, 0 },
            .{ 0, 0 },
            .{ 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
        },
        .{
            .{ ones, ones, ones, ones },
            .{ ones, ones },
            .{ 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd },
        },
        .{
            .{ 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
            .{ 0xa4093822, 0x299f31d0 },
            .{ 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 },
        },
    };
    for (vectors) |vector| {
        const counter, const key, const expected = vector;
        try std.testing.expectEqual(expected, generate(counter, key));
    }
}

test "uniform follows the documented mapping" {
    // The third published vector, reached through seed, sequence, position and draw.
    const found = uniform(0x299f31d0a4093822, 0x13198a2e, 0x85a308d3243f6a88, 0x03707344);
    const bits: u64 = 0x94fdccebd16cfe09 >> 11;
    try std.testing.expectEqual(@as(f64, @floatFromInt(bits)) / 9007199254740992.0, found);
}

test "uniform stays in [0, 1) and every part of the key matters" {
    const base = uniform(7, 0, 0, 0);
    try std.testing.expect(base != uniform(8, 0, 0, 0));
    try std.testing.expect(base != uniform(7 + (1 << 32), 0, 0, 0));
    try std.testing.expect(base != uniform(7, 1, 0, 0));
    try std.testing.expect(base != uniform(7, 0, 1, 0));
    try std.testing.expect(base != uniform(7, 0, 1 << 32, 0));
    try std.testing.expect(base != uniform(7, 0, 0, 1));
    var sum: f64 = 0;
    for (0..10_000) |position| {
        const u = uniform(1, 2, position, 0);
        try std.testing.expect(u >= 0);
        try std.testing.expect(u < 1);
        sum += u;
    }
    // The mean of 10,000 uniforms has a standard deviation of 0.0029; five of them are allowed.
    try std.testing.expectApproxEqAbs(0.5, sum / 10_000.0, 0.0145);
}
