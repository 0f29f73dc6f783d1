import { checkNumber } from "./internal/check.ts";
import { checkLastN } from "./internal/last_n.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Takes a penalty off the logit of each token that is among the last of the text, once, however often it is there
 * (`presence_penalty` of OpenAI's API). The prompt is text too.
 *
 * @param penalty From -10,000 to 10,000, usually from -2 to 2. 0 changes nothing, below 0 it rewards.
 * @param lastN How many of the last tokens of the text count: a whole number, or `Infinity` for as many as
 *   the session's context; 64 by default.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { presencePenalty, sampleLogits } from "./mod.ts";
 *
 * const logits = Float32Array.of(1, 30, 29.5);
 * const sampler = [presencePenalty(20)];
 * console.log(await sampleLogits(logits, { sampler, history: [1], seed: 7 })); // [2]
 * ```
 */
export function presencePenalty(penalty: number, lastN = 64): SamplerStage {
  const inRange = (value: number) => Math.abs(value) <= 1e4;
  checkNumber(penalty, inRange, "from -10000 to 10000", "the penalty of presencePenalty");
  const last_n = checkLastN(lastN, "presencePenalty");
  return { name: "presence_penalty", params: { penalty, last_n } };
}
