import { checkInteger } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Removes every token that would complete an n-gram which the text already has, the prompt included (Paulus
 * et al. 2018, "A Deep Reinforced Model for Abstractive Summarization").
 *
 * @param n Tokens of an n-gram: a whole number from 1 to 1024; 3 by default, as in the paper. 1 removes every
 *   token that the text has.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { noRepeatNgram, sampleLogits } from "./mod.ts";
 *
 * const logits = Float32Array.of(0, 0, 50, 20);
 * // 2 would complete 0 1 2 once more.
 * console.log(await sampleLogits(logits, { sampler: [noRepeatNgram(3)], history: [0, 1, 2, 0, 1] })); // [3]
 * ```
 */
export function noRepeatNgram(n = 3): SamplerStage {
  checkInteger(n, 1, 1024, "the n of noRepeatNgram");
  return { name: "no_repeat_ngram", params: { n } };
}
