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
  int8_channel: lifted(8),
  int4: lifted(4),
  int2: lifted(2),
};

/** How one side of a head is stored. */
export interface KvHead {
  readonly which: "key" | "value";
  readonly format: KvFormat;
  readonly rotate: boolean;
  /** Of keys. */
  readonly beforeRope: boolean;
  /** Of formats in groups. */
  readonly symmetric: boolean;
  readonly group: number;
  readonly outliers: number;
}

/** The fewest values that share a scale in formats in groups: what the engine and files mean where they name none. */
export const groupMin = 32;
/** More that share one where nothing else is said, if heads are multiples of them. */
export const groupWanted: Readonly<Partial<Record<KvFormat, number>>> = { int8_channel: 64 };
/** Most tokens of a channel of keys that do: a page. */
export const keyGroupMax = pageLength;
/** Bytes of an outlier: a place and a value. */
export const outlierBytes = 4;

/** A head of which only the format is known: one without groups. */
export function headOf(given: KvFormat | KvHead): KvHead {
  if (typeof given !== "string") return given;
  const usual = {
    rotate: false,
    beforeRope: false,
    symmetric: false,
    group: groupMin,
    outliers: 0,
  };
  return { which: "value", format: given, ...usual };
}

/** Values that share a scale in formats in groups, in heads of so many, where nothing else is said. */
export function groupUsual(format: KvFormat, length: number): number {
  const wanted = groupWanted[format] ?? groupMin;
  return length % wanted === 0 ? wanted : groupMin;
}

/** How many tokens' keys are rounded together; 1 where each token is by itself. */
export function keyGroup(given: KvFormat | KvHead): number {
  const { format, group } = headOf(given);
  return inGroups(format) ? group : 1;
}

/** Outliers of a group of tokens of keys of a head of so many values, or of a token's values. */
export function outlierCount({ which, group, outliers }: KvHead, length: number): number {
  const tokens = which === "key" ? group : 1;
  const wanted = Math.ceil(Math.round(outliers * 1000) * tokens * length / 1000);
  // Each token has as many bytes of them.
  const whole = Math.max(1, tokens / outlierBytes);
  return Math.ceil(wanted / whole) * whole;
}

/** Whether keys in the format are rounded in groups of tokens. */
export function inGroups(format: KvFormat): boolean {
  return (kvGroupFormats as readonly string[]).includes(format);
}

/** Scales of a head of so many values. */
export function kvScales(given: KvFormat | KvHead, length: number): number {
  const { format, group } = headOf(given);
  const { scaleLength, perHead } = kvLayouts[format];
  if (inGroups(format)) return length / group;
  return perHead ? 1 : length / scaleLength;
}

/** Bytes of the minimum beside each scale. */
export function kvMinimumBytes(given: KvFormat | KvHead): number {
  const { format, symmetric } = headOf(given);
  return symmetric ? 0 : kvLayouts[format].minimumBytes;
}

/** Bytes of scales, minimums and outliers of a head of so many values. */
export function kvTermBytes(given: KvFormat | KvHead, length: number): number {
  const head = headOf(given);
  const { scaleBytes } = kvLayouts[head.format];
  const tokens = head.which === "key" ? head.group : 1;
  return kvScales(head, length) * (scaleBytes + kvMinimumBytes(head)) +
    outlierCount(head, length) / tokens * outlierBytes;
}

/** Bits of one value of such a head, its part of scale, minimum and outliers included. */
export function kvBits(given: KvFormat | KvHead, length: number): number {
  return kvLayouts[headOf(given).format].codeBits + 8 * kvTermBytes(given, length) / length;
}
