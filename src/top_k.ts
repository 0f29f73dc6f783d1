import { checkInteger } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Keeps the `k` most probable tokens.
 *
 * @param k A whole number of at least 1; more than there are candidates keeps them all.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { topK } from "./mod.ts";
 *
 * console.log(topK(40).params); // { k: 40 }
 * ```
 */
export function topK(k: number): SamplerStage {
  checkInteger(k, 1, 1 << 24, "the number of tokens of topK");
  return { name: "top_k", params: { k } };
}
