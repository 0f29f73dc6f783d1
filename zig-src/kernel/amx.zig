//! Integer products in the tile registers of AMX: one instruction multiplies the activations of sixteen
//! tokens with a group of all rows of a panel, 8,192 products of a unit in as many cycles as it has
//! tokens. A panel's vectors of quads are the rows of the second factor as they lie in memory, and
//! interleaved activations those of the first (Intel 64 and IA-32 Architectures Software Developer's
//! Manual, TDPBSSD).
//!
//! Sums of a group leave the tile through memory, where vectors take them and go on as those of
//! `integer.zig` do, to the bit. While they do so for one unit, the tiles multiply the next.

const std = @import("std");
const builtin = @import("builtin");
const blocked = @import("blocked.zig");
const dot = @import("dot.zig");
const integer = @import("integer.zig");
const layout = @import("layout.zig");
const vector = @import("vector.zig");

const Act = layout.Act;
const Class = layout.Class;
const Vf = vector.Vf;

pub const has = builtin.cpu.arch == .x86_64 and builtin.cpu.has(.x86, .amx_int8);

/// The shapes of the registers, as LDTILECFG takes them.
const Config = extern struct {
    palette: u8 = 1,
    start_row: u8 = 0,
    reserved: [14]u8 = @splat(0),
    row_bytes: [16]u16 = @splat(0),
    rows: [16]u8 = @splat(0),

    fn load(config: *const Config) void {
        asm volatile ("ldtilecfg (%[config])"
            :
            : [config] "r" (config),
            : .{ .memory = true });
    }
};

/// How many groups ahead of the vectors products are begun, and how many ahead their sums leave the tile.
/// The processor hands a stored tile on late: sums that are read soon after wait for it.
const begun = 3;
const stored = 1;
/// Sums on their way.
const turns = 4;

/// The registers, in use from `init` to `deinit`: the sums of four groups, and two times activations and
/// weights, so that a register that is loaded is free.
pub fn Registers(comptime class: Class) type {
    return struct {
        tokens: usize = layout.act_width,

        const Self = @This();
        const groups = class.groups();
        const group_bytes = layout.unit / groups;
        const Products = [layout.act_width]dot.Ints;

        pub fn init() Self {
            const registers: Self = .{};
            registers.configure();
            return registers;
        }

        pub fn deinit(_: *const Self) void {
            asm volatile ("tilerelease");
        }

        fn configure(registers: *const Self) void {
            var config: Config align(64) = .{};
            for (0..turns) |sums| {
                config.rows[sums] = @intCast(registers.tokens);
                config.row_bytes[sums] = layout.quad_bytes;
            }
            for (turns..turns + 2) |acts| {
                config.rows[acts] = @intCast(registers.tokens);
                config.row_bytes[acts] = group_bytes;
            }
            for (turns + 2..turns + 4) |weights| {
                config.rows[weights] = group_bytes / 4;
                config.row_bytes[weights] = layout.quad_bytes;
            }
            config.load();
        }

        /// Adds the products of consecutive units with some tokens, whose activations begin at `acts`,
        /// `width` a unit.
        pub fn multiply(
            registers: *Self,
            comptime tokens: usize,
            units: []const blocked.Unit(class),
            acts: [*]const Act,
            width: usize,
            sums: *[tokens]Vf,
        ) void {
            if (registers.tokens != tokens) {
                registers.tokens = tokens;
                registers.configure();
            }
            // Sums of a group are at index % turns.
            var products: [turns]Products align(64) = undefined;
            inline for (0..begun) |i| begin(i, units, acts, width, 0);
            inline for (0..stored) |i| store(i, &products[i]);
            var first: usize = 0;
            while (first < units.len) : (first += turns / groups) inline for (0..turns / groups) |u| {
                const index = first + u;
                if (index < units.len) {
                    const unit = &units[index];
                    const of_unit = acts + index * width;
                    inline for (0..groups) |g| {
                        const turn = u * groups + g;
                        store((turn + stored) % turns, &products[(turn + stored) % turns]);
                        begin(turn + begun, units, acts, width, first);
                    }
                    finish(tokens, unit, of_unit, products[u * groups ..][0..groups], sums);
                }
            };
        }

        /// Has the tiles multiply the group `ahead` of the first of unit `first`, if there is one.
        inline fn begin(comptime ahead: usize, units: []const blocked.Unit(class), acts: [*]const Act, width: usize, first: usize) void {
            const g = ahead % groups;
            const index = first + ahead / groups;
            if (index >= units.len) return;
            const sum = comptime tileName(ahead % turns);
            const a = comptime tileName(turns + ahead % 2);
            const w = comptime tileName(turns + 2 + ahead % 2);
            const signs = if (class.zero == 0) "tdpbsud " else "tdpbssd ";
            asm volatile ("tileloadd (%[acts],%[stride],1), " ++ a ++ "\n" ++
                    "tileloadd (%[weights],%[stride],1), " ++ w ++ "\n" ++
                    "tilezero " ++ sum ++ "\n" ++
                    signs ++ w ++ ", " ++ a ++ ", " ++ sum
                :
                : [acts] "r" (@as([*]const u8, @ptrCast(acts + index * width)) + g * group_bytes),
                  [weights] "r" (&units[index].weights[g * group_bytes / 4]),
                  [stride] "r" (@as(usize, layout.quad_bytes)),
                : .{ .memory = true });
        }

        /// Has the sums of a tile leave it.
        inline fn store(comptime turn: usize, products: *Products) void {
            asm volatile ("tilestored " ++ tileName(turn) ++ ", (%[products],%[stride],1)"
                :
                : [products] "r" (products),
                  [stride] "r" (@as(usize, layout.quad_bytes)),
                : .{ .memory = true });
        }

        /// Adds a unit, whose products are there, to the sums.
        inline fn finish(
            comptime tokens: usize,
            unit: *const blocked.Unit(class),
            acts: [*]const Act,
            products: *const [groups]Products,
            sums: *[tokens]Vf,
        ) void {
            inline for (sums, 0..) |*sum, t| {
                var total: Vf = undefined;
                inline for (products, 0..) |of_group, g| {
                    const product = of_group[t] +% @as(dot.Ints, @splat(layout.magic));
                    const value = integer.scaled(class, product, unit.terms[g], unit.terms[class.terms() + g]);
                    total = if (g == 0) value else total + value;
                }
                integer.addTotal(class, total, &unit.terms, &acts[t], sum);
            }
        }
    };
}

/// What the tiles can do at most, for `limits.zig`: products of whole tiles, of 64 inputs. Formats whose
/// scales are for 32 inputs or fewer fill half of one. Returns the operations done.
pub fn peak(rounds: usize) f64 {
    var config: Config align(64) = .{};
    @memset(config.rows[0..8], 16);
    @memset(config.row_bytes[0..8], 64);
    config.load();
    defer asm volatile ("tilerelease");
    inline for (0..8) |tile| asm volatile ("tilezero " ++ tileName(tile));
    for (0..rounds) |_| inline for (0..4) |sum| {
        asm volatile ("tdpbssd %%tmm7, %%tmm6, " ++ tileName(sum));
    };
    return @floatFromInt(rounds * 4 * 16 * 16 * 64 * 2);
}

fn tileName(comptime index: usize) []const u8 {
    return "%%tmm" ++ &[_]u8{'0' + index};
}

comptime {
    // One stride serves all of them.
    std.debug.assert(@sizeOf(Act) == layout.quad_bytes and @offsetOf(Act, "q") == 0);
    std.debug.assert(@sizeOf(Config) == 64);
}
