import { checkBoolean, checkFields, found } from "../internal/check.ts";

/**
 * Shannon's entropy of a distribution, -Σ p ln p in nats: 0 when one outcome is certain, ln n when n
 * are equally probable (Shannon 1948, "A Mathematical Theory of Communication").
 *
 * @param weights One number for each outcome, at least one of them above 0: probabilities or counts,
 *   which are divided by their sum.
 * @param options `logits: true` when the numbers are logits, of which the softmax is taken; -∞ is
 *   then an outcome of no probability.
 * @returns Nats; divided by `Math.LN2` they are bits.
 * @throws {RangeError} When a number is negative, infinite or NaN, or all are 0.
 *
 * @example
 * ```ts
 * import { entropy, loadModel } from "./mod.ts";
 *
 * console.log(entropy([0.5, 0.25, 0.25])); // 1.0397207708399179, 1.5 bits
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 64 });
 * await session.prefill("The capital of France is");
 * console.log(entropy(session.logits(), { logits: true }));
 * ```
 */
export function entropy(
  weights: readonly number[] | Float32Array | Float64Array | Uint32Array,
  options: { readonly logits?: boolean | undefined } = {},
): number {
  checkFields(options, ["logits"], "entropy");
  const logits = checkBoolean(options.logits, "logits") ?? false;
  if (!Array.isArray(weights) && !ArrayBuffer.isView(weights)) {
    throw new TypeError(`Expected weights to be an array of numbers, but found ${found(weights)}`);
  }
  let most = -Infinity;
  for (let i = 0; i < weights.length; i++) {
    const value = weights[i] as unknown;
    if (typeof value !== "number") {
      throw new TypeError(`Expected weights[${i}] to be a number, but found ${found(value)}`);
    }
    if (logits ? !(value < Infinity) : !(value >= 0 && value < Infinity)) {
      const range = logits ? "a logit: finite, or -Infinity" : "finite and at least 0";
      throw new RangeError(`Expected weights[${i}] to be ${range}, but found ${value}`);
    }
    most = Math.max(most, value);
  }
  if (logits ? most === -Infinity : !(most > 0)) {
    throw new RangeError("Expected weights to have an outcome that is possible, but found none");
  }
  // With z = ln(w / most): the sum of -p ln p is ln Σ exp z - Σ z exp z / Σ exp z.
  let [sum, weighted] = [0, 0];
  for (const value of weights) {
    const share = logits ? Math.exp(value - most) : value / most;
    if (share === 0) continue;
    sum += share;
    weighted += share * (logits ? value - most : Math.log(share));
  }
  return Math.max(0, Math.log(sum) - weighted / sum);
}
