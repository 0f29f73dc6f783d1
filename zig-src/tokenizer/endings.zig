//! Which tokens end a generation. Files name one `eos_token_id`, but chat models end their turns
//! with other tokens, which are known by their texts. The lists are those in common use among
//! engines for GGUF files.

const std = @import("std");
const vocabulary_file = @import("vocabulary.zig");
const Vocabulary = vocabulary_file.Vocabulary;
const Ids = @import("source.zig").Ids;

/// Texts of tokens that end a turn, in the order in which one is taken for `eot`.
const turn_ends = [_][]const u8{
    "<|eot_id|>",         "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
    "<|end_of_text|>",    "<EOT>",      "_<EOT>",  "[EOT]",         "<\u{FF5C}end\u{2581}of\u{2581}sentence\u{FF5C}>",
    "<end_of_utterance>",
};

/// Texts of further tokens after which a model has nothing to say.
const other_ends = [_][]const u8{
    "<|eom_id|>", "<|return|>",       "<|call|>",   "<|flush|>",    "<|calls|>",     "</s>",
    "[EOS]",      "<eos>",            "<turn|>",    "[e~[",         "<|fim_pad|>",   "<fim-pad>",
    "<fim_pad>",  "<PAD>",            "[PAD]",      "<|fim_repo|>", "<|repo_name|>", "<fim-repo>",
    "<REPO>",     "<|tool_response>", "<reponame>", "<|file_sep|>",
};

/// Some files give these tokens the type of ordinary text. They are control tokens.
pub fn overrideTypes(vocabulary: *Vocabulary) void {
    for (vocabulary.types, 0..) |*kind, id| {
        if (kind.* == .control) continue;
        const text = vocabulary.texts.get(@intCast(id));
        if (text.len < 4 or text.len > 40) continue;
        switch (text[0]) {
            '<', '[', '_' => {},
            else => continue,
        }
        inline for (.{ &turn_ends, &other_ends }) |list| {
            for (list) |end| if (std.mem.eql(u8, text, end)) {
                kind.* = .control;
            };
        }
    }
}

pub const Endings = struct {
    /// The token that ends a turn, by metadata or by its text.
    eot: ?u32 = null,
    /// Every token that ends a generation.
    set: std.bit_set.Dynamic = .{},

    pub fn init(arena: std.mem.Allocator, vocabulary: *Vocabulary, eos: ?u32, eot: ?u32, others: []const ?u32) !Endings {
        var endings: Endings = .{ .eot = eot, .set = try .initEmpty(arena, vocabulary.count()) };
        for (others) |other| if (other) |id| endings.set.set(id);
        for (other_ends) |text| if (vocabulary.special.find(vocabulary, text)) |id| endings.set.set(id);
        for (turn_ends) |text| if (vocabulary.special.find(vocabulary, text)) |id| {
            endings.set.set(id);
            if (endings.eot == null) endings.eot = id;
        };
        endings.withdraw(vocabulary);
        if (eos) |id| endings.set.set(id);
        if (eot) |id| endings.set.set(id);
        return endings;
    }

    /// In two formats a token with a usual ending's text is none: "<|end|>" only ends a message
    /// where calls and returns have tokens of their own, "</s>" is plain markup where tools do.
    fn withdraw(endings: *Endings, vocabulary: *Vocabulary) void {
        const messages = (endings.has(vocabulary, "<|return|>") and
            (endings.has(vocabulary, "<|call|>") or endings.has(vocabulary, "<|calls|>"))) or
            (endings.has(vocabulary, "<|flush|>") and
                (endings.has(vocabulary, "<|call|>") or endings.has(vocabulary, "<|calls|>")));
        if (messages) endings.remove(vocabulary, "<|end|>");
        if (endings.has(vocabulary, "<|tool_response>")) endings.remove(vocabulary, "</s>");
    }

    fn has(endings: *const Endings, vocabulary: *const Vocabulary, text: []const u8) bool {
        const id = vocabulary.special.find(vocabulary, text) orelse return false;
        return endings.set.isSet(id);
    }

    fn remove(endings: *Endings, vocabulary: *Vocabulary, text: []const u8) void {
        const id = vocabulary.special.find(vocabulary, text) orelse return;
        endings.set.unset(id);
        if (endings.eot == id) endings.eot = null;
    }
};
