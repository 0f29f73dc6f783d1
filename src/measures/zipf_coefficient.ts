import { checkFields, checkInteger } from "../internal/check.ts";
import { countsOf, denseTexts } from "../internal/ngrams.ts";
import type { TokenSequence } from "./token_sequence.ts";

/**
 * The Zipf coefficient s: frequencies of words fall about as rank to the power of -s, and natural
 * texts are near 1. It is the slope, by least squares, of the logarithm of the frequency on that of
 * the rank, over the most frequent tokens (Zipf 1949; as Holtzman et al. 2020, "The Curious Case of
 * Neural Text Degeneration", compute it).
 *
 * @param texts At least one; together they need two different tokens.
 * @param options `ranks`: how many of the most frequent tokens count, at least 2; 5000 by default.
 * @returns s, at least 0; 0 when all tokens are equally frequent.
 * @throws {RangeError} When there are fewer than two different tokens.
 *
 * @example
 * ```ts
 * import { zipfCoefficient } from "./mod.ts";
 *
 * const words = "a a a a a a b b b c c d".split(" ");
 * console.log(zipfCoefficient([words])); // 1.2213105051567832
 * ```
 */
export function zipfCoefficient(
  texts: readonly TokenSequence[],
  options: { readonly ranks?: number | undefined } = {},
): number {
  checkFields(options, ["ranks"], "zipfCoefficient");
  const ranks = checkInteger(options.ranks ?? 5000, 2, 1 << 24, "ranks");
  const { texts: dense, distinct } = denseTexts(texts);
  if (distinct < 2) {
    throw new RangeError(`Expected texts of at least two different tokens, but found ${distinct}`);
  }
  const totals = new Uint32Array(distinct);
  for (const text of dense) for (const [id, count] of countsOf(text)) totals[id]! += count;
  const counts = totals.sort().reverse().subarray(0, ranks);
  const x = Float64Array.from(counts, (_, i) => Math.log(i + 1));
  const y = Float64Array.from(counts, (count) => Math.log(count));
  const mean = (values: Float64Array) => values.reduce((sum, v) => sum + v, 0) / values.length;
  const [meanX, meanY] = [mean(x), mean(y)];
  let [products, squares] = [0, 0];
  for (const [i, value] of x.entries()) {
    products += (value - meanX) * ((y[i] as number) - meanY);
    squares += (value - meanX) ** 2;
  }
  return Math.max(0, -products / squares);
}
