import { checkChoice, checkFields } from "../internal/check.ts";
import { checkN, denseTexts, someGrams } from "../internal/ngrams.ts";
import type { TokenSequence } from "./token_sequence.ts";

/**
 * Distinct-n: how many different n-grams the texts have together, as a share of all their n-grams.
 * Texts that say the same thing again have few (Li et al. 2016, "A Diversity-Promoting Objective
 * Function for Neural Conversation Models", who divide by the number of tokens: `per: "tokens"`).
 * It falls with the amount of text, so that only sets of the same size can be compared.
 *
 * @param texts At least one; those of fewer than n tokens have no n-grams.
 * @param n Tokens in an n-gram, from 1 to 1024.
 * @param options What the number of different n-grams is divided by; `"grams"` by default.
 * @returns Above 0, up to 1.
 * @throws {RangeError} When no text has n tokens.
 *
 * @example
 * ```ts
 * import { distinctN } from "./mod.ts";
 *
 * const texts = ["a b a b".split(" "), "a b c".split(" ")];
 * console.log(distinctN(texts, 1)); // 3 words of 7
 * console.log(distinctN(texts, 2)); // a b, b a, b c: 3 of 5
 * ```
 */
export function distinctN(
  texts: readonly TokenSequence[],
  n: number,
  options: { readonly per?: "grams" | "tokens" | undefined } = {},
): number {
  checkFields(options, ["per"], "distinctN");
  const per = checkChoice(options.per, ["grams", "tokens"], "per") ?? "grams";
  checkN(n);
  const grams = someGrams(texts, n);
  const all = per === "grams" ? grams : denseTexts(texts);
  return grams.distinct / all.texts.reduce((sum, ids) => sum + ids.length, 0);
}
