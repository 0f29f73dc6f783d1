/**
 * How far rows of keys or values are from others, in columns.
 *
 * @module
 */
import type { KvDiff } from "../diff_kv.ts";

/** One head's keys or values, and how long a row is. */
export interface KvPair {
  readonly layer: number;
  readonly head: number;
  readonly which: "key" | "value";
  /** [positions][length]. */
  readonly expected: Float32Array<ArrayBuffer>;
  /** The same positions. */
  readonly found: Float32Array<ArrayBuffer>;
  readonly length: number;
}

/** Room for so many rows of a table; `put` fills one. */
export class KvDiffTable {
  readonly #columns: Pick<KvDiff, typeof columnNames[number]>;
  #rows = 0;

  constructor(rows: number) {
    this.#columns = {
      layer: new Uint32Array(rows),
      head: new Uint32Array(rows),
      which: new Uint8Array(rows),
      maxError: new Float64Array(rows),
      meanSquare: new Float64Array(rows),
      relative: new Float64Array(rows),
      cosine: new Float64Array(rows),
      worst: new Uint32Array(rows),
      equal: new Uint8Array(rows),
    };
  }

  /** Adds a row; `positions` are those of the rows of the pair. */
  put(pair: KvPair, positions: Uint32Array): void {
    const { layer, head, which } = pair;
    const row = { layer, head, which: which === "key" ? 0 : 1, ...differenceOf(pair, positions) };
    for (const name of columnNames) this.#columns[name][this.#rows] = row[name];
    this.#rows++;
  }

  /** The columns, once all rows are there. */
  get columns(): Pick<KvDiff, typeof columnNames[number]> {
    return this.#columns;
  }
}

const columnNames = [
  ...["layer", "head", "which", "maxError", "meanSquare", "relative", "cosine"] as const,
  ...["worst", "equal"] as const,
] as const;

/**
 * Chosen rows of a head, in rising order; `read` gives those from one on up to, without it, another. Where
 * nothing was evicted they follow each other.
 */
export function chosenRows(
  rows: readonly number[],
  length: number,
  read: (from: number, to: number) => Float32Array<ArrayBuffer>,
): Float32Array<ArrayBuffer> {
  const [first, last] = [rows[0] as number, rows.at(-1) as number];
  const all = read(first, last + 1);
  if (rows.length === last + 1 - first) return all;
  const chosen = new Float32Array(rows.length * length);
  for (const [i, row] of rows.entries()) {
    chosen.set(all.subarray((row - first) * length, (row - first + 1) * length), i * length);
  }
  return chosen;
}

/** The bits of numbers. */
function bitsOf(values: Float32Array<ArrayBuffer>): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

function differenceOf({ expected, found, length }: KvPair, positions: Uint32Array) {
  const [expectedBits, foundBits] = [bitsOf(expected), bitsOf(found)];
  let [maxError, worst, equal] = [0, positions[0] as number, 1];
  let [squares, product, expectedSize, foundSize] = [0, 0, 0, 0];
  for (let i = 0; i < expected.length; i++) {
    const [a, b] = [expected[i] as number, found[i] as number];
    const same = expectedBits[i] === foundBits[i];
    if (!same) equal = 0;
    // What has the same bits is no error, infinite or not; what is no number beside one that is, is the worst.
    const distance = same ? 0 : Math.abs(a - b);
    const error = Number.isNaN(distance) ? Infinity : distance;
    squares += error * error;
    product += a * b;
    expectedSize += a * a;
    foundSize += b * b;
    if (error > maxError) {
      maxError = error;
      worst = positions[Math.floor(i / length)] as number;
    }
  }
  return {
    maxError,
    meanSquare: squares / expected.length,
    relative: squares === 0 ? 0 : Math.sqrt(squares / expectedSize),
    // Two rows of zeros point the same way as much as any.
    cosine: expectedSize === 0 && foundSize === 0
      ? 1
      : product / Math.sqrt(expectedSize * foundSize),
    worst,
    equal,
  };
}
