/**
 * Drafts on the command line: guesses of the text itself, or of a smaller model.
 *
 * @module
 */

import { type Draft, modelDraft, ngramDraft } from "../mod.ts";
import type { Arguments } from "./arguments.ts";
import type { CommandOption } from "./command.ts";
import { openModel } from "./model.ts";

/** Options that choose who guesses. */
export const draftOptions = {
  draft: {
    value: "ngram|MODEL",
    help: "guess tokens ahead, from the text itself or by a smaller model; the text stays the same",
  },
  "draft-length": { value: "N", help: "guess at most N tokens at once (1 to 32)" },
} as const satisfies Record<string, CommandOption>;

/** Who guesses, and what goes with it. */
interface OpenDraft extends Disposable {
  readonly draft: Draft | undefined;
}

/** Opens what the options ask for. */
export async function openDraft(given: Arguments, signal: AbortSignal): Promise<OpenDraft> {
  const length = given.integer("draft-length", 1, 32);
  const name = given.text("draft");
  if (name === undefined) return { draft: undefined, [Symbol.dispose]: () => {} };
  if (name === "ngram") return { draft: ngramDraft({ length }), [Symbol.dispose]: () => {} };
  const model = await openModel(name, given, { signal });
  return { draft: modelDraft(model, { length }), [Symbol.dispose]: () => model.dispose() };
}
