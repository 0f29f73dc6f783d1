//! Reading the KV cache of a session: as numbers, as numbers before their rotation, or as it is stored.

const std = @import("std");
const cache = @import("../cache.zig");
const kernel = @import("../kernel.zig");
const rope = @import("../arch/block/rope.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Session = @import("session.zig").Session;

pub const View = enum(u32) {
    /// What attention multiplies with, in f32: for the last token, where some are kept at full precision.
    decoded = 0,
    /// Keys before the rotary embedding, in f32: as they are stored, or the rotation is taken back from that.
    unrotated = 1,
    /// What is stored, behind its Hadamard rotation if it has one, and without scales: a float, or an integer, of the format; one of 4 or 5 bits as a byte.
    codes = 2,
    /// The scales that belong to the codes, in f16; of mxfp4 and nvfp4 as bytes.
    scales = 3,
    /// The minimums that belong to the codes, in f16.
    minimums = 4,
    /// Places and f16 values of outliers, two bytes each.
    outliers = 5,
};

/// One head, or all heads one after the other, at positions [from, to).
pub const Part = struct {
    side: kernel.KvSide,
    view: View,
    layer: u32,
    /// Null: all.
    head: ?u32,
    from: u32,
    to: u32,
};

pub const Error = error{ Busy, NotReady, OutOfRange, BufferTooSmall, BadOption };

/// Writes [heads][to - from][values of a head].
pub fn read(session: *Session, part: Part, out: []u8, diag: *Diagnostic) Error!void {
    session.lock();
    defer session.unlock();
    try session.expectIdle(diag);
    try session.expectWhole(diag);
    const layout = session.sequence.pool.layout;
    try check(session, part, diag);
    const row_bytes = rowBytes(layout, part);
    const positions: usize = part.to - part.from;
    const heads: usize = if (part.head == null) layout.kv_heads else 1;
    if (out.len != heads * positions * row_bytes) {
        diag.set("expected a buffer of {d} bytes for {d} heads and {d} positions, found {d}", .{
            heads * positions * row_bytes, heads, positions, out.len,
        });
        return error.BufferTooSmall;
    }
    if (session.evictor) |evictor| _ = evictor.order(session.length);
    for (0..heads) |i| {
        const of_head = out[i * positions * row_bytes ..][0 .. positions * row_bytes];
        readHead(session, part, part.head orelse @intCast(i), of_head, row_bytes);
    }
    if (part.side == .key and (part.view == .decoded or part.view == .unrotated)) turnKeys(session, part, heads, out);
}

fn check(session: *const Session, part: Part, diag: *Diagnostic) Error!void {
    const layout = session.sequence.pool.layout;
    if (part.layer >= layout.layers) {
        diag.set("expected a layer under {d}, found {d}", .{ layout.layers, part.layer });
        return error.OutOfRange;
    }
    if (part.head) |head| if (head >= layout.kv_heads) {
        diag.set("expected a KV head under {d}, found {d}", .{ layout.kv_heads, head });
        return error.OutOfRange;
    };
    if (part.from > part.to or part.to > session.sequence.len) {
        diag.set("expected positions within the {d} that have keys and values, found {d} to {d}", .{ session.sequence.len, part.from, part.to });
        return error.OutOfRange;
    }
    if (part.view == .unrotated and part.side != .key) {
        diag.set("expected keys to take the rotation from, found values, which have none", .{});
        return error.BadOption;
    }
    if (part.view == .decoded or part.view == .unrotated) return;
    const format = layout.format(part.side, part.layer, part.head orelse 0);
    if (part.head == null) for (1..layout.kv_heads) |head| {
        const other = layout.format(part.side, part.layer, head);
        const options = layout.options(part.side, part.layer, 0);
        if (other == format and options == layout.options(part.side, part.layer, head)) continue;
        diag.set("expected one head, because heads of layer {d} are stored differently, found all of them: {t} and {t}", .{
            part.layer, format, other,
        });
        return error.BadOption;
    };
    if (part.side == .key and cache.inGroups(format)) {
        // Terms belong to whole groups, and what is not in a whole one yet has no codes.
        const group = layout.keyGroup(part.layer, part.head orelse 0);
        const unit: u32 = if (part.view == .codes) 1 else group;
        const whole = session.sequence.len / group * group;
        if (part.to > whole or part.from % unit != 0 or part.to % unit != 0) {
            diag.set("expected keys of the {d} tokens in whole groups of {d}, from and to multiples of {d}, found {d} to {d}", .{
                whole, group, unit, part.from, part.to,
            });
            return error.OutOfRange;
        }
    }
    if (part.view == .scales and cache.formatUnit(format) == 1) {
        diag.set("expected a format with scales, found {t}", .{format});
        return error.BadOption;
    }
    const stored: kernel.KvFormat = @fromBackingInt(@backingInt(format));
    if (part.view == .outliers and layout.options(part.side, part.layer, part.head orelse 0).outliers == 0) {
        diag.set("expected a format with outliers, found {t} without", .{format});
        return error.BadOption;
    }
    const symmetric = layout.options(part.side, part.layer, part.head orelse 0).symmetric;
    if (part.view == .minimums and !stored.hasMinimum() and (!stored.grouped() or symmetric)) {
        diag.set("expected a format with minimums, found {t}", .{format});
        return error.BadOption;
    }
}

/// Bytes that one position of one head becomes; the same for all heads of the part.
fn rowBytes(layout: cache.Layout, part: Part) usize {
    const dim: usize = layout.headDim(part.side);
    const format = layout.format(part.side, part.layer, part.head orelse 0);
    const stored: kernel.KvFormat = @fromBackingInt(@backingInt(format));
    const kind: kernel.channels.Kind = .{
        .format = stored,
        .side = part.side,
        .dim = dim,
        .options = layout.options(part.side, part.layer, part.head orelse 0),
    };
    return switch (part.view) {
        .decoded, .unrotated => dim * @sizeOf(f32),
        .codes => dim * kernel.page.codeBytes(stored),
        .outliers => kind.capacity() * kernel.outliers.entry_bytes / if (part.side == .key) kind.group() else 1,
        .scales, .minimums => kernel.page.termCount(stored, dim, layout.options(part.side, part.layer, part.head orelse 0)) * stored.scaleBytes(),
    };
}

fn readHead(session: *const Session, part: Part, head: u32, out: []u8, row_bytes: usize) void {
    const layout = session.sequence.pool.layout;
    const dim: usize = layout.headDim(part.side);
    const format: kernel.KvFormat = @fromBackingInt(@backingInt(layout.format(part.side, part.layer, head)));
    const options = layout.options(part.side, part.layer, head);
    const is_number = part.view == .decoded or part.view == .unrotated;
    var position = part.from;
    while (position < part.to) {
        const slot = slotOf(session, position);
        const first = slot % cache.page_len;
        const whole = @min(cache.page_len - first, part.to - position);
        // Slots of those that evict are in no order.
        const count = if (session.evictor != null) 1 else if (is_number) readAlike(session, part, position, whole) else whole;
        const page = session.sequence.pageMemory(part.side, slot, part.layer, head);
        const to = out[(position - part.from) * row_bytes ..].ptr;
        if (is_number) if (session.sequence.exact) |*exact| if (exact.reads(part.layer, position, session.sequence.len)) {
            exact.read(session.model.kernels, part.side, position, part.layer, head, @as([*]f32, @ptrCast(@alignCast(to)))[0..dim]);
            position += 1;
            continue;
        };
        switch (part.view) {
            .decoded, .unrotated => session.model.kernels.kv_read(
                options.code(format),
                @backingInt(part.side),
                page,
                dim,
                first,
                first + count,
                @ptrCast(@alignCast(to)),
            ),
            .codes => kernel.page.readCodes(format, part.side, page, dim, first, first + count, to, options),
            .scales => kernel.page.readTerms(.scale, format, part.side, page, dim, first, first + count, to, options),
            .outliers => {
                const kind: kernel.channels.Kind = .{ .format = format, .side = part.side, .dim = dim, .options = options };
                @memcpy(to[0 .. count * row_bytes], page[kind.outliersOf(first)..][0 .. count * row_bytes]);
            },
            .minimums => kernel.page.readTerms(.minimum, format, part.side, page, dim, first, first + count, to, options),
        }
        position += count;
    }
    if (is_number and layout.rotates(part.side, part.layer, head)) {
        session.model.kernels.hadamard(@ptrCast(@alignCast(out.ptr)), out.len / row_bytes, dim);
    }
}

/// Where the token is that comes at a position of the order of the text.
fn slotOf(session: *const Session, position: u32) u32 {
    return if (session.evictor) |evictor| evictor.slots[position] else position;
}

/// How many of `count` positions from `position` on are read at the same place as it is.
fn readAlike(session: *const Session, part: Part, position: u32, count: u32) u32 {
    const exact = if (session.sequence.exact) |*of| of else return count;
    const len = session.sequence.len;
    const first = exact.reads(part.layer, position, len);
    for (1..count) |i| if (exact.reads(part.layer, position + @as(u32, @intCast(i)), len) != first) return @intCast(i);
    return count;
}

/// Turns keys by the angles of their positions where they are stored before their rotary embedding and wanted
/// behind it, and by the negative ones where it is the other way round.
fn turnKeys(session: *const Session, part: Part, heads: usize, out: []u8) void {
    const h = &session.model.hyper;
    const layout = &session.sequence.pool.layout;
    const first = part.head orelse 0;
    const any = for (first..first + heads) |head| {
        if (layout.early(part.layer, head) == (part.view == .decoded)) break true;
    } else false;
    if (!any) return;
    const local = h.slides(part.layer) and h.rope_local != null;
    const frequencies = &session.model.frequencies[@intFromBool(local)];
    var storage: [rope.dim_max / 2][2]f32 = undefined;
    const angles = storage[0..frequencies.short.len];
    const square: f32 = @floatCast(frequencies.magnitude * frequencies.magnitude);
    const keys: [*]f32 = @ptrCast(@alignCast(out.ptr));
    const positions: usize = part.to - part.from;
    for (0..positions) |i| {
        const position = part.from + @as(u32, @intCast(i));
        const rotation = if (session.evictor) |evictor| evictor.rotationOf(slotOf(session, position)) else position;
        frequencies.at(rotation, session.settings.context, angles);
        // Cosine and sine carry the magnitude once, so that their squares add up to its square.
        if (part.view == .unrotated) for (angles) |*pair| {
            pair.* = .{ pair[0] / square, -pair[1] / square };
        };
        for (0..heads) |head| {
            if (layout.early(part.layer, first + head) != (part.view == .decoded)) continue;
            const row = keys + (head * positions + i) * h.head_dim_k;
            session.model.kernels.rope(row, 1, h.head_dim_k, frequencies.rope.dim, @backingInt(frequencies.rope.style), @ptrCast(angles.ptr));
        }
    }
}
