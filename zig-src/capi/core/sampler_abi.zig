//! The types of sampling, its records and grammars that cross the C ABI; `abi.zig` has the rules and the lists.

const abi = @import("abi.zig");

/// A grammar and the text so far, whose bytes follow each other in one buffer.
pub const GrammarPrefix = extern struct {
    size: u32 = @sizeOf(GrammarPrefix),
    version: u32 = abi.version,
    /// Bytes of the grammar.
    grammar_length: u32 = 0,
    /// Bytes of the text so far.
    text_length: u32 = 0,
    /// Tokens behind that text, of four bytes each.
    token_count: u32 = 0,
};

/// How far a text is of a grammar.
pub const GrammarMatch = extern struct {
    /// Bytes that some text of the grammar begins with.
    read: u32 = 0,
    /// 1: all of it is of the grammar, and the grammar can end there.
    whole: u32 = 0,
    /// Bytes of the text that says what is wrong with the grammar; it follows this struct.
    text_length: u32 = 0,
};

/// What the last request recorded.
pub const Recorded = extern struct {
    /// Steps of the trace, and those that there was no room for.
    trace_steps: u32 = 0,
    trace_dropped: u32 = 0,
    /// Before the first stage, and behind each.
    places: u32 = 0,
    /// Candidates of a place.
    candidates: u32 = 0,
    /// Rows of the tape, and those that there was no room for.
    tape_rows: u32 = 0,
    tape_dropped: u32 = 0,
    /// Bytes of a row.
    row_bytes: u32 = 0,
    /// With a tape: a hash that tells the model's file from others.
    model_low: u32 = 0,
    model_high: u32 = 0,
    reserved: u32 = 0,
};

/// Rows of a tape, and how tokens are drawn from them.
pub const TapeDraw = extern struct {
    size: u32 = @sizeOf(TapeDraw),
    version: u32 = abi.version,
    seed_low: u32 = 0,
    seed_high: u32 = 0,
    stage_count: u32 = 0,
    /// Tokens of the vocabulary.
    vocabulary: u32 = 0,
    /// `TapeKind`.
    kind: u32 = @backingInt(abi.TapeKind.f32),
    /// Logits of a row.
    count: u32 = 0,
    /// Of each row: draw n has the random numbers of sequence n.
    draws: u32 = 1,
    rows: u32 = 0,
    /// Rows at the beginning that nothing is drawn from: they are text for what follows.
    skip: u32 = 0,
    /// How many token ids right behind the struct are the text before the first row.
    history_count: u32 = 0,
    /// A loaded model whose texts of tokens stages may ask for; 0: none.
    model: u32 = 0,
    /// Bytes of the index that a draw may use, as vitrine_tape_index_length says; 0: none.
    index_length: u32 = 0,
    /// How many tokens a draw fills: rows behind `skip` times `draws`.
    token_count: u32 = 0,
};

/// One stage of a sampler chain; parameters that the stage doesn't have are 0. The data of a stage fills as
/// many records of this size behind it as it needs, the last one up with zeros; they count as stages do.
pub const Stage = extern struct {
    id: u32,
    /// Bytes of data in the records that follow.
    data_length: u32 = 0,
    parameters: [6]f32 = @splat(0),
};

pub const TokenLogprob = extern struct { token: u32, logprob: f32 };
