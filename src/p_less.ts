import { checkBoolean } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Keeps the tokens at least as probable as two independent draws are to agree, which is Σ p² (Tan et
 * al. 2025, "p-less Sampling"). There is nothing to tune.
 *
 * @param relaxed Takes the paper's lower bound (n · Σ p² - 1) / (n - 1) over n candidates.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { pLess } from "./mod.ts";
 *
 * console.log(pLess().params); // { norm: 0 }
 * ```
 */
export function pLess(relaxed = false): SamplerStage {
  checkBoolean(relaxed, "the relaxed of pLess");
  return { name: "p_less", params: { norm: relaxed ? 1 : 0 } };
}
