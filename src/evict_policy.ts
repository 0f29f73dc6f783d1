import type { EvictFunction } from "./evict_by.ts";

/**
 * Which tokens a KV cache of limited size keeps: what `slidingWindow`, `h2o`, `snapKv`, `tova` and `evictBy`
 * return, and `SessionOptions.evict` takes. Functions apart it is JSON.
 */
export interface EvictPolicy {
  readonly name: "sliding_window" | "h2o" | "snap_kv" | "tova" | "script";
  /** Tokens that stay, at most. */
  readonly budget: number;
  /** How many tokens come before the budget is held again; as many are evicted at once. */
  readonly every?: number | undefined;
  /** Tokens at the beginning that stay (`sliding_window`). */
  readonly sinks?: number | undefined;
  /** Youngest tokens that stay (`sliding_window`, `h2o`). */
  readonly recent?: number | undefined;
  /** Queries at the end of a prompt that decide (`snap_kv`). */
  readonly window?: number | undefined;
  /** Neighbours over which a score is pooled, itself included (`snap_kv`). */
  readonly pooling?: number | undefined;
  /** How keys are rotated (`sliding_window`). */
  readonly positions?: "cache" | "text" | undefined;
  /** Whose attention the scores are (`script`). */
  readonly scores?: "none" | "sum" | "last" | undefined;
  /** What decides (`script`). */
  readonly choose?: EvictFunction | undefined;
}
