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

/// Lines of a unit of the weights to come that each tile of tokens asks for.
const asked = 2;

/// Whether so many tiles ask for all of it. If not, unpacking has to.
pub fn askForAll(comptime class: Class, count: usize) bool {
    return count * asked * 64 >= comptime class.unitBytes();
}

/// Activations of tiles of tokens, `stride` bytes apart; those of a tile are `width` a unit.
pub const Tiles = struct { acts: [*]const u8, factors: [*]const u8, halves: [*]const u8, stride: usize, width: usize, count: usize };

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

        /// Adds the products of a chunk of units with some tiles of tokens to sums that were begun, or begins
        /// them. Tiles go on from one to the next without a pause: the first groups of the next are multiplied
        /// while the last ones of this become sums. The units that are unpacked next begin at `later`: asked for
        /// at once they would keep one another waiting, so each product is accompanied by some lines.
        pub fn multiply(
            registers: *Self,
            comptime tokens: usize,
            units: []const blocked.Unit(class),
            tiles: Tiles,
            end: blocked.End,
            later: ?[*]const u8,
            sums: [*][tokens]Vf,
        ) void {
            if (registers.tokens != tokens) {
                registers.tokens = tokens;
                registers.configure();
            }
            // Sums of a group are at index % turns.
            var products: [turns]Products align(64) = undefined;
            const slots = std.mem.alignForward(usize, units.len * groups, turns);
            var first: Cursor = .{ .units = units, .tiles = tiles, .slots = slots };
            var leaving = first;
            inline for (0..begun) |i| first.begin(i);
            inline for (0..stored) |i| leaving.store(i, &products);
            for (0..tiles.count) |number| {
                const skipped = number * tiles.stride;
                var local: [tokens]Vf = if (end.begins) @splat(@splat(0)) else sums[number];
                const line = number * asked * 64;
                const asks = later != null and line < class.unitBytes();
                var slot: usize = 0;
                while (slot < slots) : (slot += turns) inline for (0..turns / groups) |u| {
                    inline for (0..groups) |g| {
                        leaving.store(u * groups + g + stored, &products);
                        first.begin(u * groups + g + begun);
                    }
                    const index = slot / groups + u;
                    if (index < units.len) {
                        if (asks) ask(later.? + index * class.unitBytes() + line);
                        // One at a time: as many as there are tokens would keep activations waiting.
                        if (index < tokens) end.expect(number * tokens + index);
                        const at = skipped + layout.tileFactors(tiles.width, index);
                        finish(tokens, &units[index], tiles.factors + at, tiles.halves + at, products[u * groups ..][0..groups], &local);
                    }
                };
                if (end.args == null) sums[number] = local else end.store(tokens, number, &local);
            }
        }

        /// Into the second cache: activations that pass would drive them from the first one.
        inline fn ask(from: [*]const u8) void {
            inline for (0..asked) |line| @prefetch(from + line * 64, .{ .locality = 2 });
        }

        /// Where in the sequence of all groups of all tiles one of its steps is. A tile takes whole turns of
        /// the registers, so that the last slots of one may stay empty.
        const Cursor = struct {
            units: []const blocked.Unit(class),
            /// Those that are left.
            tiles: Tiles,
            slots: usize,
            slot: usize = 0,

            inline fn empty(cursor: *const Cursor) bool {
                return cursor.slot >= cursor.units.len * groups;
            }

            inline fn next(cursor: *Cursor) void {
                cursor.slot += 1;
                if (cursor.slot != cursor.slots) return;
                cursor.slot = 0;
                cursor.tiles.count -= 1;
                cursor.tiles.acts += cursor.tiles.stride;
            }

            /// Has the tiles multiply the next group, the one of slot `turn` modulo the turns.
            inline fn begin(cursor: *Cursor, comptime turn: usize) void {
                if (cursor.tiles.count == 0) return;
                if (!cursor.empty()) {
                    const g = turn % groups;
                    const index = cursor.slot / groups;
                    const sum = comptime tileName(turn % turns);
                    const a = comptime tileName(turns + turn % 2);
                    const w = comptime tileName(turns + 2 + turn % 2);
                    const signs = if (class.zero == 0) "tdpbsud " else "tdpbssd ";
                    asm volatile ("tileloadd (%[acts],%[stride],1), " ++ a ++ "\n" ++
                            "tileloadd (%[weights],%[stride],1), " ++ w ++ "\n" ++
                            "tilezero " ++ sum ++ "\n" ++
                            signs ++ w ++ ", " ++ a ++ ", " ++ sum
                        :
                        : [acts] "r" (cursor.tiles.acts + layout.tileIntegers(cursor.tiles.width, index) + g * group_bytes),
                          [weights] "r" (&cursor.units[index].weights.vectors[g * group_bytes / 4]),
                          [stride] "r" (@as(usize, layout.quad_bytes)),
                        : .{ .memory = true });
                }
                cursor.next();
            }

            /// Has the sums of the next group leave their tile.
            inline fn store(cursor: *Cursor, comptime turn: usize, products: *[turns]Products) void {
                if (cursor.tiles.count == 0) return;
                if (!cursor.empty()) asm volatile ("tilestored " ++ tileName(turn % turns) ++ ", (%[products],%[stride],1)"
                    :
                    : [products] "r" (&products[turn % turns]),
                      [stride] "r" (@as(usize, layout.quad_bytes)),
                    : .{ .memory = true });
                cursor.next();
            }
        };

        /// Adds a unit, whose products are there, to the sums.
        inline fn finish(
            comptime tokens: usize,
            unit: *const blocked.Unit(class),
            factors: [*]const u8,
            halves: [*]const u8,
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
                const at = t * layout.tile_line;
                integer.addTotal(class, total, &unit.terms, @ptrCast(@alignCast(factors + at)), @ptrCast(@alignCast(halves + at)), sum);
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
    std.debug.assert(layout.tile_line == layout.quad_bytes);
    std.debug.assert(@sizeOf(Config) == 64);
}
