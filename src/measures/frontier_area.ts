import { checkFields, checkInteger, checkNumber, found } from "../internal/check.ts";

/** How `frontierArea` is computed. */
export interface FrontierAreaOptions {
  /** The c of exp(-c KL), above 0; 5 by default, as in the paper. */
  readonly scale?: number | undefined;
  /** Mixtures of the two distributions at which the curve is taken, from 2; 25 by default. */
  readonly points?: number | undefined;
  /**
   * What is added to every count before they are divided by their sum, at least 0; 0 by default. With
   * 0.5 it is the estimator of Krichevsky and Trofimov, which Pillutla et al. (2023) recommend; then
   * the histograms must be counts.
   */
  readonly smoothing?: number | undefined;
}

/** How near two distributions are. */
export interface FrontierArea {
  /** Area under the divergence curve: 1 when the distributions are the same, near 0 when they are apart. */
  readonly area: number;
  /** The frontier integral of Liu et al. (2021): 0 when they are the same, 1 when they are apart. */
  readonly integral: number;
  /** [points + 2][2]: the curve, from (1, 0) to (0, 1). */
  readonly curve: Float64Array<ArrayBuffer>;
}

/**
 * Compares two histograms as MAUVE does (Pillutla et al. 2021, "MAUVE: Measuring the Gap Between Neural
 * Text and Human Text using Divergence Frontiers"). With mixtures R = λP + (1 - λ)Q, the curve of
 * (exp(-c KL(Q‖R)), exp(-c KL(P‖R))) says how much of P lacks in Q and the other way round; the area
 * under it is one number for both.
 *
 * It is MAUVE's divergence and not MAUVE itself, which is that of one choice of histograms: the
 * clusters of a large model's hidden states. What the bins mean is the caller's: tokens
 * (`tokenHistogram`), clusters, lengths. Only areas over the same bins can be compared.
 *
 * @param p At least one number for each bin, none negative: counts or shares; divided by their sum.
 * @param q The same bins.
 * @param options Scale, points, smoothing.
 * @throws {RangeError} When the lengths differ, a number is negative, infinite or NaN, or all are 0.
 *
 * @example
 * ```ts
 * import { frontierArea, tokenHistogram } from "./mod.ts";
 *
 * const human = tokenHistogram([[0, 1, 2, 3, 1]], 4);
 * const machine = tokenHistogram([[0, 1, 1, 1, 2]], 4);
 * const { area, integral } = frontierArea(human, machine);
 * console.log(area, integral); // 0.7341065522876755, 0.11344187027020278
 * ```
 */
export function frontierArea(
  p: readonly number[] | Float32Array | Float64Array,
  q: readonly number[] | Float32Array | Float64Array,
  options: FrontierAreaOptions = {},
): FrontierArea {
  checkFields(options, ["scale", "points", "smoothing"], "frontierArea");
  const scale = checkNumber(options.scale ?? 5, (v) => v > 0, "above 0", "scale");
  const points = checkInteger(options.points ?? 25, 2, 1 << 20, "points");
  const smoothing = checkNumber(options.smoothing ?? 0, (v) => v >= 0, "at least 0", "smoothing");
  const [first, second] = [distributionOf(p, smoothing, "p"), distributionOf(q, smoothing, "q")];
  if (first.length !== second.length) {
    throw new RangeError(
      `Expected p and q to have the same bins, but found ${first.length} and ${second.length}`,
    );
  }
  const curve = new Float64Array(2 * (points + 2));
  curve.set([1, 0]);
  for (let i = 0; i < points; i++) {
    // At the very ends a bin that one of them lacks would make the divergence infinite.
    const mix = 1e-6 + (1 - 2e-6) * i / (points - 1);
    const [fromQ, fromP] = divergences(first, second, mix);
    curve.set([Math.exp(-scale * fromQ), Math.exp(-scale * fromP)], 2 * (i + 1));
  }
  curve.set([0, 1], 2 * (points + 1));
  return { area: areaUnder(curve), integral: integralOf(first, second), curve };
}

function distributionOf(
  counts: readonly number[] | Float32Array | Float64Array,
  smoothing: number,
  what: string,
): Float64Array {
  if (!Array.isArray(counts) && !ArrayBuffer.isView(counts)) {
    throw new TypeError(`Expected ${what} to be an array of numbers, but found ${found(counts)}`);
  }
  const values = new Float64Array(counts.length);
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const count = counts[i] as number;
    checkNumber(count, (value) => value >= 0, "at least 0", `${what}[${i}]`);
    sum += values[i] = count + smoothing;
  }
  if (!(sum > 0 && sum < Infinity)) {
    throw new RangeError(
      `Expected ${what} to have a sum that is finite and above 0, but found ${sum}`,
    );
  }
  return values.map((value) => value / sum);
}

/** KL(Q‖R) and KL(P‖R) in nats, with R = mix P + (1 - mix) Q. */
function divergences(p: Float64Array, q: Float64Array, mix: number): [number, number] {
  let [fromQ, fromP] = [0, 0];
  for (let i = 0; i < p.length; i++) {
    const [a, b] = [p[i] as number, q[i] as number];
    const r = mix * a + (1 - mix) * b;
    if (a > 0) fromP += a * Math.log(a / r);
    if (b > 0) fromQ += b * Math.log(b / r);
  }
  return [Math.max(0, fromQ), Math.max(0, fromP)];
}

type Four = readonly [number, number, number, number];

/** By trapezia; the curve falls from (1, 0) to (0, 1) along x. */
function areaUnder(curve: Float64Array): number {
  let area = 0;
  for (let i = 0; i + 3 < curve.length; i += 2) {
    const [x, y, nextX, nextY] = curve.subarray(i, i + 4) as unknown as Four;
    area += (x - nextX) * (y + nextY) / 2;
  }
  return area;
}

/** Twice the integral over λ of λ KL(P‖R) + (1 - λ) KL(Q‖R), which has a closed form for each bin. */
function integralOf(p: Float64Array, q: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const [a, b] = [p[i] as number, q[i] as number];
    if (a === 0 || b === 0) {
      sum += (a + b) / 4;
      continue;
    }
    // Near equal shares the closed form cancels; its series begins with (a - b)² / (6 (a + b)).
    const near = Math.abs(a - b) <= 1e-4 * (a + b);
    sum += near
      ? (a - b) ** 2 / (6 * (a + b))
      : (a + b) / 4 - a * b * Math.log(a / b) / (2 * (a - b));
  }
  return Math.min(1, Math.max(0, 2 * sum));
}
