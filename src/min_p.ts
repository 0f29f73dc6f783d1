import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Keeps the tokens that are at least `p` times as probable as the most probable one
 * (Nguyen et al. 2024, "Turning Up the Heat: Min-p Sampling").
 *
 * @param p From 0 to 1; 0 keeps every token.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { minP } from "./mod.ts";
 *
 * console.log(minP(0.05).params); // { p: 0.05 }
 * ```
 */
export function minP(p: number): SamplerStage {
  checkNumber(p, (value) => value >= 0 && value <= 1, "from 0 to 1", "the p of minP");
  return { name: "min_p", params: { p } };
}
