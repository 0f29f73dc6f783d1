//! Between sessions and sampler chains: the text that stages see, and the texts of tokens.

const sampler = @import("../sampler.zig");
const Diagnostic = @import("../diagnostic.zig").Diagnostic;
const Request = @import("session.zig").Request;
const Session = @import("session.zig").Session;
const Tokenizer = @import("../tokenizer.zig").Tokenizer;

/// The chain of a request, which sees what the session holds and the request's own tokens as the text
/// before. A context shift takes nothing from it: the chain keeps the last tokens itself, at most as many
/// as the context has positions.
pub fn chainFor(session: *const Session, request: Request, diag: *Diagnostic) sampler.Error!?sampler.Chain {
    const model = session.model;
    var chain = try sampler.Chain.initWith(session.gpa, request.stages, .{
        .vocab = model.vocab(),
        .seed = request.seed,
        .history_max = session.settings.context,
        .vocabulary = texts(model.tokenizer),
    }, diag);
    chain.use(model.kernels.sampling);
    if (session.evictor) |evictor| {
        for (evictor.order(session.length)) |slot| chain.read(&.{session.tokens[slot]});
    } else chain.read(session.tokens[0..session.length]);
    if (session.carry) |token| chain.read(&.{token});
    chain.read(request.tokens);
    return chain;
}

/// What stages may ask of a tokenizer, which must outlive their chains.
pub fn texts(tokenizer: *const Tokenizer) sampler.Vocabulary {
    const ask = struct {
        fn bytesOf(context: *const anyopaque, token: u32) []const u8 {
            return of(context).bytesOf(token, false);
        }

        fn endsText(context: *const anyopaque, token: u32) bool {
            return of(context).isEndOfGeneration(token);
        }

        fn of(context: *const anyopaque) *const Tokenizer {
            return @ptrCast(@alignCast(context));
        }
    };
    return .{ .context = tokenizer, .count = tokenizer.count(), .bytes_of = ask.bytesOf, .ends_text = ask.endsText };
}
