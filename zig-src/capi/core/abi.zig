//! The types that cross the C ABI. Everything here is generated into `include/vitrine.h`,
//! `include/vitrine_abi.json` and `src/ffi/symbols.gen.ts`; nobody types an offset by hand.
//!
//! Structs are little endian and begin with their size where they are read by the library; fields
//! are only ever appended. A struct that is filled by the library comes with the caller's length:
//! what fits is written. Values of enums are never used again for something else.

const cache = @import("../../cache.zig");
const kernel = @import("../../kernel.zig");
const kv_view = @import("../../engine/kv_view.zig");
const evict = @import("../../evict.zig");
const events = @import("../../cache/core/events.zig");
const value = @import("../../gguf/value.zig");
const sampler = @import("../../sampler.zig");
const sampler_abi = @import("sampler_abi.zig");
const kv_abi = @import("kv_abi.zig");
const pool_abi = @import("pool_abi.zig");
const probe = @import("../../probe.zig");
const packed_file = @import("../../engine/packed_file.zig");
const record = @import("../../engine/record.zig");
const recorder = @import("../../engine/recorder.zig");
const tape = @import("../../engine/tape.zig");
const draft = @import("../../engine/draft.zig");

/// Of the option structs.
pub const version = 1;

/// No token; the last row.
pub const none = 0xffff_ffff;

pub const Status = enum(i32) {
    ok = 0,
    /// An argument or an option has a value that it can't have.
    invalid_argument = -1,
    /// No such handle, or what it named was destroyed.
    invalid_handle = -2,
    /// The length that is needed was written where the length is returned.
    buffer_too_small = -3,
    out_of_memory = -4,
    /// More models, sessions or callbacks than the library can hold.
    too_many_handles = -5,
    /// A request is running on the session.
    busy = -6,
    /// The model is still loading.
    not_ready = -7,
    cancelled = -8,
    /// The tokens don't fit into the session's context.
    context_full = -9,
    /// The file isn't what it claims to be.
    invalid_file = -10,
    /// The file, or what is asked for, is valid, and the library doesn't know how to do it.
    unsupported = -11,
    file_not_found = -12,
    input_output = -13,
    /// Not a number, or nothing left to draw from.
    numeric = -14,
    /// Nothing was evaluated yet that has logits.
    no_logits = -15,
    /// The file is of another model, or of a cache that is stored in another way.
    foreign = -16,
    /// The pool has no page left.
    pool_full = -17,
    /// A defect of the library.
    internal = -99,
};

pub const ModelPhase = enum(u32) { loading = 0, ready = 1, failed = 2, cancelled = 3 };

/// Of `SnapshotState`.
pub const SnapshotPhase = enum(u32) { running = 0, ready = 1, failed = 2, cancelled = 3 };

/// Of `LoadOptions`.
pub const ModelFlags = enum(u32) {
    /// Metadata and tokenizer only.
    vocabulary_only = 1,
};

/// Added to a `CacheFormatId` of a head. The last three are for formats in groups.
pub const CacheFormatFlags = enum(u32) {
    /// Multiplied with a Hadamard matrix before it is stored.
    rotate = 1 << 16,
    /// Keys are stored before their rotary embedding.
    before_rope = 1 << 17,
    /// Without minimums: zero is a level, and the scale goes by the largest magnitude.
    symmetric = 1 << 20,
    /// Times 0, 1 or 2: scales belong to 32, 64 or 128 values, of a channel of keys to 32 or 64 tokens.
    group = 1 << 21,
    /// Times values of a thousand that are kept as f16.
    outliers = 1 << 24,
};

/// Of `Limits`. Idle: nothing was ever started.
pub const LimitsPhase = enum(u32) { idle = 0, running = 1, ready = 2, failed = 3 };

pub const ModelText = enum(u32) {
    architecture = 0,
    cpu_variant = 1,
    /// Why the packed weights could not be mapped, or not be written; empty when they were mapped.
    packed_note = 2,
};

/// What became of the packed weights that `LoadOptions` named a file for.
pub const PackedState = packed_file.State;

/// For `vitrine_model_tokenize` and `vitrine_model_detokenize`.
pub const TokenizeFlags = enum(u32) {
    /// The tokens at the beginning and the end of a text that the metadata asks for.
    add_special = 1,
    /// Special tokens are read from, and written as, their names.
    parse_special = 2,
};

