/** What a pool has and who holds it, as `KvPool.stats` reports it. `used` and `free` add up to `pages`. */
export interface KvPoolStats {
  /** Tokens in a page. */
  readonly pageLength: number;
  /** Keys and values of a page, of all layers and heads, in bytes. */
  readonly pageBytes: number;
  readonly pages: number;
  /** Pages that sequences hold. */
  readonly used: number;
  /** Those of them that several hold: forks, and sessions whose tokens begin alike. */
  readonly shared: number;
  /** Pages that nobody holds. */
  readonly free: number;
  /** Those of them that are kept for their content until somebody needs a page. */
  readonly kept: number;
  /** Sequences that hold pages. */
  readonly sequences: number;
  /** Pages that a session took for their content instead of computing them, since the pool was made. */
  readonly hits: number;
  /** Free pages whose content was given up. */
  readonly evicted: number;
}
