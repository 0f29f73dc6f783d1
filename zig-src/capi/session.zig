//! Sessions: a sequence of tokens, and the request that runs on it. Requests are started, their
//! records are taken as they come, and they may be cancelled; nothing here waits for the engine but
//! `vitrine_session_wait` and, for at most one layer of the model, `vitrine_session_destroy`.

const std = @import("std");
const abi = @import("core/abi.zig");
const buffers = @import("core/buffers.zig");
const cache = @import("../cache.zig");
const chains = @import("core/chain.zig");
const engine = @import("../engine.zig");
const errors = @import("core/errors.zig");
const evict = @import("../evict.zig");
const kernel = @import("../kernel.zig");
const recorder = @import("recorder.zig");
const request_file = @import("core/request.zig");
const sampler = @import("../sampler.zig");
const table = @import("core/table.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const ModelObject = @import("core/model_object.zig").ModelObject;
const SessionObject = @import("core/session_object.zig").SessionObject;
const Error = errors.Error;
const Stored = @import("core/stored.zig").Stored;

pub const functions = .{
    .{
        .name = "vitrine_session_create",
        .function = "create",
        .doc =
        \\Makes an empty sequence with a KV cache. The handle is the caller's, also after an error, and is
        \\given back with vitrine_session_destroy.
        ,
        .params = .{
            .{ "model", "A loaded model; it stays alive as long as the session." },
            .{ "options", "Read during the call only; null: the defaults.", "SessionOptions" },
            .{ "options_length", "In bytes; 0: the defaults." },
            .{
                "formats",
                "[layers][KV heads][keys, values]: cache formats of each head, with `CacheFormatFlags`, or none: those of the options; " ++
                    "and [window_layers][sinks, recent]. Read during the call only.",
            },
            .{ "format_count", "How many numbers: twice the layers times the KV heads, or 0, and twice the `window_layers`." },
            .{ "out_session", "Gets the handle; 0 when there is none." },
        },
    },
    .{
        .name = "vitrine_session_fork",
        .function = "fork",
        .doc =
        \\Makes sessions that go on from where this one stands, each by itself. They share the pages of the
        \\cache until one of them writes. All or none; the handles are given back one by one with
        \\vitrine_session_destroy, before or after this session's.
        ,
        .params = .{
            .{ "session", "An idle session." },
            .{ "count", "How many, from 1." },
            .{ "out_sessions", "`count` times; gets the handles, 0 after an error." },
        },
    },
    .{
        .name = "vitrine_session_destroy",
        .function = "destroy",
        .doc =
        \\Ends the handle; again is harmless. A running request is cancelled and not waited for, because it may
        \\itself wait for this thread; what it uses is free when the engine has left it.
        ,
        .params = .{.{ "session", "The session." }},
    },
    .{
        .name = "vitrine_session_start",
        .function = "start",
        .doc = "Begins a request and returns at once. Records of an earlier one that were not taken are dropped.",
        .params = .{
            .{ "session", "An idle session." },
            .{ "request", "Read during the call only.", "Request" },
            .{ "request_length", "In bytes." },
            .{ "tokens", "Appended to the sequence; read during the call only." },
            .{ "token_count", "How many; 0 is allowed when the sequence isn't empty." },
            .{ "stages", "`stage_count` records: stages in the order of their application, each with its data; read during the call only.", "Stage" },
        },
    },
    .{
        .name = "vitrine_session_take",
        .function = "take",
        .doc =
        \\Moves finished records into the buffer: StepHeaders with what follows them. Never blocks. When
        \\nothing was taken and the request isn't done, the next wake-up says when to look again.
        ,
        .params = .{
            .{ "session", "The session." },
            .{ "buffer", "The caller's; valid until the caller uses it again." },
            .{ "length", "Of the buffer, in bytes." },
            .{ "out", "The caller's; filled as far as it reaches.", "TakeResult" },
            .{ "out_length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_session_cancel",
        .function = "cancel",
        .doc = "Asks the engine to end the request. Returns at once; harmless when none runs. Any thread may call it.",
        .params = .{.{ "session", "The session." }},
    },
    .{
        .name = "vitrine_session_propose",
        .function = "propose",
        .doc =
        \\The draft that a request with drafts of the host waits for since its last record of a draft. Tokens
        \\beyond those that were wanted are left out; harmless when no request runs.
        ,
        .params = .{
            .{ "session", "The session." },
            .{ "tokens", "What may follow; read during the call only." },
            .{ "count", "How many; 0: no guess." },
        },
    },
    .{
        .name = "vitrine_session_wait",
        .function = "wait",
        .doc =
        \\Blocks until no request runs. Records stay for vitrine_session_take; a request that has filled the
        \\room for them waits for the taker, and so would this.
        ,
        .params = .{.{ "session", "The session." }},
    },
    .{
        .name = "vitrine_session_info",
        .function = "info",
        .doc = "Where the session stands. When its last request failed, the handle's error text says why.",
        .params = .{
            .{ "session", "The session." },
            .{ "out", "The caller's; filled as far as it reaches.", "SessionInfo" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_session_stats",
        .function = "stats",
        .doc = "Counts and times of the last request; valid while none runs.",
        .params = .{
            .{ "session", "The session." },
            .{ "out", "The caller's; filled as far as it reaches.", "SessionStats" },
            .{ "length", "Of `out`, in bytes." },
        },
    },
    .{
        .name = "vitrine_session_tokens",
        .function = "tokens",
        .doc = "Copies the tokens of the sequence.",
        .params = .{
            .{ "session", "An idle session." },
            .{ "tokens", "The caller's; filled with token ids." },
            .{ "count", "In: how many fit. Out: how many there are." },
        },
    },
    .{
        .name = "vitrine_session_truncate",
        .function = "truncate",
        .doc = "Forgets the tokens from `length` on.",
        .params = .{
            .{ "session", "An idle session." },
            .{ "length", "From 0 to the position." },
        },
    },
    .{
        .name = "vitrine_session_exchange",
        .function = "exchange",
        .doc =
        \\Lets two sessions change places: each goes on from where the other one stood. Options and hooks
        \\stay; what the last requests left is dropped.
        ,
        .params = .{
            .{ "session", "An idle session." },
            .{ "other", "Another one, of the same model, context and cache policy." },
        },
    },
    .{
        .name = "vitrine_session_logits",
        .function = "logits",
        .doc = "Copies one row of logits.",
        .params = .{
            .{ "session", "An idle session." },
            .{ "row", "Of the last request with `all_logits`; 0xffffffff: behind the last evaluated token." },
            .{ "values", "The caller's; filled." },
            .{ "count", "`logits` of the model's info, exactly." },
        },
    },
};

pub fn create(
    model_handle: u32,
    options: ?[*]const u8,
    options_length: u32,
    formats: ?[*]align(1) const u32,
    format_count: u32,
    out_session: ?*align(1) u32,
) callconv(.c) i32 {
    var diag: Diagnostic = .{};
    const out = buffers.required(out_session, "the handle", &diag) catch |err| return errors.code(err);
    out.* = 0;
    const self = SessionObject.create() catch |err| return errors.code(err);
    out.* = table.add(&self.object) catch |err| {
        table.unpin(&self.object);
        return errors.code(err);
    };
    return errors.finish(&self.object, open(self, model_handle, options, options_length, formats, format_count));
}

fn open(
    self: *SessionObject,
    model_handle: u32,
    bytes: ?[*]const u8,
    length: u32,
    formats: ?[*]align(1) const u32,
    format_count: u32,
) Error!void {
    const diag = &self.object.diag;
    const parent = table.pin(model_handle, .model) orelse {
        diag.set("expected a model, found a handle that names none", .{});
        return error.InvalidHandle;
    };
    errdefer table.unpin(parent);
    const model_object = ModelObject.of(parent);
    if (model_object.phaseNow() != .ready) {
        diag.set("expected a loaded model, found one that isn't", .{});
        return error.NotReady;
    }
    const given = try buffers.options(abi.SessionOptions, bytes, length, "session options", diag);
    const stored: Stored = try .of(try buffers.slice(u32, formats, format_count, "the cache formats", diag), given.window_layers, diag);
    defer stored.deinit();
    self.session = try engine.Session.create(model_object.model.?, .{
        .context = given.context,
        .key_format = try cacheFormat(given.key_format, "key_format", diag),
        .value_format = try cacheFormat(given.value_format, "value_format", diag),
        .head_formats = stored.formats,
        .windows = stored.windows,
        .exact_format = try cacheFormat(given.exact_format, "exact_format", diag),
        .chunk = given.chunk,
        .shift_keep = @max(-1, given.shift_keep),
        .evict = try eviction(given, diag),
    }, diag);
    self.model = model_object;
}

/// Null: none.
pub fn eviction(given: abi.SessionOptions, diag: *Diagnostic) Error!?evict.Options {
    if (given.evict_policy == 0) return null;
    const policy = evict.policyFromId(given.evict_policy) orelse {
        diag.set("expected an eviction policy, found number {d}", .{given.evict_policy});
        return error.InvalidArgument;
    };
    const scoring: evict.Scoring = for (std.enums.values(evict.Scoring)) |one| {
        if (@backingInt(one) == given.evict_scoring and one != .prompt_end) break one;
    } else {
        diag.set("expected evict_scoring to be none, sum or last, found number {d}", .{given.evict_scoring});
        return error.InvalidArgument;
    };
    return .{
        .policy = policy,
        .budget = given.evict_budget,
        .every = given.evict_every,
        .sinks = given.evict_sinks,
        .recent = given.evict_recent,
        .window = given.evict_window,
        .pooling = given.evict_pooling,
        .scoring = scoring,
        .cache_positions = given.evict_cache_positions != 0,
    };
}

/// A format with its options, as `CacheFormatFlags` add them to its id.
pub fn storedHead(code: u32, what: []const u8, diag: *Diagnostic) Error!struct { format: cache.Format, options: kernel.KvOptions } {
    const options: kernel.KvOptions = .of(code);
    return .{ .format = try cacheFormat(code & ~@as(u32, @bitCast(options)), what, diag), .options = options };
}

pub fn cacheFormat(id: u32, what: []const u8, diag: *Diagnostic) Error!cache.Format {
    return cache.formatFromId(id) orelse {
        diag.set("expected {s} to be a format of the KV cache, found number {d}", .{ what, id });
        return error.InvalidArgument;
    };
}

pub fn fork(handle: u32, count: u32, out_sessions: ?[*]align(1) u32) callconv(.c) i32 {
    return withSession(handle, .{ count, out_sessions }, forkInto);
}

fn forkInto(self: *SessionObject, count: u32, out_sessions: ?[*]align(1) u32) Error!void {
    const diag = &self.object.diag;
    if (count == 0 or count > table.handles_max) {
        diag.set("expected from 1 to {d} forks, found {d}", .{ table.handles_max, count });
        return error.InvalidArgument;
    }
    const out = try buffers.required(out_sessions, "the handles", diag);
    for (0..count) |i| out[i] = 0;
    const sessions = try table.gpa.alloc(*engine.Session, count);
    defer table.gpa.free(sessions);
    const objects = try table.gpa.alloc(*SessionObject, count);
    defer table.gpa.free(objects);
    var made: usize = 0;
    // Objects own their sessions from the moment that they have them.
    errdefer for (objects[0..made], 0..) |other, i| {
        if (out[i] != 0) _ = table.remove(out[i], .session);
        out[i] = 0;
        table.unpin(&other.object);
    };
    while (made < count) : (made += 1) {
        objects[made] = try .create();
        errdefer table.unpin(&objects[made].object);
        out[made] = try table.add(&objects[made].object);
    }
    try self.session.?.fork(sessions, diag);
    for (objects, sessions) |other, session| {
        table.retain(&self.model.?.object);
        other.object.lock();
        defer other.object.unlock();
        other.model = self.model;
        other.session = session;
    }
}

pub fn destroy(handle: u32) callconv(.c) i32 {
    const object = table.remove(handle, .session) orelse return 0;
    const self = SessionObject.of(object);
    if (self.session) |session| {
        session.cancel();
        // The engine may stand at another session's hook or stage, which this thread is to answer.
        if (session.running.load(.acquire)) {
            if (std.Thread.spawn(.{}, table.unpin, .{object})) |thread| {
                thread.detach();
                return 0;
            } else |_| {}
        }
    }
    table.unpin(object);
    return 0;
}

/// Runs `body` on a session, one caller at a time, and keeps the text of an error.
pub fn withSession(handle: u32, arguments: anytype, comptime body: anytype) i32 {
    const object = table.pin(handle, .session) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    object.lock();
    defer object.unlock();
    const self = SessionObject.of(object);
    _ = self.ready() catch |err| return errors.finish(object, err);
    object.diag.len = 0;
    return errors.finish(object, @call(.auto, body, .{self} ++ arguments));
}

pub fn start(
    handle: u32,
    request: ?[*]const u8,
    request_length: u32,
    token_ids: ?[*]align(1) const u32,
    token_count: u32,
    stages: ?[*]align(1) const sampler.wire.Record,
) callconv(.c) i32 {
    return withSession(handle, .{ request, request_length, token_ids, token_count, stages }, begin);
}

fn begin(
    self: *SessionObject,
    bytes: ?[*]const u8,
    length: u32,
    token_ids: ?[*]align(1) const u32,
    token_count: u32,
    stages: ?[*]align(1) const sampler.wire.Record,
) Error!void {
    const diag = &self.object.diag;
    const request = try buffers.options(abi.Request, bytes, length, "a request", diag);
    try buffers.checkFlags(abi.RequestFlags, request.flags, "flags", diag);
    if (request.history_count != 0 or request.model != 0) {
        diag.set("expected a session's request without history and model, which the session has, found {d} tokens and model {d}", .{
            request.history_count, request.model,
        });
        return error.InvalidArgument;
    }
    var specs: chains.Specs = undefined;
    const given = try chains.stages(stages, request.stage_count, &specs, diag);
    const ids = try buffers.slice(u32, token_ids, token_count, "tokens", diag);
    // The engine reads aligned words; a copy is cheap beside a prefill.
    const copied = try table.gpa.alloc(u32, ids.len);
    defer table.gpa.free(copied);
    for (ids, copied) |from, *to| to.* = from;
    const guide = try request_file.guideOf(request.guide, diag);
    defer if (guide) |other| {
        other.object.unlock();
        table.unpin(&other.object);
    };
    try self.session.?.start(.{
        .tokens = copied,
        .max_tokens = request.max_tokens,
        .stages = given,
        .seed = @as(u64, request.seed_high) << 32 | request.seed_low,
        .top_logprobs = request.top_logprobs,
        .all_logits = buffers.has(request.flags, abi.RequestFlags.all_logits),
        .prompt_logprobs = buffers.has(request.flags, abi.RequestFlags.prompt_logprobs),
        .ignore_eog = buffers.has(request.flags, abi.RequestFlags.ignore_end),
        .entropy = buffers.has(request.flags, abi.RequestFlags.entropy),
        .refill = buffers.has(request.flags, abi.RequestFlags.refill),
        .record = try recorder.wanted(request, diag),
        .banned = try request_file.bannedOf(request, bytes, length, diag),
        .banned_ignore_case = buffers.has(request.flags, abi.RequestFlags.banned_ignore_case),
        .draft = try request_file.draftOf(request, diag),
        .guide = if (guide) |other| try other.ready() else null,
    }, diag);
}

pub fn propose(handle: u32, token_ids: ?[*]align(1) const u32, count: u32) callconv(.c) i32 {
    return withSession(handle, .{ token_ids, count }, proposeTokens);
}

fn proposeTokens(self: *SessionObject, token_ids: ?[*]align(1) const u32, count: u32) Error!void {
    const diag = &self.object.diag;
    const ids = try buffers.slice(u32, token_ids, count, "the draft", diag);
    var copied: [engine.draft.length_max]u32 = undefined;
    const len = @min(ids.len, copied.len);
    for (ids[0..len], copied[0..len]) |from, *to| to.* = from;
    try self.session.?.propose(copied[0..len], diag);
}

pub fn take(handle: u32, buffer: ?[*]u8, length: u32, out: ?[*]u8, out_length: u32) callconv(.c) i32 {
    return withSession(handle, .{ buffer, length, out, out_length }, takeRecords);
}

fn takeRecords(self: *SessionObject, buffer: ?[*]u8, length: u32, out: ?[*]u8, out_length: u32) Error!void {
    const diag = &self.object.diag;
    const into: []u8 = if (length == 0) &.{} else (try buffers.required(buffer, "the buffer", diag))[0..length];
    _ = try buffers.required(out, "the result", diag);
    const result = self.session.?.take(into);
    try buffers.fill(abi.TakeResult{
        .bytes_taken = @intCast(result.bytes),
        .bytes_next = result.next,
        .done = @intFromBool(result.done),
    }, out, out_length, diag);
}

pub fn cancel(handle: u32) callconv(.c) i32 {
    const object = table.pin(handle, .session) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    if (SessionObject.of(object).session) |session| session.cancel();
    return 0;
}

pub fn wait(handle: u32) callconv(.c) i32 {
    const object = table.pin(handle, .session) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    if (SessionObject.of(object).session) |session| session.wait();
    return 0;
}

pub fn info(handle: u32, out: ?[*]u8, length: u32) callconv(.c) i32 {
    return withSession(handle, .{ out, length }, fillInfo);
}

fn fillInfo(self: *SessionObject, out: ?[*]u8, length: u32) Error!void {
    const session = self.session.?;
    const running = session.running.load(.acquire);
    // The engine writes the text before it ends the request.
    const failed = !running and session.failure.text().len != 0;
    if (failed) self.object.diag.set("{s}", .{session.failure.text()});
    try buffers.fill(abi.SessionInfo{
        .context = session.settings.context,
        .position = session.position(),
        .running = @intFromBool(running),
        .failure = @backingInt(if (!failed) abi.Status.ok else if (session.pool_full) abi.Status.pool_full else abi.Status.numeric),
        .logit_rows = @intCast(session.allLogitsRows()),
        .tokens_lost = session.length - @min(session.length, session.sequence.len),
        .kv_bytes = @floatFromInt(session.kvBytes()),
        .tokens_shifted = @floatFromInt(session.shifted),
    }, out, length, &self.object.diag);
}

pub fn stats(handle: u32, out: ?[*]u8, length: u32) callconv(.c) i32 {
    return withSession(handle, .{ out, length }, fillStats);
}

fn fillStats(self: *SessionObject, out: ?[*]u8, length: u32) Error!void {
    const found = self.session.?.stats;
    const milliseconds = 1e-6;
    try buffers.fill(abi.SessionStats{
        .prefill_tokens = @floatFromInt(found.prefill_tokens),
        .prefill_ms = @as(f64, @floatFromInt(found.prefill_ns)) * milliseconds,
        .decode_tokens = @floatFromInt(found.decode_tokens),
        .decode_ms = @as(f64, @floatFromInt(found.decode_ns)) * milliseconds,
        .first_token_ms = @as(f64, @floatFromInt(found.first_token_ns)) * milliseconds,
        .shifts = @floatFromInt(found.shifts),
        .reused_tokens = @floatFromInt(found.reused_tokens),
        .reevaluated_tokens = @floatFromInt(found.reevaluated_tokens),
        .waits = @floatFromInt(found.waits),
        .evicted_tokens = @floatFromInt(found.evicted_tokens),
        .wait_ms = @as(f64, @floatFromInt(found.wait_ns)) * milliseconds,
        .passes = @floatFromInt(found.passes),
        .drafted = @floatFromInt(found.drafted),
        .accepted = @floatFromInt(found.accepted),
    }, out, length, &self.object.diag);
}

pub fn tokens(handle: u32, ids: ?[*]align(1) u32, count: ?*align(1) u32) callconv(.c) i32 {
    return withSession(handle, .{ ids, count }, copyTokens);
}

fn copyTokens(self: *SessionObject, ids: ?[*]align(1) u32, count: ?*align(1) u32) Error!void {
    const diag = &self.object.diag;
    const fits = try buffers.required(count, "the count", diag);
    const there = self.session.?.position();
    const room = fits.*;
    fits.* = there;
    if (there > room) {
        diag.set("expected room for {d} tokens, found {d}", .{ there, room });
        return error.BufferTooSmall;
    }
    const copied = try table.gpa.alloc(u32, there);
    defer table.gpa.free(copied);
    try self.session.?.copyTokens(copied, diag);
    if (there == 0) return;
    const out = try buffers.required(ids, "the tokens", diag);
    for (copied, 0..) |id, i| out[i] = id;
}

pub fn truncate(handle: u32, length: u32) callconv(.c) i32 {
    return withSession(handle, .{length}, truncateTo);
}

fn truncateTo(self: *SessionObject, length: u32) Error!void {
    try self.session.?.truncate(length, &self.object.diag);
}

pub fn exchange(handle: u32, other: u32) callconv(.c) i32 {
    const object = table.pin(other, .session) orelse return errors.code(error.InvalidHandle);
    defer table.unpin(object);
    return withSession(handle, .{SessionObject.of(object)}, exchangeWith);
}

fn exchangeWith(self: *SessionObject, other: *SessionObject) Error!void {
    if (self == other) return;
    // Whoever holds the one never waits for the other, so two calls that meet can't wait for each other.
    if (!other.object.mutex.tryLock()) {
        self.object.diag.set("expected an idle session, found one in another call", .{});
        return error.Busy;
    }
    defer other.object.unlock();
    const session = other.session orelse return error.NotReady;
    try self.session.?.exchange(session, &self.object.diag);
}

pub fn logits(handle: u32, row: u32, values: ?[*]align(1) f32, count: u32) callconv(.c) i32 {
    return withSession(handle, .{ row, values, count }, copyLogits);
}

fn copyLogits(self: *SessionObject, row: u32, values: ?[*]align(1) f32, count: u32) Error!void {
    const diag = &self.object.diag;
    const session = self.session.?;
    const vocab = session.model.vocab();
    if (count != vocab) {
        diag.set("expected a buffer for {d} values, found {d}", .{ vocab, count });
        return error.BufferTooSmall;
    }
    const out = try buffers.required(values, "the values", diag);
    const copied = try table.gpa.alloc(f32, vocab);
    defer table.gpa.free(copied);
    if (row == abi.none) try session.copyLogits(copied, diag) else try session.copyAllLogits(row, copied, diag);
    @memcpy(std.mem.sliceAsBytes(out[0..vocab]), std.mem.sliceAsBytes(copied));
}
