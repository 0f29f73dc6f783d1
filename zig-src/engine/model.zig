//! A loaded model: the mapped file, its tokenizer and hyperparameters, the packed weights, and the
//! scheduler that runs sessions over them. Everything is allocated while loading; afterwards only
//! sessions allocate.

const std = @import("std");
const builtin = @import("builtin");
const arch = @import("../arch.zig");
const backend = @import("../backend.zig");
const cache = @import("../cache.zig");
const gguf = @import("../gguf.zig");
const grammar = @import("../grammar.zig");
const kernel = @import("../kernel.zig");
const memory = @import("../memory.zig");
const quant = @import("../quant.zig");
const sampling = @import("sampling.zig");
const Tokenizer = @import("../tokenizer.zig").Tokenizer;
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Frequencies = @import("../arch/block/rope.zig").Frequencies;
const angles_file = @import("angles.zig");
const cores = @import("cores.zig");
const loader = @import("loader.zig");
const packed_file = @import("packed_file.zig");
const team_module = @import("team.zig");
const Scheduler = @import("scheduler.zig").Scheduler;
const Weight = @import("weight.zig").Weight;

pub const Error = loader.Error || gguf.Error || @import("../tokenizer.zig").Error || backend.Error ||
    std.Thread.SpawnError || error{ BadOption, Busy };

pub const Options = struct {
    /// Members of the thread team; 0: one per physical core.
    threads: u32 = 0,
    /// Arithmetic of matrices with quantised weights: `int8` quantises activations in blocks of 32,
    /// `float` keeps them and exists to tell rounding from error.
    precision: kernel.Precision = .int8,
    /// Load metadata and tokenizer only. A file without tensors is loaded so in any case.
    vocab_only: bool = false,
    /// Rows of one batch: how many tokens pass through the model together.
    batch_rows: u32 = 256,
    /// Where the packed weights are kept, to be mapped by later loads; empty: nowhere. Read while
    /// loading only. See `packed_file.zig`.
    packed_path: []const u8 = "",
};

/// Shared with the thread that waits for a load.
pub const Progress = struct {
    bytes_done: std.atomic.Value(u64) = .init(0),
    bytes_total: std.atomic.Value(u64) = .init(0),
    cancel: std.atomic.Value(bool) = .init(false),
};

/// What a loaded model reports about itself.
pub const Info = struct {
    architecture: []const u8,
    cpu_variant: []const u8,
    threads: u32,
    vocab: u32,
    /// The rest is 0 for a vocabulary.
    layers: u32 = 0,
    embd: u32 = 0,
    ff: u32 = 0,
    heads: u32 = 0,
    kv_heads: u32 = 0,
    head_dim_k: u32 = 0,
    head_dim_v: u32 = 0,
    context_train: u32 = 0,
    /// Packed matrices and vectors, in memory or mapped.
    weights_bytes: u64 = 0,
    packed_state: packed_file.State = .off,
    /// Why the packed weights could not be mapped or written; empty when they were mapped.
    packed_note: []const u8 = "",
};

