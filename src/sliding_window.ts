import type { EvictPolicy } from "./evict_policy.ts";
import { checkFields, checkInteger } from "./internal/check.ts";

/** What `slidingWindow` takes. */
export interface SlidingWindowOptions {
  /** Tokens at the beginning that stay; 4 by default, 0 for a plain window. */
  readonly sinks?: number | undefined;
  /** Youngest tokens that stay. */
  readonly recent: number;
  /** How many tokens come before as many are evicted at once; 1 by default. */
  readonly every?: number | undefined;
  /**
   * By which distance keys are rotated. `"cache"`, the default and what the paper does: the sinks are as far
   * away as in the cache. `"text"`: as far as in the text.
   */
  readonly positions?: "cache" | "text" | undefined;
}

/** As long as a context can be. */
const countMax = 1 << 20;

/**
 * Keeps the first tokens, which models use as attention sinks, and the last ones: Xiao et al. 2023,
 * "Efficient Streaming Language Models with Attention Sinks" (StreamingLLM). It costs nothing but the moving
 * of as many tokens as go, and the turning of the sinks. With a window that has slid on, a prompt is read in
 * pieces of `every` tokens.
 *
 * @param options How many stay.
 * @returns The policy, for `SessionOptions.evict`.
 *
 * @example
 * ```ts
 * import { loadModel, slidingWindow } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ evict: slidingWindow({ sinks: 4, recent: 60 }) });
 * await session.generate("The lighthouse at the end of the world", { maxTokens: 100, ignoreEnd: true }).text();
 * console.log(session.kv.textPositions); // 0, 1, 2, 3, and the last ones
 * ```
 */
export function slidingWindow(options: SlidingWindowOptions): EvictPolicy {
  checkFields(options, ["sinks", "recent", "every", "positions"], "slidingWindow");
  const { sinks = 4, recent, every, positions } = options;
  // The budget is their sum, of which an error would say less.
  checkInteger(sinks, 0, countMax, "sinks of slidingWindow");
  checkInteger(recent, 0, countMax, "recent of slidingWindow");
  return {
    name: "sliding_window",
    budget: sinks + recent,
    sinks,
    recent,
    ...(every !== undefined && { every }),
    ...(positions !== undefined && { positions }),
  };
}
