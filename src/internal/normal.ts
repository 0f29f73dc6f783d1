/**
 * The standard normal distribution, to the accuracy of f64.
 *
 * @module
 */

/** The probability of a value up to `x`. */
export function normalCdf(x: number): number {
  if (x > 0) return 1 - normalCdf(-x);
  const density = Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
  if (density === 0) return 0;
  // Near 0 the series x + x³/3 + x⁵/15 + …, whose terms all have one sign; further out Mills' ratio as
  // a continued fraction (Abramowitz and Stegun, 26.2.11 and 26.2.14).
  if (x > -3) {
    let [term, sum] = [x, x];
    for (let n = 3; Math.abs(term) > 1e-18 * Math.abs(sum); n += 2) sum += term *= x * x / n;
    return 0.5 + density * sum;
  }
  let fraction = -x;
  for (let n = 60; n > 0; n--) fraction = n / fraction - x;
  return density / fraction;
}

/** The value up to which there is the probability `p`; ±∞ for 0 and 1. */
export function normalQuantile(p: number): number {
  if (p === 0 || p === 1) return p === 0 ? -Infinity : Infinity;
  if (p > 0.5) return -normalQuantile(1 - p);
  // Abramowitz and Stegun 26.2.23 is right to 4.5e-4; each step of Halley's method triples the digits.
  const t = Math.sqrt(-2 * Math.log(p));
  let x = (2.515517 + t * (0.802853 + t * 0.010328)) /
      (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
  for (let i = 0; i < 3; i++) {
    const density = Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
    const step = (normalCdf(x) - p) / density;
    x -= step / (1 + x * step / 2);
  }
  return x;
}
