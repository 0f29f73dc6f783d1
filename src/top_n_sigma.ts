import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Keeps the tokens whose logit is at least max - n · σ, with σ the standard deviation of the logits of
 * all candidates (Tang et al. 2024, "Top-nσ: Not All Logits Are You Need"). What stays is the same
 * at every temperature.
 *
 * @param n From 0, which leaves only the most probable, to 1,000,000; the paper's setting is 1.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { topNSigma } from "./mod.ts";
 *
 * console.log(topNSigma(1).params); // { n: 1 }
 * ```
 */
export function topNSigma(n: number): SamplerStage {
  checkNumber(n, (value) => value >= 0 && value <= 1e6, "from 0 to 1000000", "the n of topNSigma");
  return { name: "top_n_sigma", params: { n } };
}
