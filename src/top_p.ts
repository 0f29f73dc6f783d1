import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Keeps the nucleus: the most probable tokens that together have at least the probability `p`
 * (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration").
 *
 * @param p From 0 to 1; 1 keeps every token, 0 only the most probable one.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { topP } from "./mod.ts";
 *
 * console.log(topP(0.9).params); // { p: 0.9 }
 * ```
 */
export function topP(p: number): SamplerStage {
  checkNumber(p, (value) => value >= 0 && value <= 1, "from 0 to 1", "the p of topP");
  return { name: "top_p", params: { p } };
}
