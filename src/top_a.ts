import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Keeps the tokens of a probability of at least a · p², with p the probability of the most probable
 * one (Peng 2022, in RWKV-LM).
 *
 * @param a From 0, which keeps every token, to 1; 0.2 is usual.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { topA } from "./mod.ts";
 *
 * console.log(topA(0.2).params); // { a: 0.2 }
 * ```
 */
export function topA(a: number): SamplerStage {
  checkNumber(a, (value) => value >= 0 && value <= 1, "from 0 to 1", "the a of topA");
  return { name: "top_a", params: { a } };
}