/// Of `Request`.
pub const RequestFlags = enum(u32) {
    /// Keep the logits of all evaluated positions.
    all_logits = 1,
    /// Report the log-probability of each token of the prompt.
    prompt_logprobs = 2,
    /// Go on after a token that ends the text.
    ignore_end = 4,
    /// Report the entropy of the model's own distribution with each token.
    entropy = 8,
    /// Only compute again what the pool has taken; the request has no tokens.
    refill = 16,
    /// The case of ASCII letters does not count in banned strings.
    banned_ignore_case = 32,
};

/// Of `TokenInfo`.
pub const TokenFlags = enum(u32) {
    /// The token ends a text.
    end_of_generation = 1,
};

/// Of `StepHeader`.
pub const StepFlags = enum(u32) {
    /// The token ends the text.
    end_of_generation = record.flag_end_of_generation,
};

/// How activations are multiplied with quantised weights.
pub const PrecisionId = enum(u32) { float = 0, int8 = 1 };

pub const CacheFormatId = cache.Format;
pub const KvSideId = kernel.KvSide;
pub const KvViewId = kv_view.View;
pub const WhenFullId = cache.WhenFull;
pub const KvEventKind = events.Kind;
pub const KvEvent = events.Event;
pub const EvictPolicyId = evict.Policy;
pub const EvictScoringId = evict.Scoring;
pub const PoolOptions = pool_abi.PoolOptions;
pub const PoolInfo = pool_abi.PoolInfo;
pub const KvInfo = kv_abi.KvInfo;
pub const KvPart = kv_abi.KvPart;
pub const KvQueries = kv_abi.KvQueries;
pub const GrammarPrefix = sampler_abi.GrammarPrefix;
pub const GrammarMatch = sampler_abi.GrammarMatch;
pub const Recorded = sampler_abi.Recorded;
pub const TapeDraw = sampler_abi.TapeDraw;
pub const Stage = sampler_abi.Stage;
pub const TokenLogprob = sampler_abi.TokenLogprob;
pub const HookPoint = probe.Point;
pub const ValueKind = value.Type;
pub const Value = value.Value;
pub const RecordKind = record.Kind;
pub const StopReasonId = record.Reason;
pub const TraceColumn = recorder.Column;
pub const TapeKind = tape.Kind;
pub const DraftSource = draft.Source;

/// The enums of the interface, by the name that they get in C and TypeScript.
pub const enums = .{
    .{ "Status", Status },
    .{ "ModelPhase", ModelPhase },
    .{ "LimitsPhase", LimitsPhase },
    .{ "SnapshotPhase", SnapshotPhase },
    .{ "ModelFlags", ModelFlags },
    .{ "ModelText", ModelText },
    .{ "PackedState", PackedState },
    .{ "TokenizeFlags", TokenizeFlags },
    .{ "RequestFlags", RequestFlags },
    .{ "TokenFlags", TokenFlags },
    .{ "StepFlags", StepFlags },
    .{ "PrecisionId", PrecisionId },
    .{ "CacheFormatId", CacheFormatId },
    .{ "CacheFormatFlags", CacheFormatFlags },
    .{ "KvSideId", KvSideId },
    .{ "KvViewId", KvViewId },
    .{ "WhenFullId", WhenFullId },
    .{ "KvEventKind", KvEventKind },
    .{ "EvictPolicyId", EvictPolicyId },
    .{ "EvictScoringId", EvictScoringId },
    .{ "HookPoint", HookPoint },
    .{ "ValueKind", ValueKind },
    .{ "RecordKind", RecordKind },
    .{ "StopReasonId", StopReasonId },
    .{ "TraceColumn", TraceColumn },
    .{ "TapeKind", TapeKind },
    .{ "DraftSource", DraftSource },
};

