/** Pages of a session's KV cache, as `KvCache.pages` reports them. */
export interface KvPages {
  /** Tokens in a page. */
  readonly length: number;
  /** Keys and values of a page, of all layers and heads, in bytes. */
  readonly bytes: number;
  /** Pages that the session may come to have. */
  readonly max: number;
  /** Pages that hold tokens of the session. */
  readonly used: number;
  /** Those of them that forks hold too. */
  readonly shared: number;
  /** The same of the pages of tokens that are kept at full precision too. */
  readonly exact: { readonly max: number; readonly used: number; readonly shared: number };
}
