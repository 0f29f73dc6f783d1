import { found } from "./internal/check.ts";
import type { SamplerStage } from "./sampler_stage.ts";

/**
 * Keeps the tokens with which the generated text goes on as a grammar says: the text with the token is the
 * beginning of a text of the grammar, wherever tokens cut characters. A token that ends the text is kept when
 * the grammar can end. It stands first in a chain: behind stages that leave few tokens it may leave none,
 * which ends the generation with an error. Each request begins the grammar anew, and the prompt is no part of
 * the text. docs/grammar.md says how grammars are written; `Model.grammarMask` shows what one allows.
 *
 * @param text The grammar in GBNF, with a rule `root`.
 * @returns A stage for the `sampler` list of `Session.generate`. A grammar that is wrong is refused when the
 *   generation begins, with line, column, what was expected and what was found.
 *
 * @example
 * ```ts
 * import { grammar, greedy, loadModel } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using session = model.session({ context: 128 });
 * const sampler = [grammar('root ::= ("yes" | "no") "."'), greedy()];
 * console.log(await session.generate("Is the sea deep? Answer: ", { sampler }).text());
 * ```
 */
export function grammar(text: string): SamplerStage {
  if (typeof text !== "string") {
    throw new TypeError(`Expected a grammar as text, but found ${found(text)}`);
  }
  return { name: "grammar", params: {}, data: text };
}
