import { checkNumber } from "./internal/check.ts";
import { checkLastN } from "./internal/last_n.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Divides the logits of tokens that are among the last of the text by a penalty, and multiplies them where
 * they are negative (Keskar et al. 2019, "CTRL", with the sign as implementations have it). The prompt is
 * text too. How often a token is there doesn't count.
 *
 * @param penalty From 0.01 to 100; 1.1 by default. 1 changes nothing, below 1 it rewards.
 * @param lastN How many of the last tokens of the text count: a whole number, or `Infinity` for as many as
 *   the session's context; 64 by default.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { repetitionPenalty, sampleLogits } from "./mod.ts";
 *
 * const logits = Float32Array.of(1, 8, 7);
 * const sampler = [repetitionPenalty(1.5)];
 * // The second token, 8, is 5.3 after it was there.
 * console.log(await sampleLogits(logits, { sampler, history: [1], seed: 7 })); // [2]
 * ```
 */
export function repetitionPenalty(penalty = 1.1, lastN = 64): SamplerStage {
  const inRange = (value: number) => value >= 0.01 && value <= 100;
  checkNumber(penalty, inRange, "from 0.01 to 100", "the penalty of repetitionPenalty");
  const last_n = checkLastN(lastN, "repetitionPenalty");
  return { name: "repetition_penalty", params: { penalty, last_n } };
}
