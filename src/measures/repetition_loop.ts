import { checkFields, checkInteger } from "../internal/check.ts";
import { denseText } from "../internal/ngrams.ts";
import type { TokenSequence } from "./token_sequence.ts";

/** A phrase that a text repeats at its end. */
export interface RepetitionLoop {
  /** Tokens in the phrase. */
  readonly length: number;
  /** How often the text has it at its end, one after the other. */
  readonly times: number;
  /** Index of the first token of the first of them. */
  readonly from: number;
}

/**
 * Finds the loop in which a text ends: a phrase of at least two tokens that stands at least three times
 * at its end, one after the other (Holtzman et al. 2020, "The Curious Case of Neural Text
 * Degeneration", Table 1: repetition is the share of texts that end so). Where several phrases do, as
 * ab and abab, the shortest is told. A word that is said again and again is a phrase of two of it.
 *
 * @param text Any text, without the token that ends it.
 * @param options `phrase`: the fewest tokens in the phrase, 2 by default; `times`: how often it stands
 *   there at least, from 2, 3 by default.
 * @returns The loop, or nothing when the text doesn't end in one.
 *
 * @example
 * ```ts
 * import { repetitionLoop } from "./mod.ts";
 *
 * const words = "he said that I know that I know that I know".split(" ");
 * console.log(repetitionLoop(words)); // { length: 3, times: 3, from: 2 }
 * console.log(repetitionLoop(words.slice(0, -1))); // undefined
 * ```
 */
export function repetitionLoop(
  text: TokenSequence,
  options: { readonly phrase?: number | undefined; readonly times?: number | undefined } = {},
): RepetitionLoop | undefined {
  checkFields(options, ["phrase", "times"], "repetitionLoop");
  const phrase = checkInteger(options.phrase ?? 2, 1, 1 << 20, "phrase");
  const least = checkInteger(options.times ?? 3, 2, 1 << 20, "times");
  const tokens = denseText(text);
  for (let length = phrase; length * least <= tokens.length; length++) {
    // So many tokens before the last phrase equal those one phrase behind them.
    let same = 0;
    while (
      same < tokens.length - length &&
      tokens[tokens.length - 1 - same] === tokens[tokens.length - 1 - same - length]
    ) same++;
    const times = 1 + Math.floor(same / length);
    if (times >= least) return { length, times, from: tokens.length - times * length };
  }
  return undefined;
}
