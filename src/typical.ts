import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Keeps the tokens whose information, -ln p, is closest to the entropy of the distribution, as few as
 * together reach probability `p` (Meister et al. 2022, "Locally Typical Sampling"). The most
 * probable token may be among those that go.
 *
 * @param p From 0 to 1; 1 keeps every token. The paper's settings are 0.2 and 0.95.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { typical } from "./mod.ts";
 *
 * console.log(typical(0.95).params); // { p: 0.95 }
 * ```
 */
export function typical(p: number): SamplerStage {
  checkNumber(p, (value) => value >= 0 && value <= 1, "from 0 to 1", "the p of typical");
  return { name: "typical", params: { p } };
}
