import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Cuts the sorted logits before their steepest fall, by (lᵢ - lᵢ₊₁) / (l₁ - lₙ) / i, and keeps at least
 * ⌊tau / (l₁ - lₙ)⌋ tokens (Ding et al. 2026, "Min-k Sampling"). What stays is the same at every
 * temperature.
 *
 * @param tau From 0 to 1,000,000; 3, the paper's setting, by default.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { minK } from "./mod.ts";
 *
 * console.log(minK().params); // { tau: 3 }
 * ```
 */
export function minK(tau = 3): SamplerStage {
  checkNumber(tau, (value) => value >= 0 && value <= 1e6, "from 0 to 1000000", "the tau of minK");
  return { name: "min_k", params: { tau } };
}
