import { checkNumber, found } from "./internal/check.ts";
import { setGuide } from "./internal/guides.ts";
import type { SamplerStage } from "./sampler_stage.ts";
import { Session, sessionCore } from "./session.ts";

/**
 * Classifier-free guidance: goes away from what another session, of another prompt, would say (Sanchez et
 * al. 2023, "Stay on topic with Classifier-Free Guidance", after Ho and Salimans 2021). With p of this
 * session and p' of the other one, log probabilities become log p' + scale · (log p − log p'): more than 1
 * stresses what the prompt adds to the other one, 1 changes nothing, 0 takes p'.
 *
 * The other session has read its prompt: an empty one of a single token for plain guidance, the opposite
 * of what is wanted for a negative prompt. When a generation begins, a fork of it goes along: it gets the
 * same tokens, in the same batch as the generation, and the session itself stays as it is. A chain has one
 * such stage, which works at the temperature in force and on the candidates that are left where it stands.
 * In draws without a session it fails, as there is no other model output.
 *
 * @param other An idle session of the same model with at least one token.
 * @param scale From 0 to 100; the paper finds 1.25 to 1.5 good for many tasks, and up to 3 for chat.
 * @returns A stage for the `sampler` list of `Session.generate` and `Session.sampleMany`.
 *
 * @example
 * ```ts
 * import { guidance, loadModel, temperature } from "./mod.ts";
 *
 * using model = await loadModel("smollm2");
 * using sad = model.session({ context: 128 });
 * await sad.prefill("A sad story about the sea:");
 * using session = model.session({ context: 128 });
 * const steps = session.generate("A happy story about the sea:", {
 *   sampler: [guidance(sad, 1.5), temperature(0.8)],
 *   seed: 7,
 *   maxTokens: 16,
 * });
 * console.log(await steps.text());
 * ```
 */
export function guidance(other: Session, scale: number): SamplerStage {
  if (!(other instanceof Session)) {
    throw new TypeError(
      `Expected the other session of guidance to be a Session, but found ${found(other)}`,
    );
  }
  checkNumber(
    scale,
    (value) => value >= 0 && value <= 100,
    "from 0 to 100",
    "the scale of guidance",
  );
  const stage: SamplerStage = { name: "guidance", params: { scale } };
  setGuide(stage, sessionCore(other));
  return stage;
}
