import { checkFields, checkFunction, checkInteger, checkSignal } from "../internal/check.ts";
import { bareTokens, joined, openingOf, scoresOf, type Text } from "../internal/scored_text.ts";
import type { KvPolicy } from "../kv_policy.ts";
import type { Model } from "../model.ts";

/** How `perplexity` reads a text. */
export interface PerplexityOptions {
  /** What stands before the text and isn't scored; prompt and text must fit into one chunk. */
  readonly prompt?: Text | undefined;
  /** Tokens in a chunk; by default the model's context, at most 512, and more if the prompt needs it. */
  readonly context?: number | undefined;
  /** The formats of the KV cache, as for `Model.session`. */
  readonly kv?: KvPolicy | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Is told how many tokens have been read. */
  readonly onProgress?: ((progress: { done: number; total: number }) => void) | undefined;
}

/** How well a model predicts a text. */
export interface Perplexity {
  /** exp(nll): 1 when each token was certain; the vocabulary's size when all were equally probable. */
  readonly perplexity: number;
  /** Mean negative log-likelihood of the predicted tokens, in nats a token. */
  readonly nll: number;
  /** Tokens that were predicted. */
  readonly tokens: number;
  readonly chunks: number;
  /** Tokens that a chunk holds. */
  readonly context: number;
}

/**
 * How well a model predicts a text: the exponential of the mean negative log-likelihood of its tokens
 * (Jelinek et al. 1977). The text is read in chunks of `context` tokens, each on its own, and all tokens
 * count that have another one before them. Where the model puts a token at the beginning of a text, each
 * chunk begins with it.
 *
 * @param model The model that predicts.
 * @param text Text, in which names of special tokens are plain text, or ids of tokens.
 * @param options A prompt, and the size of chunks. Values of different sizes can't be compared.
 * @throws {RangeError} When no token is predicted, or prompt and text don't fit.
 * @throws {EngineError} `numeric` when a probability is no number.
 *
 * @example
 * ```ts
 * import { loadModel, perplexity } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * console.log((await perplexity(model, "It was the best of times.")).perplexity);
 * console.log(await perplexity(model, " Paris", { prompt: "The capital of France is" }));
 * ```
 */
export async function perplexity(
  model: Model,
  text: Text,
  options: PerplexityOptions = {},
): Promise<Perplexity> {
  checkFields(options, ["prompt", "context", "kv", "signal", "onProgress"], "perplexity");
  checkFunction(options.onProgress, "onProgress");
  const signal = checkSignal(options.signal, "signal");
  const tokens = bareTokens(model, text, "text");
  const prompt = options.prompt === undefined
    ? new Uint32Array(0)
    : bareTokens(model, options.prompt, "prompt");
  const before = joined(openingOf(model), prompt);
  const context = contextOf(model, before.length, tokens.length, options);
  const width = context - before.length;
  if (options.prompt !== undefined && tokens.length > width) {
    throw new RangeError(
      `Expected context to hold prompt and text, ${before.length + tokens.length} tokens, ` +
        `but found ${context}`,
    );
  }
  const predictedIn = (length: number) => before.length > 0 ? length : length - 1;
  using session = model.session({ context, kv: options.kv });
  let [done, sum, predicted, chunks] = [0, 0, 0, 0];
  for (let at = 0; at < tokens.length; at += width) {
    const piece = tokens.subarray(at, at + width);
    const count = predictedIn(piece.length);
    if (count === 0) break;
    const scores = await scoresOf(session, joined(before, piece), before.length, signal);
    for (const score of scores.subarray(piece.length - count)) sum -= score;
    predicted += count;
    chunks += 1;
    done += piece.length;
    options.onProgress?.({ done, total: tokens.length });
  }
  if (predicted === 0) {
    throw new RangeError(
      `Expected a text of which tokens can be predicted, but found ${tokens.length} tokens`,
    );
  }
  const nll = sum / predicted;
  return { perplexity: Math.exp(nll), nll, tokens: predicted, chunks, context };
}

function contextOf(
  model: Model,
  before: number,
  text: number,
  options: PerplexityOptions,
): number {
  const most = model.info.contextTrain || 512;
  if (options.context !== undefined) {
    return checkInteger(options.context, Math.max(2, before + 1), 1 << 20, "context");
  }
  return options.prompt === undefined ? Math.min(512, most) : Math.max(2, before + text);
}
