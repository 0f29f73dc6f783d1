//! GPT-2's own pattern (scan/gpt2.zig) and the many models that took it over.

const Name = @import("../pre.zig").Name;
const gpt2 = @import("../scan/gpt2.zig");

pub const names = [_]Name{
    .{ .text = "gpt-2" },
    .{ .text = "phi-2" },
    .{ .text = "mpt" },
    .{ .text = "olmo" },
    .{ .text = "jais" },
    .{ .text = "trillion" },
    .{ .text = "granite-docling" },
    .{ .text = "exaone4" },
    .{ .text = "gigachat" },
    .{ .text = "mellum" },
    .{ .text = "modern-bert" },
    .{ .text = "roberta-bpe" },
    .{ .text = "a.x-4.0" },
    .{ .text = "jina-es" },
    .{ .text = "jina-de" },
    .{ .text = "jina-v1-en" },
    .{ .text = "jina-v2-es" },
    .{ .text = "jina-v2-de" },
    .{ .text = "jina-v2-code" },
};

pub const passes = .{gpt2.Pass};
