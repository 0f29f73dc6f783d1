import type { KvPolicy } from "./kv_policy.ts";

/** What a pool is made with: its size as `pages` or as `bytes`. An unknown field is refused. */
export interface KvPoolOptions {
  /** Pages of 64 tokens. */
  readonly pages?: number | undefined;
  /** Memory in bytes; the pool has as many whole pages as fit. */
  readonly bytes?: number | undefined;
  /** The formats in which keys and values of all its sessions are kept; `"f16"` by default. */
  readonly kv?: KvPolicy | undefined;
  /**
   * What happens to a request that needs a page when there is none. `"error"`, the default: it fails with
   * `"pool-full"`; while it read its prompt the session goes back to where it was, and what it has
   * generated stays. `"wait"`: it waits until pages come free, because others are truncated or disposed of;
   * when all who hold pages wait for more, the one that came last fails. `"evict"`: it gets pages of the
   * idle session that was used longest ago, whose next request computes them again; when no one is idle, the
   * request that came last waits for the others, and is then computed again. Sessions whose pages don't
   * follow from their tokens alone keep theirs: those with hooks, and those that evict tokens.
   */
  readonly whenFull?: "error" | "wait" | "evict" | undefined;
}
