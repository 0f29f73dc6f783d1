import {
  checkChoice,
  checkFields,
  checkFunction,
  checkInteger,
  checkNumber,
  found,
} from "../internal/check.ts";
import { checkSeed } from "../internal/generation_settings.ts";
import { normalCdf, normalQuantile } from "../internal/normal.ts";
import { keyedUniform, seedWords } from "../uniform.ts";

/** How `bootstrapInterval` is computed. */
export interface BootstrapOptions<T> {
  /**
   * What is estimated from a sample; by default the mean of numbers. It is called once for each
   * resample, and must not depend on the order of the values.
   */
  readonly statistic?: ((sample: readonly T[]) => number) | undefined;
  /** Probability that the interval is to cover, between 0 and 1; 0.95 by default. */
  readonly confidence?: number | undefined;
  /** How often values are drawn anew, from 1; 2000 by default. */
  readonly resamples?: number | undefined;
  /** Bias-corrected and accelerated, the default, or plain percentiles. */
  readonly method?: "bca" | "percentile" | undefined;
  /** Seed of the random numbers, 0 by default. */
  readonly seed?: number | bigint | undefined;
}

/** An estimate, and where it lies. */
export interface BootstrapInterval {
  /** The statistic of the values themselves. */
  readonly value: number;
  /** Lower end of the confidence interval. */
  readonly low: number;
  /** Upper end. */
  readonly high: number;
  /** Standard deviation of the statistic over the resamples. */
  readonly standardError: number;
  /**
   * How the ends were found: `"percentile"` also where the correction isn't defined, because all
   * resamples lie on one side of the value or no value matters.
   */
  readonly method: "bca" | "percentile";
}

/**
 * A confidence interval by bootstrap: the statistic is computed of many samples of the same size,
 * drawn from the values with replacement (Efron 1979). By default the percentiles are corrected for
 * bias and for a deviation that depends on the value (BCa: Efron 1987, "Better Bootstrap Confidence
 * Intervals"; ties count half).
 *
 * Values are what was drawn independently. Several texts after one prompt are not: give one value
 * for each prompt. Statistics that count what is different, such as `distinctN` of all texts together,
 * are lower in every resample, as it has some values twice; take one of each group instead.
 *
 * Value i of resample r is the one at index floor(n · `uniform({ seed, sequence: r, position: i,
 * draw: 0xffff_ffff })`), so that the same seed gives the same interval everywhere.
 *
 * @param values At least two, of any kind that the statistic takes.
 * @param options The statistic, and how sure the interval shall be.
 * @throws {RangeError} When there are fewer than two values, or the statistic gives no finite number.
 *
 * @example
 * ```ts
 * import { bootstrapInterval } from "./mod.ts";
 *
 * console.log(bootstrapInterval([3.1, 2.9, 4.5, 3.3, 3.8, 2.7])); // the mean, 3.38, and its interval
 * const pairs = [[1, 2], [2, 5], [3, 5], [4, 9], [5, 11]] as const;
 * const statistic = (sample: readonly (readonly [number, number])[]) =>
 *   sample.reduce((sum, [, y]) => sum + y, 0) / sample.reduce((sum, [x]) => sum + x, 0);
 * console.log(bootstrapInterval(pairs, { statistic, confidence: 0.9, method: "percentile" }));
 * ```
 */
export function bootstrapInterval<T = number>(
  values: readonly T[],
  options: BootstrapOptions<T> = {},
): BootstrapInterval {
  checkFields(options, fields, "bootstrapInterval");
  checkFunction(options.statistic, "statistic");
  if (!Array.isArray(values)) {
    throw new TypeError(`Expected values to be an array, but found ${found(values)}`);
  }
  if (values.length < 2) {
    throw new RangeError(`Expected at least 2 values, but found ${values.length}`);
  }
  const confidence = checkNumber(
    options.confidence ?? 0.95,
    (value) => value > 0 && value < 1,
    "between 0 and 1",
    "confidence",
  );
  const resamples = checkInteger(options.resamples ?? 2000, 1, 1 << 24, "resamples");
  const wanted = checkChoice(options.method, ["bca", "percentile"], "method") ?? "bca";
  const seed = checkSeed(options.seed ?? 0);
  const statistic = options.statistic ?? (meanOf as unknown as (sample: readonly T[]) => number);
  const estimate = (sample: readonly T[]) =>
    checkNumber(statistic(sample), () => true, "finite", "the statistic");

  const value = estimate(values);
  const drawn = new Float64Array(resamples);
  const words = seedWords(seed);
  for (let r = 0; r < resamples; r++) {
    drawn[r] = estimate(values.map((_, i) => {
      const u = keyedUniform(words, i, r, 0xffff_ffff);
      return values[Math.floor(values.length * u)] as T;
    }));
  }
  drawn.sort();
  const tail = (1 - confidence) / 2;
  const levels = wanted === "bca" ? bcaLevels(values, value, drawn, tail, estimate) : undefined;
  const [low, high] = levels ?? [tail, 1 - tail];
  return {
    value,
    low: quantileOf(drawn, low),
    high: quantileOf(drawn, high),
    standardError: deviationOf(drawn),
    method: levels === undefined ? "percentile" : "bca",
  };
}

const fields = ["statistic", "confidence", "resamples", "method", "seed"];

function meanOf(sample: readonly unknown[]): number {
  let sum = 0;
  for (const value of sample) {
    sum += checkNumber(value, () => true, "finite", "each value, without a statistic of your own,");
  }
  return sum / sample.length;
}

/** The probabilities of the interval's ends among the resamples; nothing where they aren't defined. */
function bcaLevels<T>(
  values: readonly T[],
  value: number,
  drawn: Float64Array,
  tail: number,
  estimate: (sample: readonly T[]) => number,
): [number, number] | undefined {
  let below = 0;
  for (const found of drawn) below += found < value ? 1 : found === value ? 0.5 : 0;
  const bias = normalQuantile(below / drawn.length);
  // The jackknife tells how the deviation depends on the value.
  const without = values.map((_, i) => estimate(values.toSpliced(i, 1)));
  const mean = without.reduce((sum, found) => sum + found, 0) / without.length;
  let [squares, cubes] = [0, 0];
  for (const found of without) {
    squares += (mean - found) ** 2;
    cubes += (mean - found) ** 3;
  }
  const acceleration = cubes / (6 * squares ** 1.5);
  if (!Number.isFinite(bias) || !Number.isFinite(acceleration)) return undefined;
  const level = (probability: number) => {
    const z = bias + normalQuantile(probability);
    return normalCdf(bias + z / (1 - acceleration * z));
  };
  return [level(tail), level(1 - tail)];
}

/** Of sorted values, linear between two (method 7 of Hyndman and Fan 1996). */
function quantileOf(sorted: Float64Array, p: number): number {
  const at = (sorted.length - 1) * p;
  const low = Math.floor(at);
  const [a, b] = [sorted[low] as number, sorted[Math.min(low + 1, sorted.length - 1)] as number];
  return a + (b - a) * (at - low);
}

function deviationOf(values: Float64Array): number {
  if (values.length < 2) return NaN;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1));
}
