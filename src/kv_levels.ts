import { checkScheme } from "./internal/kv_simulation.ts";
import { checkFields, checkInteger, found } from "./internal/check.ts";
import { normalised } from "./internal/quantise.ts";
import type { KvScheme } from "./kv_simulation.ts";

/** Rows of one head, as `KvCache.read` gives them. */
export interface KvSample {
  /** [rows][length]. */
  readonly values: Float32Array;
  /** Values of a row. */
  readonly length: number;
}

/**
 * Finds levels for a scheme: those with which the given values have the least square error, each taken
 * as a share of its group's range (k-means in one dimension: Lloyd 1982, "Least squares quantization in
 * PCM").
 *
 * @param samples Keys or values like those that will be quantised.
 * @param scheme The scheme that the levels are for.
 * @returns 2^bits levels from -1 to 1, rising.
 *
 * @example
 * ```ts
 * import { kvLevels, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128, kv: { key: "f32" } });
 * await session.prefill("The lighthouse at the end of the world");
 * const values = session.kv.read({ which: "key", layer: 1, head: 0, view: "unrotated" });
 * const scheme = { bits: 3, axis: "channel", beforeRope: true } as const;
 * const levels = kvLevels([{ values, length: values.length / session.position }], scheme);
 * console.log(levels);
 * using _simulation = session.simulateKv({ key: { ...scheme, levels } });
 * ```
 */
export function kvLevels(samples: readonly KvSample[], scheme: KvScheme): number[] {
  const checked = checkScheme(scheme, "scheme");
  if (!Array.isArray(samples) || samples.length === 0) {
    throw new TypeError(`Expected samples of values, but found ${found(samples)}`);
  }
  const all = samples.flatMap(({ values, length, ...rest }, i) => {
    checkFields(rest, [], `samples[${i}]`);
    checkInteger(length, 1, 1 << 20, `samples[${i}].length`);
    if (!(values instanceof Float32Array) || values.length % length !== 0) {
      throw new RangeError(
        `Expected samples[${i}].values to be whole rows of ${length} values, but found ${
          found(values)
        } of ${values?.length}`,
      );
    }
    return normalised(values, { position: 0, rows: values.length / length, length }, checked);
  });
  all.sort((a, b) => a.share - b.share);
  const sorted = Float64Array.from(all, ({ share }) => share);
  const [sums, masses] = [new Float64Array(all.length + 1), new Float64Array(all.length + 1)];
  for (const [i, { share, weight }] of all.entries()) {
    sums[i + 1] = (sums[i] as number) + weight * share;
    masses[i + 1] = (masses[i] as number) + weight;
  }
  const count = 2 ** checked.bits;
  let levels = Array.from({ length: count }, (_, i) => -1 + 2 * i / Math.max(1, count - 1));
  for (let turn = 0; turn < turns; turn++) {
    let from = 0;
    levels = levels.map((level, i) => {
      // Values up to half the way to the next level are nearest to this one.
      const border = i + 1 < count ? (level + (levels[i + 1] as number)) / 2 : Infinity;
      const to = firstAbove(sorted, border);
      const mass = (masses[to] as number) - (masses[from] as number);
      const sum = (sums[to] as number) - (sums[from] as number);
      from = to;
      return mass > 0 ? sum / mass : level;
    });
  }
  return levels;
}

/** More than it takes until levels stand still. */
const turns = 100;

function firstAbove(sorted: Float64Array, border: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) <= border) low = middle + 1;
    else high = middle;
  }
  return low;
}
