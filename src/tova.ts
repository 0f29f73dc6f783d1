import type { EvictPolicy } from "./evict_policy.ts";
import { checkFields } from "./internal/check.ts";

/**
 * Evicts what the last query looks at least: Oren et al. 2024, "Transformers are Multi-State RNNs" (TOVA).
 * The attention is the mean over layers and heads: one set of tokens stays for all of them, where the paper
 * has one for each layer. The youngest token always stays. Keys keep the rotation of their place in the text.
 * Scores cost the keys' half of attention of one query a second time, in each pass.
 *
 * @param options `budget`: tokens that stay. `every`: how many tokens come before as many are evicted at
 *   once; 1 by default.
 * @returns The policy, for `SessionOptions.evict`.
 *
 * @example
 * ```ts
 * import { loadModel, tova } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ evict: tova({ budget: 32 }) });
 * await session.prefill("The lighthouse at the end of the world was dark, and nobody came to light it.");
 * console.log(session.position, session.stats.evictedTokens);
 * ```
 */
export function tova(
  options: { readonly budget: number; readonly every?: number | undefined },
): EvictPolicy {
  checkFields(options, ["budget", "every"], "tova");
  const { budget, every } = options;
  return { name: "tova", budget, ...(every !== undefined && { every }) };
}
