//! A chain: the user's stages in the user's order, then one draw. It is made for one vocabulary
//! and one seed, takes all its memory at the start, and samples without allocating. A step that
//! fails leaves the chain as it was, ready for the next one.

const std = @import("std");
const candidates_file = @import("candidates.zig");
const stage_file = @import("stage.zig");
const draw = @import("draw.zig");
const History = @import("history.zig").History;
const philox = @import("philox.zig");
const sweep = @import("sweep.zig");
const top = @import("top.zig");
const Candidates = candidates_file.Candidates;
const Diagnostic = @import("../../diagnostic.zig").Diagnostic;
const Accepted = stage_file.Accepted;
const StageSpec = stage_file.StageSpec;
const Step = stage_file.Step;
const Vocabulary = @import("vocabulary.zig").Vocabulary;
const assert = std.debug.assert;

pub const Error = error{ OutOfMemory, BadSampler } || candidates_file.Error;

pub const Choice = struct {
    token: u32,
    /// ln p of the token in the model's own distribution, before any stage.
    logprob: f32,
    /// p of the token in the distribution that it was drawn from.
    probability: f32,
    /// How many tokens the stages left to draw from.
    candidates: u32,

    /// For `Chain.accept`.
    pub fn accepted(choice: Choice) Accepted {
        return .{ .token = choice.token, .probability = choice.probability, .logprob = choice.logprob };
    }
};

pub const Options = struct {
    /// Length of a row of logits.
    vocab: u32,
    seed: u64 = 0,
    /// The most tokens of the text that are kept for stages that look at it.
    history_max: u32 = 4096,
    /// The texts of tokens, where there is a model.
    vocabulary: ?Vocabulary = null,
};

/// Sees the set before the first stage (`applied` = 0) and after each one, and once more with the
/// choice. It may read and compute (`probabilities`, `mass`), not select.
pub const Observer = struct {
    context: *anyopaque,
    observe: *const fn (context: *anyopaque, event: Event) void,
    /// Whether it asks for the entropy before the first stage, which takes no pass of its own then.
    wants_entropy: bool = false,
};

pub const Event = struct {
    step: Step,
    /// How many stages have been applied; the last of them is `stages[applied - 1]`.
    applied: usize,
    candidates: *Candidates,
    /// What that stage says of itself, NaN for one that says nothing: `state` in its file.
    state: f32 = std.math.nan(f32),
    choice: ?Choice = null,
    /// With a choice, what each stage says of it, NaN for one that says nothing: `outcome` in its file.
    outcomes: []const f32 = &.{},
};

pub const stages_max = 64;

