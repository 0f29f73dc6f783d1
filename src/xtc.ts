import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Exclude top choices: sometimes removes the tokens of a probability of at least `threshold`, all but
 * the least probable of them (Weidmann 2024, "Exclude Top Choices"). Where fewer than two reach the
 * threshold nothing changes.
 *
 * @param probability How often it happens, from 0 to 1; by default 0.5.
 * @param threshold From 0 to 1; by default 0.1. Above 0.5 it does nothing.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { xtc } from "./mod.ts";
 *
 * console.log(xtc(0.5, 0.1).params); // { probability: 0.5, threshold: 0.1 }
 * ```
 */
export function xtc(probability = 0.5, threshold = 0.1): SamplerStage {
  const isShare = (value: number) => value >= 0 && value <= 1;
  checkNumber(probability, isShare, "from 0 to 1", "the probability of xtc");
  checkNumber(threshold, isShare, "from 0 to 1", "the threshold of xtc");
  return { name: "xtc", params: { probability, threshold } };
}