/// The structs of the interface, by name.
pub const structs = .{
    .{ "LoadOptions", LoadOptions },
    .{ "ModelState", ModelState },
    .{ "ModelInfo", ModelInfo },
    .{ "MetadataEntry", MetadataEntry },
    .{ "TensorInfo", TensorInfo },
    .{ "TokenInfo", TokenInfo },
    .{ "SessionOptions", SessionOptions },
    .{ "SessionInfo", SessionInfo },
    .{ "SessionStats", SessionStats },
    .{ "SnapshotState", SnapshotState },
    .{ "Request", Request },
    .{ "Recorded", Recorded },
    .{ "GrammarPrefix", GrammarPrefix },
    .{ "GrammarMatch", GrammarMatch },
    .{ "TapeDraw", TapeDraw },
    .{ "Stage", Stage },
    .{ "TakeResult", TakeResult },
    .{ "StepHeader", StepHeader },
    .{ "TokenLogprob", TokenLogprob },
    .{ "PoolOptions", PoolOptions },
    .{ "PoolInfo", PoolInfo },
    .{ "KvEvent", KvEvent },
    .{ "KvInfo", KvInfo },
    .{ "KvPart", KvPart },
    .{ "KvQueries", KvQueries },
    .{ "HookOffer", HookOffer },
    .{ "WakeStats", WakeStats },
    .{ "Limits", Limits },
};

pub const LoadOptions = extern struct {
    size: u32 = @sizeOf(LoadOptions),
    version: u32 = version,
    /// 0: one for each physical core.
    threads: u32 = 0,
    precision: u32 = @backingInt(PrecisionId.int8),
    /// `ModelFlags`.
    flags: u32 = 0,
    /// Bytes of UTF-8 right behind the struct: where the packed weights are kept, to be mapped by
    /// later loads. 0: nowhere.
    packed_path_length: u32 = 0,
};

pub const ModelState = extern struct {
    /// `ModelPhase`.
    phase: u32 = 0,
    /// `Status`: why the load failed.
    status: i32 = 0,
    /// Bytes of weights.
    done: f64 = 0,
    total: f64 = 0,
};

pub const ModelInfo = extern struct {
    vocabulary: u32 = 0,
    /// Length of a row of logits; some models have more of them than tokens.
    logits: u32 = 0,
    layers: u32 = 0,
    embedding: u32 = 0,
    heads: u32 = 0,
    kv_heads: u32 = 0,
    key_length: u32 = 0,
    value_length: u32 = 0,
    context_train: u32 = 0,
    threads: u32 = 0,
    precision: u32 = 0,
    /// `none`: there is no such token.
    bos: u32 = none,
    eos: u32 = none,
    tensor_count: u32 = 0,
    metadata_count: u32 = 0,
    /// 1: the model has weights and can run; 0: a vocabulary.
    has_weights: u32 = 0,
    weights_bytes: f64 = 0,
    /// `PackedState`.
    packed_state: u32 = 0,
    /// 0.
    reserved: u32 = 0,
};

/// Followed by the key and, for a string, its text.
pub const MetadataEntry = extern struct {
    /// Of all, with what follows.
    size: u32,
    /// `ValueKind`.
    kind: u32,
    /// `ValueKind` of an array's elements.
    element_kind: u32 = 0,
    key_length: u32,
    text_length: u32 = 0,
    /// A 64-bit value exactly: its two halves.
    low: u32 = 0,
    high: u32 = 0,
    reserved: u32 = 0,
    /// The value of a number; the length of an array.
    number: f64 = 0,
};

/// Followed by the name and the format's name.
pub const TensorInfo = extern struct {
    size: u32,
    name_length: u32,
    format_length: u32,
    /// GGUF type number.
    format: u32,
    dimension_count: u32,
    reserved: u32 = 0,
    byte_count: f64,
    /// The contiguous one first.
    dimensions: [4]f64,
};

/// Followed by the piece as it is stored and the text that it stands for, which may be part of a character.
pub const TokenInfo = extern struct {
    size: u32,
    /// `TokenFlags`.
    flags: u32 = 0,
    piece_length: u32,
    text_length: u32,
};

