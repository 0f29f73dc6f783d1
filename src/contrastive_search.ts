import { checkFields, checkInteger, checkNumber } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/** What `contrastiveSearch` weighs. */
export interface ContrastiveSearchOptions {
  /** How much repetition counts against probability, from 0 to 1; 0.6 unless it is said. */
  readonly alpha?: number | undefined;
  /** How many of the most probable tokens are looked at, from 1 to 32; 4 unless it is said. */
  readonly k?: number | undefined;
}

/**
 * Contrastive search (Su et al. 2022, "A Contrastive Framework for Neural Text Generation"): takes of the `k`
 * most probable tokens the one whose (1 − alpha) · p − alpha · s is highest. s, the degeneration penalty, is
 * the largest cosine between the hidden state of the last layer at that token and at those of the text
 * before. It chooses one token without chance; `alpha: 0` is greedy.
 *
 * The engine evaluates the candidates in forks of the session, all of a step in one batch, and goes on in
 * the fork of the chosen one. It works in `Session.generate`, in an empty session that gets the whole text
 * as its prompt, without drafts, guidance, hooks and `shift`; in draws without a session it fails.
 *
 * @param options How much repetition counts, among how many tokens.
 * @returns A stage for the `sampler` list; stages before it narrow what it chooses from.
 *
 * @example
 * ```ts
 * import { contrastiveSearch, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128 });
 * const steps = session.generate("The best thing about the sea is", {
 *   sampler: [contrastiveSearch({ alpha: 0.6, k: 5 })],
 *   maxTokens: 24,
 * });
 * console.log(await steps.text());
 * ```
 */
export function contrastiveSearch(options: ContrastiveSearchOptions = {}): SamplerStage {
  checkFields(options, ["alpha", "k"], "contrastiveSearch");
  const { alpha = 0.6, k = 4 } = options;
  const inside = (value: number) => value >= 0 && value <= 1;
  checkNumber(alpha, inside, "from 0 to 1", "the alpha of contrastiveSearch");
  return {
    name: "contrastive_search",
    params: { alpha, k: checkInteger(k, 1, 32, "the k of contrastiveSearch") },
  };
}
