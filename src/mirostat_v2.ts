import { feedback } from "./internal/feedback.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Mirostat 2: removes the tokens whose surprise, -log₂ p, is above μ, all but the most probable, and moves μ by
 * `eta` times the distance of each choice's surprise from `tau` (Basu et al. 2020, "Mirostat"; the second
 * version in the authors' program). The perplexity of the text comes to 2^tau. A trace has μ as the stage's
 * `state`, and the surprise of each choice, in bits in the model's own distribution, as its `outcome`.
 *
 * μ begins anew with every generation: to go on, give the last one as `mu`.
 *
 * @param tau The target, in bits a token, from 0 to 100; 5 by default. The mean can't be less than the
 *   surprise of the most probable tokens.
 * @param eta The learning rate, from 0 to 10; 0.1 by default.
 * @param mu What μ begins with, in bits; 2 · tau by default.
 * @returns A stage for the `sampler` list of `Session.generate`, usually the only one.
 *
 * @example
 * ```ts
 * import { loadModel, mirostatV2 } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128 });
 * const generation = session.generate("The best thing about the sea is", {
 *   sampler: [mirostatV2(4)],
 *   seed: 7,
 *   maxTokens: 16,
 *   trace: true,
 * });
 * await generation.text();
 * console.log(generation.trace?.stages[0]?.state); // μ at each step
 * console.log(generation.trace?.stages[0]?.outcome); // surprise of each token, in bits
 * ```
 */
export function mirostatV2(tau = 5, eta = 0.1, mu = 2 * tau): SamplerStage {
  return { name: "mirostat_v2", params: feedback(tau, eta, mu, "mirostatV2") };
}