/// The chain over a registry, a tuple of stage files.
pub fn ChainType(comptime registry: anytype) type {
    return struct {
        const Chain = @This();
        pub const Stage = StageType(registry);

        stages: []Stage,
        /// The stages as they were decoded, for `reset`.
        initial: []const Stage,
        /// What they were made from, for `clone`; their data is the chain's.
        specs: []StageSpec,
        data: []const u8,
        options: Options,
        candidates: Candidates,
        history: History,
        /// What each stage says of the last choice.
        outcomes: []f32,
        seed: u64,
        /// What is known of the logits of the last `sample`.
        row: top.Row,
        /// Null, or who wants to see every stage at work.
        observer: ?Observer,
        /// Whether choices have log-probabilities (else NaN), for which a pass over all logits is made.
        logprobs: bool = true,
        /// Who has the code of stages that are functions.
        host: ?stage_file.Host = null,
        /// Tokens that are taken out before the first stage. Whoever sets it keeps it alive.
        excluded: []const u32 = &.{},
        /// What `guidance` goes by: [vocab], borrowed.
        guide: ?[]const f32 = null,
        /// Who evaluates what `contrastive_search` looks at.
        ahead: ?stage_file.Ahead = null,

        /// As `initWith`, for a text that begins here, without the texts of tokens.
        pub fn init(
            gpa: std.mem.Allocator,
            specs: []const StageSpec,
            vocab: u32,
            seed: u64,
            diag: *Diagnostic,
        ) stage_file.MakeError!Chain {
            return initWith(gpa, specs, .{ .vocab = vocab, .seed = seed }, diag);
        }

        /// `specs` in the order of application; none means the model's own distribution. The text
        /// of `BadSampler` names the stage, the parameter, what it may be and what it was.
        pub fn initWith(gpa: std.mem.Allocator, specs: []const StageSpec, options: Options, diag: *Diagnostic) stage_file.MakeError!Chain {
            const vocab = options.vocab;
            if (vocab == 0) {
                diag.set("expected a vocabulary of at least 1 token, found 0", .{});
                return error.BadSampler;
            }
            if (specs.len > stages_max) {
                diag.set("expected at most {d} sampler stages, found {d}", .{ stages_max, specs.len });
                return error.BadSampler;
            }
            var decoded: [stages_max]Stage = undefined;
            for (specs, decoded[0..specs.len], 1..) |spec, *stage, number| {
                stage.* = try decodeStage(registry, spec, number, diag);
            }
            diag.len = 0;
            // A stage that refuses says why, memory says nothing.
            errdefer if (diag.text().len == 0) diag.set("out of memory for a sampler over {d} tokens", .{vocab});
            const kept = try keepSpecs(gpa, specs);
            errdefer gpa.free(kept.specs);
            errdefer gpa.free(kept.data);
            const initial = try gpa.dupe(Stage, decoded[0..specs.len]);
            errdefer gpa.free(initial);
            const stages = try gpa.dupe(Stage, initial);
            errdefer gpa.free(stages);
            const outcomes = try gpa.alloc(f32, specs.len);
            errdefer gpa.free(outcomes);
            @memset(outcomes, std.math.nan(f32));
            const window = try makeStages(gpa, stages, kept.specs, options, diag);
            errdefer for (stages) |*stage| freeStage(stage, gpa);
            var history: History = try .init(gpa, window);
            errdefer history.deinit(gpa);
            var set: Candidates = try .init(gpa, vocab);
            errdefer set.deinit(gpa);
            return .{
                .stages = stages,
                .initial = initial,
                .specs = kept.specs,
                .data = kept.data,
                .options = options,
                .candidates = set,
                .history = history,
                .outcomes = outcomes,
                .seed = options.seed,
                .row = try .init(gpa, vocab),
                .observer = null,
            };
        }

        /// Gives the stages their memory, all or none. Returns how many tokens of the text they look at.
        fn makeStages(
            gpa: std.mem.Allocator,
            stages: []Stage,
            specs: []const StageSpec,
            options: Options,
            diag: *Diagnostic,
        ) stage_file.MakeError!u32 {
            var window: u32 = 0;
            var made: usize = 0;
            errdefer for (stages[0..made]) |*stage| freeStage(stage, gpa);
            while (made < stages.len) : (made += 1) switch (stages[made]) {
                inline else => |*member| {
                    const Member = @TypeOf(member.*);
                    if (@hasDecl(Member, "init")) try member.init(.{
                        .gpa = gpa,
                        .data = specs[made].data,
                        .vocab = options.vocab,
                        .history_max = options.history_max,
                        .vocabulary = options.vocabulary,
                        .number = made + 1,
                        .name = Member.name,
                        .diag = diag,
                    });
                    if (@hasDecl(Member, "remembers")) window = @max(window, @min(member.remembers(), options.history_max));
                },
            };
            return window;
        }

        fn freeStage(stage: *Stage, gpa: std.mem.Allocator) void {
            switch (stage.*) {
                inline else => |*member| if (@hasDecl(@TypeOf(member.*), "deinit")) member.deinit(gpa),
            }
        }

        pub fn deinit(chain: *Chain, gpa: std.mem.Allocator) void {
            chain.row.deinit(gpa);
            chain.candidates.deinit(gpa);
            chain.history.deinit(gpa);
            for (chain.stages) |*stage| freeStage(stage, gpa);
            gpa.free(chain.outcomes);
            gpa.free(chain.stages);
            gpa.free(chain.initial);
            gpa.free(chain.specs);
            gpa.free(chain.data);
            chain.* = undefined;
        }

        /// A chain of its own that goes on from where this one stands.
        pub fn clone(chain: *const Chain, gpa: std.mem.Allocator, diag: *Diagnostic) stage_file.MakeError!Chain {
            var other = try initWith(gpa, chain.specs, chain.options, diag);
            other.seed = chain.seed;
            other.logprobs = chain.logprobs;
            other.host = chain.host;
            other.candidates.passes = chain.candidates.passes;
            other.copy(chain);
            return other;
        }

        /// Goes on from where another chain of the same stages stands, which may be an earlier state of
        /// this one: two chains are enough to try tokens and take them back. Allocates nothing.
        pub fn copy(chain: *Chain, from: *const Chain) void {
            assert(chain.stages.len == from.stages.len);
            chain.history.copy(&from.history);
            for (chain.stages, from.stages) |*stage, *other| switch (stage.*) {
                inline else => |*member, tag| {
                    const source = &@field(other, @tagName(tag));
                    if (!@hasDecl(@TypeOf(member.*), "init")) {
                        member.* = source.*;
                    } else if (@hasDecl(@TypeOf(member.*), "copy")) member.copy(source);
                },
            };
        }

        /// Makes the passes over all logits with `passes`, which may be of another compilation.
        pub fn use(chain: *Chain, passes: sweep.Passes) void {
            chain.candidates.passes = passes;
        }

        /// Forgets the text, and all tokens accepted so far.
        pub fn reset(chain: *Chain) void {
            chain.history.reset();
            for (chain.stages, chain.initial) |*stage, initial| switch (stage.*) {
                inline else => |*member, tag| {
                    if (!@hasDecl(@TypeOf(member.*), "init")) {
                        member.* = @field(initial, @tagName(tag));
                    } else if (@hasDecl(@TypeOf(member.*), "reset")) member.reset();
                },
            };
        }

        /// Shows the stages text that was there before, or that nobody draws: a prompt.
        pub fn read(chain: *Chain, text: []const u32) void {
            chain.history.read(text);
        }

        /// Tells the stages that a token is now part of the text: `Choice.accepted`, or another one that
        /// takes the place of the choice.
        pub fn accept(chain: *Chain, accepted: Accepted) void {
            chain.history.append(accepted.token);
            for (chain.stages) |*stage| switch (stage.*) {
                inline else => |*member| {
                    if (@hasDecl(@TypeOf(member.*), "accept")) member.accept(accepted);
                },
            };
        }

        /// Whether stages follow what is chosen, so that what they leave of a row depends on more than the
        /// row and the text.
        pub fn follows(chain: *const Chain) bool {
            for (chain.stages) |stage| switch (stage) {
                inline else => |member| if (@hasDecl(@TypeOf(member), "accept")) return true,
            };
            return false;
        }

        /// The probability of any token in the distribution of the last `sample`.
        pub fn probabilityOf(chain: *Chain, token: u32) f32 {
            const set = &chain.candidates;
            const index = set.indexOf(token) orelse return 0;
            return @floatCast(set.weight(index) / set.mass());
        }

        /// The token for `position` of `sequence`: a pure function of the logits, the stages, the
        /// seed and these two. `logits` has the length of the vocabulary.
        pub fn sample(
            chain: *Chain,
            logits: []const f32, // [vocab]
            sequence: u32,
            position: u64,
            diag: *Diagnostic,
        ) candidates_file.Error!Choice {
            return try chain.sampleRow(.{ .values = .{ .single = logits } }, sequence, position, diag);
        }

        /// The same for any row. Of one that is known nothing reads all but stages and draws that need all, and
        /// choices have no log-probabilities.
        pub fn sampleRow(
            chain: *Chain,
            row: candidates_file.Row,
            sequence: u32,
            position: u64,
            diag: *Diagnostic,
        ) candidates_file.Error!Choice {
            assert(row.known == null or !chain.logprobs);
            const set = &chain.candidates;
            set.beginRow(row) catch |err| return describe(err, set, "the model's logits", diag);
            if (chain.observer != null or chain.excluded.len > 0) set.widen();
            return try chain.run(.{ .seed = chain.seed, .sequence = sequence, .position = position }, diag);
        }

        /// The same for a row of which only some logits are known, with ids in ascending order.
        pub fn sampleSome(
            chain: *Chain,
            ids: []const u32,
            logits: []const f32, // of `ids`
            sequence: u32,
            position: u64,
            diag: *Diagnostic,
        ) candidates_file.Error!Choice {
            const set = &chain.candidates;
            set.beginSome(ids, logits) catch |err| return describe(err, set, "the logits", diag);
            var choice = try chain.run(.{ .seed = chain.seed, .sequence = sequence, .position = position }, diag);
            if (chain.logprobs) choice.logprob = top.logprob(logits[std.mem.findScalar(u32, ids, choice.token).?], chain.row.max, chain.row.log_mass);
            return choice;
        }

        fn run(chain: *Chain, at: Step, diag: *Diagnostic) candidates_file.Error!Choice {
            var step = at;
            step.host = chain.host;
            step.history = chain.history.tokens();
            step.guide = chain.guide;
            step.ahead = chain.ahead;
            const set = &chain.candidates;
            const logits = set.values;
            const whole = set.whole;
            if (chain.logprobs) {
                if (chain.observer) |observer| if (observer.wants_entropy) {
                    _ = set.meanExponent();
                };
                chain.row.max = set.max;
                chain.row.log_mass = @log(set.mass());
                @memcpy(chain.row.block_max, set.block_max);
            }
            chain.tell(.{ .step = step, .applied = 0, .candidates = set });
            chain.exclude() catch |err| return describe(err, set, "tokens that are not excluded", diag);
            for (chain.stages, 1..) |*stage, number| {
                var event: Event = .{ .step = step, .applied = number, .candidates = set };
                switch (stage.*) {
                    inline else => |*member| {
                        const Member = @TypeOf(member.*);
                        if (!@hasDecl(Member, "by_blocks")) set.widen();
                        member.apply(set, step) catch |err| {
                            var buffer: [64]u8 = undefined;
                            const where = std.fmt.bufPrint(&buffer, "sampler stage {d} ({s})", .{
                                number, Member.name,
                            }) catch Member.name;
                            if (@hasDecl(Member, "complaint")) {
                                const complaint = member.complaint();
                                if (complaint.len > 0) {
                                    diag.set("{s}: {s}", .{ where, complaint });
                                    return err;
                                }
                            }
                            return describe(err, set, where, diag);
                        };
                        if (@hasDecl(Member, "state")) event.state = member.state();
                    },
                }
                chain.tell(event);
            }
            const index = draw.pick(set, step.uniform(philox.final_draw));
            const token = set.id(index);
            const choice: Choice = .{
                .token = token,
                .logprob = if (whole and chain.logprobs) top.logprob(logits[token], chain.row.max, chain.row.log_mass) else std.math.nan(f32),
                .probability = @floatCast(set.weight(index) / set.mass()),
                .candidates = @intCast(set.len()),
            };
            if (chain.observer != null) chain.judge(choice.accepted());
            chain.tell(.{ .step = step, .applied = chain.stages.len, .candidates = set, .choice = choice, .outcomes = chain.outcomes });
            return choice;
        }

        fn exclude(chain: *Chain) candidates_file.Error!void {
            if (chain.excluded.len == 0) return;
            const set = &chain.candidates;
            for (chain.excluded) |token| if (set.indexOf(token)) |index| set.change(index, -std.math.inf(f32));
            try set.changed();
        }

        fn judge(chain: *Chain, accepted: Accepted) void {
            for (chain.stages, chain.outcomes) |*stage, *outcome| switch (stage.*) {
                inline else => |*member| if (@hasDecl(@TypeOf(member.*), "outcome")) {
                    outcome.* = member.outcome(accepted);
                },
            };
        }

        /// How many coins the stages toss: what they leave of a row is the same for all sequences whose `coins`
        /// are. Null where they draw numbers in other ways.
        pub fn coinCount(chain: *const Chain) ?u32 {
            var count: u32 = 0;
            for (chain.stages) |stage| switch (stage) {
                inline else => |member| {
                    if (@hasDecl(@TypeOf(member), "draws_numbers")) return null;
                    if (@hasDecl(@TypeOf(member), "tosses")) count += 1;
                },
            };
            return count;
        }

        /// How the coins fall, a bit a stage that tosses one.
        pub fn coins(chain: *const Chain, sequence: u32, position: u64) u64 {
            const step: Step = .{ .seed = chain.seed, .sequence = sequence, .position = position };
            var fallen: u64 = 0;
            for (chain.stages) |*stage| switch (stage.*) {
                inline else => |*member| if (@hasDecl(@TypeOf(member.*), "tosses")) {
                    fallen = fallen << 1 | @intFromBool(member.tosses(step));
                },
            };
            return fallen;
        }

        /// Whether a stage is a function of the host.
        pub fn asksHost(chain: *const Chain) bool {
            for (chain.stages) |stage| switch (stage) {
                inline else => |member| if (@hasDecl(@TypeOf(member), "asks_host")) return true,
            };
            return false;
        }

        /// Tokens that have to be evaluated before one is chosen, at most.
        pub fn looksAhead(chain: *const Chain) u32 {
            var most: u32 = 0;
            for (chain.stages) |stage| switch (stage) {
                inline else => |member| if (@hasDecl(@TypeOf(member), "looksAhead")) {
                    most = @max(most, member.looksAhead());
                },
            };
            return most;
        }

        /// Draws once more from what the stages left at the last `sample`: what `sample` would give for
        /// another sequence whose coins fall alike.
        pub fn drawAgain(chain: *Chain, sequence: u32, position: u64) u32 {
            const step: Step = .{ .seed = chain.seed, .sequence = sequence, .position = position };
            return chain.candidates.id(draw.pick(&chain.candidates, step.uniform(philox.final_draw)));
        }

        /// The most probable tokens in the model's own distribution, of the logits of the last
        /// `sample`, which must still be there. No pass over all of them is made again.
        pub fn topLogprobs(chain: *const Chain, logits: []const f32, out: []top.TokenLogprob) void {
            assert(logits.len == chain.candidates.logits.len);
            top.topOfRow(logits, &chain.row, out);
        }

        fn tell(chain: *const Chain, event: Event) void {
            const observer = chain.observer orelse return;
            observer.observe(observer.context, event);
        }
    };
}

