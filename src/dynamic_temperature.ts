import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Divides the logits by a temperature that follows the entropy H of the distribution over n
 * candidates: T = low + (high - low) · (H / ln n)^exponent (the form of koboldcpp and llama.cpp;
 * entropy as the guide: Zhu et al. 2023, "Hot or Cold?", and Zhang et al. 2024, "EDT").
 *
 * @param low The temperature of a distribution without entropy, from 0 to 1,000,000.
 * @param high That of the uniform distribution, from 0 to 1,000,000; it may be below `low`.
 * @param exponent From 0 to 100; 1 by default. Above 1 the temperature rises late.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { dynamicTemperature } from "./mod.ts";
 *
 * console.log(dynamicTemperature(0.2, 1.5).params); // { low: 0.2, high: 1.5, exponent: 1 }
 * ```
 */
export function dynamicTemperature(low: number, high: number, exponent = 1): SamplerStage {
  const inRange = (t: number) => t >= 0 && t <= 1e6;
  checkNumber(low, inRange, "from 0 to 1000000", "the low of dynamicTemperature");
  checkNumber(high, inRange, "from 0 to 1000000", "the high of dynamicTemperature");
  checkNumber(
    exponent,
    (value) => value >= 0 && value <= 100,
    "from 0 to 100",
    "the exponent of dynamicTemperature",
  );
  return { name: "dynamic_temperature", params: { low, high, exponent } };
}