pub const SessionOptions = extern struct {
    size: u32 = @sizeOf(SessionOptions),
    version: u32 = version,
    /// 0: what the model was trained with, at most 4096.
    context: u32 = 0,
    /// `CacheFormatId`.
    key_format: u32 = @backingInt(CacheFormatId.f16),
    value_format: u32 = @backingInt(CacheFormatId.f16),
    /// Most tokens of one piece of a prefill; 0: the library chooses.
    chunk: u32 = 0,
    /// Negative: a full context is an error. Otherwise so many tokens at the beginning stay when
    /// the older half of the others is dropped.
    shift_keep: i32 = -1,
    /// `EvictPolicyId`; 0: no token is evicted.
    evict_policy: u32 = 0,
    /// Tokens that stay, and how many come before they are no more again.
    evict_budget: u32 = 0,
    evict_every: u32 = 1,
    /// Tokens at the beginning, and at the end, that stay.
    evict_sinks: u32 = 0,
    evict_recent: u32 = 0,
    /// Queries at the end of a prompt that decide, and neighbours over which what they say is pooled.
    evict_window: u32 = 0,
    evict_pooling: u32 = 1,
    /// `EvictScoringId`, where the host decides.
    evict_scoring: u32 = @backingInt(EvictScoringId.none),
    /// 1: what stays is rotated to its place in the cache; 0: to that in the text.
    evict_cache_positions: u32 = 0,
    /// `CacheFormatId`, f16 or f32: of tokens that are kept at full precision.
    exact_format: u32 = @backingInt(CacheFormatId.f16),
    /// Layers whose sinks and recent tokens follow the cache formats of the heads; 0: no token is kept at
    /// full precision beside its place.
    window_layers: u32 = 0,
};

pub const SessionInfo = extern struct {
    context: u32 = 0,
    /// Tokens of the sequence, the last sampled one included.
    position: u32 = 0,
    /// 1 while a request runs.
    running: u32 = 0,
    /// `Status` of the last request.
    failure: i32 = 0,
    /// Rows that a request with `all_logits` left.
    logit_rows: u32 = 0,
    /// Tokens whose keys and values the pool has taken.
    tokens_lost: u32 = 0,
    kv_bytes: f64 = 0,
    /// Tokens that shifts of the context have dropped since the session was made.
    tokens_shifted: f64 = 0,
};

pub const SessionStats = extern struct {
    prefill_tokens: f64 = 0,
    prefill_ms: f64 = 0,
    /// Generated tokens that were evaluated, too: all but the last one.
    decode_tokens: f64 = 0,
    decode_ms: f64 = 0,
    /// From the start to the first sampled token; 0 until there is one.
    first_token_ms: f64 = 0,
    /// How often the context was shifted.
    shifts: f64 = 0,
    /// Tokens whose pages the pool had already, so that they were not computed.
    reused_tokens: f64 = 0,
    /// Tokens that were computed again, because the pool had taken their pages.
    reevaluated_tokens: f64 = 0,
    /// How often the request waited for pages of the pool, and how long in all.
    waits: f64 = 0,
    wait_ms: f64 = 0,
    /// Tokens that were evicted from the cache.
    evicted_tokens: f64 = 0,
    /// Passes of the model.
    passes: f64 = 0,
    /// Tokens that drafts guessed, and those of them that were right.
    drafted: f64 = 0,
    accepted: f64 = 0,
};

pub const SnapshotState = extern struct {
    /// `SnapshotPhase`.
    phase: u32 = 0,
    /// `Status`: why it failed.
    status: i32 = 0,
    /// Bytes of the file.
    done: f64 = 0,
    total: f64 = 0,
    /// That wait to be handed over.
    sessions: u32 = 0,
    reserved: u32 = 0,
};

pub const Request = extern struct {
    size: u32 = @sizeOf(Request),
    version: u32 = version,
    /// 0: evaluate the tokens and generate none.
    max_tokens: u32 = 0,
    /// `RequestFlags`.
    flags: u32 = 0,
    seed_low: u32 = 0,
    seed_high: u32 = 0,
    /// Most likely tokens that come with each token.
    top_logprobs: u32 = 0,
    /// How many records of the size of `Stage` there are: stages, and their data.
    stage_count: u32 = 0,
    /// Steps of which each stage's work is recorded (vitrine_session_column); 0: none.
    trace_steps: u32 = 0,
    /// The most probable candidates behind each stage that are recorded too.
    trace_candidates: u32 = 0,
    /// Steps of which the logits are recorded (vitrine_session_tape); 0: none.
    tape_steps: u32 = 0,
    /// `TapeKind`.
    tape_kind: u32 = @backingInt(TapeKind.f32),
    /// Logits of a row of kind `top`.
    tape_top: u32 = 0,
    /// Of draws without a session: how many token ids right behind the struct are the text before.
    history_count: u32 = 0,
    /// Of draws without a session: a loaded model whose texts of tokens stages may ask for; 0: none.
    model: u32 = 0,
    /// Of a session's request: bytes right behind the struct that are strings which the generated text must
    /// not have, each a length (u32) and so many bytes of UTF-8.
    banned_length: u32 = 0,
    /// `DraftSource`: who guesses tokens ahead, that are checked several in one pass.
    draft_source: u32 = @backingInt(DraftSource.none),
    /// Most tokens of a draft.
    draft_length: u32 = 0,
    /// Of source `ngram`: tokens that a place in the text is known by, and the fewest that will do.
    draft_ngram: u32 = 0,
    draft_ngram_min: u32 = 0,
    /// An idle session of the same model whose logits the stage `guidance` takes; 0: none. A copy of it
    /// gets the tokens that are generated; it stays as it is.
    guide: u32 = 0,
};

