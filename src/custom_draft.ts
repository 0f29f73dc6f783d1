import type { Draft, DraftFunction } from "./draft.ts";
import { checkFields, checkInteger, found } from "./internal/check.ts";

/**
 * Guesses by a function of your own: a table of phrases, another engine, a grammar that leaves no choice.
 * However bad the guesses are, the text is the one without them (see `Draft`); only its time changes.
 * The function is asked while the steps are read.
 *
 * @param guess Gets the text so far and returns tokens, or a promise of them. What it throws ends the
 *   generation.
 * @param options Most guesses in one pass, from 1 to 32; 8 unless it is said.
 * @returns For the option `draft` of `Session.generate`.
 *
 * @example
 * ```ts
 * import { customDraft, greedy, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 256 });
 * const known = model.tokenize(" Paris. The capital of", { addSpecial: false });
 * const steps = session.generate("The capital of France is", {
 *   sampler: [greedy()],
 *   maxTokens: 8,
 *   draft: customDraft(({ tokens }) => {
 *     const at = known.indexOf(tokens.at(-1) ?? -1);
 *     return known.slice(at + 1);
 *   }),
 * });
 * console.log(await steps.text(), session.stats.accepted);
 * ```
 */
export function customDraft(
  guess: DraftFunction,
  options: { readonly length?: number | undefined } = {},
): Draft {
  if (typeof guess !== "function") {
    throw new TypeError(`Expected a function that guesses tokens, but found ${found(guess)}`);
  }
  checkFields(options, ["length"], "customDraft");
  return {
    kind: "custom",
    length: checkInteger(options.length ?? 8, 1, 32, "length"),
    open: () => ({ guess, dispose: () => {} }),
  };
}
