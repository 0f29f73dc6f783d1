import { checkFields, checkSignal, found } from "../internal/check.ts";
import { bareTokens, joined, openingOf, scoresOf, type Text } from "../internal/scored_text.ts";
import { sentencesOf } from "../internal/sentences.ts";
import type { KvPolicy } from "../kv_policy.ts";
import type { Model } from "../model.ts";

/** How `coherence` reads a text. */
export interface CoherenceOptions {
  /** What stands before the text; then its first sentence counts too. */
  readonly prompt?: Text | undefined;
  /** The formats of the KV cache, as for `Model.session`. */
  readonly kv?: KvPolicy | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How well the sentences of a text follow from those before them. */
export interface Coherence {
  /**
   * Mean logarithm of the probability of a token, in nats, over the sentences that have something
   * before them; at most 0, and NaN when no sentence has.
   */
  readonly score: number;
  readonly sentences: readonly ScoredSentence[];
}

/** A sentence, and how probable it was. */
export interface ScoredSentence {
  readonly text: string;
  readonly tokens: number;
  /** Logarithm of the sentence's probability given all before it, in nats; NaN for one with nothing before it. */
  readonly logprob: number;
}

/**
 * How well the sentences of a text follow from those before them: the model's own log-likelihood of
 * each sentence given all sentences before, as a mean over its tokens (Su and Xu 2022, "Contrastive
 * Search Is What You Need For Neural Text Generation", where another model judges whole continuations).
 * A model finds its own greedy text most coherent, loops above all: read it beside a measure of
 * repetition.
 *
 * A sentence ends behind `.`, `!`, `?` or `…` with closing quotes and brackets, when white space
 * follows, and at an empty line. A token belongs to the sentence in which it begins.
 *
 * @param model The model that judges.
 * @param text Text, or ids of tokens; the whole of it is held in one context.
 * @param options A prompt.
 * @throws {EngineError} `numeric` when a probability is no number.
 *
 * @example
 * ```ts
 * import { coherence, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * const text = "The sea was calm. The ship left the port. Nobody saw it again.";
 * const { score, sentences } = await coherence(model, text);
 * console.log(score, sentences);
 * ```
 */
export async function coherence(
  model: Model,
  text: Text,
  options: CoherenceOptions = {},
): Promise<Coherence> {
  checkFields(options, ["prompt", "kv", "signal"], "coherence");
  const signal = checkSignal(options.signal, "signal");
  const tokens = bareTokens(model, text, "text");
  if (tokens.length === 0) throw new RangeError(`Expected a text, but found ${found(text)}`);
  const prompt = options.prompt === undefined
    ? new Uint32Array(0)
    : bareTokens(model, options.prompt, "prompt");
  const before = joined(openingOf(model), prompt);
  const context = before.length + tokens.length;
  using session = model.session({ context, kv: options.kv });
  const scores = await scoresOf(session, joined(before, tokens), before.length, signal);
  const whole = model.detokenize(tokens);
  const sentences: ScoredSentence[] = [];
  let [sum, counted, from, end] = [0, 0, 0, 0];
  for (const sentence of sentencesOf(whole)) {
    end += sentence.length;
    const to = end === whole.length ? tokens.length : firstTokenFrom(model, tokens, from, end);
    const judged = from > 0 || prompt.length > 0;
    const logprob = judged ? scores.subarray(from, to).reduce((all, score) => all + score, 0) : NaN;
    sentences.push({ text: sentence, tokens: to - from, logprob });
    if (judged) [sum, counted] = [sum + logprob, counted + to - from];
    from = to;
  }
  return { score: counted === 0 ? NaN : sum / counted, sentences };
}

/** The first token from `least` on that begins at character `end` or behind it. */
function firstTokenFrom(
  model: Model,
  tokens: Uint32Array<ArrayBuffer>,
  least: number,
  end: number,
): number {
  let [low, high] = [least, tokens.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (model.detokenize(tokens.subarray(0, middle)).length >= end) high = middle;
    else low = middle + 1;
  }
  return low;
}
