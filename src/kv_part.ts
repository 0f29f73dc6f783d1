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
 * rotation (taken back, unless they are stored so), or as it lies in memory.
 */
export type KvView = "decoded" | "unrotated" | "raw";

/** What is stored of keys or values, position by position. */
export interface KvRaw {
  /**
   * [heads][positions][values of a head]: the bits of f16, bf16 and 8-bit floats, the integers of
   * `q8_0` and `int8`, the numbers of `f32`. Codes of 4 and 5 bits come one a byte: those of `q4_0` and `q5_0` mean
   * their number less 8 and 16, those of `q4_1` and `q5_1` their number, those of `iq4_nl` the level
   * -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89 or 113, those of `mxfp4` and
   * `nvfp4` 0, 0.5, 1, 1.5, 2, 3, 4 or 6, from 8 on with a minus, those of `int8_channel`, `int4` and `int2` their
   * number, less 128, 8 or 2 where they are symmetric. A value is that times its scale, plus its minimum.
   */
  readonly codes:
    | Float32Array<ArrayBuffer>
    | Uint16Array<ArrayBuffer>
    | Uint8Array<ArrayBuffer>
    | Int8Array<ArrayBuffer>;
  /**
   * The bits of the f16 scales: [heads][positions][values of a head / 32], of `int8` one a position, of keys
   * of `int8_channel`, `int4` and `int2` [heads][positions / group][values of a head], of their values
   * [heads][positions][values of a head / group]; empty without scales. Positions of such keys are multiples of the
   * group. Those of `mxfp4` are bytes, exponents of two plus 127; those of `nvfp4` too, the
   * bits of positive e4m3 floats, for 16 values each.
   */
  readonly scales: Uint16Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
  /**
   * The bits of the f16 minimums of `q4_1`, `q5_1` and, unless they are symmetric, `int8_channel`, `int4` and
   * `int2`, as many as scales; otherwise empty.
   */
  readonly minimums: Uint16Array<ArrayBuffer>;
  /**
   * Values that are kept beside the codes, which stand for the middle there: a place and the bits of an f16 each,
   * [heads][positions / group][…][2] of keys, where the place is that in [group][values of a head], and
   * [heads][positions][…][2] of values; otherwise empty.
   */
  readonly outliers: Uint16Array<ArrayBuffer>;
}
