import type { EvictPolicy } from "./evict_policy.ts";
import { checkFields } from "./internal/check.ts";

/**
 * Keeps heavy hitters and the last tokens: Zhang et al. 2023, "H2O: Heavy-Hitter Oracle for Efficient
 * Generative Inference of Large Language Models". A token's score is the attention that all queries since it
 * came have paid to it, the mean over layers and heads: one set of tokens stays for all of them, where the
 * paper has one for each head. Keys keep the rotation of their place in the text. Scores cost the keys' half
 * of attention a second time, in each pass.
 *
 * @param options `budget`: tokens that stay. `recent`: how many of them are the youngest, half of the budget
 *   by default. `every`: how many tokens come before as many are evicted at once; 1 by default.
 * @returns The policy, for `SessionOptions.evict`.
 *
 * @example
 * ```ts
 * import { h2o, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ evict: h2o({ budget: 32, recent: 16 }) });
 * await session.prefill("The lighthouse at the end of the world was dark, and nobody came to light it.");
 * console.log(session.position, session.kv.textPositions);
 * ```
 */
export function h2o(
  options: {
    readonly budget: number;
    readonly recent?: number | undefined;
    readonly every?: number | undefined;
  },
): EvictPolicy {
  checkFields(options, ["budget", "recent", "every"], "h2o");
  const { budget, recent = Math.floor(budget / 2), every } = options;
  return { name: "h2o", budget, recent, ...(every !== undefined && { every }) };
}
