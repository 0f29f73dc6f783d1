import { checkFields, checkNumber } from "../internal/check.ts";
import { checkN, countsOf, type DenseTexts, denseTexts, longer } from "../internal/ngrams.ts";
import type { TokenSequence } from "./token_sequence.ts";

/** How `selfBleu` is computed. */
export interface SelfBleuOptions {
  /** Longest n-grams that count, from 1 to 1024; 4 by default. */
  readonly n?: number | undefined;
  /**
   * Stands in for the number of matches where it is 0 for some length of n-gram, above 0 and up to 1:
   * the first method of Chen and Cherry (2014); 0.1 by default.
   */
  readonly epsilon?: number | undefined;
}

/**
 * Self-BLEU: each text's BLEU with all others as its references, as a mean. 1 when all texts are the
 * same, less the more they differ (Zhu et al. 2018, "Texygen"; BLEU by Papineni et al. 2002).
 *
 * BLEU is the geometric mean of the precisions of n-grams up to n, each n-gram counted at most as often
 * as in the reference that has it most often, times exp(1 - r / c) when the text's c tokens are fewer
 * than the r of the reference nearest in length, the shorter of two. A text without any word of the
 * others has 0. All pairs cost no more than one pass over the texts.
 *
 * @param texts At least two.
 * @param options Lengths of n-grams, and smoothing.
 * @returns From 0 to 1.
 *
 * @example
 * ```ts
 * import { selfBleu } from "./mod.ts";
 *
 * const texts = ["the cat sat on the mat", "the cat sat on the chair", "a dog ran by the sea"];
 * console.log(selfBleu(texts.map((text) => text.split(" ")))); // 0.5201654001165238
 * ```
 */
export function selfBleu(texts: readonly TokenSequence[], options: SelfBleuOptions = {}): number {
  const scores = selfBleuScores(texts, options);
  return scores.reduce((sum, score) => sum + score, 0) / scores.length;
}

/** The BLEU of each text against all others. */
function selfBleuScores(texts: readonly TokenSequence[], options: SelfBleuOptions): number[] {
  checkFields(options, ["n", "epsilon"], "selfBleu");
  const n = checkN(options.n ?? 4);
  const epsilon = checkNumber(
    options.epsilon ?? 0.1,
    (value) => value > 0 && value <= 1,
    "above 0 and up to 1",
    "epsilon",
  );
  const dense = denseTexts(texts, 2);
  const logs = new Float64Array(texts.length);
  const matched = new Uint8Array(texts.length);
  let grams: DenseTexts = dense;
  for (let length = 1; length <= n; length++) {
    if (length > 1) grams = longer(grams, dense.texts, dense.distinct, length);
    for (const [t, matches] of matchesOf(grams).entries()) {
      const all = Math.max(1, (grams.texts[t] as Uint32Array).length);
      logs[t]! += Math.log((matches > 0 ? matches : epsilon) / all) / n;
      if (length === 1 && matches > 0) matched[t] = 1;
    }
  }
  const lengths = dense.texts.map((text) => text.length);
  const penalties = brevityPenalties(lengths);
  return lengths.map((_, t) =>
    matched[t] ? (penalties[t] as number) * Math.exp(logs[t] as number) : 0
  );
}

/** N-grams of each text that another one has too, each as often as the one that has it most often. */
function matchesOf({ texts, distinct }: DenseTexts): number[] {
  // The most that any text has of an n-gram, which one has them, and the most of all the others.
  const most = new Uint32Array(distinct);
  const owner = new Uint32Array(distinct);
  const second = new Uint32Array(distinct);
  const counts = texts.map(countsOf);
  for (const [t, own] of counts.entries()) {
    for (const [gram, count] of own) {
      if (count > (most[gram] as number)) {
        second[gram] = most[gram] as number;
        most[gram] = count;
        owner[gram] = t;
      } else if (count > (second[gram] as number)) {
        second[gram] = count;
      }
    }
  }
  return counts.map((own, t) => {
    let matches = 0;
    for (const [gram, count] of own) {
      matches += Math.min(count, (owner[gram] === t ? second : most)[gram] as number);
    }
    return matches;
  });
}

/** exp(1 - r / c) for a text of c tokens that is shorter than the reference nearest in length. */
function brevityPenalties(lengths: readonly number[]): number[] {
  const order = lengths.map((_, t) => t).sort((a, b) => lengths[a]! - lengths[b]!);
  const penalties = new Array<number>(lengths.length);
  for (const [place, t] of order.entries()) {
    const length = lengths[t] as number;
    const before = lengths[order[place - 1] ?? -1] ?? -Infinity;
    const after = lengths[order[place + 1] ?? -1] ?? Infinity;
    // The nearest others stand beside it; of two equally near the shorter counts.
    const nearest = length - before <= after - length ? before : after;
    penalties[t] = length === 0 ? 0 : nearest <= length ? 1 : Math.exp(1 - nearest / length);
  }
  return penalties;
}
