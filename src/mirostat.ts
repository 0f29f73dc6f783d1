import { checkInteger } from "./internal/check.ts";
import { feedback } from "./internal/feedback.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Mirostat, the first version: keeps the k most probable tokens, k such that texts of a distribution of Zipf
 * with the estimated exponent have at most the surprise μ (rounded, and one more, as in the authors' program), and moves μ by `eta` times the distance of each
 * choice's surprise from `tau` (Basu et al. 2020, "Mirostat", algorithm 1). The perplexity of the text comes
 * to 2^tau. A trace has μ as the stage's `state`, and the surprise of each choice, in bits in the model's own
 * distribution, as its `outcome`.
 *
 * μ begins anew with every generation: to go on, give the last one as `mu`.
 *
 * @param tau The target, in bits a token, from 0 to 100; 5 by default. The mean can't be less than the
 *   surprise of the most probable tokens.
 * @param eta The learning rate, from 0 to 10; 0.1 by default.
 * @param mu What μ begins with, in bits; 2 · tau by default.
 * @param m Tokens that the exponent is estimated of: a whole number from 2 to 10,000; 100 by default.
 * @returns A stage for the `sampler` list of `Session.generate`, usually the only one.
 *
 * @example
 * ```ts
 * import { mirostat } from "./mod.ts";
 *
 * console.log(mirostat(3).params); // { tau: 3, eta: 0.1, mu: 6, m: 100 }
 * ```
 */
export function mirostat(tau = 5, eta = 0.1, mu = 2 * tau, m = 100): SamplerStage {
  const params = feedback(tau, eta, mu, "mirostat");
  checkInteger(m, 2, 10_000, "the m of mirostat");
  return { name: "mirostat", params: { ...params, m } };
}
