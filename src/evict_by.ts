import type { EvictPolicy } from "./evict_policy.ts";
import { checkFields } from "./internal/check.ts";

/** Tokens of a KV cache, in the order of the text. All arrays have `count` elements. */
export interface CachedTokens {
  readonly count: number;
  /** How many may stay. */
  readonly budget: number;
  /** Attention that each gets, the mean over layers and heads: `EvictByOptions.scores` says of which queries. */
  readonly scores: Float32Array<ArrayBuffer>;
  /** Where each is in the text. */
  readonly positions: Uint32Array<ArrayBuffer>;
  /** How many tokens have come since, itself included: 1 for the youngest. */
  readonly ages: Uint32Array<ArrayBuffer>;
}

/** Returns the indices of the tokens that stay: different ones, from 1 to `budget` of them. */
export type EvictFunction = (tokens: CachedTokens) => ArrayLike<number>;

/** What `evictBy` takes besides the function. */
export interface EvictByOptions {
  /** Tokens that stay, at most. */
  readonly budget: number;
  /** How many tokens come before the function is asked; 1 by default. */
  readonly every?: number | undefined;
  /**
   * Whose attention the scores are: all queries since a token came (`"sum"`, the default), the last query
   * (`"last"`), or `"none"`, which costs nothing and leaves zeros.
   */
  readonly scores?: "none" | "sum" | "last" | undefined;
}

/**
 * Lets a function say which tokens stay. The engine waits for it; it is called as a hook is, at once and
 * never twice at a time. Tokens that a cache policy keeps at full precision (`sinks`, `recent`) have to stay.
 * Keys keep the rotation of their place in the text.
 *
 * @param choose The function.
 * @param options How many tokens stay, and what the function is told.
 * @returns The policy, for `SessionOptions.evict`.
 *
 * @example
 * ```ts
 * import { evictBy, loadModel } from "./mod.ts";
 *
 * // Every second token of the older half goes.
 * const thin = evictBy(({ count, budget }) => {
 *   const all = Array.from({ length: count }, (_, i) => i);
 *   const older = all.slice(0, count - budget / 2).filter((i) => i % 2 === 0);
 *   return [...older.slice(-budget / 2), ...all.slice(count - budget / 2)];
 * }, { budget: 32, every: 16, scores: "none" });
 * using model = await loadModel("smollm2");
 * using session = model.session({ evict: thin });
 * await session.prefill("The lighthouse at the end of the world was dark, and nobody came to light it.");
 * console.log(session.kv.textPositions);
 * ```
 */
export function evictBy(choose: EvictFunction, options: EvictByOptions): EvictPolicy {
  checkFields(options, ["budget", "every", "scores"], "evictBy");
  const { budget, every, scores } = options;
  return {
    name: "script",
    choose,
    budget,
    ...(every !== undefined && { every }),
    ...(scores !== undefined && { scores }),
  };
}
