import { checkN, countsOf, someGrams } from "../internal/ngrams.ts";
import type { TokenSequence } from "./token_sequence.ts";

/**
 * The repetition rate: the share of a text's different n-grams that it has more than once. Several
 * texts are counted one by one and their counts added up (Cettolo, Bertoldi and Federico 2014, "The
 * Repetition Rate of Text as a Predictor of the Effectiveness of Machine Translation Adaptation", who
 * take texts of 1000 words, and the geometric mean over n from 1 to 4). It counts an n-gram once,
 * however often it comes back; `seqRep` counts each return.
 *
 * @param texts At least one; those of fewer than n tokens have no n-grams.
 * @param n Tokens in an n-gram, from 1 to 1024.
 * @returns From 0, where no n-gram comes back, to 1.
 * @throws {RangeError} When no text has n tokens.
 *
 * @example
 * ```ts
 * import { repetitionRate } from "./mod.ts";
 *
 * const words = "to be or not to be that is".split(" ");
 * console.log(repetitionRate([words], 2)); // of 6 different pairs "to be" comes back
 * ```
 */
export function repetitionRate(texts: readonly TokenSequence[], n: number): number {
  checkN(n);
  let [distinct, repeated] = [0, 0];
  for (const ids of someGrams(texts, n).texts) {
    for (const count of countsOf(ids).values()) {
      distinct += 1;
      if (count > 1) repeated += 1;
    }
  }
  return repeated / distinct;
}
