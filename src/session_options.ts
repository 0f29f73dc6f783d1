import type { EvictPolicy } from "./evict_policy.ts";
import type { KvPolicy } from "./kv_policy.ts";

/** What a session is made with. Every field has a default; an unknown field is refused. */
export interface SessionOptions {
  /** Tokens that the session can hold; by default what the model was trained with, at most 4096. */
  readonly context?: number | undefined;
  /** The formats in which keys and values are kept; `"f16"` by default. */
  readonly kv?: KvPolicy | undefined;
  /** Tokens that one piece of a prefill takes; by default the engine chooses. It changes no result. */
  readonly chunk?: number | undefined;
  /**
   * What happens when the context is full. By default that ends the generation. With a shift, the
   * first `keep` tokens stay and the older half of the others is dropped.
   */
  readonly shift?: {
    /** Tokens at the beginning that are never dropped. */
    readonly keep: number;
  } | undefined;
  /**
   * Which tokens the cache keeps when it would hold more than a budget: `slidingWindow`, `h2o`, `snapKv`,
   * `tova` or `evictBy`. All but `snapKv` let a generation go on for ever, and the context is then as long
   * as it must be unless it is said. docs/eviction.md tells what such a session can do.
   */
  readonly evict?: EvictPolicy | undefined;
}
