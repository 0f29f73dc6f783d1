/**
 * The reference texts of a comparison of samplers, as the model finds them.
 *
 * @module
 */
import type { SampledText } from "../compare_samplers.ts";
import type { Model } from "../model.ts";
import type { SamplerComparisonSettings } from "./sampler_comparison_options.ts";
import { scoresOf } from "./scored_text.ts";

/** The last `maxTokens` tokens of each, in groups of at most `trials` and as even as can be. */
export async function referenceTexts(
  model: Model,
  { reference, maxTokens, trials, signal }: SamplerComparisonSettings,
): Promise<SampledText[][]> {
  if (reference.length === 0) return [];
  const context = reference.reduce((most, text) => Math.max(most, text.length), 1);
  using session = model.session({ context });
  const groups: SampledText[][] = Array.from(
    { length: Math.ceil(reference.length / trials) },
    () => [],
  );
  for (const [i, text] of reference.entries()) {
    signal?.throwIfAborted();
    const from = text.length - maxTokens;
    const logprobs = [...await scoresOf(session, text as Uint32Array<ArrayBuffer>, from, signal)];
    groups[i % groups.length]!.push({ tokens: [...text.subarray(from)], logprobs });
  }
  return groups;
}
