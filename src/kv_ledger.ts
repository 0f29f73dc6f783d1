/**
 * Where the bytes of a KV cache are, as `KvCache.ledger` reports them. All figures are bytes but the
 * bits; payload, scales, tokens at full precision, slack and free add up to `bytes`, of the cache and of each layer.
 */
export interface KvLedger extends KvBytes {
  /**
   * Of the bytes in use, those in pages that forks hold too. They are a part of the other figures, and
   * count in the ledger of each fork.
   */
  readonly shared: number;
  /** Bits that one value of a key takes, its part of the scale included; the mean over all heads. */
  readonly keyBits: number;
  /** Bits that one value of a value takes, its part of the scale included; the mean over all heads. */
  readonly valueBits: number;
  /** The same of each layer. */
  readonly layers: readonly KvBytes[];
}

/** Bytes of a KV cache or of one layer of it, by what they are for. */
export interface KvBytes {
  /** All of them: what is set aside. */
  readonly bytes: number;
  /** Keys of the tokens that are there, without scales and minimums. */
  readonly keyPayload: number;
  /** Scales, minimums and outliers of those keys. */
  readonly keyScales: number;
  /** Values of the tokens that are there, without scales and minimums. */
  readonly valuePayload: number;
  /** Scales, minimums and outliers of those values. */
  readonly valueScales: number;
  /**
   * Tokens that are at full precision too, beside their place; 0 where the policy has none. Those that left the
   * window lately are among them: attention doesn't read them there any more, but their pages are still in use.
   */
  readonly exact: number;
  /** Room for further tokens in pages that are in use. */
  readonly pageSlack: number;
  /** Pages that are not in use yet; they take no memory before they are. */
  readonly free: number;
}
