//! Between sessions and sampler chains: the text that stages see, and the texts of tokens.

const std = @import("std");
const grammar = @import("../grammar.zig");
const sampler = @import("../sampler.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Model = @import("model.zig").Model;
const Request = @import("session.zig").Request;
const Session = @import("session.zig").Session;

/// The chain of a request, which sees what the session holds and the request's own tokens as the text
/// before. A context shift takes nothing from it: the chain keeps the last tokens itself, at most as many
/// as the context has positions.
pub fn chainFor(session: *const Session, request: Request, diag: *Diagnostic) sampler.Error!?sampler.Chain {
    const model = session.model;
    var chain = try sampler.Chain.initWith(session.gpa, request.stages, .{
        .vocab = model.vocab(),
        .seed = request.seed,
        .history_max = session.settings.context,
        .vocabulary = texts(model),
    }, diag);
    chain.use(model.kernels.sampling);
    if (session.evictor) |evictor| {
        for (evictor.order(session.length)) |slot| chain.read(&.{session.tokens[slot]});
    } else chain.read(session.tokens[0..session.length]);
    if (session.carry) |token| chain.read(&.{token});
    chain.read(request.tokens);
    return chain;
}

/// What stages may ask of a model's tokenizer. The model must outlive their chains.
pub fn texts(model: *Model) sampler.Vocabulary {
    const ask = struct {
        fn bytesOf(context: *const anyopaque, token: u32) []const u8 {
            return of(context).tokenizer.bytesOf(token, false);
        }

        fn endsText(context: *const anyopaque, token: u32) bool {
            return of(context).tokenizer.isEndOfGeneration(token);
        }

        fn find(context: *const anyopaque, name: []const u8) ?u32 {
            return of(context).tokenizer.find(name);
        }

        fn treeOf(context: *const anyopaque) error{OutOfMemory}!*const grammar.Vocabulary {
            return tree(@constCast(of(context)));
        }

        fn of(context: *const anyopaque) *const Model {
            return @ptrCast(@alignCast(context));
        }
    };
    return .{
        .context = model,
        .count = model.tokenizer.count(),
        .bytes_of = ask.bytesOf,
        .ends_text = ask.endsText,
        .find_name = ask.find,
        .tree_of = ask.treeOf,
    };
}

/// The model's tokens in a tree, made when it is first wanted, from any thread.
pub fn tree(model: *Model) error{OutOfMemory}!*const grammar.Vocabulary {
    if (model.token_tree.load(.acquire)) |made| return made;
    const made = try model.gpa.create(grammar.Vocabulary);
    errdefer model.gpa.destroy(made);
    made.* = try .init(model.gpa, texts(model));
    // Who was slower takes the other one's.
    if (model.token_tree.cmpxchgStrong(null, made, .acq_rel, .acquire)) |other| {
        made.deinit();
        model.gpa.destroy(made);
        return other.?;
    }
    return made;
}

pub fn freeTree(model: *Model) void {
    const made = model.token_tree.load(.acquire) orelse return;
    made.deinit();
    model.gpa.destroy(made);
}
