import { denseTexts } from "../internal/ngrams.ts";
import { checkInteger } from "../internal/check.ts";
import type { TokenSequence } from "./token_sequence.ts";

/**
 * Counts tokens: the simplest histogram of texts, for `entropy` and `frontierArea`.
 *
 * @param texts At least one text of token ids.
 * @param vocabulary Number of token ids that there are; `model.info.vocabulary`.
 * @returns [vocabulary]: how often each token stands in all texts together.
 * @throws {RangeError} When a token isn't below `vocabulary`.
 *
 * @example
 * ```ts
 * import { entropy, tokenHistogram } from "./mod.ts";
 *
 * const counts = tokenHistogram([[3, 1, 3], [3]], 4);
 * console.log(counts, entropy(counts)); // [0, 1, 0, 3], 0.5623351446188083
 * ```
 */
export function tokenHistogram(
  texts: readonly TokenSequence[],
  vocabulary: number,
): Float64Array<ArrayBuffer> {
  denseTexts(texts);
  checkInteger(vocabulary, 1, 1 << 24, "vocabulary");
  const counts = new Float64Array(vocabulary);
  for (const [t, text] of texts.entries()) {
    for (const [i, token] of text.entries()) {
      counts[checkInteger(token, 0, vocabulary - 1, `texts[${t}][${i}]`)]! += 1;
    }
  }
  return counts;
}