/// Copies of specs, with all their data in one piece.
fn keepSpecs(gpa: std.mem.Allocator, specs: []const StageSpec) error{OutOfMemory}!struct { specs: []StageSpec, data: []u8 } {
    var length: usize = 0;
    for (specs) |spec| length += spec.data.len;
    const data = try gpa.alloc(u8, length);
    errdefer gpa.free(data);
    const kept = try gpa.dupe(StageSpec, specs);
    var at: usize = 0;
    for (kept) |*spec| {
        @memcpy(data[at..][0..spec.data.len], spec.data);
        spec.data = data[at..][0..spec.data.len];
        at += spec.data.len;
    }
    return .{ .specs = kept, .data = data };
}

/// The text of an error, which is returned as it came.
fn describe(
    err: candidates_file.Error,
    set: *const Candidates,
    where: []const u8,
    diag: *Diagnostic,
) candidates_file.Error {
    switch (err) {
        error.NotANumber => {
            // A stage may have its own reason to return this error with nothing to point at.
            const index = set.firstInvalid() orelse {
                diag.set("{s}: expected logits that are numbers", .{where});
                return err;
            };
            diag.set("{s}: expected logits below infinity that are numbers, found {d} for token {d}", .{
                where, set.values[index], set.id(index),
            });
        },
        error.NoHost => diag.set("{s}: expected a host that has the function, found none", .{where}),
        error.NoGuide => diag.set("{s}: expected the logits of another session to be guided by, found none", .{where}),
        error.NoSession => diag.set("{s}: expected a session that evaluates candidates, found none", .{where}),
        error.LookAhead => {},
        error.NoCandidates => diag.set(
            "{s}: expected at least one token with a logit above -inf, found none",
            .{where},
        ),
    }
    return err;
}

