/**
 * Applies a `KvScheme` to the values of one head.
 *
 * @module
 */
import type { KvBlock, KvScheme } from "../kv_simulation.ts";

/** A scheme with its defaults. */
export type Scheme =
  & { readonly [Name in Exclude<keyof KvScheme, "levels">]-?: NonNullable<KvScheme[Name]> }
  & Pick<KvScheme, "levels">;

/** The part of a block that groups depend on. */
type Extent = Pick<KvBlock, "position" | "rows" | "length">;

/** Values of one group: every `step`th from `first` on. */
interface Group {
  readonly first: number;
  readonly step: number;
  readonly count: number;
}

/** Bits that one value takes, its part of scales, minima and outliers (a number and a place) included. */
export function schemeBits({ bits, group, symmetric, scale, outliers }: Scheme): number {
  return bits + (symmetric ? 1 : 2) * (scale === "f16" ? 16 : 32) / group + outliers * 32;
}

/** Rounds [rows][length] values in place. */
export function quantise(values: Float32Array, extent: Extent, scheme: Scheme): void {
  const kept = Math.min(extent.rows, Math.max(0, scheme.sinks - extent.position));
  const { length } = extent;
  const part = values.subarray(kept * length);
  const block = { position: extent.position + kept, rows: extent.rows - kept, length };
  if (scheme.rotate) hadamard(part, length);
  const groups = [...groupsOf(block, scheme)];
  const outliers = outliersOf(part, groups, scheme.outliers);
  const exact = outliers.map((at) => part[at] as number);
  const inner = new Uint8Array(part.length).fill(1);
  for (const at of outliers) inner[at] = 0;
  for (const group of groups) roundGroup(part, group, inner, scheme);
  for (const [i, at] of outliers.entries()) part[at] = exact[i] as number;
  if (scheme.rotate) hadamard(part, length);
}

/** A value as a share of its group's range, from -1 to 1, and what its square error counts. */
export interface Share {
  readonly share: number;
  readonly weight: number;
}

/** What levels are fitted to. */
export function normalised(values: Float32Array, extent: Extent, scheme: Scheme): Share[] {
  const part = values.slice();
  if (scheme.rotate) hadamard(part, extent.length);
  const inner = new Uint8Array(part.length).fill(1);
  const groups = [...groupsOf(extent, scheme)];
  for (const at of outliersOf(part, groups, scheme.outliers)) inner[at] = 0;
  return groups.flatMap((group) => {
    const { middle, half } = rangeOf(part, group, inner, scheme.symmetric);
    return places(group).filter((at) => inner[at] === 1 && half > 0)
      .map((at) => ({ share: ((part[at] as number) - middle) / half, weight: half ** 2 }));
  });
}

function* groupsOf({ position, rows, length }: Extent, { axis, group }: Scheme): Generator<Group> {
  if (axis === "token") {
    for (let row = 0; row < rows; row++) {
      for (let from = 0; from < length; from += group) {
        yield { first: row * length + from, step: 1, count: Math.min(group, length - from) };
      }
    }
    return;
  }
  for (let from = 0; from < rows;) {
    const count = Math.min(group - (position + from) % group, rows - from);
    for (let channel = 0; channel < length; channel++) {
      yield { first: from * length + channel, step: length, count };
    }
    from += count;
  }
}

function places({ first, step, count }: Group): number[] {
  return Array.from({ length: count }, (_, i) => first + i * step);
}

/** Where the values are that are furthest from the middle of their groups. */
function outliersOf(values: Float32Array, groups: readonly Group[], share: number): number[] {
  const wanted = Math.round(share * values.length);
  if (wanted === 0) return [];
  const distance = new Float64Array(values.length);
  for (const group of groups) {
    const own = places(group);
    const mean = own.reduce((sum, at) => sum + (values[at] as number), 0) / own.length;
    const square = own.reduce((sum, at) => sum + ((values[at] as number) - mean) ** 2, 0);
    const deviation = Math.sqrt(square / own.length) || 1;
    for (const at of own) distance[at] = Math.abs((values[at] as number) - mean) / deviation;
  }
  return Array.from(distance.keys())
    .sort((a, b) => (distance[b] as number) - (distance[a] as number) || a - b)
    .slice(0, wanted);
}

function rangeOf(
  values: Float32Array,
  { first, step, count }: Group,
  inner: Uint8Array,
  symmetric: boolean,
): { low: number; high: number; middle: number; half: number } {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < count; i++) {
    const at = first + i * step;
    if (inner[at] === 0) continue;
    low = Math.min(low, values[at] as number);
    high = Math.max(high, values[at] as number);
  }
  if (low > high) [low, high] = [0, 0];
  if (symmetric) {
    high = Math.max(Math.abs(low), Math.abs(high));
    low = -high;
  }
  return { low, high, middle: (low + high) / 2, half: (high - low) / 2 };
}

function roundGroup(
  values: Float32Array,
  group: Group,
  inner: Uint8Array,
  { bits, symmetric, levels, scale }: Scheme,
): void {
  const stored = scale === "f16" ? Math.f16round : Math.fround;
  const range = rangeOf(values, group, inner, symmetric);
  let round: (x: number) => number;
  if (levels !== undefined) {
    const [middle, half] = [stored(range.middle), stored(range.half)];
    round = (x) => middle + half * nearestOf(levels, half === 0 ? 0 : (x - middle) / half);
  } else if (symmetric) {
    const most = 2 ** (bits - 1) - 1;
    const step = stored(range.high / most);
    round = (x) => step === 0 ? 0 : step * clamp(Math.round(x / step), -most, most);
  } else {
    const most = 2 ** bits - 1;
    const [low, step] = [stored(range.low), stored((range.high - range.low) / most)];
    round = (x) => step === 0 ? low : low + step * clamp(Math.round((x - low) / step), 0, most);
  }
  for (let i = 0; i < group.count; i++) {
    const at = group.first + i * group.step;
    values[at] = round(values[at] as number);
  }
}

function clamp(x: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, x));
}

function nearestOf(levels: readonly number[], x: number): number {
  return levels.reduce((best, level) => Math.abs(level - x) < Math.abs(best - x) ? level : best);
}

/**
 * Multiplies each row with the Hadamard matrix over the root of its size: its own inverse. It rounds as the
 * engine does.
 */
export function hadamard(values: Float32Array, length: number): void {
  const factor = Math.fround(1 / Math.fround(Math.sqrt(length)));
  for (let row = 0; row < values.length; row += length) {
    for (let half = 1; half < length; half *= 2) {
      for (let from = row; from < row + length; from += 2 * half) {
        for (let i = from; i < from + half; i++) {
          const [a, b] = [values[i] as number, values[i + half] as number];
          values[i] = a + b;
          values[i + half] = a - b;
        }
      }
    }
    for (let i = row; i < row + length; i++) values[i] = (values[i] as number) * factor;
  }
}
