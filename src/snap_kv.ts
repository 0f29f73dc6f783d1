import type { EvictPolicy } from "./evict_policy.ts";
import { checkFields } from "./internal/check.ts";

/**
 * Cuts each prompt down to what its end looks at: Li et al. 2024, "SnapKV: LLM Knows What You are Looking for
 * Before Generation". When a prompt has been read, the tokens stay whose attention from the last `window`
 * queries is largest, pooled over neighbours by their maximum, and the window itself. Scores are the mean
 * over layers and heads: one set of tokens stays for all of them, where the paper has one for each head.
 * What is generated afterwards stays too, so the context must hold the prompt and the answer. Keys keep the
 * rotation of their place in the text. Scores cost the keys' half of attention of `window` queries a second
 * time.
 *
 * @param options `budget`: tokens of a prompt that stay. `window`: queries that decide, 32 by default but at
 *   most half of the budget. `pooling`: neighbours over which scores are pooled, 7 by default.
 * @returns The policy, for `SessionOptions.evict`.
 *
 * @example
 * ```ts
 * import { loadModel, snapKv } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 512, evict: snapKv({ budget: 32, window: 8 }) });
 * const text = "The lighthouse at the end of the world was dark, and nobody came to light it. Who did?";
 * await session.generate(text, { maxTokens: 8, ignoreEnd: true }).text();
 * console.log(session.position, session.stats.evictedTokens);
 * ```
 */
export function snapKv(
  options: {
    readonly budget: number;
    readonly window?: number | undefined;
    readonly pooling?: number | undefined;
  },
): EvictPolicy {
  checkFields(options, ["budget", "window", "pooling"], "snapKv");
  const { budget, window = Math.min(32, Math.floor(budget / 2)), pooling = 7 } = options;
  return { name: "snap_kv", budget, window, pooling };
}