/// A union of all stages of `registry`, tagged by their names.
fn StageType(comptime registry: anytype) type {
    comptime {
        @setEvalBranchQuota(1000 * (registry.len + 1));
        var names: [registry.len][:0]const u8 = undefined;
        var types: [registry.len]type = undefined;
        for (registry, &names, &types, 0..) |Member, *name, *T, index| {
            stage_file.check(Member);
            for (0..index) |earlier| {
                if (registry[earlier].id == Member.id) @compileError(
                    "sampler stages " ++ registry[earlier].name ++ " and " ++ Member.name ++
                        " have the same id",
                );
            }
            name.* = Member.name;
            T.* = Member;
        }
        const Tag = @Enum(u32, .exhaustive, &names, &std.simd.iota(u32, registry.len));
        return @Union(.auto, Tag, &names, &types, &@splat(.{}));
    }
}

fn decodeStage(
    comptime registry: anytype,
    spec: StageSpec,
    number: usize,
    diag: *Diagnostic,
) error{BadSampler}!StageType(registry) {
    inline for (registry) |Member| {
        if (spec.id == Member.id) {
            const member = try stage_file.decode(Member, spec, number, diag);
            return @unionInit(StageType(registry), Member.name, member);
        }
    }
    diag.set("sampler stage {d}: expected the id of one of{s}, found {d}", .{
        number, comptime listed(registry), spec.id,
    });
    return error.BadSampler;
}

fn listed(comptime registry: anytype) []const u8 {
    @setEvalBranchQuota(10_000 * (registry.len + 1));
    var text: []const u8 = "";
    for (registry, 0..) |Member, index| {
        text = text ++ (if (index == 0) " " else ", ") ++
            std.fmt.comptimePrint("{s} ({d})", .{ Member.name, Member.id });
    }
    return text;
}
