import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Divides the logits by `value`: below 1 the probable tokens gain, above 1 the others do.
 *
 * @param value From 0 to 1,000,000; 1 changes nothing, 0 leaves only the most probable token.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { temperature, topP } from "./mod.ts";
 *
 * const sampler = [temperature(0.8), topP(0.9)];
 * console.log(sampler.map((stage) => stage.name)); // ["temperature", "top_p"]
 * ```
 */
export function temperature(value: number): SamplerStage {
  checkNumber(value, (t) => t >= 0 && t <= 1e6, "from 0 to 1000000", "the temperature");
  return { name: "temperature", params: { t: value } };
}
