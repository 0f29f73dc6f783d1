/**
 * What keys and values take in memory.
 *
 * @module
 */
import { type KvFormat, kvGroupFormats } from "../kv_format.ts";

/** Tokens in a page of the cache. */
export const pageLength = 64;

/** How a format stores the values of a head. */
export interface KvFormatLayout {
  /** Bits of one value without its scale. */
  readonly codeBits: number;
  /** Heads are multiples of it; 1 without scales. */
  readonly unit: number;
  /** Values that share a scale. */
  readonly scaleLength: number;
  /** Whether all values of a head share one scale instead. */
  readonly perHead: boolean;
  /** Bytes of one scale. */
  readonly scaleBytes: number;
  /** Bytes of the minimum beside it. */
  readonly minimumBytes: number;
}

const none = { perHead: false, minimumBytes: 0 };
const floats = (codeBits: number) => ({
  ...none,
  codeBits,
  unit: 1,
  scaleLength: 1,
  scaleBytes: 0,
});
const scaled = (codeBits: number) => (
  { ...none, codeBits, unit: 32, scaleLength: 32, scaleBytes: 2 }
);
const lifted = (codeBits: number) => ({ ...scaled(codeBits), minimumBytes: 2 });

/** The layout of each format. */
export const kvLayouts: Readonly<Record<KvFormat, KvFormatLayout>> = {
  f32: floats(32),
  f16: floats(16),
  bf16: floats(16),
  q8_0: scaled(8),
  int8: { ...scaled(8), perHead: true },
  f8_e4m3: floats(8),
  f8_e5m2: floats(8),
  q5_1: lifted(5),
  q5_0: scaled(5),
  q4_1: lifted(4),
  q4_0: scaled(4),
  iq4_nl: scaled(4),
  nvfp4: { ...scaled(4), scaleLength: 16, scaleBytes: 1 },
  mxfp4: { ...scaled(4), scaleBytes: 1 },
  int4: lifted(4),
  int2: lifted(2),
};

/** Tokens of a channel of keys that are rounded together, where a format does so. */
export const channelGroup = 32;

/** Whether keys in the format are rounded in groups of tokens. */
export function inGroups(format: KvFormat): boolean {
  return (kvGroupFormats as readonly string[]).includes(format);
}

/** Scales of a head of so many values. */
export function kvScales(format: KvFormat, length: number): number {
  const { scaleLength, perHead } = kvLayouts[format];
  return perHead ? 1 : length / scaleLength;
}

/** Bytes of scales and minimums of a head of so many values. */
export function kvTermBytes(format: KvFormat, length: number): number {
  const { scaleBytes, minimumBytes } = kvLayouts[format];
  return kvScales(format, length) * (scaleBytes + minimumBytes);
}

/** Bits of one value of such a head, its part of the scale and the minimum included. */
export function kvBits(format: KvFormat, length: number): number {
  return kvLayouts[format].codeBits + 8 * kvTermBytes(format, length) / length;
}
