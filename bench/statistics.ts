/**
 * What rounds of a measurement come to.
 *
 * @module
 */

/** Median, least and most of some rounds. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly rounds: number;
}

/** The spread of at least one value. */
export function spread(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError("Expected at least one round, but found none");
  const sorted = values.toSorted((a, b) => a - b);
  const at = (i: number) => sorted[i] as number;
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
  return { median, min: at(0), max: at(sorted.length - 1), rounds: sorted.length };
}

/** How many a second, when each of some times is that of `count` things. */
export function perSecond(milliseconds: readonly number[], count: number): number[] {
  return milliseconds.map((ms) => count / ms * 1000);
}

/** The spread of these rates. */
export function rates(milliseconds: readonly number[], count: number): Spread {
  return spread(perSecond(milliseconds, count));
}

/** An engine that answers differently in each round has a fault; one value is what all rounds say. */
export function sameInAll(values: readonly number[], what: string): number {
  const different = new Set(values);
  if (different.size !== 1) {
    throw new Error(`Expected ${what} in each round, but found ${different.size} answers`);
  }
  return values[0] as number;
}