pub const Model = struct {
    gpa: std.mem.Allocator,
    arena: std.heap.ArenaAllocator,
    file: *gguf.File,
    tokenizer: *Tokenizer,
    options: Options,
    kernels: *const kernel.Table,
    reading: kernel.Reading,
    precision: kernel.Precision,
    threads: u32,

    /// Null for a vocabulary without weights; the fields below are undefined then.
    family: ?arch.Family = null,
    hyper: arch.Hyper = undefined,
    team: *team_module.Team = undefined,
    token_embd: Weight = undefined, // [vocab, embd], read row by row
    output: Weight = undefined, // [vocab, embd]
    output_norm: []const f32 = undefined, // [embd]
    layers: []arch.Layer = undefined,
    /// Of global and of sliding layers.
    frequencies: [2]Frequencies = undefined,
    /// All panels: memory of `panels_memory`, or bytes of `panels_file`.
    panels: []const u8 = &.{},
    panels_memory: []align(std.heap.page_size_min) u8 = &.{},
    panels_file: ?gguf.Mapping = null,
    packed_state: packed_file.State = .off,
    packed_note: Diagnostic = .{},
    vector_bytes: u64 = 0,
    /// Memory of the scheduler's buffers.
    buffers: memory.Arena = .{},
    scheduler: Scheduler = undefined,
    sessions: std.atomic.Value(u32) = .init(0),
    /// Of sessions whose keys are stored before their rotary embedding.
    angles: angles_file.Shared = .{},
    /// Null until a grammar wants it; `sampling.tree` makes it.
    token_tree: std.atomic.Value(?*grammar.Vocabulary) = .init(null),

    /// Loads `path`, which may be the first file of a split model. Blocks; `progress` may be read
    /// and cancelled from other threads.
    pub fn load(gpa: std.mem.Allocator, path: []const u8, options: Options, progress: *Progress, diag: *Diagnostic) Error!*Model {
        // Allocations and threads that fail say nothing themselves.
        errdefer if (diag.text().len == 0) {
            diag.set("expected memory and threads for the model, found that the system has not that much", .{});
        };
        if (options.batch_rows < 1 or options.batch_rows > 4096) {
            diag.set("expected batch_rows between 1 and 4096, found {d}", .{options.batch_rows});
            return error.BadOption;
        }
        if (options.threads > team_module.members_max) {
            diag.set("expected at most {d} threads, found {d}", .{ team_module.members_max, options.threads });
            return error.BadOption;
        }
        const kernels = try backend.cpu.choose(diag);
        const file = try gguf.File.open(gpa, path, diag);
        errdefer file.close();
        const tokenizer = try Tokenizer.init(gpa, file, diag);
        errdefer tokenizer.deinit();
        const model = try gpa.create(Model);
        errdefer gpa.destroy(model);
        model.* = .{
            .gpa = gpa,
            .arena = .init(gpa),
            .file = file,
            .tokenizer = tokenizer,
            .options = options,
            .kernels = kernels,
            .reading = backend.cpu.reading(),
            .precision = options.precision,
            .threads = if (options.threads != 0) options.threads else @min(cores.physical(), team_module.members_max),
        };
        errdefer model.arena.deinit();
        errdefer model.buffers.deinit();
        if (options.vocab_only or file.tensors.len == 0) return model;

        model.family = try arch.open(file, &model.hyper, diag);
        model.team = try team_module.acquire(model.threads);
        errdefer team_module.release(model.team);
        errdefer loader.freePanels(model);
        try loader.loadWeights(model, progress, diag);
        model.options.packed_path = "";
        try model.scheduler.init(model);
        return model;
    }

    /// Fails with `Busy` while sessions exist.
    pub fn destroy(model: *Model) error{Busy}!void {
        if (model.sessions.load(.acquire) != 0) return error.Busy;
        if (model.family != null) {
            model.scheduler.deinit();
            loader.freePanels(model);
            team_module.release(model.team);
            // Its sessions' memory was kept for more of them.
            cache.spare.drop();
        }
        sampling.freeTree(model);
        model.angles.deinit(model.gpa);
        model.buffers.deinit();
        model.arena.deinit();
        model.tokenizer.deinit();
        model.file.close();
        model.gpa.destroy(model);
    }

    pub fn info(model: *const Model) Info {
        var result: Info = .{
            .architecture = model.file.getString("general.architecture") orelse "",
            .cpu_variant = std.mem.span(model.kernels.variant),
            .threads = model.threads,
            .vocab = model.tokenizer.count(),
        };
        if (model.family == null) return result;
        const h = &model.hyper;
        result.layers = h.layers;
        result.embd = h.embd;
        result.ff = h.ff;
        result.heads = h.heads;
        result.kv_heads = h.kv_heads;
        result.head_dim_k = h.head_dim_k;
        result.head_dim_v = h.head_dim_v;
        result.context_train = h.context_train;
        result.weights_bytes = model.panels.len + model.vector_bytes;
        result.packed_state = model.packed_state;
        result.packed_note = model.packed_note.text();
        return result;
    }

    /// Rows of the output matrix: the length of a row of logits.
    pub fn vocab(model: *const Model) u32 {
        return model.output.rows;
    }

    /// Floats from one row of logits of a batch to the next: an odd number of cache lines, so that the rows'
    /// results of a panel don't all belong to the few places of one set of a cache.
    pub fn logitsStride(model: *const Model) usize {
        const line = 16;
        return ((@as(usize, model.output.rows) + line - 1) / line | 1) * line;
    }

    /// Whether keys are rotated in the way of contexts beyond the original one; most models have one way.
    pub fn rotatesLong(model: *const Model, context: u32) bool {
        for (&model.frequencies) |*frequencies| {
            if (frequencies.short.ptr != frequencies.long.ptr and context > frequencies.rope.context_original) return true;
        }
        return false;
    }

    /// The layout of a cache for this model.
    pub fn cacheLayout(model: *const Model, key_format: cache.Format, value_format: cache.Format) cache.Layout {
        const h = &model.hyper;
        return .{
            .layers = h.layers,
            .kv_heads = h.kv_heads,
            .head_dim_k = h.head_dim_k,
            .head_dim_v = h.head_dim_v,
            .key_format = key_format,
            .value_format = value_format,
        };
    }
};
