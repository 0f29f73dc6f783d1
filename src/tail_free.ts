import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Cuts the sorted probabilities where their curve stops bending: the second differences, normalised
 * to a sum of 1, are summed from the best token on, and the tokens before the sum exceeds `z` stay
 * (Phénix and Egan 2019, "Tail Free Sampling"). A difference of three tokens stands for the middle
 * one.
 *
 * @param z From 0, which leaves only the most probable token, to 1, which keeps every one.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { tailFree } from "./mod.ts";
 *
 * console.log(tailFree(0.95).params); // { z: 0.95 }
 * ```
 */
export function tailFree(z: number): SamplerStage {
  checkNumber(z, (value) => value >= 0 && value <= 1, "from 0 to 1", "the z of tailFree");
  return { name: "tail_free", params: { z } };
}
