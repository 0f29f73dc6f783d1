import type { Draft, Drafter } from "./draft.ts";
import { checkFields, checkInteger, found } from "./internal/check.ts";
import { Model, modelCore } from "./model.ts";

/**
 * Guesses by a smaller model of the same vocabulary (speculative decoding: Leviathan et al. 2023, "Fast
 * Inference from Transformers via Speculative Decoding"; Chen et al. 2023, "Accelerating Large Language
 * Model Decoding with Speculative Sampling").
 *
 * It draws with the chain, the seed and so the very random numbers of the generation: where both models
 * find about the same probable, they draw the same token, and the guess is right. This is a coupling of
 * both by common numbers in place of the papers' rule of acceptance; it keeps not only the distribution,
 * but each single text.
 *
 * The model gets a session of its own for the generation, which begins with reading the text. It works
 * while the steps are read; not in a session with `shift`.
 *
 * @param model A loaded model; it may be disposed of when the generation is over.
 * @param options Most guesses in one pass, from 1 to 32; 8 unless it is said. It adapts to what is right.
 * @returns For the option `draft` of `Session.generate`, which throws a `RangeError` when the models'
 *   tokens differ.
 *
 * @example
 * ```ts
 * import { loadModel, modelDraft, temperature } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using small = await loadModel("smollm2"); // a smaller one pays, this one shows
 * using session = model.session({ context: 256 });
 * const steps = session.generate("The best thing about the sea is", {
 *   sampler: [temperature(0.8)],
 *   seed: 7,
 *   maxTokens: 12,
 *   draft: modelDraft(small, { length: 4 }),
 * });
 * console.log(await steps.text(), session.stats);
 * ```
 */
export function modelDraft(
  model: Model,
  options: { readonly length?: number | undefined } = {},
): Draft {
  if (!(model instanceof Model)) {
    throw new TypeError(`Expected a model that guesses tokens, but found ${found(model)}`);
  }
  checkFields(options, ["length"], "modelDraft");
  return {
    kind: "model",
    length: checkInteger(options.length ?? 8, 1, 32, "length"),
    open: (target, context) => {
      target.expectSameTokens(modelCore(model));
      return drafterOf(model, context);
    },
  };
}

/** Keeps a session of the model that follows the text. */
function drafterOf(model: Model, context: number): Drafter {
  const session = model.session({ context });
  let held: number[] = [];
  const guess: Drafter["guess"] = async ({ tokens, most, sampler, seed, ignoreEnd, signal }) => {
    // Wrong guesses are forgotten; one token is always left to go on from.
    const known = commonLength(held, tokens.slice(0, -1));
    session.truncate(known);
    held = [...tokens];
    const guesses: number[] = [];
    // A grammar would begin anew with every draft.
    const stages = sampler.filter(({ name }) => name !== "grammar");
    const settings = { sampler: stages, seed, ignoreEnd, maxTokens: most, signal };
    for await (const { token } of session.generate(tokens.slice(known), settings)) {
      guesses.push(token);
      held.push(token);
    }
    return guesses;
  };
  return { guess, dispose: () => session.dispose() };
}

function commonLength(one: readonly number[], other: readonly number[]): number {
  const length = Math.min(one.length, other.length);
  for (let i = 0; i < length; i++) if (one[i] !== other[i]) return i;
  return length;
}
