import { checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Prefers tokens of about a target probability, and steers so that the mean probability of what is chosen
 * follows it (llama.cpp pull request 17927, 2026). With p the probabilities that the stage receives, the logits
 * become 5 - 10 · d² / (1 + d), where d = |p - a| / 0.3. The adapted target a is 2 · target less the mean of the
 * probabilities that the chosen tokens had, each older one weighing `decay` times as much, from 0 to 1; the mean
 * begins at the target. Nothing is removed: a min-p before it is advised, and nothing but that behind it.
 *
 * A trace has a as the stage's `state`, and the probability that each chosen token had as its `outcome`. The
 * mean begins anew with every generation.
 *
 * @param target From 0 to 1.
 * @param decay From 0 to 0.99; 0.9 by default, a mean of about 10 tokens.
 * @returns A stage for the `sampler` list of `Session.generate`.
 *
 * @example
 * ```ts
 * import { adaptiveP, formatSampler, minP } from "./mod.ts";
 *
 * console.log(formatSampler([minP(0.05), adaptiveP(0.3)])); // "min-p=0.05,adaptive-p=0.3:0.9"
 * ```
 */
export function adaptiveP(target: number, decay = 0.9): SamplerStage {
  checkNumber(
    target,
    (value) => value >= 0 && value <= 1,
    "from 0 to 1",
    "the target of adaptiveP",
  );
  const inRange = (value: number) => value >= 0 && value <= 0.99;
  checkNumber(decay, inRange, "from 0 to 0.99", "the decay of adaptiveP");
  return { name: "adaptive_p", params: { target, decay } };
}