pub const TakeResult = extern struct {
    /// Written into the buffer; whole records.
    bytes_taken: u32 = 0,
    /// Of the next record, when the buffer was too small for it; else 0.
    bytes_next: u32 = 0,
    /// 1: nothing more will come until the next start.
    done: u32 = 0,
};

/// Followed by `top_len` times `TokenLogprob` and `text_len` bytes of text, padded to a multiple of
/// four.
pub const StepHeader = extern struct {
    size: u32,
    /// `RecordKind`.
    kind: u32,
    /// Token; tokens read so far (prefill); `StopReasonId` (end); guesses that were checked (draft).
    token: u32,
    /// In the sequence; tokens in all (prefill); tokens of the sequence (draft).
    position: u32,
    logprob: f32,
    /// `StepFlags`; guesses that were right (draft).
    flags: u32,
    text_len: u32,
    top_len: u32,
    /// Of the model's own distribution, in nats; NaN unless `RequestFlags` asked for it.
    entropy: f32,
    /// Of a draft, not 0: the request waits for vitrine_session_propose, with up to so many tokens.
    wanted: u32,
};

/// Activations that the engine shows while it waits.
pub const HookOffer = extern struct {
    /// 0: it doesn't wait, and nothing below counts.
    waiting: u32 = 0,
    /// `HookPoint`.
    point: u32 = 0,
    layer: u32 = 0,
    /// Of the first row; the others follow.
    position: u32 = 0,
    rows: u32 = 0,
    width: u32 = 0,
    /// 0xffffffff: which tokens of the cache stay. Their positions in the text are shown as ids, and their
    /// scores as logits, which are replaced by 1 for what stays and 0 for what goes.
    /// Else not 0: a sampler stage that is a function, and its number. `width` candidates are shown; what is
    /// read and written are their logits, at the temperature in force.
    stage: u32 = 0,
    /// Which draw from the same logits, when a stage is asked.
    sequence: u32 = 0,
    /// Tokens of the text that the stage may see.
    history: u32 = 0,
    reserved: u32 = 0,
};

/// Rates of all threads together, in bytes or operations a second; 0: the CPU variant has no such
/// instruction.
pub const Limits = extern struct {
    /// `LimitsPhase`.
    phase: u32 = 0,
    /// `Status`: why the measurement failed.
    status: i32 = 0,
    threads: u32 = 0,
    reserved: u32 = 0,
    /// Memory that was read.
    memory_bytes: f64 = 0,
    /// One stream of reads a thread, four, and four with prefetches.
    read_one: f64 = 0,
    read_four: f64 = 0,
    read_ahead: f64 = 0,
    int8_ops: f64 = 0,
    f32_ops: f64 = 0,
    bf16_ops: f64 = 0,
};

pub const WakeStats = extern struct { signals: f64 = 0, calls: f64 = 0 };

comptime {
    same(StepHeader, record.Header);
    same(Stage, sampler.wire.Record);
    same(TokenLogprob, sampler.TokenLogprob);
}

/// The struct here and the engine's own are the same bytes.
fn same(comptime A: type, comptime B: type) void {
    if (@sizeOf(A) != @sizeOf(B)) @compileError("sizes differ: " ++ @typeName(A));
    const a = @typeInfo(A).@"struct".field_names;
    const b = @typeInfo(B).@"struct".field_names;
    for (a, b) |x, y| {
        if (@offsetOf(A, x) != @offsetOf(B, y)) @compileError("offsets differ: " ++ @typeName(A) ++ "." ++ x);
    }
}
