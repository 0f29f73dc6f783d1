import { checkN, countsOf, someGrams } from "../internal/ngrams.ts";
import type { TokenSequence } from "./token_sequence.ts";

/**
 * Seq-rep-n: 1 - (different n-grams) / (n-grams) of each text, as a mean over the texts (Welleck et
 * al. 2020, "Neural Text Generation With Unlikelihood Training", with n = 4).
 *
 * @param texts At least one; those of fewer than n tokens have no n-grams and are left out.
 * @param n Tokens in an n-gram, from 1 to 1024; 4 by default.
 * @returns From 0, where no n-gram comes back, to below 1.
 * @throws {RangeError} When no text has n tokens.
 *
 * @example
 * ```ts
 * import { seqRep } from "./mod.ts";
 *
 * const words = "to be or not to be that is".split(" ");
 * console.log(seqRep([words], 2)); // 1 - 6 / 7: "to be" comes back once
 * ```
 */
export function seqRep(texts: readonly TokenSequence[], n = 4): number {
  checkN(n);
  const whole = someGrams(texts, n).texts.filter((ids) => ids.length > 0);
  const shares = whole.map((ids) => 1 - countsOf(ids).size / ids.length);
  return shares.reduce((sum, share) => sum + share, 0) / shares.length;
}
