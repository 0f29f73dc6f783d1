/**
 * How probable a model finds the tokens of a text: what perplexity and coherence are made of.
 *
 * @module
 */
import { EngineError } from "../engine_error.ts";
import type { Model } from "../model.ts";
import type { Session } from "../session.ts";
import { checkTokens } from "./check.ts";

/** A text, or ids of its tokens. */
export type Text = string | readonly number[] | Uint32Array;

/** What the model puts at the beginning of a text by itself: one token or none. */
export function openingOf(model: Model): Uint32Array<ArrayBuffer> {
  const { bos } = model.info;
  const begins = bos !== undefined && model.tokenize("")[0] === bos;
  return begins ? Uint32Array.of(bos) : new Uint32Array(0);
}

/** The tokens of a text without what the model puts at its beginning. */
export function bareTokens(model: Model, text: Text, what: string): Uint32Array<ArrayBuffer> {
  const tokens = typeof text === "string"
    ? model.tokenize(text, { addSpecial: false, parseSpecial: false })
    : checkTokens(text, model.info.vocabulary, what);
  const [opening] = openingOf(model);
  return opening !== undefined && tokens[0] === opening ? tokens.slice(1) : tokens;
}

/** One after the other. */
export function joined(...parts: readonly Uint32Array[]): Uint32Array<ArrayBuffer> {
  return Uint32Array.from(parts.flatMap((part) => [...part]));
}

/**
 * The logarithms of the probabilities of all tokens from `from` on, in an empty session; the first
 * token of the sequence has none and is NaN.
 */
export async function scoresOf(
  session: Session,
  tokens: Uint32Array<ArrayBuffer>,
  from: number,
  signal: AbortSignal | undefined,
): Promise<Float32Array<ArrayBuffer>> {
  session.truncate(0);
  const scores = (await session.score(tokens, { signal })).subarray(from);
  const wrong = scores.findIndex((score, i) => Number.isNaN(score) && from + i > 0);
  if (wrong >= 0) {
    throw new EngineError(
      "numeric",
      `Expected the probability of each token to be a number, but found NaN at token ${
        from + wrong
      }`,
    );
  }
  return scores;
}
