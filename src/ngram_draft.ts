import type { Draft } from "./draft.ts";
import { checkFields, checkInteger } from "./internal/check.ts";

/** How `ngramDraft` guesses. */
export interface NgramDraftOptions {
  /** Most guesses in one pass, from 1 to 32; 16 unless it is said. */
  readonly length?: number | undefined;
  /** How many of the last tokens are looked for, from 1 to 16; 4 unless it is said. */
  readonly ngram?: number | undefined;
  /** How few of them will do, from 1 to `ngram`; 2 unless it is said, or `ngram` if that is less. */
  readonly least?: number | undefined;
}

/**
 * Guesses that the text goes on as it did where its last tokens stood before (prompt lookup: Saxena 2023,
 * "Prompt Lookup Decoding"). It costs no model, and pays where a text repeats its prompt or itself:
 * summaries, corrections, code, lists. Drafts become shorter and rarer while they are wrong, so that other
 * texts lose little.
 *
 * The text is the same as without it, token for token (see `Draft`), which is more than the rule of
 * Leviathan et al. 2023 and Chen et al. 2023 promises: that the distribution is the same.
 *
 * @param options How much is guessed, and from what.
 * @returns For the option `draft` of `Session.generate`.
 *
 * @example
 * ```ts
 * import { greedy, loadModel, ngramDraft } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 512 });
 * const generation = session.generate("one two three four, one two three four, one two", {
 *   sampler: [greedy()],
 *   maxTokens: 24,
 *   draft: ngramDraft({ length: 8 }),
 * });
 * console.log(await generation.text());
 * const { drafted, accepted, passes } = session.stats;
 * console.log(`${accepted} of ${drafted} guesses were right; ${passes} passes`, generation.drafts);
 * ```
 */
export function ngramDraft(options: NgramDraftOptions = {}): Draft {
  checkFields(options, ["length", "ngram", "least"], "ngramDraft");
  const { length = 16, ngram = 4 } = options;
  checkInteger(ngram, 1, 16, "ngram");
  const { least = Math.min(2, ngram) } = options;
  return {
    kind: "ngram",
    length: checkInteger(length, 1, 32, "length"),
    ngram,
    least: checkInteger(least, 1, ngram, "least"),
  };
}
