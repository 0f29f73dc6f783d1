import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Keeps the tokens of a probability of at least min(ε, √ε · e^-H), with H the entropy of the
 * distribution in nats, and in any case the most probable one (Hewitt et al. 2022, "Truncation
 * Sampling as Language Model Desmoothing").
 *
 * @param epsilon From 0, which keeps every token, to 1; the paper's settings are from 0.0003 to 0.004.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { etaCutoff } from "./mod.ts";
 *
 * console.log(etaCutoff(0.002).params); // { epsilon: 0.002 }
 * ```
 */
export function etaCutoff(epsilon: number): SamplerStage {
  checkNumber(
    epsilon,
    (value) => value >= 0 && value <= 1,
    "from 0 to 1",
    "the epsilon of etaCutoff",
  );
  return { name: "eta_cutoff", params: { epsilon } };
}
