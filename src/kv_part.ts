/** Which keys or values `KvCache.read` copies. */
export interface KvPart {
  /** Keys or values. */
  readonly which: "key" | "value";
  /** From 0. */
  readonly layer: number;
  /** KV head, from 0; without it all heads, one after the other. */
  readonly head?: number | undefined;
  /** First position; 0 by default. */
  readonly from?: number | undefined;
  /** Behind the last position; by default all that have keys and values. */
  readonly to?: number | undefined;
}

/**
 * How `KvCache.read` shows what is stored: as the numbers that attention reads, as keys before their
 * rotation, or as it lies in memory.
 */
export type KvView = "decoded" | "unrotated" | "raw";

/** What is stored of keys or values, position by position. */
export interface KvRaw {
  /**
   * [heads][positions][values of a head]: the bits of f16, bf16 and 8-bit floats, the integers of
   * `q8_0`, the numbers of `f32`.
   */
  readonly codes:
    | Float32Array<ArrayBuffer>
    | Uint16Array<ArrayBuffer>
    | Uint8Array<ArrayBuffer>
    | Int8Array<ArrayBuffer>;
  /** The bits of the f16 scales: [heads][positions][values of a head / 32]; empty without scales. */
  readonly scales: Uint16Array<ArrayBuffer>;
}
