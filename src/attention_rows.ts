/** How much attention queries of one layer pay to each position. `KvCache.attention` makes it. */
export interface AttentionRows {
  readonly layer: number;
  /** Position of the first query. */
  readonly position: number;
  /** Queries, at positions that follow each other. */
  readonly rows: number;
  /** The first query head, and how many there are. */
  readonly head: number;
  readonly heads: number;
  /** Positions of a row: as many as the last query sees. */
  readonly positions: number;
  /** [rows][heads][positions]: each row adds up to 1, and is 0 where its query doesn't look. */
  readonly weights: Float32Array<ArrayBuffer>;
}

/** Which queries `KvCache.attention` looks at. */
export interface AttentionOptions {
  /** Query head, from 0; all without it. */
  readonly head?: number | undefined;
  /** Position of the first query; by default the first that the activation has. */
  readonly from?: number | undefined;
  /** Behind the last one; by default all that the activation has. */
  readonly to?: number | undefined;
}
