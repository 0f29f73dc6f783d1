/**
 * What keys and values take in memory.
 *
 * @module
 */
import type { KvFormat } from "../kv_format.ts";

/** Tokens in a page of the cache. */
export const pageLength = 64;

/** How a format stores the values of a head. */
export interface KvFormatLayout {
  /** Bytes of one value without its scale. */
  readonly codeBytes: number;
  /** Values that share a scale: heads are multiples of it; 1 without scales. */
  readonly unit: number;
  /** Bytes of the scale of one unit. */
  readonly scaleBytes: number;
}

/** The layout of each format. */
export const kvLayouts: Readonly<Record<KvFormat, KvFormatLayout>> = {
  f32: { codeBytes: 4, unit: 1, scaleBytes: 0 },
  f16: { codeBytes: 2, unit: 1, scaleBytes: 0 },
  bf16: { codeBytes: 2, unit: 1, scaleBytes: 0 },
  q8_0: { codeBytes: 1, unit: 32, scaleBytes: 2 },
  f8_e4m3: { codeBytes: 1, unit: 1, scaleBytes: 0 },
  f8_e5m2: { codeBytes: 1, unit: 1, scaleBytes: 0 },
};

/** Bits of one value, its part of the scale included. */
export function kvBits(format: KvFormat): number {
  const { codeBytes, unit, scaleBytes } = kvLayouts[format];
  return 8 * (codeBytes + scaleBytes / unit);
}
