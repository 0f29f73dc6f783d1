import { checkInteger } from "../internal/check.ts";
import { tokenHistogram } from "./token_histogram.ts";
import type { TokenSequence } from "./token_sequence.ts";

/**
 * The share of a vocabulary that texts use at all. Like the number of different words, which
 * Welleck et al. (2020) report as "uniq", it grows with the amount of text.
 *
 * @param texts At least one text of token ids.
 * @param vocabulary Number of token ids that there are; `model.info.vocabulary`.
 * @returns From 0 to 1.
 * @throws {RangeError} When a token isn't below `vocabulary`.
 *
 * @example
 * ```ts
 * import { vocabularyCoverage } from "./mod.ts";
 *
 * console.log(vocabularyCoverage([[3, 1, 3], [3]], 4)); // 0.5
 * ```
 */
export function vocabularyCoverage(texts: readonly TokenSequence[], vocabulary: number): number {
  checkInteger(vocabulary, 1, 1 << 24, "vocabulary");
  return tokenHistogram(texts, vocabulary).filter((count) => count > 0).length / vocabulary;
}
